//! A look at a running service from outside: whether it can work, and its figures.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::pipeline::service::presence::is_present;
use crate::pipeline::service::{Readiness, ServiceContext};
use crate::telemetry::Census;
use backline_store::{Scope, StoreError};

/// How long the database may take before readiness is denied, and the figures are given without what it says.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long what the database said of all hosts is good for: however often somebody asks, it is not asked more often.
const CENSUS_GOOD_FOR: Duration = Duration::from_secs(5);

/// What the database said, and when; nothing where it did not answer.
type Counted = (Instant, Option<Census>);

/// A look at a running service. Cloning shares it.
#[derive(Clone)]
pub struct Watch {
    context: ServiceContext,
    census: Arc<Mutex<Option<Counted>>>,
}

impl Watch {
    pub(in crate::pipeline) fn new(context: ServiceContext) -> Self {
        Self { context, census: Arc::default() }
    }

    /// Whether this host can do its work right now.
    pub async fn readiness(&self) -> Readiness {
        let mut problems = Vec::new();
        if self.context.stop.is_cancelled() {
            problems.push("it is stopping".to_owned());
        }
        match tokio::time::timeout(ANSWER_WITHIN, self.context.host().store().check_schema()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => problems.push(error.to_string()),
            Err(_) => problems.push("the database does not answer".to_owned()),
        }
        problems.extend(self.context.condition.problems());
        Readiness { ready: problems.is_empty(), problems }
    }

    /// Every figure, as OpenMetrics text.
    pub async fn metrics(&self) -> String {
        let mut census = self.census.lock().await;
        let counted = match &*census {
            Some((at, counted)) if at.elapsed() < CENSUS_GOOD_FOR => counted.clone(),
            _ => {
                let counted = tokio::time::timeout(ANSWER_WITHIN, self.count()).await.ok().and_then(Result::ok);
                *census = Some((Instant::now(), counted.clone()));
                counted
            }
        };
        // Rendered while nobody else renders: the figures that are filled in for it are shared.
        self.context.host().telemetry().render(counted.as_ref())
    }

    async fn count(&self) -> Result<Census, StoreError> {
        let host = self.context.host();
        let now = host.clock().now();
        let hosts = host.store().hosts_list(now).await?.iter().filter(|host| is_present(host, now)).count() as u64;
        let age = |oldest: chrono::DateTime<chrono::Utc>| (now - oldest).num_seconds().max(0).unsigned_abs();
        let deliveries = host.store().delivery_backlog_list(&Scope::all_tenants()).await?;
        let deliveries = deliveries.iter().map(|some| (some.kind.as_str(), some.waiting, age(some.oldest))).collect();
        Ok(Census { open_batches: host.store().open_batches_count(&Scope::all_tenants()).await?, hosts, deliveries })
    }
}
