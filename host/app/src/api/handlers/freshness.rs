//! Whether numbers are fresh, at once or as soon as they are.

use tokio::time::Instant;

use crate::api::answer::Page;
use crate::api::call::Call;
use crate::api::handlers::known;
use crate::api::problem::Problem;
use crate::api::query::{Wait, query};
use crate::api::schema::{Components, Described, Field, component, described, object};
use crate::pipeline::service::freshness::{self, Freshness};
use backline_model::{Platform, RunId, Tenant};
use chrono::{DateTime, Utc};
use std::time::Duration;

/// How often a request that waits looks again.
const LOOKED_EVERY: Duration = Duration::from_secs(2);

query! {
    /// Parameters of the question how fresh numbers are.
    Fresh {
        /// Only numbers of artists of this tenant
        tenant: Tenant,
        /// Only of this platform
        platform: Platform,
        /// How long the answer may wait until all of them are fresh, in seconds
        wait: Wait,
    }
}

described! {
    Freshness {
        platform: Platform, schedule: String, due_at: DateTime<Utc>, next_due_at: Option<DateTime<Utc>>,
        run: Option<RunId>, accounts: u64, collected: u64, open: u64, share: Option<f64>, fresh: bool,
    }
}

pub(in crate::api) async fn list(call: Call, query: Fresh) -> Result<Page<Freshness>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let (host, platform) = (call.host(), known(call.host(), query.platform).await?);
    let until = Instant::now() + Wait::of(query.wait);
    loop {
        let now = host.clock().now();
        let found = freshness::of(host.store(), host.config(), &scope, platform.as_ref(), now).await?;
        let is_fresh = !found.is_empty() && found.iter().all(|one| one.fresh);
        if is_fresh || Instant::now() + LOOKED_EVERY > until {
            return Ok(Page::whole(found));
        }
        tokio::time::sleep(LOOKED_EVERY).await;
    }
}
