//! What forms do: each by the function of the pipeline that the API and the command line call.

use std::time::Duration;

use chrono::{Datelike as _, NaiveDate};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::Form;
use super::pages::{bulk, id};
use super::refusal::{Kind, Refusal};
use super::routes::FormAct;
use super::session::Visitor;
use crate::pipeline::collection::report::RunRequest;
use crate::pipeline::service::schedules;
use crate::pipeline::{
    self, ActivateOptions, BulkError, Host, NewBulkAct, NewDigest, RemovalError, Resend, Subject, Tokens,
    bulk_act_details, is_there, names,
};
use backline_model::zone::ZoneError;
use backline_model::{AccountId, ArtistId, Digest, DigestDays, Quarantined, RunId, Tenant, TokenId, Zone};
use backline_store::{BatchFilter, KeyedRequest, answering_once};

/// Longest reason, in characters.
const REASON_CHARACTERS_MAX: usize = 500;

/// How long other hosts may take to load a release. A browser waits, and a connection may be silent for 30 s.
const LOAD_WITHIN: Duration = Duration::from_secs(20);

/// What was done.
pub(super) struct Acted {
    /// What the audit log keeps of it: names no artist, and holds no secret.
    pub(super) details: Json,
    /// Artist that it was about.
    pub(super) artist: Option<ArtistId>,
    /// What it made.
    pub(super) made: Option<Subject>,
    /// The page to show next.
    pub(super) to: String,
    /// What that page says first.
    pub(super) said: String,
}

fn acted(details: Json, to: impl Into<String>, said: impl Into<String>) -> Acted {
    Acted { details, artist: None, made: None, to: to.into(), said: said.into() }
}

/// What an act is about, if it is about something that is there before.
pub(super) fn subject(act: &FormAct, form: &Form) -> Option<Subject> {
    match act {
        FormAct::StartRun | FormAct::StartBulk => None,
        FormAct::CancelBulk(act) => act.parse().ok().map(Subject::Bulk),
        FormAct::CancelRun(run) | FormAct::RetryRun(run) => run.parse().ok().map(Subject::Run),
        FormAct::Release(value) | FormAct::Discard(value) => value.parse().ok().map(Subject::Quarantined),
        FormAct::Activate(digest) => digest.parse().ok().map(Subject::Release),
        FormAct::RollBack(platform) => platform.parse().ok().map(Subject::Platform),
        FormAct::TestWebhook | FormAct::ResendParked | FormAct::SwitchWebhook(_) => {
            form.text("name").map(Subject::Webhook)
        }
        FormAct::AddDigest => form.text("name").map(Subject::AlertDigest),
        FormAct::SendDigest(name) | FormAct::RemoveDigest(name) => Some(Subject::AlertDigest(name.clone())),
        FormAct::SwitchSchedule(_) => form.text("name").map(Subject::Schedule),
        FormAct::RevokeToken(token) => token.parse().ok().map(Subject::Token),
        FormAct::RemoveAccount(account) => account.parse().ok().map(Subject::Account),
    }
}

/// Does it.
pub(super) async fn done(host: &Host, visitor: &Visitor, act: &FormAct, form: &Form) -> Result<Acted, Refusal> {
    match act {
        FormAct::StartRun => start_run(host, visitor, form).await,
        FormAct::CancelRun(run) => cancel_run(host, run, form).await,
        FormAct::RetryRun(run) => retry_run(host, visitor, run).await,
        FormAct::Release(value) => decide(host, visitor, value, true).await,
        FormAct::Discard(value) => decide(host, visitor, value, false).await,
        FormAct::StartBulk => start_bulk(host, visitor, form).await,
        FormAct::CancelBulk(act) => cancel_bulk(host, visitor, act).await,
        FormAct::Activate(digest) => activate(host, digest, form).await,
        FormAct::RollBack(platform) => roll_back(host, platform, form).await,
        FormAct::TestWebhook => test_webhook(host, visitor, form).await,
        FormAct::ResendParked => resend_parked(host, visitor, form).await,
        FormAct::SwitchWebhook(on) => {
            let name = webhook(host, visitor, form).await?;
            host.webhooks().switch(&name, *on).await?;
            let said = format!("The webhook {name} is {}.", if *on { "on" } else { "off" });
            Ok(acted(json!({ "name": name }), "/webhooks", said))
        }
        FormAct::AddDigest => add_digest(host, form).await,
        FormAct::SendDigest(name) => {
            host.alerts().queue_digest(name).await?;
            let said = format!("The digest {name} is sent now; `backline alerts messages` shows how that ends.");
            Ok(acted(json!({ "name": name }), "/digests", said))
        }
        FormAct::RemoveDigest(name) => {
            host.alerts().remove_digest(name).await?;
            Ok(acted(json!({ "name": name }), "/digests", format!("The digest {name} is removed.")))
        }
        FormAct::SwitchSchedule(on) => {
            let name = named(form)?;
            schedules::set_enabled(host.store(), host.config(), &name, *on, host.clock().now()).await?;
            let said = format!("The schedule {name} is {}.", if *on { "on" } else { "off" });
            Ok(acted(json!({ "name": name }), "/schedules", said))
        }
        FormAct::RevokeToken(token) => {
            let token_id: TokenId = id("token", token)?;
            let tokens = Tokens::new(host.store().clone(), host.clock().clone());
            let token = tokens.revoke(token_id).await?;
            let said = format!("The token {} is revoked; no host accepts it any more.", token.name);
            Ok(acted(json!({ "id": token_id }), "/tokens", said))
        }
        FormAct::RemoveAccount(account) => remove_account(host, visitor, account, form).await,
    }
}

