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

/// When the database was asked last, and what is answered since.
type Known = (Instant, Result<EventCursor, Problem>);

/// The last answer. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Settled(Arc<Mutex<Option<Known>>>);

impl Settled {
    /// The last event that may be read. Where the database does not say, it is the one of before, which stays right:
    /// asking at once for each caller would make writers wait all the time.
    ///
    /// # Errors
    /// When the database fails and never answered before.
    pub(super) async fn until(&self, host: &Host) -> Result<EventCursor, Problem> {
        let asked = async { host.store().event_watermark_get().await.map_err(Problem::from) };
        self.answered(Instant::now, asked).await
    }

    /// The same; `asked` is polled only where the database is to be asked.
    async fn answered(
        &self,
        now: impl Fn() -> Instant,
        asked: impl Future<Output = Result<EventCursor, Problem>>,
    ) -> Result<EventCursor, Problem> {
        // Held while the database is asked: callers that come meanwhile get the same answer.
        let mut known = self.0.lock().await;
        let before = match &*known {
            Some((at, answer)) if now().duration_since(*at) < GOOD_FOR => return answer.clone(),
            Some((_, answer)) => answer.clone().ok(),
            None => None,
        };
        let answer = asked.await.or_else(|problem| match before {
            Some(before) => {
                tracing::warn!(error = problem.cause(), "it is not known which events are new; it is asked again");
                Ok(before)
            }
            None => Err(problem),
        });
        *known = Some((now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_is_answered_by_what_was_known_and_not_asked_again_at_once() {
        let (settled, start) = (Settled::default(), Instant::now());
        let at = |millis: u64| move || start + Duration::from_millis(millis);
        let never = async || -> Result<EventCursor, Problem> { panic!("it is asked too early") };
        let failed = async || -> Result<EventCursor, Problem> { Err(Problem::internal()) };
        assert_eq!(settled.answered(at(0), failed()).await, Err(Problem::internal()), "nothing is known");
        assert_eq!(settled.answered(at(999), never()).await, Err(Problem::internal()));
        let (first, second) = (EventCursor::from(7), EventCursor::from(9));
        assert_eq!(settled.answered(at(1_000), async { Ok(first) }).await, Ok(first));
        assert_eq!(settled.answered(at(1_999), never()).await, Ok(first));
        assert_eq!(settled.answered(at(2_000), failed()).await, Ok(first), "the old one stays right");
        assert_eq!(settled.answered(at(2_999), never()).await, Ok(first), "the failure is remembered");
        assert_eq!(settled.answered(at(3_000), async { Ok(second) }).await, Ok(second));
    }
}
