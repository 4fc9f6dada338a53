//! What belongs to the installation as a whole, and the token that asks.

use crate::api::answer::{Item, Page};
use crate::api::call::Call;
use crate::api::problem::Problem;
use crate::api::query::{Limit, NoQuery, query};
use crate::pipeline::believed_pauses;
use crate::pipeline::service::schedules;
use backline_model::audit::AuditEntry;
use backline_model::health::HealthReport;
use backline_model::{ApiToken, ArtistId, Digest, Release, Schedule};
use backline_store::{AuditFilter, KnownHost, PlatformPause};

query! {
    /// Parameters of the audit log.
    Audit {
        /// Only this action
        action: String,
        /// Only what is about this artist
        artist: ArtistId,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

pub(in crate::api) async fn token(call: Call, _: NoQuery) -> Result<Item<ApiToken>, Problem> {
    Ok(Item(call.token().clone()))
}

pub(in crate::api) async fn schedules(call: Call, _: NoQuery) -> Result<Page<Schedule>, Problem> {
    let host = call.host();
    Ok(Page::whole(schedules::list(host.store(), host.config(), host.clock().now()).await?))
}

pub(in crate::api) async fn releases(call: Call, _: NoQuery) -> Result<Page<Release>, Problem> {
    Ok(Page::whole(call.host().store().releases_list().await?))
}

pub(in crate::api) async fn release(call: Call, _: NoQuery) -> Result<Item<Release>, Problem> {
    let digest: Digest = call.path("digest")?;
    let release = call.host().store().release_get(digest).await?;
    release.map(Item).ok_or_else(|| Problem::not_found("release", digest))
}

pub(in crate::api) async fn pauses(call: Call, _: NoQuery) -> Result<Page<PlatformPause>, Problem> {
    let (host, now) = (call.host(), call.host().clock().now());
    Ok(Page::whole(host.store().pauses_list(now, believed_pauses(now)).await?))
}

pub(in crate::api) async fn hosts(call: Call, _: NoQuery) -> Result<Page<KnownHost>, Problem> {
    let host = call.host();
    Ok(Page::whole(host.store().hosts_list(host.clock().now()).await?))
}

pub(in crate::api) async fn health(call: Call, _: NoQuery) -> Result<Item<HealthReport>, Problem> {
    Ok(Item(call.host().health().report(None).await?))
}

pub(in crate::api) async fn audit(call: Call, query: Audit) -> Result<Page<AuditEntry>, Problem> {
    let filter = AuditFilter {
        action: query.action,
        artist: query.artist,
        before: call.after(query.cursor.as_ref())?,
        limit: Some(Limit::of(query.limit) + 1),
    };
    let entries = call.host().store().audit_list(&call.scope(), &filter).await?;
    call.page(entries, query.limit, |entry| entry.seq)
}