fn named(form: &Form) -> Result<String, Refusal> {
    form.text("name").ok_or_else(|| Refusal::wrong("name is missing"))
}

/// The name of a webhook, if there is one.
async fn webhook(host: &Host, visitor: &Visitor, form: &Form) -> Result<String, Refusal> {
    Ok(host.store().webhook_get(&visitor.scope(), &named(form)?).await?.name)
}

/// A reason that someone gave, or else what is said where nobody gave one.
fn reason(form: &Form, default: &str) -> Result<String, Refusal> {
    let reason = form.text("reason").unwrap_or_else(|| default.to_owned());
    if reason.chars().count() > REASON_CHARACTERS_MAX {
        return Err(Refusal::wrong(format!("reason has more than {REASON_CHARACTERS_MAX} characters")));
    }
    Ok(reason)
}

/// What names a form, so that its act is done once though a button is clicked twice; none where it was sent by a
/// program.
fn once(host: &Host, visitor: &Visitor, form: &Form) -> Result<Option<KeyedRequest>, Refusal> {
    let Some(given) = form.text("once") else { return Ok(None) };
    let given: Uuid = given.parse().map_err(|_| Refusal::wrong("the form is not one of this dashboard"))?;
    Ok(Some(KeyedRequest {
        token: visitor.token().id,
        key: format!("dashboard {given}"),
        asked: Digest::of(given.as_bytes()),
        id: Uuid::now_v7(),
        at: host.clock().now(),
    }))
}

async fn start_run(host: &Host, visitor: &Visitor, form: &Form) -> Result<Acted, Refusal> {
    let date = match form.text("date") {
        None => None,
        Some(text) => {
            let date = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok();
            // Years that every database can store.
            let date = date.filter(|date| (1..=9999).contains(&date.year()));
            Some(date.ok_or_else(|| Refusal::wrong("date is not a calendar date; write YYYY-MM-DD"))?)
        }
    };
    let mut platforms = Vec::new();
    if let Some(given) = form.text("platform") {
        platforms.push(names::platform(host.store(), &given).await?);
    }
    let details = json!({ "date": date, "platform": platforms });
    let request = RunRequest { trigger: "manual".to_owned(), date, platforms, ..RunRequest::default() };
    let runs = host.runs();
    let run = match once(host, visitor, form)? {
        None => runs.start(&request).await?,
        Some(once) => {
            let (token, key) = (once.token, once.key.clone());
            let (started, _) = answering_once(once, runs.start(&request)).await;
            let started = started.map_err(Refusal::from);
            if started.is_err() && host.store().kept_answer_get(token, &key).await?.is_some() {
                let detail = "this form was sent before, and its run is planned; the list of runs shows it";
                return Err(Refusal::new(Kind::Conflict, detail));
            }
            started?
        }
    };
    let said = format!("The run is planned with {} accounts; the hosts that serve collect it.", run.counts.planned);
    let made = Some(Subject::Run(run.id));
    Ok(Acted { made, ..acted(details, format!("/runs/{}", run.id), said) })
}

