//! What keeps the collection going: allowances, schedules, and what is archived and erased.

use maud::html;

use super::Ask;
use crate::dashboard::frame::{View, button, facts, link, or_none, table, text, time, time_or_none};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::{FormAct, Page};
use crate::pipeline::believed_pauses;
use crate::pipeline::collection::report::{AllowanceOf, RunRequest};
use crate::pipeline::service::schedules as timetable;
use backline_model::ScheduleOrigin;
use backline_model::grant::describe_window;
use backline_store::{AuditFilter, Scope};

/// Most runs of the archive, and acts about privacy, that are listed.
const LISTED: u32 = 20;

pub(super) async fn allowances(ask: &Ask<'_>) -> Result<View, Refusal> {
    let _turn = ask.turn().await;
    let (host, now) = (ask.host, ask.host.clock().now());
    let pauses = ask.store().pauses_list(now, believed_pauses(now)).await?;
    // Where nothing is installed there is no plan, and no allowance either.
    let platforms = match ask.store().active_platforms_list().await?.as_slice() {
        [] => Vec::new(),
        _ => {
            let request = RunRequest { trigger: "manual".to_owned(), ..RunRequest::default() };
            host.planner().plan(&request).await?.platforms
        }
    };
    let rows = platforms.iter().flat_map(|platform| {
        platform.allowances.iter().map(move |allowance| {
            let spent = allowance.left.map(|left| allowance.limit.saturating_sub(left));
            let of = match allowance.of {
                AllowanceOf::App => "the app",
                AllowanceOf::Platform => "the platform",
                AllowanceOf::Account => "each account",
            };
            vec![
                text(&platform.platform),
                text(&allowance.budget),
                text(of),
                text(allowance.limit),
                text(describe_window(&allowance.window)),
                or_none(spent),
                or_none(allowance.left),
                text(allowance.needed),
                time_or_none(allowance.back_at),
            ]
        })
    });
    let forecasts = platforms.iter().map(|platform| {
        vec![
            text(&platform.platform),
            text(platform.forecast.accounts),
            text(platform.forecast.requests),
            text(platform.days),
            time_or_none(platform.paused_until),
        ]
    });
    let paused = pauses.iter().map(|pause| {
        let who = match pause.credentials {
            0 => "the whole platform".to_owned(),
            1 => "1 credential".to_owned(),
            several => format!("{several} credentials"),
        };
        vec![text(&pause.platform), text(who), time(pause.until)]
    });
    let body = html! {
        (table(
            "What may be spent, and what a run would spend now",
            &["Platform", "Budget", "Of", "Limit", "Window", "Spent", "Left", "A run needs", "All back at"],
            rows.collect(),
            "No platform has an allowance.",
        ))
        h2 { "What a run would do" }
        (table(
            "Forecast of a run that starts now",
            &["Platform", "Accounts", "Requests", "Days it takes", "Paused until"],
            forecasts.collect(),
            "No connector is active.",
        ))
        h2 { "Pauses" }
        (table(
            "Pauses that platforms asked for",
            &["Platform", "What pauses", "Until"],
            paused.collect(),
            "No platform asked for a pause.",
        ))
    };
    Ok(View::new("Allowances", "/allowances", body))
}

pub(super) async fn schedules(ask: &Ask<'_>) -> Result<View, Refusal> {
    let (store, now) = (ask.store(), ask.host.clock().now());
    let schedules = timetable::list(store, ask.host.config(), now).await?;
    let fires = store.fires_list(None, LISTED).await?;
    let may = ask.may(&FormAct::SwitchSchedule(true));
    let rows = schedules.iter().map(|schedule| {
        let spec = &schedule.spec;
        let platforms: Vec<_> = spec.platforms.iter().map(ToString::to_string).collect();
        let label = if spec.enabled { "Switch off" } else { "Switch on" };
        let switch = FormAct::SwitchSchedule(!spec.enabled);
        vec![
            text(&schedule.name),
            text(&spec.cron),
            text(&spec.timezone),
            text(if platforms.is_empty() { "all".to_owned() } else { platforms.join(", ") }),
            time_or_none(schedule.next_fire),
            time_or_none(schedule.last_fire),
            text(spec.catch_up.as_str()),
            text(spec.overlap.as_str()),
            text(schedule.origin.as_str()),
            text(if spec.enabled { "on" } else { "off" }),
            html! {
                @if may && schedule.origin == ScheduleOrigin::Database {
                    (button(
                        ask.visitor,
                        &switch,
                        &[("name", schedule.name.as_str())],
                        label,
                        &schedule.name,
                    ))
                }
            },
        ]
    });
    let fired = fires.iter().map(|fire| {
        let run = match fire.run_id {
            Some(run) => link(&format!("/runs/{run}"), run),
            None => or_none(None::<&str>),
        };
        vec![time(fire.fire_time), text(&fire.schedule), text(fire.decision.as_str()), run, time(fire.decided_at)]
    });
    let heads = [
        "Name",
        "Cron",
        "Time zone",
        "Platforms",
        "Next",
        "Last",
        "Missed times",
        "Overlap",
        "From",
        "State",
        "Change",
    ];
    let body = html! {
        (table("When runs are due", &heads, rows.collect(), "There is no schedule; no run starts by itself."))
        p { "A schedule of the configuration is changed there." }
        h2 { "Times that were due" }
        (table(
            "What became of each time, the latest first",
            &["Due", "Schedule", "Decision", "Run", "Decided"],
            fired.collect(),
            "No schedule has been due yet.",
        ))
    };
    Ok(View::new("Schedules", "/schedules", body))
}

pub(super) async fn archive(ask: &Ask<'_>) -> Result<View, Refusal> {
    let runs = ask.store().archive_runs_list(LISTED).await?;
    let mut acts = Vec::new();
    if ask.visitor.may(Page::Audit.needs()) {
        for action in ["privacy export", "privacy erase", "privacy readmit"] {
            let filter = AuditFilter { action: Some(action.to_owned()), limit: Some(LISTED), ..AuditFilter::default() };
            acts.extend(ask.store().audit_list(&Scope::all_tenants(), &filter).await?);
        }
        acts.sort_by_key(|entry| std::cmp::Reverse(entry.seq));
    }
    let rows = runs.iter().map(|run| {
        let counts: Vec<String> = run.counts.iter().map(|(what, rows)| format!("{what}: {rows}")).collect();
        vec![
            time(run.started_at),
            time(run.as_of),
            text(&run.origin),
            text(&run.state),
            text(if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }),
            or_none(run.message.as_ref()),
        ]
    });
    let privacy = acts.iter().map(|entry| {
        vec![
            time(entry.act.at),
            text(&entry.act.action),
            text(entry.act.outcome.as_str()),
            or_none(entry.act.artist_id),
        ]
    });
    let body = html! {
        (table(
            "Runs of the archive, the latest first",
            &["Started", "As of", "By", "State", "Rows", "Message"],
            rows.collect(),
            "The archive has not run yet.",
        ))
        h2 { "Privacy" }
        (facts(vec![
            ("Export", text("`backline privacy export ARTIST --out FILE` writes all that is stored about an artist.")),
            ("Erase", text("`backline privacy erase ARTIST` removes it for good, and asks first.")),
            ("Verify", text("`backline privacy verify ARTIST` searches every table for what may be left.")),
        ]))
        @if ask.visitor.may(Page::Audit.needs()) {
            (table(
                "Exports and erasures, the latest first",
                &["At", "What", "Outcome", "Artist"],
                privacy.collect(),
                "There was none.",
            ))
        }
    };
    Ok(View::new("Archive and privacy", "/archive", body))
}
