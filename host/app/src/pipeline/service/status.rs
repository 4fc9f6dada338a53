//! Readiness and metrics of a running service.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pipeline::Host;
use crate::pipeline::context::{ServiceContext, is_present};
use crate::pipeline::watchdog::LoopStatus;
use crate::telemetry::Census;
use backline_store::{Backlog, Scope, StoreError};

/// Timeout for the database: after it, the host is not ready, and metrics lack what the database says.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long a census of the database is reused, however often metrics are requested.
const CENSUS_GOOD_FOR: Duration = Duration::from_secs(5);

/// A census and its time; none if the database did not answer.
type Counted = (Instant, Option<Census>);

/// Whether a host can do its work, and what keeps it from doing so.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Readiness {
    /// Whether the host is ready.
    pub ready: bool,
    /// The problems, each with what to do about it.
    pub problems: Vec<String>,
    /// The loops of the service, each with its latest turn.
    pub loops: Vec<LoopStatus>,
}

/// A handle for what is asked of a running service. Cloning shares it.
#[derive(Clone)]
pub struct ServiceStatus {
    context: ServiceContext<Host>,
    census: Arc<Mutex<Option<Counted>>>,
}

impl ServiceStatus {
    pub(super) fn new(context: ServiceContext<Host>) -> Self {
        Self { context, census: Arc::default() }
    }

    /// The host as it is configured now.
    #[must_use]
    pub fn host(&self) -> Host {
        self.context.current()
    }

    /// Cancelled once the service is to stop. Cancelling it stops nothing else.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.context.stop.child_token()
    }

    /// Whether this host can do its work right now.
    pub async fn readiness(&self) -> Readiness {
        let mut problems = Vec::new();
        if self.context.stop.is_cancelled() {
            problems.push("it is stopping".to_owned());
        }
        let problem = match tokio::time::timeout(ANSWER_WITHIN, self.context.current().store().schema_check()).await {
            Ok(checked) => checked.err().map(|error| error.to_string()),
            Err(_) => Some("the database does not answer".to_owned()),
        };
        if let Some(problem) = problem {
            self.context.condition.tell_outage();
            problems.push(problem);
        }
        problems.extend(self.context.problems());
        Readiness { ready: problems.is_empty(), problems, loops: self.context.loops() }
    }

    /// All metrics, as OpenMetrics text.
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
        // Rendered under the lock: the gauges that are set for it are shared.
        let host = self.context.current();
        let loops = self.context.loops();
        let turned = loops.iter().map(|one| (one.name, one.last_turn_s, one.is_stuck, one.is_failing));
        host.telemetry().loops_turned(turned);
        host.telemetry().render(counted.as_ref())
    }

    async fn count(&self) -> Result<Census, StoreError> {
        let host = self.context.current();
        let now = host.clock().now();
        let hosts = host.store().hosts_list(now).await?.iter().filter(|host| is_present(host, now)).count() as u64;
        let age = |oldest: chrono::DateTime<chrono::Utc>| (now - oldest).num_seconds().max(0).unsigned_abs();
        let deliveries = host.store().delivery_backlog_list(&Scope::all_tenants()).await?;
        let of_kind = |some: &Backlog| (some.kind.as_str(), some.waiting, some.oldest.map(age));
        let deliveries = deliveries.iter().map(of_kind).collect();
        Ok(Census { open_batches: host.store().open_batches_count(&Scope::all_tenants()).await?, hosts, deliveries })
    }
}
