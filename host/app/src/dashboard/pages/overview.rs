//! The overview: the score, the objectives, what needs someone now, and how fresh each platform's numbers are.

use maud::{Markup, html};

use super::Ask;
use crate::dashboard::frame::{View, facts, link, or_none, percent, table, text, time, time_or_none};
use crate::dashboard::refusal::Refusal;
use crate::pipeline::words::objective_text;
use backline_model::health::{Health, HealthReport, Objective, PlatformHealth, Urgency};
use backline_model::outcome::Exclusion;

pub(super) async fn view(ask: &Ask<'_>) -> Result<View, Refusal> {
    let _turn = ask.turn().await;
    let body = match ask.visitor.tenant() {
        Some(tenant) => {
            let report = ask.host.health().tenant_report(tenant.clone(), None).await?;
            html! {
                (score(&report.total))
                p { "From " (time(report.since)) " to " (time(report.at)) "." }
                (needs_someone(&report.total))
                (platforms(&report.platforms))
            }
        }
        None => {
            let report = ask.host.health().report(None).await?;
            let hosts = ask.store().hosts_list(ask.host.clock().now()).await?;
            let rows = hosts.iter().map(|host| {
                vec![
                    text(&host.name),
                    text(&host.version),
                    text(&host.state),
                    text(if host.leads { "yes" } else { "no" }),
                    time(host.started_at),
                    time(host.seen_at),
                ]
            });
            html! {
                (score(&report.total))
                p { "From " (time(report.since)) " to " (time(report.at)) "." }
                (recommendations(&report))
                (needs_someone(&report.total))
                (objectives(&report.objectives))
                (alerts(&report))
                (platforms(&report.platforms))
                h2 { "Cost" }
                (facts(vec![
                    ("A month", dollars(report.cost.monthly)),
                    ("A month for 1,000 artists", dollars(report.cost.per_1000_artists)),
                    ("Based on", text(&report.cost.basis)),
                ]))
                h2 { "Hosts" }
                (table(
                    "Processes on this database",
                    &["Name", "Version", "State", "Leads", "Started", "Last seen"],
                    rows.collect(),
                    "No host serves; what this page shows is not kept up to date.",
                ))
            }
        }
    };
    Ok(View::new("Overview", "/", body))
}

fn score(health: &Health) -> Markup {
    html! {
        p.score {
            "Score: "
            @match health.score {
                Some(score) => { strong { (format!("{score:.1}")) } " of 100" },
                None => { "no data" },
            }
        }
    }
}

/// What the connectors can't do anything about.
fn needs_someone(health: &Health) -> Markup {
    html! {
        h2 { "Waiting for someone" }
        ul {
            li { (link("/attention", "Accounts to reconnect")) ": " (health.reconnect) }
            li { (link("/quality", "Values to decide about")) ": " (health.quarantined) }
            li { (link("/runs", "Accounts overdue")) ": " (health.overdue) }
        }
    }
}

fn recommendations(report: &HealthReport) -> Markup {
    html! {
        h2 { "What to do now" }
        @if report.recommendations.is_empty() {
            p.good { "Nothing." }
        } @else {
            ul {
                @for one in &report.recommendations {
                    li {
                        @match one.urgency {
                            Urgency::Urgent => { strong.bad { "Urgent: " } },
                            Urgency::Warning => { strong.warn { "Warning: " } },
                            Urgency::Notice => {},
                        }
                        (one.sentence) br; (one.remedy)
                    }
                }
            }
        }
    }
}

fn objectives(objectives: &[Objective]) -> Markup {
    let rows = objectives.iter().map(|objective| {
        let words = objective_text(objective);
        let met = match objective.met {
            Some(true) => html! { span.good { "met" } },
            Some(false) => html! { span.bad { "missed" } },
            None => text("no data"),
        };
        vec![text(words.what), text(words.value), text(words.target), met]
    });
    html! {
        h2 { "Objectives" }
        (table("What this installation is to reach", &["Objective", "Now", "Target", "State"], rows.collect(), "None."))
    }
}

fn alerts(report: &HealthReport) -> Markup {
    let rows = report.alerts.iter().map(|alert| {
        let state = if alert.firing {
            html! { span.bad { "firing" } }
        } else {
            html! { span.good { "recovered" } }
        };
        vec![
            text(alert.name.as_str()),
            or_none(alert.platform.as_ref()),
            state,
            time(alert.since),
            text(format!("{:.4}", alert.value)),
            text(format!("{:.4}", alert.threshold)),
        ]
    });
    let heads = ["Alert", "Platform", "State", "Since", "Value", "Bound"];
    html! {
        h2 { "Alerts" }
        (table("Alerts that fire", &heads, rows.collect(), "No alert fires."))
    }
}

fn platforms(platforms: &[PlatformHealth]) -> Markup {
    let rows = platforms.iter().map(|of| {
        let health = &of.health;
        let name = if of.optional { format!("{} (optional)", of.platform) } else { of.platform.to_string() };
        vec![
            text(name),
            or_none(health.score.map(|score| format!("{score:.1}"))),
            or_none(health.oldest_s.map(hours)),
            or_none(health.lag_p95_s.map(hours)),
            text(health.collected),
            text(health.planned),
            text(health.failed),
            text(health.deferred),
            percent(health.completion),
            percent(health.error_rate),
            percent(health.accepted),
            time_or_none(of.deferred_until),
            text(reasons(of)),
        ]
    });
    let heads = [
        "Platform",
        "Score",
        "Oldest numbers",
        "Lag, 95th percentile",
        "Collected",
        "Planned",
        "Failed",
        "Deferred",
        "Completion",
        "Errors",
        "Accepted",
        "Waits until",
        "Why not",
    ];
    html! {
        h2 { "Platforms" }
        (table("How fresh and complete each platform is", &heads, rows.collect(), "Nothing was collected yet."))
    }
}

/// What failed and what was left out, with how often.
fn reasons(of: &PlatformHealth) -> String {
    let failures = of.failures.iter().map(|(class, count)| format!("{}: {count}", class.as_str()));
    let exclusions = of.exclusions.iter().map(|(reason, count)| format!("{}: {count}", Exclusion::as_str(*reason)));
    failures.chain(exclusions).collect::<Vec<_>>().join(", ")
}

fn hours(seconds: f64) -> String {
    format!("{:.1} h", seconds / 3_600.0)
}

fn dollars(cost: Option<f64>) -> Markup {
    or_none(cost.map(|cost| format!("${cost:.2}")))
}
