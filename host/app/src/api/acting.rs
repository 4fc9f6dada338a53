//! Acts that go on when their client goes away: none is left half done, or done and not on record.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The acts that are under way. They end with the server at the latest.
#[derive(Default)]
pub(super) struct Acts(Mutex<JoinSet<()>>);

impl Acts {
    /// Does something to its end, also if nobody waits for its result any more. None where it panicked, or the server
    /// ended.
    pub(super) async fn finish<T: Send + 'static>(&self, act: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (send, result) = oneshot::channel();
        self.begin(async move {
            // The client may be gone.
            let _ = send.send(act.await);
        });
        result.await.ok()
    }

    fn begin(&self, act: impl Future<Output = ()> + Send + 'static) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while under_way.try_join_next().is_some() {}
        under_way.spawn(act);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn an_act_goes_on_when_nobody_waits_for_it() {
        let acts = Acts::default();
        let [begun, go_on, done] = [(); 3].map(|()| Arc::new(Notify::new()));
        let act = {
            let (begun, go_on, done) = (Arc::clone(&begun), Arc::clone(&go_on), Arc::clone(&done));
            async move {
                begun.notify_one();
                go_on.notified().await;
                done.notify_one();
            }
        };
        tokio::select! {
            _ = acts.finish(act) => panic!("it waits"),
            () = begun.notified() => {}
        }
        go_on.notify_one();
        done.notified().await;
        assert_eq!(acts.finish(async { 7 }).await, Some(7));
    }
}
