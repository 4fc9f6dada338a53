//! Up to which event callers may read so that none can appear in between later. To know it the database makes writers
//! of events wait for a moment, so it is asked once in a while for all callers of a host, however many there are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::problem::Problem;
use crate::pipeline::Host;
use backline_store::EventCursor;

/// How long an answer is used. Events are seen so much later at most.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The last answer. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Settled(Arc<Mutex<Option<(Instant, EventCursor)>>>);

impl Settled {
    /// The last event that may be read.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn until(&self, host: &Host) -> Result<EventCursor, Problem> {
        // Held while the database is asked: callers that come meanwhile get the same answer.
        let mut known = self.0.lock().await;
        if let Some((at, until)) = *known
            && at.elapsed() < GOOD_FOR
        {
            return Ok(until);
        }
        let until = host.store().event_watermark_get().await?;
        *known = Some((Instant::now(), until));
        Ok(until)
    }
}
