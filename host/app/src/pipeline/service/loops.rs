//! The loops of the service as tasks: each is watched from its start, and restarted when it ends before the service
//! does, as after a panic.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::task::JoinSet;

use crate::pipeline::context::{RETRY_AFTER, ServiceContext};
use crate::pipeline::watchdog::{TurnEnd, TurnFailure};

/// The running loops of a service.
#[derive(Debug, Default)]
pub(super) struct Loops {
    tasks: JoinSet<()>,
}

impl Loops {
    /// Starts a loop that is watched. It is restarted when it ends too early.
    pub(super) fn start<T: 'static, F>(
        &mut self,
        name: &'static str,
        context: ServiceContext<T>,
        work: impl Fn(ServiceContext<T>) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let context = context.watched(name);
        self.tasks.spawn(supervise(name, context, work));
    }

    /// Waits until every loop has ended.
    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Aborts the loops that run still, and waits until they have ended.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Runs a loop until the service stops; restarts it when it panics, or ends before.
async fn supervise<T: 'static, F: Future<Output = ()>>(
    name: &'static str,
    context: ServiceContext<T>,
    work: impl Fn(ServiceContext<T>) -> F,
) {
    loop {
        let ended = AssertUnwindSafe(work(context.clone())).catch_unwind().await;
        if context.stop.is_cancelled() {
            return;
        }
        let failure = match ended {
            Ok(()) => TurnFailure::told("it ended by itself"),
            Err(_) => TurnFailure::panicked(),
        };
        tracing::error!(name, ?failure, "a loop of the service ended; it is restarted");
        context.rest(TurnEnd::Failed(failure), RETRY_AFTER).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use chrono::DateTime;
    use tokio::sync::Notify;

    use super::*;
    use crate::config::Config;
    use crate::pipeline::watchdog::Watchdog;

    #[tokio::test]
    async fn a_loop_that_panics_or_ends_by_itself_is_restarted_and_told() {
        let config = || Arc::new(Config::default());
        let context = ServiceContext::new("one".into(), DateTime::UNIX_EPOCH, Watchdog::default(), || (), config);
        let (begun, third) = (AtomicU32::new(0), Arc::new(Notify::new()));
        let work = {
            let third = Arc::clone(&third);
            move |context: ServiceContext<()>| {
                let (number, third) = (begun.fetch_add(1, Ordering::SeqCst), Arc::clone(&third));
                async move {
                    match number {
                        0 => panic!("a test"),
                        1 => {}
                        _ => {
                            third.notify_one();
                            context.stop.cancelled().await;
                        }
                    }
                }
            }
        };
        let mut loops = Loops::default();
        loops.start("odd", context.clone(), work);
        third.notified().await;
        let told = context.loops().pop().expect("it is watched");
        assert_eq!((told.name, told.error.as_deref()), ("odd", Some("it ended by itself")));
        assert!(told.failing_s >= 1.0, "since the panic, a second before: {told:?}");
        context.stop.cancel();
        loops.ended().await;
    }
}
