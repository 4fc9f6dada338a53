//! Tries a release before it collects.

pub(super) mod checks;
pub(super) mod shadow;
pub(super) mod trial;
