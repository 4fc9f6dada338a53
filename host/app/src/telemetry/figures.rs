//! The metrics behind `/metrics`. docs/operators.md lists them.

use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::families::{One, Two, added, signed};
use super::health::HealthGauges;
use super::labels::{PlatformLabels, Value};
use super::writes::{LatestWrites, WriteFigures};
use super::{BatchEnd, Census, ConnectorUse, memory};
use backline_model::Platform;
use backline_model::health::HealthReport;
use backline_model::run::RunCounts;

/// Bucket bounds of a batch's duration, in seconds: from the fastest batch to the longest deadline.
const BATCH_SECONDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Bucket bounds of a batch's write transaction, in seconds: 99 of 100 are to take less than 0.1.
const WRITE_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

type Three = [(&'static str, Value); 3];
type Seconds = Counter<f64, AtomicU64>;
type NewHistogram = fn() -> Histogram;

/// All metrics. Cloning shares them.
#[derive(Clone, Default)]
pub struct Telemetry {
    figures: Arc<Figures>,
}

struct Figures {
    registry: Registry,
    platforms: PlatformLabels,
    started: Gauge<f64, AtomicU64>,
    resident: Gauge,
    batches: Family<Two, Counter>,
    batch_seconds: Family<One, Histogram, NewHistogram>,
    write_seconds: Family<One, Histogram, NewHistogram>,
    writes: LatestWrites,
    accounts: Family<Two, Counter>,
    requests: Family<One, Counter>,
    under_way: Family<One, Gauge>,
    limit: Family<One, Gauge>,
    leads: Gauge,
    loop_turns: Family<One, Gauge<f64, AtomicU64>>,
    loop_stuck: Family<One, Gauge>,
    loop_failing: Family<One, Gauge>,
    connectors: Gauge,
    refreshes: Family<Two, Counter>,
    deliveries: Family<One, Counter>,
    deliveries_waiting: Family<One, Gauge>,
    deliveries_oldest: Family<One, Gauge>,
    calls: Family<Three, Counter>,
    cpu: Family<One, Seconds>,
    wall: Family<One, Seconds>,
    memory_peak: Family<One, Gauge>,
    log_bytes: Family<One, Counter>,
    output_bytes: Family<One, Counter>,
    output_peak: Family<One, Gauge>,
    received_bytes: Family<One, Counter>,
    database_up: Gauge,
    open_batches: Family<One, Gauge>,
    hosts: Gauge,
    archived: Family<Two, Counter>,
    archive_ended: Gauge<f64, AtomicU64>,
    health: HealthGauges,
    /// The report that these gauges show. They are set when metrics are rendered, so that no one sees half of a report.
    health_report: Mutex<Option<HealthReport>>,
}

impl Default for Figures {
    fn default() -> Self {
        let mut registry = Registry::default();
        let r = &mut registry;
        let build = Family::<One, Gauge>::default();
        build.get_or_create(&[("version", Cow::Borrowed(env!("CARGO_PKG_VERSION")))]).set(1);
        r.register("backline_build_info", "Version of this host, as a label; always 1", build);
        let batch_seconds = Family::new_with_constructor((|| Histogram::new(BATCH_SECONDS)) as NewHistogram);
        r.register("backline_batch_seconds", "Duration of batches from lease to storage", batch_seconds.clone());
        let write_seconds = Family::new_with_constructor((|| Histogram::new(WRITE_SECONDS)) as NewHistogram);
        let about = "Duration of the transactions that stored batches, from begin to commit";
        r.register("backline_batch_write_seconds", about, write_seconds.clone());
        Self {
            platforms: PlatformLabels::default(),
            started: added(r, "process_start_time_seconds", "Start time of the process, in seconds since 1970"),
            resident: added(r, "process_resident_memory_bytes", "Resident memory of the process"),
            batches: added(r, "backline_batches", "Batches that ended on this host, by result"),
            batch_seconds,
            write_seconds,
            writes: LatestWrites::default(),
            accounts: added(r, "backline_accounts", "Accounts processed on this host, by outcome"),
            requests: added(r, "backline_requests", "Requests sent, including retries and redirects"),
            under_way: added(r, "backline_batches_under_way", "Batches running on this host"),
            limit: added(
                r,
                "backline_concurrency_limit",
                "Batches that this host may run at the same time, adapted to the platform's answers",
            ),
            connectors: added(r, "backline_connectors_loaded", "Releases this host holds in memory"),
            leads: added(r, "backline_scheduler_leads", "1 on the host that plans the runs"),
            loop_turns: added(
                r,
                "backline_loop_last_turn_seconds",
                "Seconds since the last turn of each loop of the service",
            ),
            loop_stuck: added(r, "backline_loop_stuck", "1 for a loop whose next turn is overdue"),
            loop_failing: added(r, "backline_loop_failing", "1 for a loop whose turns have all failed for long"),
            refreshes: added(r, "backline_token_refreshes", "Refreshes of credentials by result"),
            deliveries: added(r, "backline_deliveries", "Attempts to deliver an event by how they ended"),
            deliveries_waiting: added(r, "backline_deliveries_waiting", "Pending deliveries of all hosts"),
            deliveries_oldest: added(
                r,
                "backline_deliveries_oldest_seconds",
                "Age of the oldest event whose delivery is pending",
            ),
            calls: added(r, "backline_sandbox_calls", "Calls into connectors, by function and result"),
            cpu: added(r, "backline_sandbox_cpu_seconds", "Processor time of calls that returned a result"),
            wall: added(r, "backline_sandbox_wall_seconds", "Wall-clock time of calls that returned a result"),
            memory_peak: added(
                r,
                "backline_sandbox_memory_peak_bytes",
                "Most memory that one call has held since the start",
            ),
            log_bytes: added(r, "backline_sandbox_log_bytes", "Bytes that connectors logged"),
            output_bytes: added(r, "backline_sandbox_output_bytes", "Bytes that connectors answered"),
            output_peak: added(r, "backline_sandbox_output_peak_bytes", "The largest answer since the start"),
            received_bytes: added(r, "backline_sandbox_received_bytes", "Bodies connectors received, decompressed"),
            database_up: added(r, "backline_database_up", "1 if the database answered when it was last asked"),
            open_batches: added(r, "backline_batches_open", "Batches of all hosts that are not finished"),
            hosts: added(r, "backline_hosts", "Hosts on this database that were seen lately"),
            archived: added(r, "backline_archive_rows", "Rows past their retention that this host moved or deleted"),
            archive_ended: added(
                r,
                "backline_archive_last_success_seconds",
                "When an archive run last succeeded on this host, in seconds since 1970",
            ),
            health: HealthGauges::new(r),
            health_report: Mutex::default(),
            registry,
        }
    }
}

impl Telemetry {
    /// Records when the service was started.
    pub fn started(&self, at: DateTime<Utc>) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a float's 53 bits")]
        self.figures.started.set(at.timestamp_millis() as f64 / 1000.0);
    }

    /// Counts rows that were moved to the archive or deleted.
    pub fn rows_archived(&self, action: &'static str, table: &'static str, rows: u64) {
        self.figures.archived.get_or_create(&[("action", action.into()), ("table", table.into())]).inc_by(rows);
    }

    /// Records when an archive run succeeded.
    pub fn archive_ended(&self, at: DateTime<Utc>) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a float's 53 bits")]
        self.figures.archive_ended.set(at.timestamp_millis() as f64 / 1000.0);
    }

    /// Gives a platform its own label. Called when one of its connectors is loaded.
    pub fn register_platform(&self, platform: &Platform) {
        self.figures.platforms.register(platform);
    }

    /// Counts a batch that ended, and its duration.
    pub fn batch_ended(&self, platform: &Platform, end: BatchEnd, took: Duration) {
        let labels @ [(_, platform)] = &self.of(platform);
        self.figures.batches.get_or_create(&[("platform", platform.clone()), ("end", end.as_str().into())]).inc();
        self.figures.batch_seconds.get_or_create(labels).observe(took.as_secs_f64());
    }

    /// Records the transaction that stored a batch: its time, the rows that it touched, and the bytes that it sent.
    pub fn batch_written(&self, platform: &Platform, took: Duration, rows: u64, bytes: u64) {
        self.figures.write_seconds.get_or_create(&self.of(platform)).observe(took.as_secs_f64());
        self.figures.writes.add(took, rows, bytes);
    }

    /// What the latest of these transactions took; none where there was none yet.
    #[must_use]
    pub fn write_transactions(&self) -> Option<WriteFigures> {
        self.figures.writes.figures()
    }

    /// Counts accounts that ended, and the requests sent for them.
    pub fn accounts_ended(&self, platform: &Platform, counts: &RunCounts, requests: u64) {
        let labels @ [(_, platform)] = &self.of(platform);
        let outcomes = [
            ("collected", counts.collected),
            ("failed", counts.failed),
            ("deferred", counts.deferred),
            ("excluded", counts.excluded),
            ("superseded", counts.superseded),
        ];
        for (outcome, accounts) in outcomes.into_iter().filter(|(_, accounts)| *accounts > 0) {
            let labels = [("platform", platform.clone()), ("outcome", outcome.into())];
            self.figures.accounts.get_or_create(&labels).inc_by(accounts);
        }
        self.figures.requests.get_or_create(labels).inc_by(requests);
    }

    /// Sets how many batches run, and how many may.
    pub fn concurrency(&self, platform: &Platform, under_way: usize, limit: usize) {
        let labels = self.of(platform);
        self.figures.under_way.get_or_create(&labels).set(signed(under_way as u64));
        self.figures.limit.get_or_create(&labels).set(signed(limit as u64));
    }

    /// Sets how many releases this host holds in memory.
    pub fn connectors_loaded(&self, connectors: usize) {
        self.figures.connectors.set(i64::try_from(connectors).unwrap_or(i64::MAX));
    }

    /// Sets whether this host is the scheduler.
    pub fn leads(&self, leads: bool) {
        self.figures.leads.set(leads.into());
    }

    /// Counts a refresh of a credential.
    pub fn token_refreshed(&self, platform: &Platform, succeeded: bool) {
        let [platform] = self.of(platform);
        let result = if succeeded { "refreshed" } else { "failed" };
        self.figures.refreshes.get_or_create(&[platform, ("result", result.into())]).inc();
    }

    /// Counts an attempt to deliver an event.
    pub fn delivery_ended(&self, result: &'static str) {
        self.figures.deliveries.get_or_create(&[("result", result.into())]).inc();
    }

    /// Adds the resources that a batch's calls into its connector used.
    pub fn connector_used(&self, platform: &Platform, used: &ConnectorUse) {
        let figures = &self.figures;
        let labels = self.of(platform);
        for ((function, end), calls) in &used.calls {
            let [platform] = labels.clone();
            let labels = [platform, ("call", (*function).into()), ("end", (*end).into())];
            figures.calls.get_or_create(&labels).inc_by(*calls);
        }
        figures.cpu.get_or_create(&labels).inc_by(Duration::from_millis(used.cpu_ms).as_secs_f64());
        figures.wall.get_or_create(&labels).inc_by(Duration::from_millis(used.wall_ms).as_secs_f64());
        raise(&figures.memory_peak.get_or_create(&labels), used.memory_bytes_peak);
        raise(&figures.output_peak.get_or_create(&labels), used.output_bytes_peak);
        figures.log_bytes.get_or_create(&labels).inc_by(used.log_bytes);
        figures.output_bytes.get_or_create(&labels).inc_by(used.output_bytes);
        figures.received_bytes.get_or_create(&labels).inc_by(used.received_bytes);
    }

    /// Sets the health report, on the host that evaluates it; none on the others.
    pub fn health(&self, report: Option<HealthReport>) {
        *self.figures.health_report.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// Sets how long ago each loop of the service turned, in seconds, whether it is stuck, and whether it fails.
    pub fn loops_turned(&self, loops: impl IntoIterator<Item = (&'static str, f64, bool, bool)>) {
        for (name, last_turn_s, is_stuck, is_failing) in loops {
            let labels = [("loop", name.into())];
            self.figures.loop_turns.get_or_create(&labels).set(last_turn_s);
            self.figures.loop_stuck.get_or_create(&labels).set(is_stuck.into());
            self.figures.loop_failing.get_or_create(&labels).set(is_failing.into());
        }
    }

    /// All metrics as OpenMetrics text, with the census of the database; none if it did not answer.
    #[must_use]
    pub fn render(&self, census: Option<&Census>) -> String {
        let figures = &self.figures;
        figures.resident.set(signed(memory::resident_bytes().unwrap_or_default()));
        figures.database_up.set(census.is_some().into());
        // Values that are unknown now must not be shown as they were before.
        figures.open_batches.clear();
        for (state, batches) in census.into_iter().flat_map(|census| &census.open_batches) {
            figures.open_batches.get_or_create(&[("state", state.clone().into())]).set(signed(*batches));
        }
        figures.hosts.set(signed(census.map_or(0, |census| census.hosts)));
        figures.deliveries_waiting.clear();
        figures.deliveries_oldest.clear();
        for (kind, waiting, oldest_s) in census.into_iter().flat_map(|census| &census.deliveries) {
            let labels = [("kind", (*kind).into())];
            figures.deliveries_waiting.get_or_create(&labels).set(signed(*waiting));
            if let Some(oldest_s) = oldest_s {
                figures.deliveries_oldest.get_or_create(&labels).set(signed(*oldest_s));
            }
        }
        let report = figures.health_report.lock().unwrap_or_else(PoisonError::into_inner);
        figures.health.show(&figures.platforms, report.as_ref());
        drop(report);
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = encode(&mut text, &figures.registry);
        text
    }

    fn of(&self, platform: &Platform) -> One {
        [("platform", self.figures.platforms.of(platform))]
    }
}

/// Raises a gauge to a value, and never lowers it.
fn raise(gauge: &Gauge<i64, AtomicI64>, value: u64) {
    gauge.inner().fetch_max(signed(value), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::telemetry::PLATFORMS_MAX;

    fn platform(name: &str) -> Platform {
        Platform::new(name).expect("a name")
    }

    fn values_of<'a>(text: &'a str, label: &str) -> BTreeSet<&'a str> {
        let start = format!("{label}=\"");
        text.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn platforms_have_a_bounded_set_of_labels() {
        let telemetry = Telemetry::default();
        for index in 0..PLATFORMS_MAX + 40 {
            let platform = platform(&format!("p{index}"));
            telemetry.register_platform(&platform);
            telemetry.batch_ended(&platform, BatchEnd::Stored, Duration::from_millis(20));
            telemetry.batch_written(&platform, Duration::from_millis(7), 10, 100);
            telemetry.accounts_ended(&platform, &RunCounts { collected: 1, ..RunCounts::default() }, 1);
        }
        let unknown = platform("never-installed");
        telemetry.concurrency(&unknown, 1, 4);
        telemetry.token_refreshed(&unknown, false);
        let text = telemetry.render(None);
        let platforms = values_of(&text, "platform");
        assert_eq!(platforms.len(), PLATFORMS_MAX + 1);
        assert!(platforms.contains("other") && !platforms.contains("never-installed"), "{platforms:?}");
        assert!(text.contains("backline_batches_total{platform=\"other\",end=\"stored\"} 40"), "{text}");
        assert!(text.contains("backline_batch_write_seconds_count{platform=\"other\"} 40"), "{text}");
    }

    #[test]
    fn figures_add_up_and_peaks_stay() {
        let telemetry = Telemetry::default();
        let youtube = platform("youtube");
        telemetry.register_platform(&youtube);
        for (memory, cpu_ms) in [(300, 1_500), (200, 500)] {
            let calls = [(("fetch", "answered"), 1)].into_iter().collect();
            let used = ConnectorUse { calls, cpu_ms, memory_bytes_peak: memory, ..ConnectorUse::default() };
            telemetry.connector_used(&youtube, &used);
        }
        let text = telemetry.render(Some(&Census {
            open_batches: vec![("planned".into(), 7)],
            hosts: 3,
            deliveries: vec![("ai", 5, Some(90)), ("push", 2, None)],
        }));
        for line in [
            "backline_sandbox_calls_total{platform=\"youtube\",call=\"fetch\",end=\"answered\"} 2",
            "backline_sandbox_cpu_seconds_total{platform=\"youtube\"} 2.0",
            "backline_sandbox_memory_peak_bytes{platform=\"youtube\"} 300",
            "backline_batches_open{state=\"planned\"} 7",
            "backline_hosts 3",
            "backline_deliveries_waiting{kind=\"ai\"} 5",
            "backline_deliveries_oldest_seconds{kind=\"ai\"} 90",
            "backline_deliveries_waiting{kind=\"push\"} 2",
            "backline_database_up 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in {text}");
        }
        assert!(
            !text.contains("backline_deliveries_oldest_seconds{kind=\"push\"}"),
            "an age that is not known: {text}"
        );
        let without = telemetry.render(None);
        assert!(!without.contains("backline_batches_open{") && without.contains("backline_database_up 0"), "{without}");
    }
}
