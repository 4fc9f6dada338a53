//! Connectors: releases with how often they fail, what each asks for, and the acts that change which one collects.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use maud::{Markup, html};

use super::{Ask, id};
use crate::dashboard::frame::{View, facts, form, link, or_none, percent, table, text, time, time_or_none};
use crate::dashboard::refusal::Refusal;
use crate::dashboard::routes::FormAct;
use crate::pipeline::{Classified as _, ErrorClass, ReleaseComparison, names, with_causes};
use backline_model::grant::GrantChange;
use backline_model::{Digest, Platform, Release, ReleaseState, Tally};

/// Over how many days failures are counted.
const COUNTED_DAYS: i64 = 7;

/// Most activations that are listed.
const SWAPS: u32 = 20;

pub(super) async fn list(ask: &Ask<'_>) -> Result<View, Refusal> {
    let store = ask.store();
    let mut releases = store.releases_list().await?;
    releases.retain(|release| release.state != ReleaseState::Removed);
    let canaries = store.canaries_list().await?;
    let swaps = store.swaps_list(None, SWAPS).await?;
    let since = ask.host.clock().now() - TimeDelta::days(COUNTED_DAYS);
    let mut tallies: BTreeMap<Digest, Tally> = BTreeMap::new();
    for release in &releases {
        if release.active || canaries.iter().any(|canary| canary.release == release.digest) {
            tallies.insert(release.digest, store.release_tally_get(release.digest, since, None).await?);
        }
    }
    let rows = releases.iter().map(|release| {
        let tally = tallies.get(&release.digest);
        let canary = canaries.iter().find(|canary| canary.release == release.digest);
        let state = match canary {
            _ if release.active => html! { strong.good { "active" } },
            Some(canary) => text(format!("canary of {:.2} %", f64::from(canary.share) / 100.0)),
            None => text(release.state.as_str()),
        };
        vec![
            link(&format!("/connectors/{}", release.digest), named(release)),
            text(release.platform()),
            state,
            text(release.digest.short()),
            percent(tally.and_then(failing)),
            or_none(tally.map(|tally| tally.accounts)),
            time_or_none(canary.and_then(|canary| canary.promote_at)),
            or_none(release.signed_by.as_ref()),
            text(&release.source),
            time(release.installed_at),
        ]
    });
    let heads = [
        "Release",
        "Platform",
        "State",
        "Digest",
        "Failing, 7 days",
        "Accounts, 7 days",
        "Activated by itself at",
        "Signed by",
        "From",
        "Installed",
    ];
    let short = |digest: Option<Digest>| or_none(digest.map(|digest| digest.short()));
    let history = swaps.iter().map(|swap| {
        vec![
            time(swap.at),
            text(&swap.platform),
            text(swap.cause.as_str()),
            short(swap.release),
            short(swap.before),
            or_none(swap.reason.as_ref()),
        ]
    });
    let body = html! {
        (table("Releases, the latest first", &heads, rows.collect(), "No connector is installed."))
        h2 { "Activations" }
        (table(
            "Which release collected from when on",
            &["At", "Platform", "Cause", "Release", "Before", "Reason"],
            history.collect(),
            "No release has been activated yet.",
        ))
    };
    Ok(View::new("Connectors", "/connectors", body))
}

fn named(release: &Release) -> String {
    format!("{} {}", release.manifest.connector.name, release.manifest.connector.version)
}

/// The share of accounts that failed; none where none was counted.
fn failing(tally: &Tally) -> Option<f64> {
    let failed: u64 = tally.failed.values().sum();
    #[expect(clippy::cast_precision_loss, reason = "a share is shown to one decimal")]
    (tally.accounts > 0).then(|| failed as f64 / tally.accounts as f64)
}

async fn found(ask: &Ask<'_>, given: &str) -> Result<Release, Refusal> {
    let digest: Digest = id("release", given)?;
    let release = ask.store().release_get(digest).await?;
    release.ok_or_else(|| Refusal::not_found("release", digest))
}

