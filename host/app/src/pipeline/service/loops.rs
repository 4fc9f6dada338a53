//! The loops of the service as tasks: each is watched from its start, and restarted after a panic.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::task::JoinSet;

use crate::pipeline::context::{RETRY_AFTER, ServiceContext};

/// The running loops of a service.
#[derive(Debug, Default)]
pub(super) struct Loops {
    tasks: JoinSet<()>,
}

impl Loops {
    /// Starts a loop that is watched. It is restarted after a panic.
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

/// Runs a loop until the service stops; restarts it after a panic.
async fn supervise<T: 'static, F: Future<Output = ()>>(
    name: &'static str,
    context: ServiceContext<T>,
    work: impl Fn(ServiceContext<T>) -> F,
) {
    loop {
        if AssertUnwindSafe(work(context.clone())).catch_unwind().await.is_ok() || context.stop.is_cancelled() {
            return;
        }
        tracing::error!(name, "a loop of the service panicked; it is restarted");
        context.rest(RETRY_AFTER).await;
    }
}
