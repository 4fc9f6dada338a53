//! Runs: the list, and one of them as it goes on.

use maud::{Markup, html};

use super::{Ask, ROWS, id};
use crate::dashboard::frame::{View, button, facts, form, link, or_none, table, text, time, time_or_none};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::FormAct;
use crate::pipeline::names;
use backline_model::{AccountId, BatchState, Outcome, Run, RunId, RunStatus};
use backline_store::{BatchFilter, NamedOutcome, RunFilter};

/// Most batches that the page of a run shows.
const BATCHES: u32 = 50;

pub(super) async fn list(ask: &Ask<'_>) -> Result<View, Refusal> {
    let status = match ask.text("status") {
        None => None,
        Some(given) => {
            let wrong = || Refusal::wrong("status is not one that a run has");
            Some(RunStatus::parse(given).ok_or_else(wrong)?)
        }
    };
    let trigger = ask.text("trigger").map(str::to_owned);
    let filter = RunFilter { status, trigger, before: ask.after()?, limit: Some(ROWS + 1) };
    let mut runs = names::runs_list(ask.store(), ask.host.config(), &ask.scope(), &filter).await?;
    let next = ask.cut(&mut runs, |run| (run.started_at, run.id));
    let start = if ask.may(&FormAct::StartRun) { Some(start_form(ask).await?) } else { None };
    let heads = [
        "Started",
        "Date",
        "Started by",
        "State",
        "Planned",
        "Collected",
        "Failed",
        "Deferred",
        "Superseded",
        "Left out",
    ];
    let rows = runs.iter().map(|run| {
        let counts = &run.counts;
        vec![
            html! { a href={ "/runs/" (run.id.to_string()) } { (time(run.started_at)) } },
            date(run),
            text(&run.trigger),
            state(run.status),
            text(counts.planned),
            text(counts.collected),
            text(counts.failed),
            text(counts.deferred),
            text(counts.superseded),
            text(counts.excluded),
        ]
    });
    let body = html! {
        form.row method="get" action="/runs" {
            div {
                label for="status" { "State" }
                select id="status" name="status" {
                    option value="" { "any" }
                    @for one in RunStatus::ALL {
                        option value=(one.as_str()) selected[Some(one) == status] { (one.as_str()) }
                    }
                }
            }
            div {
                label for="trigger" { "Started by: manual, backfill, or a schedule" }
                input id="trigger" name="trigger" value=[ask.text("trigger")];
            }
            button.quiet type="submit" { "Show" }
        }
        (table("Runs, the latest first", &heads, rows.collect(), "There is no such run."))
        (next)
        @if let Some(start) = start {
            h2 { "Start a run" }
            (start)
        }
    };
    Ok(View::new("Runs", "/runs", body))
}

async fn start_form(ask: &Ask<'_>) -> Result<Markup, Refusal> {
    let platforms = ask.store().active_platforms_list().await?;
    let chosen = ask.typed("platform");
    Ok(form(
        ask.visitor,
        &FormAct::StartRun,
        &html! {
            div {
                label for="platform" { "Platform" }
                select id="platform" name="platform" {
                    option value="" { "all" }
                    @for platform in &platforms {
                        option value=(platform.as_str()) selected[chosen.as_deref() == Some(platform.as_str())] {
                            (platform.as_str())
                        }
                    }
                }
            }
            div {
                label for="date" { "Date; each artist's today unless given" }
                input id="date" name="date" type="date" value=[ask.typed("date")];
            }
            button type="submit" { "Start" }
        },
    ))
}

