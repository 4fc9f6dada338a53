//! Micro-benchmarks of the pure stages, for one account: conform, validate, growth. `cargo xtask bench` runs them.

use std::collections::BTreeMap;
use std::hint::black_box;

use backline_model::fixtures::{day, ints, manifest, name, row};
use backline_model::snapshot::{Reported, Snapshot};
use backline_model::{AccountId, ArtistId, History, Platform, Value};
use backline_rules::conform::conform;
use backline_rules::growth::growth;
use backline_rules::validate::{Judged, ValidationConfig, validate};
use chrono::Days;
use criterion::{BatchSize, Criterion};

/// Metrics of an account-level snapshot.
const METRICS: [(&str, i64); 3] = [("followers", 12_345), ("posts_count", 678), ("total_views", 9_876_543)];

fn snapshot() -> Snapshot {
    let metric = |(name, value): (&str, i64)| Reported {
        name: name.to_owned(),
        value: Ok(Value::Integer(value)),
        coverage: None,
    };
    Snapshot { metrics: METRICS.map(metric).into(), engagement: None, notes: Vec::new() }
}

/// The days before a date, as many as growth looks back.
fn history(days: u64) -> History {
    let mut history = History::default();
    for back in 1..=days {
        let date = day("2026-11-20") - Days::new(back);
        history.insert(
            date,
            METRICS.iter().map(|(metric, value)| (name(metric), Value::Integer(*value))).collect(),
            None,
        );
    }
    history
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let manifest = manifest();
    let mut group = criterion.benchmark_group("stages");

    group.bench_function("conform", |bencher| {
        bencher.iter_batched(snapshot, |snapshot| conform(snapshot, &manifest), BatchSize::SmallInput);
    });

    let (conformed, history) = (conform(snapshot(), &manifest), history(90));
    let (platform, config) = (Platform::new("example").expect("a name"), ValidationConfig::default());
    let subject = Judged {
        account_id: AccountId::generate(),
        artist_id: ArtistId::generate(),
        platform: &platform,
        metric_date: day("2026-11-20"),
        conformed: &conformed,
        manifest: &manifest,
    };
    group.bench_function("validate", |bencher| bencher.iter(|| validate(black_box(&subject), &history, &config)));

    let values: BTreeMap<_, _> = ints(&METRICS);
    let row = row(day("2026-11-20"), values);
    group.bench_function("growth", |bencher| {
        bencher.iter(|| growth(row.metric_date, &manifest, black_box(&row), &history));
    });
    group.finish();
    criterion.final_summary();
}
