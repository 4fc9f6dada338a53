//! A fleet on PostgreSQL behind a proxy, artists that join in groups, and what must hold of all of them in the end.

use std::path::Path;
use std::time::Duration;

use backline::config::{Config, DatabaseConfig};
use backline_model::Outcome;
use backline_model::clock::Clock;
use backline_simulator::SimulatorConfig;
use backline_store::Scope;
use chrono::{Days, NaiveDate};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, PgConnection, Row as _};

use super::played::played;
use crate::service::support::ask;
use crate::support::fleet::{Fleet, HostProcess, until, until_told};
use crate::support::postgres::Cluster;
use crate::support::stage::{PLATFORMS, Stage};

/// Longest wait for what has to happen, on a slow machine.
pub const WAIT_MAX: Duration = Duration::from_secs(180);

/// Lease time of batches and roles, in milliseconds: short, so that what a dead host held is taken over soon.
pub const LEASE_MS: u64 = 2_000;

/// The seed of all draws.
pub fn dice() -> StdRng {
    #[expect(clippy::disallowed_methods, reason = "the seed is an argument of the test run")]
    let given = std::env::var("CHAOS_SEED").ok();
    let seed = given.map_or(1, |text| text.parse().expect("CHAOS_SEED is a whole number"));
    #[expect(clippy::print_stderr, reason = "names the seed of a test that fails")]
    {
        eprintln!("CHAOS_SEED={seed}");
    }
    StdRng::seed_from_u64(seed)
}

/// A stage with its own server, and with artists that join group by group.
pub struct World {
    pub stage: Stage,
    /// How the hosts use the database: they lose patience soon. The stage, which stands for people, does not.
    pub hosts: DatabaseConfig,
    pub url: String,
    date: NaiveDate,
    group: u32,
    groups: u32,
    cluster: Option<Cluster>,
}

impl World {
    /// So many groups of so many artists, each with an account on every platform, on a server of its own.
    pub async fn new(groups: u32, group: u32, change: impl FnOnce(&mut Config)) -> Self {
        // A server that crashes must have what it said it committed: other tests' need not.
        let cluster = Cluster::start(&["max_connections=30", "synchronous_commit=on"]);
        let cluster = cluster.expect("a PostgreSQL cluster starts");
        let url = cluster.url();
        let mut server = PgConnection::connect(&url).await.expect("the server answers");
        let names = "ALTER DATABASE postgres SET search_path = backline, public";
        sqlx::query(names).execute(&mut server).await.expect("the database's names are found");
        let world = Self::on(&url, groups, group, change).await;
        Self { cluster: Some(cluster), ..world }
    }

    /// The same on a SQLite file in a folder.
    pub async fn on_a_file(folder: &Path, groups: u32, group: u32, change: impl FnOnce(&mut Config)) -> Self {
        let url = format!("sqlite://{}", folder.join("backline.db").display());
        Self::on(&url, groups, group, change).await
    }

    /// The same on a database that is there already.
    pub async fn on(url: &str, groups: u32, group: u32, change: impl FnOnce(&mut Config)) -> Self {
        let date = Clock::system().now().date_naive();
        let simulator = SimulatorConfig {
            artists: groups * group,
            date,
            latency_ms: 10,
            // A host may end after a platform sent a new token and before it was stored; another test covers platforms
            // without a grace period.
            tiktok_grace_seconds: 3_600,
            ..SimulatorConfig::default()
        };
        let mut hosts = DatabaseConfig::default();
        let stage = Stage::installed(url, simulator, |config| {
            config.schedules.clear();
            config.collection.lease_ttl_ms = LEASE_MS;
            config.service.leader_ttl_ms = LEASE_MS;
            // On a file, hosts and commands wait for each other's locks of all of it.
            let is_file = url.starts_with("sqlite");
            config.database.statement_timeout_ms = if is_file { 20_000 } else { 2_000 };
            config.database.lock_timeout_ms = if is_file { 10_000 } else { 1_000 };
            config.database.connections_max = 8;
            change(config);
            hosts = std::mem::take(&mut config.database);
            config.database.url.clone_from(&hosts.url);
            config.database.connections_max = hosts.connections_max;
        })
        .await;
        Self { stage, hosts, url: url.to_owned(), date, group, groups, cluster: None }
    }

