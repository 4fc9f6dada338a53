//! Artists: the list, and one of them with what its accounts' numbers were and how they changed.

use chrono::{Days, NaiveDate};
use maud::{Markup, html};

use super::chart::{Series, days};
use super::{Ask, ROWS, id};
use crate::dashboard::frame::{View, facts, link, table, text, time};
use crate::dashboard::refusal::Refusal;
use crate::pipeline::words::reason_text;
use backline_model::{Account, AccountId, Artist, ArtistId, Manifest, MetricName, MetricsRow, SubscriptionStatus};
use backline_store::{ArtistFilter, IdKind, MetricsFilter, StoreError};

/// Days that are shown unless chosen.
const DAYS: u32 = 90;

/// Days that can be chosen.
const CHOICES: [u32; 4] = [30, 90, 180, 365];

/// Most rows of an account that are read for a page: more than a row a day.
const NUMBERS_MAX: u32 = 400;

/// Most rows of a table of numbers.
const CSV_MAX: u32 = 5_000;

pub(super) async fn list(ask: &Ask<'_>) -> Result<View, Refusal> {
    let status = match ask.text("status") {
        None => None,
        Some(given) => {
            let wrong = || Refusal::wrong("status is not one that a subscription has");
            Some(SubscriptionStatus::parse(given).ok_or_else(wrong)?)
        }
    };
    let (artists, next) = match ask.text("name") {
        Some(name) => (named(ask, name).await?, Markup::default()),
        None => {
            let after: Option<ArtistId> = ask.after()?;
            let filter = ArtistFilter { tenant: None, status, after, limit: Some(ROWS + 1) };
            let mut artists = ask.store().artists_list(&ask.scope(), &filter).await?;
            let next = ask.cut(&mut artists, |artist| artist.id);
            (artists, next)
        }
    };
    let rows = artists.iter().map(|artist| {
        vec![
            link(&format!("/artists/{}", artist.id), &artist.name),
            text(&artist.tenant),
            text(artist.subscription_status.as_str()),
            text(if artist.data_collection_enabled { "yes" } else { "no" }),
            text(&artist.timezone),
            text(artist.id),
        ]
    });
    let heads = ["Name", "Tenant", "Subscription", "Collected", "Time zone", "Id"];
    let body = html! {
        form.row method="get" action="/artists" {
            div {
                label for="status" { "Subscription" }
                select id="status" name="status" {
                    option value="" { "any" }
                    @for one in SubscriptionStatus::ALL {
                        option value=(one.as_str()) selected[Some(one) == status] { (one.as_str()) }
                    }
                }
            }
            div {
                label for="name" { "Whole name, in any case" }
                input id="name" name="name" value=[ask.text("name")];
            }
            button.quiet type="submit" { "Show" }
        }
        (table("Artists, by id", &heads, rows.collect(), "No artist is like that."))
        (next)
    };
    Ok(View::new("Artists", "/artists", body))
}

/// The artists of a name, the first of them if there are very many.
async fn named(ask: &Ask<'_>, name: &str) -> Result<Vec<Artist>, Refusal> {
    let mut artists = Vec::new();
    for found in ask.store().ids_named_list(&ask.scope(), IdKind::Artist, name, ROWS).await? {
        match ask.store().artist_get(&ask.scope(), ArtistId(found.id)).await {
            // Health names its row; the others of the name are shown.
            Err(StoreError::Unreadable { .. }) => {}
            artist => artists.extend(artist?),
        }
    }
    Ok(artists)
}

async fn found(ask: &Ask<'_>, given: &str) -> Result<Artist, Refusal> {
    let artist_id: ArtistId = id("artist", given)?;
    let artist = ask.store().artist_get(&ask.scope(), artist_id).await?;
    artist.ok_or_else(|| Refusal::not_found("artist", artist_id))
}

/// How many days are shown, and the first of them.
fn chosen_days(ask: &Ask<'_>) -> Result<(u32, NaiveDate), Refusal> {
    let days = ask.parsed("days")?.unwrap_or(DAYS);
    if !CHOICES.contains(&days) {
        return Err(Refusal::wrong("days is not one of 30, 90, 180, 365"));
    }
    let today = ask.host.clock().now().date_naive();
    Ok((days, today.checked_sub_days(Days::new(days.into())).unwrap_or(NaiveDate::MIN)))
}

/// An artist's numbers, and the name of the file.
pub(in crate::dashboard) async fn numbers(ask: &Ask<'_>, given: &str) -> Result<(Vec<MetricsRow>, String), Refusal> {
    let artist = found(ask, given).await?;
    let (_, since) = chosen_days(ask)?;
    let filter = MetricsFilter {
        artist: Some(artist.id),
        account: ask.parsed("account")?,
        since: Some(since),
        limit: Some(CSV_MAX),
        ..MetricsFilter::default()
    };
    let rows = ask.store().metrics_list(&ask.scope(), &filter).await?;
    Ok((rows, format!("metrics-{}.csv", artist.id)))
}