async fn cancel_run(host: &Host, run: &str, form: &Form) -> Result<Acted, Refusal> {
    let run_id: RunId = id("run", run)?;
    let report = host.runs().cancel(run_id, &reason(form, "by the operator")?).await?;
    let batches = report.cancelled.batches;
    let details = json!({ "run": run_id, "became": report.run.status, "batches": batches });
    let said = format!("The run is {}; {batches} of its batches were open.", report.run.status.as_str());
    Ok(acted(details, format!("/runs/{run_id}"), said))
}

async fn retry_run(host: &Host, visitor: &Visitor, run: &str) -> Result<Acted, Refusal> {
    let run_id: RunId = id("run", run)?;
    let (store, scope) = (host.store(), visitor.scope());
    if !is_there(store.run_get(&scope, run_id).await)? {
        return Err(Refusal::not_found("run", run_id));
    }
    let filter = BatchFilter { run: Some(run_id), ..BatchFilter::default() };
    let weights = &host.config().collection.tenant_weights;
    let retried = store.batches_retry(&scope, &filter, weights, host.clock().now()).await?;
    let details = json!({ "run": run_id, "retried": retried.batches });
    let said = format!("{} batches with {} accounts are planned again.", retried.batches, retried.accounts);
    Ok(acted(details, format!("/runs/{run_id}"), said))
}

async fn decide(host: &Host, visitor: &Visitor, value: &str, releases: bool) -> Result<Acted, Refusal> {
    let value_id: Uuid = id("quarantined value", value)?;
    let (store, scope) = (host.store(), visitor.scope());
    let before = store.quarantine_get(&scope, value_id).await?;
    let before: Quarantined = before.ok_or_else(|| Refusal::not_found("quarantined value", value_id))?;
    let after = if releases {
        host.quarantine().release(&scope, value_id).await?
    } else {
        store.quarantine_discard(&scope, value_id, host.clock().now()).await?
    };
    let details = json!({ "id": value_id, "was": before.status, "became": after.status });
    let said = format!("{} of {} is {}.", after.metric, after.metric_date, after.status.as_str());
    Ok(Acted { artist: Some(after.artist_id), ..acted(details, "/quality", said) })
}

async fn start_bulk(host: &Host, visitor: &Visitor, form: &Form) -> Result<Acted, Refusal> {
    let missing = |name: &str| Refusal::wrong(format!("{name} is missing"));
    let action = bulk::action(&form.text("action").ok_or_else(|| missing("action"))?)?;
    let count = form.text("count").and_then(|count| count.parse().ok()).ok_or_else(|| missing("count"))?;
    let reason = form.text("reason").ok_or_else(|| missing("reason"))?;
    let filter = bulk::filter(host.store(), |name: &str| form.text(name)).await?;
    let new = NewBulkAct { action, filter, reason, count };
    let (bulk, scope) = (host.bulk(), visitor.scope());
    let started = match once(host, visitor, form)? {
        None => bulk.start(&scope, new).await,
        Some(once) => answering_once(once, bulk.start(&scope, new)).await.0,
    };
    let act = started?;
    let details = bulk_act_details(&act);
    let said = format!("{action} of {} {} has begun; the hosts that serve work it off.", act.total, action.things());
    let (artist, made) = (act.filter.artist, Some(Subject::Bulk(act.id)));
    Ok(Acted { artist, made, ..acted(details, "/bulk", said) })
}

async fn cancel_bulk(host: &Host, visitor: &Visitor, act: &str) -> Result<Acted, Refusal> {
    let act_id: Uuid = id("bulk act", act)?;
    let cancelled = host.bulk().cancel(&visitor.scope(), act_id).await;
    let act = cancelled.map_err(|error| match error {
        BulkError::Store(error) => Refusal::from(error),
        error => error.into(),
    })?;
    let details = json!({ "act": act_id, "done": act.done });
    let said = format!("{} is cancelled after {} of {}.", act.action, act.done, act.total);
    Ok(Acted { artist: act.filter.artist, ..acted(details, "/bulk", said) })
}

async fn activate(host: &Host, digest: &str, form: &Form) -> Result<Acted, Refusal> {
    let digest: Digest = id("release", digest)?;
    if host.store().release_get(digest).await?.is_none() {
        return Err(Refusal::not_found("release", digest));
    }
    let again = form.text("again").is_some();
    let options = ActivateOptions { wait: LOAD_WITHIN, again, ..ActivateOptions::default() };
    let activated = host.releases().activate(digest, &options).await?;
    let details = json!({ "release": digest, "before": activated.before, "again": again });
    let said = format!("The release {} collects from the next batch on.", digest.short());
    Ok(acted(details, format!("/connectors/{digest}"), said))
}