    /// Stops the server of this world and starts it again; returns when it accepts connections.
    pub async fn restart_server(&self) {
        let started = async || {
            let mut server = PgConnection::connect(&self.url).await.ok()?;
            let since = "SELECT (EXTRACT(EPOCH FROM pg_postmaster_start_time()) * 1000000)::bigint";
            // One that stops may end the connection before it answers.
            sqlx::query_scalar::<_, i64>(since).fetch_one(&mut server).await.ok()
        };
        let before = until(WAIT_MAX, "the server says since when it runs", &started).await;
        let cluster = self.cluster.as_ref().expect("the world has a server of its own");
        cluster.restart().expect("the server is watched");
        until(WAIT_MAX, "the server is started again", async || started().await.filter(|at| *at != before)).await;
    }

    /// Hosts of this world, each a process.
    pub fn fleet(&self, change: impl FnOnce(&mut Config)) -> Fleet {
        Fleet::of(&self.stage, |config| {
            config.database = self.hosts.clone();
            change(config);
        })
    }

    /// A connection of the test's own, once the server has one: the hosts may be faster where there were none left.
    pub async fn database(&self) -> AnyConnection {
        sqlx::any::install_default_drivers();
        until(WAIT_MAX, "the database answers", async || AnyConnection::connect(&self.url).await.ok()).await
    }

    /// A group joins, and is to be collected at once.
    pub async fn join(&self, group: u32) {
        assert!(group < self.groups, "there are {} groups", self.groups);
        let artists: Vec<u32> = (group * self.group..(group + 1) * self.group).collect();
        self.stage.import_of(&artists, &PLATFORMS, |_| "default".to_owned()).await;
    }

    /// The accounts of so many groups.
    pub fn accounts(&self, groups: u32) -> i64 {
        i64::from(groups * self.group) * i64::try_from(PLATFORMS.len()).expect("few")
    }

    /// Waits until so many groups are collected and nothing is open.
    pub async fn collected(&self, groups: u32) {
        self.collected_within(groups, WAIT_MAX).await;
    }

    /// The same, for no longer than this.
    pub async fn collected_within(&self, groups: u32, within: Duration) {
        let store = self.stage.host.store();
        let mut database = self.database().await;
        let what = async || format!("{groups} groups are collected: {:#?}", self.open().await);
        until_told(within, what, async || {
            let runs = store.runs_list(&Scope::all_tenants(), 100, None).await.expect("runs are read");
            let failed: u64 = runs.iter().map(|run| run.counts.failed).sum();
            assert_eq!(failed, 0, "nobody fails by it: {:#?}", self.outcomes().await);
            let open = number(&mut database, "SELECT COUNT(*) FROM batches WHERE finished_at IS NULL").await;
            let runs = number(&mut database, "SELECT COUNT(*) FROM runs WHERE finished_at IS NULL").await;
            let rows = number(&mut database, "SELECT COUNT(*) FROM metrics").await;
            (open == 0 && runs == 0 && rows == self.accounts(groups)).then_some(())
        })
        .await;
    }

    /// What is open still, for the message of a test that fails.
    async fn open(&self) -> Vec<String> {
        let open = "SELECT 'batch ' || platform || ' ' || state || ' ' || COALESCE(lease_owner, 'nobody') || ' '
                 || CAST(available_at AS TEXT) || ' ' || COALESCE(message, '') AS told
                 FROM batches WHERE finished_at IS NULL
             UNION ALL SELECT 'run ' || CAST(started_at AS TEXT) FROM runs WHERE finished_at IS NULL
             UNION ALL SELECT 'activation ' || platform || ' ' || CAST(at AS TEXT) FROM activations
             UNION ALL SELECT 'account ' || a.platform || ' ' || a.status FROM accounts a
                 WHERE NOT EXISTS (SELECT 1 FROM metrics m WHERE m.account_id = a.id)
             UNION ALL SELECT 'accounts: ' || CAST(COUNT(*) AS TEXT) FROM accounts";
        let rows = sqlx::query(open).fetch_all(&mut self.database().await).await.expect("what is open is read");
        rows.iter().map(|row| row.get("told")).collect()
    }

    /// What each run has fetched, for the message of a test that fails.
    async fn documents(&self) -> Vec<String> {
        let fetched = "SELECT r.triggered_by || ' ' || CAST(r.started_at AS TEXT) || ': ' || a.name || ' '
                 || d.platform || ' ' || CAST(d.observed_at AS TEXT) AS told
             FROM documents d JOIN runs r ON r.id = d.run_id JOIN artists a ON a.id = d.artist_id
             ORDER BY a.name, d.platform, r.started_at";
        let rows = sqlx::query(fetched).fetch_all(&mut self.database().await).await.expect("documents are read");
        rows.iter().map(|row| row.get("told")).collect()
    }

