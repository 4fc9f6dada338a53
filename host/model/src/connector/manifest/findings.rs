//! Values of a manifest that have the right form and are not valid, each with its place.

use crate::connector::manifest_error::ManifestError;
use crate::text::printable;

/// A step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Where in a manifest a value stands: the keys and indices that lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestPath(pub(super) Vec<Step>);

impl ManifestPath {
    /// The value of a key at the top.
    pub(crate) fn of(key: &str) -> Self {
        Self(vec![Step::Key(key.to_owned())])
    }

    /// The value of a key in the table at this place.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    /// The entry with this index, counted from 0, in the list at this place.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

/// A value of the right form that is not valid.
#[derive(Clone, Debug)]
pub(super) struct InvalidValue {
    pub(super) place: ManifestPath,
    field: String,
    pub(super) problem: String,
}

/// What a check of a manifest's values found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(pub(super) Vec<InvalidValue>);

impl Findings {
    /// Adds a value that is not valid: where it stands, what it is called in a message, and what is wrong with it.
    pub(crate) fn add(&mut self, place: ManifestPath, field: impl Into<String>, problem: impl AsRef<str>) {
        let (field, problem) = (printable(&field.into()), printable(problem.as_ref()));
        self.0.push(InvalidValue { place, field, problem });
    }

    /// The first one, as an error.
    pub(super) fn into_first(self) -> Option<ManifestError> {
        let InvalidValue { field, problem, .. } = self.0.into_iter().next()?;
        Some(ManifestError::Value { field, problem })
    }
}
