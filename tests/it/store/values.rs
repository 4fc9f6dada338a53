//! Property: whatever can be stored is read back as it was, through every column, on both databases.

use std::collections::BTreeMap;

use backline_model::metric::names::{COLUMNS, ENGAGEMENT_RATE, GENRES, POPULARITY, TOP_TRACK};
use backline_model::row::QuarantineStatus;
use backline_model::snapshot::{Coverage, Engagement, EngagementBasis};
use backline_model::{
    Absence, Account, DocumentId, FailureClass, Finding, LostMetric, MetricName, MetricsRow, Outcome, Quarantined,
    Severity, Value, Window,
};
use backline_store::{
    AccountFilter, BatchResult, MetricsFilter, PluginLog, QuarantineFilter, Scope, Store, StoredAccount,
};
use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use super::fixtures::{
    add_batches, at, batch, day, demo, document, lease, metric, now, people, release, result, row, run, stored,
};
use crate::support::database::each_database;

/// Accounts that are stored, each with values of its own.
const ACCOUNTS: u128 = 60;

/// Accounts that fail, each with a message of its own.
const FAILING: u128 = 30;

/// Texts as a hostile platform would choose them: quotes, backslashes, escapes that stand as text, control characters,
/// U+0000, the ends of planes, what JSON, SQL, CSV and terminals give a meaning to.
fn texts() -> BoxedStrategy<String> {
    let pieces = prop_oneof![
        Just("\\u0000".to_owned()),
        Just("\\\\u0000".to_owned()),
        Just("\\".to_owned()),
        Just("\0".to_owned()),
        Just("\u{1b}[2J".to_owned()),
        Just("\"".to_owned()),
        Just("'".to_owned()),
        Just("$1 {rows}".to_owned()),
        Just("\u{feff}\u{202e}\u{ffff}".to_owned()),
        Just("\r\n\t".to_owned()),
        Just("=1+1".to_owned()),
        Just("🎵".to_owned()),
        "[ -~]{0,8}",
        any::<String>(),
    ];
    prop::collection::vec(pieces, 0..5).prop_map(|pieces| pieces.concat()).boxed()
}

fn integers() -> BoxedStrategy<i64> {
    prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX), Just(0), Just(1 << 53), Just((1 << 53) + 1)].boxed()
}

/// Decimals as platforms send them, with more digits than a double holds, and every double.
fn decimals() -> BoxedStrategy<f64> {
    #[expect(clippy::cast_precision_loss, reason = "within 53 bits")]
    let thousandths = (-1_000_000_000_000_i64..1_000_000_000_000).prop_map(|number| number as f64 / 1_000.0);
    let written = "-?[0-9]{1,20}\\.[0-9]{1,20}(e-?[0-9]{1,2})?";
    let written = written.prop_map(|text: String| text.parse::<f64>().expect("a decimal"));
    let of_bits = any::<u64>().prop_map(f64::from_bits).prop_filter("a number", |number| number.is_finite());
    let ends = prop_oneof![
        Just(f64::MAX),
        Just(f64::MIN),
        Just(f64::MIN_POSITIVE),
        Just(f64::from_bits(1)),
        Just(0.1),
        Just(1e16),
        Just(99.99),
        Just(0.0),
        Just(-0.0)
    ];
    prop_oneof![thousandths, written, of_bits, ends, shares()].boxed()
}

/// What validation lets through of rates and indices: 0 to 100, with all digits of a double.
fn shares() -> BoxedStrategy<f64> {
    #[expect(clippy::cast_precision_loss, reason = "within 53 bits")]
    let drawn = (0_u64..1 << 53).prop_map(|number| number as f64 / (1_u64 << 53) as f64 * 100.0);
    prop_oneof![drawn, Just(0.0), Just(100.0), Just(33.333_333_333_333_336), Just(99.999_999_999_999_99)].boxed()
}

fn values() -> BoxedStrategy<Value> {
    prop_oneof![
        integers().prop_map(Value::Integer),
        decimals().prop_map(Value::Decimal),
        texts().prop_map(Value::Text),
        prop::collection::vec(texts(), 0..4).prop_map(Value::Texts),
    ]
    .boxed()
}

/// Any time that a column may hold, in the precision that both databases have.
fn times() -> BoxedStrategy<DateTime<Utc>> {
    let (first, last) = (0, at("9999-12-31T23:59:59Z").timestamp_micros());
    (first..=last).prop_map(|micros| DateTime::from_timestamp_micros(micros).expect("a time")).boxed()
}

/// Draws values; the same in each run.
struct Draw(TestRunner);

impl Draw {
    fn of<T: std::fmt::Debug>(&mut self, strategy: &BoxedStrategy<T>) -> T {
        strategy.new_tree(&mut self.0).expect("a value").current()
    }