pub(super) async fn one(ask: &Ask<'_>, given: &str) -> Result<View, Refusal> {
    let release = found(ask, given).await?;
    let compared = match ask.host.releases().compare(&release).await {
        Ok(compared) => difference(&compared),
        // What is stored of it can't be read; everything else is shown.
        Err(error) if error.class() == ErrorClass::Refused => {
            html! { p.warn { "It can't be compared: " (with_causes(&error)) } }
        }
        Err(error) => return Err(error.into()),
    };
    let since = ask.host.clock().now() - TimeDelta::days(COUNTED_DAYS);
    let tally = ask.store().release_tally_get(release.digest, since, None).await?;
    let connector = &release.manifest.connector;
    let failures = tally.failed.iter().map(|(class, count)| vec![text(class.as_str()), text(count)]);
    let hosts = release.grant.hosts.iter().map(|host| text(&host.origin));
    let slots = release.grant.slots.iter().map(|slot| text(&slot.slot));
    let body = html! {
        p { (connector.title) ". " (connector.description) }
        p { (link(&format!("/connectors/{}/timeline", connector.name), "What happened to this connector")) }
        (facts(vec![
            ("Platform", text(&connector.platform)),
            ("State", text(if release.active { "active" } else { release.state.as_str() })),
            ("Why", or_none(release.state_reason.as_ref())),
            ("Digest", text(release.digest)),
            ("Signed by", or_none(release.signed_by.as_ref())),
            ("From", text(&release.source)),
            ("Installed", time(release.installed_at)),
            ("Size", text(format!("{} bytes", release.size_bytes))),
            ("Granted hosts", listed(&hosts.collect::<Vec<_>>())),
            ("Granted secrets", listed(&slots.collect::<Vec<_>>())),
        ]))
        (compared)
        h2 { "Failures in 7 days" }
        p { (text(tally.collected)) " of " (text(tally.accounts)) " accounts were collected." }
        (table("Failures by class", &["Class", "Accounts"], failures.collect(), "None."))
        @if release.active {
            @if ask.may(&FormAct::RollBack(String::new())) {
                h2 { "Change what collects" }
                p { (link(&format!("/platforms/{}/rollback", connector.platform), "Roll back to the release before")) }
            }
        } @else if ask.may(&FormAct::Activate(String::new())) {
            h2 { "Change what collects" }
            @if matches!(release.state, ReleaseState::Granted | ReleaseState::Withdrawn) {
                p { (link(&format!("/connectors/{}/activate", release.digest), "Activate this release")) }
            } @else {
                p { "It can't be activated before it is granted: `backline plugins grant` shows all of it and asks." }
            }
        }
    };
    Ok(View::new(named(&release), "/connectors", body))
}

/// What a release asks for and reports, compared with the one whose grant applies.
fn difference(compared: &ReleaseComparison) -> Markup {
    let against = compared.against.as_ref().map_or_else(
        || "nothing, since no other release of it is granted".to_owned(),
        |other| format!("what {} ({}) is granted", named(other), other.digest.short()),
    );
    html! {
        h2 { "What it asks for, compared with " (against) }
        (changes("It asks for more", &compared.permissions.added))
        (changes("It no longer asks for", &compared.permissions.removed))
        @if compared.permissions.is_empty() { p.good { "It asks for the same." } }
        h2 { "Metrics" }
        p { "Only here: " (words(&compared.metrics.added)) ". No longer: " (words(&compared.metrics.removed)) "." }
    }
}

fn listed(all: &[Markup]) -> Markup {
    html! {
        @if all.is_empty() { "none" } @else {
            ul { @for one in all { li { (one) } } }
        }
    }
}

fn words(all: &[String]) -> String {
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn changes(heading: &str, changes: &[GrantChange]) -> Markup {
    html! {
        @if !changes.is_empty() {
            h3 { (heading) }
            ul { @for change in changes { li { (change.to_string()) } } }
        }
    }
}

/// Asks whether a release is to collect.
pub(super) async fn activate(ask: &Ask<'_>, given: &str) -> Result<View, Refusal> {
    let release = found(ask, given).await?;
    let platform = release.platform();
    let active = ask.store().active_release_get(platform).await?;
    let before = active.map_or_else(|| "no release".to_owned(), |active| named(&active));
    let body = html! {
        p {
            "From the next batch on, " strong { (platform) } " is collected by " strong { (named(&release)) } " ("
            (release.digest.short()) ") instead of " (before) ". Batches that run finish with what they began with. \
            Every host that serves loads it first; if one can't, nothing changes."
        }
        (form(ask.visitor, &FormAct::Activate(release.digest.to_string()), &html! {
            @if release.state == ReleaseState::Withdrawn {
                label {
                    input type="checkbox" name="again" value="yes" checked[ask.typed("again").is_some()];
                    " It was rolled back before; activate it all the same"
                }
            }
            button type="submit" { "Activate" }
        }))
        p { (link(&format!("/connectors/{}", release.digest), "Leave it as it is")) }
    };
    Ok(View::new(format!("Activate {}?", named(&release)), "/connectors", body))
}

/// Asks whether the active release is to be withdrawn.
pub(super) async fn roll_back(ask: &Ask<'_>, given: &str) -> Result<View, Refusal> {
    let platform: Platform = names::platform(ask.store(), given).await?;
    let active = ask.host.releases().active(&platform).await?;
    let reason = ask.typed("reason").unwrap_or_else(|| "rolled back by the operator".to_owned());
    let body = html! {
        p {
            strong { (named(&active)) } " is withdrawn from " strong { (platform) } ", and the release that was active \
            before collects again. Accounts that failed with it are collected again."
        }
        (form(ask.visitor, &FormAct::RollBack(platform.to_string()), &html! {
            input type="hidden" name="release" value=(active.digest.to_string());
            div {
                label for="reason" { "Reason, kept with the release" }
                input id="reason" name="reason" maxlength="500" value=(reason);
            }
            button.grave type="submit" { "Roll back" }
        }))
        p { (link(&format!("/connectors/{}", active.digest), "Leave it as it is")) }
    };
    Ok(View::new(format!("Roll back {}?", named(&active)), "/connectors", body))
}
