//! Tenants, artists and their accounts.

use crate::api::answer::{Item, Page};
use crate::api::call::Call;
use crate::api::handlers::known;
use crate::api::problem::Problem;
use crate::api::query::{Limit, NoQuery, query};
use crate::pipeline::{
    Attention, AttentionFilter, PlacedEntry, TenantHealthReport, TimelineEntry, TimelineFilter,
    accounts_that_need_someone, is_there,
};
use backline_model::{
    Account, AccountId, AccountStatus, Artist, ArtistId, Consent, Platform, Role, SubscriptionStatus, Tenant,
};
use backline_store::{AccountFilter, ArtistFilter};

query! {
    /// Parameters of a list of artists.
    Artists {
        /// Only artists of this tenant
        tenant: Tenant,
        /// Only artists with this status of their subscription
        status: SubscriptionStatus,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of a list of accounts.
    Accounts {
        /// Only this artist's
        artist: ArtistId,
        /// Only on this platform
        platform: Platform,
        /// Only with this status
        status: AccountStatus,
        /// Only of artists of this tenant
        tenant: Tenant,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of the list of accounts that need someone.
    Needing {
        /// Only on this platform
        platform: Platform,
        /// Only of artists of this tenant
        tenant: Tenant,
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

query! {
    /// Parameters of a timeline.
    Timeline {
        /// At most this many
        limit: Limit,
        /// Where the page begins: `next` of the page before
        cursor: String,
    }
}

pub(in crate::api) async fn tenants(call: Call, _: NoQuery) -> Result<Page<Tenant>, Problem> {
    Ok(Page::whole(call.host().store().tenants_list(&call.scope()).await?))
}

pub(in crate::api) async fn health(call: Call, _: NoQuery) -> Result<Item<TenantHealthReport>, Problem> {
    let tenant: Tenant = call.path("tenant")?;
    call.scope_of(Some(tenant.clone())).await?;
    Ok(Item(call.host().health().tenant_report(tenant, None).await?))
}

pub(in crate::api) async fn list(call: Call, query: Artists) -> Result<Page<Artist>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let after: Option<ArtistId> = call.after(query.cursor.as_ref())?;
    let limit = Some(Limit::of(query.limit) + 1);
    let filter = ArtistFilter { tenant: None, status: query.status, after, limit };
    let artists = call.host().store().artists_list(&scope, &filter).await?;
    call.page(artists, query.limit, |artist| artist.id)
}

pub(in crate::api) async fn get(call: Call, _: NoQuery) -> Result<Item<Artist>, Problem> {
    artist_of_path(&call).await.map(Item)
}

/// The artist that the path names.
async fn artist_of_path(call: &Call) -> Result<Artist, Problem> {
    let id: ArtistId = call.path("artist")?;
    let artist = call.host().store().artist_get(&call.scope(), id).await?;
    artist.ok_or_else(|| Problem::not_found("artist", id))
}

/// The id of the artist that the path names, for what needs no more: one whose row can't be read can be erased.
pub(super) async fn artist_id_of_path(call: &Call) -> Result<ArtistId, Problem> {
    let id: ArtistId = call.path("artist")?;
    match is_there(call.host().store().artist_get(&call.scope(), id).await)? {
        true => Ok(id),
        false => Err(Problem::not_found("artist", id)),
    }
}

pub(in crate::api) async fn consents(call: Call, _: NoQuery) -> Result<Page<Consent>, Problem> {
    let artist = artist_id_of_path(&call).await?;
    Ok(Page::whole(call.host().store().consents_list(&call.scope(), artist).await?))
}

pub(in crate::api) async fn accounts(call: Call, query: Accounts) -> Result<Page<Account>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let platform = known(call.host(), query.platform).await?;
    let after: Option<AccountId> = call.after(query.cursor.as_ref())?;
    let (artist, status, limit) = (query.artist, query.status, Some(Limit::of(query.limit) + 1));
    let filter = AccountFilter { artist, platform, status, after, limit, ..AccountFilter::default() };
    let accounts = call.host().store().accounts_list(&scope, &filter).await?;
    call.page(accounts, query.limit, |account| account.id)
}

pub(in crate::api) async fn account(call: Call, _: NoQuery) -> Result<Item<Account>, Problem> {
    let id: AccountId = call.path("account")?;
    let account = call.host().store().account_get(&call.scope(), id).await?;
    account.map(Item).ok_or_else(|| Problem::not_found("account", id))
}

pub(in crate::api) async fn attention(call: Call, query: Needing) -> Result<Page<Attention>, Problem> {
    let scope = call.scope_of(query.tenant).await?;
    let host = call.host();
    let platform = known(host, query.platform).await?;
    let after: Option<AccountId> = call.after(query.cursor.as_ref())?;
    let filter = AttentionFilter { platform, after, limit: Some(Limit::of(query.limit) as usize + 1) };
    let reconnect = host.config().service.reconnect_url.as_ref();
    let found = accounts_that_need_someone(host.store(), &scope, reconnect, &filter).await?;
    call.page(found, query.limit, |one| one.account_id)
}

pub(in crate::api) async fn timeline(call: Call, query: Timeline) -> Result<Page<TimelineEntry>, Problem> {
    let id: AccountId = call.path("account")?;
    let filter = timeline_filter(&call, &query)?;
    let found = call.host().store().account_timeline_list(&call.scope(), id, &filter).await?;
    timeline_page(&call, &query, found.ok_or_else(|| Problem::not_found("account", id))?)
}

/// Which entries of a timeline a page has. What people did is for those who may read the audit log.
pub(super) fn timeline_filter(call: &Call, query: &Timeline) -> Result<TimelineFilter, Problem> {
    let with_acts = call.token().role >= Role::Admin;
    let after = call.after(query.cursor.as_ref())?;
    Ok(TimelineFilter { after, with_acts, limit: Some(Limit::of(query.limit) + 1) })
}

pub(super) fn timeline_page(
    call: &Call,
    query: &Timeline,
    found: Vec<PlacedEntry>,
) -> Result<Page<TimelineEntry>, Problem> {
    let Page { data, next } = call.page(found, query.limit, |(place, _)| place.clone())?;
    Ok(Page { data: data.into_iter().map(|(_, entry)| entry).collect(), next })
}