    fn text(&mut self) -> String {
        self.of(&texts())
    }
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

fn clean(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(without_nul(text)),
        Value::Texts(texts) => Value::Texts(texts.iter().map(|text| without_nul(text)).collect()),
        Value::Integer(_) | Value::Decimal(_) => value.clone(),
    }
}

/// A whole decimal may come back as the integer that it is.
fn same(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Decimal(before), after) => after.as_f64() == Some(*before),
        (before, after) => before == after,
    }
}

fn drawn_row(draw: &mut Draw, account: &Account) -> MetricsRow {
    let mut values: BTreeMap<MetricName, Value> = BTreeMap::new();
    for column in COLUMNS {
        let value = match column {
            ENGAGEMENT_RATE | POPULARITY => Value::Decimal(draw.of(&shares())),
            TOP_TRACK => Value::Text(draw.text()),
            GENRES => Value::Texts(draw.of(&prop::collection::vec(texts(), 0..4).boxed())),
            _ => Value::Integer(draw.of(&integers())),
        };
        values.insert(metric(column), value);
    }
    for n in 0..6 {
        values.insert(metric(&format!("extra_{n}")), draw.of(&self::values()));
    }
    let (since, until, observed_at) = (draw.of(&times()), draw.of(&times()), draw.of(&times()));
    let counts = (any::<u32>(), any::<u32>()).boxed();
    let (counted, skipped) = draw.of(&counts);
    let (posts_counted, posts_skipped) = draw.of(&counts);
    MetricsRow {
        values,
        absent: BTreeMap::from([(metric("saved"), Absence::Rejected("count-negative".to_owned()))]),
        coverage: BTreeMap::from([(metric("likes"), Coverage { counted, skipped })]),
        observed: BTreeMap::from([(metric("likes"), draw.of(&times()))]),
        engagement: Some(Engagement {
            interactions: draw.of(&integers()),
            base: draw.of(&prop::option::of(integers()).boxed()),
            basis: EngagementBasis::Reach,
            posts_counted,
            posts_skipped,
        }),
        window: Window { since, until },
        findings: vec![Finding {
            rule: draw.text(),
            severity: Severity::Warning,
            metric: Some(draw.text()),
            message: draw.text(),
            suggestion: draw.text(),
        }],
        notes: vec![draw.text(), draw.text()],
        quality_score: draw.of(&shares()),
        observed_at,
        document_id: DocumentId::generate(),
        ..row(account, day("2026-11-22"))
    }
}

/// What a row should be read back as.
fn expected(mut row: MetricsRow) -> MetricsRow {
    for value in row.values.values_mut() {
        *value = clean(value);
    }
    for finding in &mut row.findings {
        for text in
            [&mut finding.rule, &mut finding.message, &mut finding.suggestion].into_iter().chain(&mut finding.metric)
        {
            *text = without_nul(text);
        }
    }
    for note in &mut row.notes {
        *note = without_nul(note);
    }
    row
}