pub(super) async fn one(ask: &Ask<'_>, given: &str) -> Result<View, Refusal> {
    let artist = found(ask, given).await?;
    let (days, since) = chosen_days(ask)?;
    let accounts = ask.store().accounts_of(&ask.scope(), &[artist.id]).await?;
    let consents = ask.store().latest_consents_get(&ask.scope(), artist.id).await?;
    let path = format!("/artists/{}", artist.id);
    let account = match ask.parsed::<AccountId>("account")? {
        None => accounts.first(),
        Some(wanted) => {
            let account = accounts.iter().find(|account| account.id == wanted);
            Some(account.ok_or_else(|| Refusal::not_found("account", wanted))?)
        }
    };
    let shown = match account {
        Some(account) => of_account(ask, &path, account, days, since).await?,
        None => Markup::default(),
    };
    let of_accounts = accounts.iter().map(|account| {
        vec![
            link(&format!("{path}?account={}&days={days}", account.id), &account.platform_id),
            text(&account.platform),
            text(account.status.as_str()),
            text(account.id),
            link(&format!("/accounts/{}/timeline", account.id), "What happened"),
        ]
    });
    let of_consents = consents.iter().map(|consent| {
        vec![
            text(&consent.platform),
            text(&consent.scope),
            text(if consent.granted { "given" } else { "withdrawn" }),
            text(&consent.source),
            time(consent.recorded_at),
        ]
    });
    let body = html! {
        (facts(vec![
            ("Id", text(artist.id)),
            ("Tenant", text(&artist.tenant)),
            ("Subscription", text(artist.subscription_status.as_str())),
            ("Collected", text(if artist.data_collection_enabled { "yes" } else { "no" })),
            ("Time zone", text(&artist.timezone)),
        ]))
        p { a href={ (path) "/metrics.csv?days=" (days) } { "All numbers of these days as CSV" } }
        (table(
            "Accounts of this artist",
            &["Id there", "Platform", "State", "Id", "Timeline"],
            of_accounts.collect(),
            "It has no account.",
        ))
        (shown)
        h2 { "Consents" }
        (table(
            "What the artist consented to last",
            &["Platform", "For", "State", "By", "At"],
            of_consents.collect(),
            "It consented to nothing.",
        ))
    };
    Ok(View::new(artist.name, "/artists", body))
}

/// What was collected of an account, for one of its metrics.
async fn of_account(
    ask: &Ask<'_>,
    path: &str,
    account: &Account,
    days_shown: u32,
    since: NaiveDate,
) -> Result<Markup, Refusal> {
    let (store, scope) = (ask.store(), ask.scope());
    let filter = MetricsFilter {
        account: Some(account.id),
        since: Some(since),
        limit: Some(NUMBERS_MAX),
        ..MetricsFilter::default()
    };
    let rows = store.metrics_list(&scope, &filter).await?;
    let growth = store.growth_list(&scope, &filter).await?;
    let release = store.active_release_get(&account.platform).await?;
    let manifest = release.as_ref().map(|release| &release.manifest);
    let names = names(&rows, manifest);
    let heading = format!("{} {}", account.platform, account.platform_id);
    let metric = match ask.parsed::<MetricName>("metric")? {
        Some(metric) => Some(metric),
        None => names.iter().find(|name| rows.iter().any(|row| number(row, name).is_some())).cloned(),
    };
    let Some(metric) = metric else {
        return Ok(html! {
            h2 { (heading) }
            p.none { "No numbers were collected in these days." }
            (span(path, account, None, days_shown))
        });
    };
    let series = Series::of(&metric, days(&rows, &growth, manifest, &metric));
    let latest = rows.first().map(|row| {
        let absent = row.absent.iter().map(|(name, absence)| vec![text(name), text(reason_text(absence))]);
        table("What is missing on the latest day, and why", &["Metric", "Why"], absent.collect(), "Nothing is missing.")
    });
    Ok(html! {
        h2 { (heading) ": " (metric.as_str()) }
        (span(path, account, Some(&metric), days_shown))
        nav aria-label="Metrics" {
            ul {
                @for name in &names {
                    li {
                        a href=(choice(path, account, Some(name), days_shown))
                            aria-current=[(*name == metric).then_some("true")] { (name.as_str()) }
                    }
                }
            }
        }
        (series.chart())
        (series.table())
        p {
            a href={ (path) "/metrics.csv?account=" (account.id.to_string()) "&days=" (days_shown) } {
                "All numbers of this account as CSV"
            }
        }
        @if let Some(latest) = latest {
            h2 { "Missing numbers" }
            (latest)
        }
    })
}

/// The metrics of rows: in the order of the manifest, and those that it does not name after them.
fn names(rows: &[MetricsRow], manifest: Option<&Manifest>) -> Vec<MetricName> {
    let has = |name: &MetricName| rows.iter().any(|row| row.values.contains_key(name) || row.absent.contains_key(name));
    let declared = manifest.into_iter().flat_map(|manifest| &manifest.metrics);
    let mut names: Vec<MetricName> = declared.map(|entry| entry.name.clone()).filter(|name| has(name)).collect();
    for name in rows.iter().flat_map(|row| row.values.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn number(row: &MetricsRow, metric: &MetricName) -> Option<f64> {
    row.values.get(metric)?.as_f64()
}

/// The address of the same page with another choice.
fn choice(path: &str, account: &Account, metric: Option<&MetricName>, days: u32) -> String {
    let metric = metric.map(|metric| format!("&metric={metric}")).unwrap_or_default();
    format!("{path}?account={}&days={days}{metric}", account.id)
}

/// Links to other spans of days.
fn span(path: &str, account: &Account, metric: Option<&MetricName>, days: u32) -> Markup {
    html! {
        nav aria-label="Days" {
            ul {
                @for one in CHOICES {
                    li {
                        a href=(choice(path, account, metric, one))
                            aria-current=[(one == days).then_some("true")] { (one) " days" }
                    }
                }
            }
        }
    }
}