pub(super) async fn one(ask: &Ask<'_>, given: &str) -> Result<View, Refusal> {
    let run_id: RunId = id("run", given)?;
    let found = ask.store().run_get(&ask.scope(), run_id).await?;
    let run = found.ok_or_else(|| Refusal::not_found("run", run_id))?;
    let after: Option<AccountId> = ask.after()?;
    let mut outcomes = ask.store().run_outcomes_list(&ask.scope(), run_id, after, ROWS + 1).await?;
    let next = ask.cut(&mut outcomes, |outcome| outcome.account_id);
    let open = run.status == RunStatus::Running || run.status == RunStatus::Deferred;
    let dead =
        BatchFilter { run: Some(run_id), state: Some(BatchState::Dead), limit: Some(1), ..BatchFilter::default() };
    let has_dead = !ask.store().batches_list(&ask.scope(), &dead).await?.is_empty();
    let (cancel, retry) = (FormAct::CancelRun(run_id.to_string()), FormAct::RetryRun(run_id.to_string()));
    let batches = batches(ask, run_id).await?;
    let reason = ask.typed("reason").unwrap_or_else(|| "by the operator".to_owned());
    let part = html! {
        (progress(&run))
        (batches)
        h2 { "Accounts" }
        (outcomes_table(&outcomes))
        (next)
    };
    let body = html! {
        (ask.live(run.status == RunStatus::Running, &part))
        @if open && ask.may(&cancel) {
            h2 { "End it" }
            (form(ask.visitor, &cancel, &html! {
                div {
                    label for="reason" { "Reason" }
                    input id="reason" name="reason" maxlength="500" value=(reason);
                }
                button.grave type="submit" { "Cancel the run" }
            }))
        }
        @if has_dead && ask.may(&retry) {
            h2 { "Retry what failed" }
            (button(ask.visitor, &retry, &[], "Retry", "the dead batches of this run"))
        }
    };
    Ok(View::new(format!("Run of {}", run.started_at.format("%Y-%m-%d %H:%M UTC")), "/runs", body))
}

fn progress(run: &Run) -> Markup {
    let counts = &run.counts;
    facts(vec![
        ("Id", text(run.id)),
        ("State", state(run.status)),
        ("Date", date(run)),
        ("Started by", text(&run.trigger)),
        ("Started", time(run.started_at)),
        ("Ended", time_or_none(run.finished_at)),
        ("Planned", text(counts.planned)),
        ("Collected", text(counts.collected)),
        ("Failed", text(counts.failed)),
        ("Deferred", text(counts.deferred)),
        ("Superseded", text(counts.superseded)),
        ("Left out", text(counts.excluded)),
    ])
}

async fn batches(ask: &Ask<'_>, run: RunId) -> Result<Markup, Refusal> {
    // Those that are open or dead.
    let filter = BatchFilter { run: Some(run), limit: Some(BATCHES), ..BatchFilter::default() };
    let batches = ask.store().batches_list(&ask.scope(), &filter).await?;
    let rows = batches.iter().map(|batch| {
        vec![
            text(&batch.platform),
            text(&batch.tenant),
            text(batch.state.as_str()),
            text(batch.accounts),
            text(batch.attempts),
            or_none(batch.lease_owner.as_ref()),
            time(batch.available_at),
            or_none(batch.message.as_ref()),
        ]
    });
    let heads = ["Platform", "Tenant", "State", "Accounts", "Attempts", "Host", "Available", "Message"];
    Ok(html! {
        h2 { "Batches that are open or dead" }
        (table("The latest batches that are open or dead", &heads, rows.collect(), "None."))
    })
}

fn outcomes_table(outcomes: &[NamedOutcome]) -> Markup {
    let rows = outcomes.iter().map(|one| {
        let note = || one.note.clone().unwrap_or_default();
        let (reason, message) = match &one.outcome {
            Outcome::Collected | Outcome::Superseded => (Markup::default(), note()),
            Outcome::Deferred { until, message } => (html! { "until " (time(*until)) }, message.clone()),
            Outcome::Excluded { reason } => (text(reason.as_str()), note()),
            Outcome::Failed { class, message } => (text(class.as_str()), message.clone()),
        };
        vec![
            link(&format!("/artists/{}", one.artist_id), &one.artist_name),
            text(&one.platform),
            text(&one.platform_id),
            text(one.metric_date),
            text(one.outcome.as_str()),
            reason,
            text(message),
            match one.fixed_by {
                Some(run) => link(&format!("/runs/{run}"), "a later run"),
                None => Markup::default(),
            },
        ]
    });
    let heads = ["Artist", "Platform", "Id there", "Date", "Outcome", "Reason", "Message", "Collected by"];
    table("How each account ended", &heads, rows.collect(), "No account has ended yet.")
}

fn date(run: &Run) -> Markup {
    run.date.map_or_else(|| text("artist's today"), text)
}

fn state(status: RunStatus) -> Markup {
    let class = match status {
        RunStatus::Success => "good",
        RunStatus::Failed | RunStatus::PartialFailure => "bad",
        RunStatus::Deferred | RunStatus::Cancelled => "warn",
        RunStatus::Running => "",
    };
    html! { span class=(class) { (status.as_str()) } }
}