async fn roll_back(host: &Host, platform: &str, form: &Form) -> Result<Acted, Refusal> {
    let platform = names::platform(host.store(), platform).await?;
    let shown = form.text("release").and_then(|digest| digest.parse::<Digest>().ok());
    let shown = shown.ok_or_else(|| Refusal::wrong("release is missing: which one is to be rolled back"))?;
    let reason = reason(form, "rolled back by the operator")?;
    let active = host.releases().active(&platform).await?;
    if active.digest != shown {
        // A button that is clicked twice would take back the release before as well.
        let detail = format!("the release {} is not active; open the page again to see which is", shown.short());
        return Err(Refusal::new(Kind::Conflict, detail));
    }
    let back = host.releases().roll_back_from(&active, &reason).await?;
    let details = json!({ "platform": platform, "from": back.from, "to": back.to });
    let said = format!(
        "{} is withdrawn, {} collects {platform} again; {} accounts are collected again.",
        back.from.short(),
        back.to.short(),
        back.accounts
    );
    Ok(acted(details, format!("/connectors/{}", back.to), said))
}

async fn remove_account(host: &Host, visitor: &Visitor, account: &str, form: &Form) -> Result<Acted, Refusal> {
    let account_id: AccountId = id("account", account)?;
    let (reason, now) = (form.text("reason").unwrap_or_default(), host.clock().now());
    let removed =
        pipeline::remove_account(host.store(), host.config(), &visitor.scope(), account_id, &reason, now).await;
    let removed = removed.map_err(|error| match error {
        RemovalError::NoAccount(id) => Refusal::not_found("account", id),
        RemovalError::Reason => Refusal::wrong(error.to_string()),
        RemovalError::Store(error) => error.into(),
    })?;
    let remark = removed.remark().map_or_else(String::new, |remark| format!(" Note: {remark}."));
    let said = format!("The account of {} is removed.{remark}", removed.platform);
    let to = format!("/artists/{}", removed.artist_id);
    Ok(Acted { artist: Some(removed.artist_id), ..acted(removed.details(&reason), to, said) })
}

async fn test_webhook(host: &Host, visitor: &Visitor, form: &Form) -> Result<Acted, Refusal> {
    let name = webhook(host, visitor, form).await?;
    let answer = host.webhooks().test(&name).await?;
    let accepted = if answer.accepted { "accepted" } else { "did not accept" };
    let said = format!("{name} {accepted} the message: status {} after {} ms.", answer.status, answer.took_ms);
    Ok(acted(json!({ "name": name }), "/webhooks", said))
}

async fn add_digest(host: &Host, form: &Form) -> Result<Acted, Refusal> {
    let given = |name: &str| form.text(name).ok_or_else(|| Refusal::wrong(format!("{name} is missing")));
    let tenant = Tenant::new(given("tenant")?).map_err(|error| Refusal::wrong(error.to_string()))?;
    let every = DigestDays::parse(&given("every")?).ok_or_else(|| Refusal::wrong("every is no day of the week"))?;
    let hour: u32 = given("hour")?.parse().map_err(|_| Refusal::wrong("hour is not a whole number from 0 to 23"))?;
    let timezone: Zone = given("timezone")?.parse().map_err(|error: ZoneError| Refusal::wrong(error.to_string()))?;
    let (name, channel, quiet) = (given("name")?, given("channel")?, form.text("quiet"));
    let details = json!({ "name": name, "channel": channel, "tenant": tenant });
    let new = NewDigest { name, channel, tenant, every, hour, timezone, quiet };
    let added = host.alerts().add_digest(new).await?;
    let at = added.next_at.format("%Y-%m-%d %H:%M");
    Ok(acted(details, "/digests", format!("The digest {} is due at {at} UTC.", added.name)))
}

async fn resend_parked(host: &Host, visitor: &Visitor, form: &Form) -> Result<Acted, Refusal> {
    let name = webhook(host, visitor, form).await?;
    let restarted = host.webhooks().resend(&name, Resend::Parked).await?;
    let said = format!("{restarted} deliveries to {name} are tried again.");
    Ok(acted(json!({ "name": name, "restarted": restarted }), "/webhooks", said))
}