#[tokio::test]
async fn every_value_is_read_back_from_every_column_as_it_was_written() {
    each_database(async |store: Store, url: &str| {
        let everyone = Scope::all_tenants();
        let mut draw = Draw(TestRunner::deterministic());
        let mut accounts = people(&store, ACCOUNTS + FAILING).await;
        for account in &mut accounts {
            account.settings = json!({
                "text": without_nul(&draw.text()),
                "number": draw.of(&integers()),
                // Whole ones may come back as integers, which JSON tells apart.
                "share": draw.of(&shares().prop_filter("not whole", |share| share.fract() != 0.0).boxed()),
            });
        }
        store.accounts_save(&everyone, &accounts, now()).await.unwrap();
        let (storing, failing) = accounts.split_at(usize::try_from(ACCOUNTS).unwrap());
        let date = day("2026-11-22");
        add_batches(&store, &[batch(1, &run(1), &accounts.iter().collect::<Vec<_>>(), date)], now()).await;

        let rows: Vec<MetricsRow> = storing.iter().map(|account| drawn_row(&mut draw, account)).collect();
        let held: Vec<Quarantined> = rows
            .iter()
            .enumerate()
            .flat_map(|(n, row)| (0..3).map(move |m| (n * 3 + m, row)))
            .map(|(n, row)| Quarantined {
                id: Uuid::from_u128(0x9000_0000 + n as u128),
                account_id: row.account_id,
                artist_id: row.artist_id,
                platform: demo(),
                metric_date: date,
                metric: format!("{n} {}", without_nul(&draw.text())),
                value: clean(&draw.of(&values())),
                rule: "metric-unknown".to_owned(),
                release: release().digest,
                document_id: row.document_id,
                status: QuarantineStatus::Held,
                created_at: draw.of(&times()),
            })
            .collect();
        let bodies: Vec<String> = rows.iter().map(|_| json!({ "text": draw.text() }).to_string()).collect();
        let states: Vec<String> = rows.iter().map(|_| json!([draw.text()]).to_string()).collect();
        let messages: Vec<String> = failing.iter().map(|_| draw.text()).collect();
        let logs: Vec<String> = (0..50).map(|_| without_nul(&draw.text())).collect();
        let lost: Vec<LostMetric> = (0..50)
            .map(|n| LostMetric { name: format!("{n} {}", without_nul(&draw.text())), reason: draw.text() })
            .collect();

        let mut result_of_batch = BatchResult {
            logs: logs
                .iter()
                .map(|text| PluginLog { call: "fetch".to_owned(), level: "info".to_owned(), message: text.clone() })
                .collect(),
            lost_metrics: lost.clone(),
            ..BatchResult::default()
        };
        for ((row, body), state) in rows.iter().zip(&bodies).zip(&states) {
            let withheld = held.iter().filter(|held| held.account_id == row.account_id).cloned().collect();
            let mut account = stored(row.clone());
            account.document = Some(document(row, body.clone()));
            account.stored =
                account.stored.map(|stored| StoredAccount { state: Some(state.clone()), withheld, ..stored });
            result_of_batch.accounts.push(account);
        }
        for (account, message) in failing.iter().zip(&messages) {
            let outcome = Outcome::Failed { class: FailureClass::Unexpected, message: message.clone() };
            result_of_batch.accounts.push(result(&row(account, date), outcome));
        }
        store.batch_complete(&lease(&store).await, result_of_batch, now()).await.unwrap();

        let filter = MetricsFilter { limit: Some(1_000), ..MetricsFilter::default() };
        let found = store.metrics_list(&everyone, &filter).await.unwrap();
        assert_eq!(found.len(), rows.len());
        for row in &rows {
            let found = found.iter().find(|found| found.account_id == row.account_id).unwrap().clone();
            let expected = expected(row.clone());
            for (name, value) in &expected.values {
                let after = &found.values[name];
                assert!(same(value, after), "{name}: {value:?} came back as {after:?}");
            }
            let without_values = |row: MetricsRow| MetricsRow { values: BTreeMap::new(), ..row };
            assert_eq!(without_values(found), without_values(expected));
        }
        for (row, body) in rows.iter().zip(&bodies) {
            assert_eq!(store.document_get(&everyone, row.document_id).await.unwrap().as_ref(), Some(body));
        }
        let ids: Vec<_> = storing.iter().map(|account| account.id).collect();
        for (input, state) in store.fetch_inputs_of(&everyone, &ids).await.unwrap().iter().zip(&states) {
            assert_eq!(input.state.as_ref(), Some(state));
        }
        let found = store.quarantine_list(&everyone, &QuarantineFilter::default()).await.unwrap();
        assert_eq!(found.len(), held.len());
        for held in &held {
            let found = found.iter().find(|found| found.id == held.id).unwrap();
            assert!(same(&held.value, &found.value), "{:?} came back as {:?}", held.value, found.value);
            assert_eq!(&Quarantined { value: held.value.clone(), ..found.clone() }, held);
        }
        let outcomes = store.run_outcomes_list(&everyone, run(1).id, None, 1_000).await.unwrap();
        for (account, message) in failing.iter().zip(&messages) {
            let found = outcomes.iter().find(|found| found.account_id == account.id).unwrap();
            let message = without_nul(message);
            assert_eq!(found.outcome, Outcome::Failed { class: FailureClass::Unexpected, message });
        }
        let found = store.accounts_list(&everyone, &AccountFilter::default()).await.unwrap();
        for account in &accounts {
            let found = found.iter().find(|found| found.id == account.id).unwrap();
            assert_eq!(found.settings, account.settings);
        }
        check_texts(url, "SELECT message FROM plugin_logs ORDER BY seq", &logs).await;
        let mut names: Vec<String> = lost.iter().map(|metric| metric.name.clone()).collect();
        let mut found = store.lost_metrics_list(release().digest, now()).await.unwrap();
        names.sort();
        found.sort();
        assert_eq!(found, names);
    })
    .await;
}

async fn check_texts(url: &str, query: &'static str, expected: &[String]) {
    let pool = sqlx::any::AnyPoolOptions::new().max_connections(1).connect(url).await.unwrap();
    let rows = sqlx::query(query).fetch_all(&pool).await.unwrap();
    pool.close().await;
    let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(found, expected);
}

#[test]
fn what_json_holds_is_compared_as_it_is() {
    assert!(same(&Value::Decimal(1e16), &Value::Integer(10_000_000_000_000_000)));
    assert!(!same(&Value::Integer(1), &Value::Integer(2)));
    assert_eq!(clean(&Value::Text("a\0b\\u0000".to_owned())), Value::Text("ab\\u0000".to_owned()));
}
