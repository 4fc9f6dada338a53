//! What there may be to do on a database.

/// What there may be to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Batches to lease.
    Work,
    /// Artists to be collected for the first time.
    Activations,
    /// A release that is about to be activated, or was, or may do less than before.
    Releases,
    /// Events to deliver.
    Events,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 4] = [Self::Work, Self::Activations, Self::Releases, Self::Events];

    /// The name by which it is notified.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Activations => "activations",
            Self::Releases => "releases",
            Self::Events => "events",
        }
    }

    /// Reads the name by which it is notified.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == text)
    }
}
