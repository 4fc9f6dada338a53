//! Wake-ups: how a host hears of work at once instead of at its next look.

use tokio::sync::broadcast;

use super::{Store, StoreError};

/// What there may be to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Batches to lease.
    Work,
    /// Artists to be collected for the first time.
    Activations,
}

/// Hears of what is written to the database.
pub struct Listener {
    here: broadcast::Receiver<Topic>,
}

impl Store {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn listener(&self) -> Result<Listener, StoreError> {
        Ok(Listener { here: self.wakes.subscribe() })
    }
}

impl Listener {
    /// The next thing heard.
    ///
    /// # Errors
    /// When the connection broke; then what was written meanwhile was not heard.
    pub async fn next(&mut self) -> Result<Topic, StoreError> {
        loop {
            match self.here.recv().await {
                Ok(topic) => return Ok(topic),
                Err(broadcast::error::RecvError::Lagged(_)) => return Ok(Topic::Work),
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