    /// Each account of so many groups is there once, right, and by its first attempt.
    pub async fn expect_right(&self, groups: u32) {
        let mut database = self.database().await;
        let accounts = self.accounts(groups);
        for (what, query) in [
            ("rows", "SELECT COUNT(*) FROM metrics"),
            ("accounts with rows", "SELECT COUNT(DISTINCT account_id) FROM metrics"),
            ("documents", "SELECT COUNT(*) FROM documents"),
            ("accounts with documents", "SELECT COUNT(DISTINCT account_id) FROM documents"),
            ("outcomes", "SELECT COUNT(*) FROM outcomes_all WHERE outcome = 'collected'"),
            ("all outcomes", "SELECT COUNT(*) FROM outcomes_all"),
            ("events", "SELECT COUNT(*) FROM events WHERE type = 'metrics.collected'"),
            ("active accounts", "SELECT COUNT(*) FROM accounts WHERE status = 'active'"),
        ] {
            let found = number(&mut database, query).await;
            assert_eq!(found, accounts, "{what}: {:#?}", self.documents().await);
        }
        for (what, query) in [
            (
                "runs without one event of their end",
                "SELECT COUNT(*) FROM runs r WHERE 1 <> (SELECT COUNT(*) FROM events e
                     WHERE e.type = 'run.completed' AND e.data ->> 'run_id' = CAST(r.id AS TEXT))",
            ),
            ("outcomes after more than one attempt", "SELECT COUNT(*) FROM outcomes_all WHERE attempts <> 1"),
        ] {
            let found = number(&mut database, query).await;
            assert_eq!(found, 0, "{what}: {:#?}", self.outcomes().await);
        }
        let counts = self.stage.simulator.counts();
        assert_eq!(counts.statuses.get(&403), None, "no allowance was overspent");
        self.expect_truth(groups).await;
        let requests = counts.requests;
        played(format!("{accounts} accounts were collected once each, with {requests} requests to platforms"));
    }

    /// How accounts ended that took more than one attempt, or were not collected.
    async fn outcomes(&self) -> Vec<String> {
        let store = self.stage.host.store();
        let mut told = Vec::new();
        for run in store.runs_list(&Scope::all_tenants(), 100, None).await.expect("runs are read") {
            let outcomes = store.run_outcomes_list(&Scope::all_tenants(), run.id, None, 10_000).await.expect("read");
            let odd = outcomes.iter().filter(|one| one.attempts != 1 || one.outcome != Outcome::Collected);
            told.extend(odd.map(|one| format!("{}: {:?} after {}", one.platform, one.outcome, one.attempts)));
        }
        told
    }

    /// The numbers are those of the simulated platforms.
    async fn expect_truth(&self, groups: u32) {
        let world = self.stage.simulator.world();
        for sim in backline_simulator::Platform::ALL {
            for index in 0..groups * self.group {
                let mut found = None;
                // The dates of artists' zones around the simulator's.
                for date in [self.date, self.date + Days::new(1), self.date - Days::new(1)] {
                    found = found.or(self.stage.row(sim, index, date).await);
                }
                let row = found.unwrap_or_else(|| panic!("{sim:?} {index} has a row"));
                let expected = world.expected_in(sim, index, self.date, row.window.since, row.window.until);
                crate::pipeline::assert_truth(&row, &expected, &format!("{} of artist {index}", sim.as_str()));
            }
        }
    }
}

/// The number that a query returns.
pub async fn number(database: &mut AnyConnection, query: &str) -> i64 {
    sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(database).await.expect("a number").get(0)
}

/// Checks that no table has a row of an artist.
pub async fn expect_erased(database: &mut AnyConnection, artist: &str, when: &str) {
    for table in ["accounts", "metrics", "documents", "consents", "events"] {
        let left = format!("SELECT COUNT(*) FROM {table} WHERE artist_id = '{artist}'");
        assert_eq!(number(database, &left).await, 0, "{when}: {table} of an erased artist");
    }
}

/// Waits until a host's `/readyz` answers with a status, and with a text in its body.
pub async fn answers(host: &HostProcess, status: u16, text: &str) -> String {
    answers_within(host, status, text, WAIT_MAX).await
}

/// The same, for no longer than this.
pub async fn answers_within(host: &HostProcess, status: u16, text: &str, within: Duration) -> String {
    let address = host.address.strip_prefix("http://").expect("a URL").to_owned();
    let request = "GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    until(within, &format!("/readyz answers {status} with '{text}'"), async || {
        let (found, _, body) = ask(&address, request).await;
        (found == status && body.contains(text)).then_some(body)
    })
    .await
}

#[test]
fn a_setting_that_a_server_refuses_is_told_as_soon_as_the_server_ends() {
    let refused = Cluster::start(&["max_connections=many"]).expect_err("no server starts with it");
    assert!(refused.contains("ended before") && refused.contains("max_connections"), "{refused}");
}
