//! Another program writes rows that no version of Backline would write, past all triggers, while hosts work: each costs
//! itself, and everybody else is collected.

use backline_model::ScheduleSpec;
use backline_store::{DatabaseKind, NewSchedule};
use rand::seq::SliceRandom as _;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use super::played::played;
use super::world::{WAIT_MAX, World, answers, dice, number};
use crate::support::database::{each_database, unchecked};
use crate::support::fleet::until;
use crate::support::host::HostExt as _;
use crate::support::variants::variant;

/// Artists that join before each handful of hostile rows.
const GROUP: u32 = 2;

/// Hostile rows that are written while a group is collected.
const HANDFUL: usize = 4;

/// Hostile rows that the database itself must let through for the test to say anything.
const LET_THROUGH_MIN: usize = 12;

/// What the other program writes, about two artists whose rows it spoils. `{never}` is a time that no calendar has.
/// What is cast to text is not UTF-8 in a SQLite file.
const ROWS: [&str; 24] = [
    "UPDATE artists SET timezone = 'Mars/Phobos' WHERE id = '{first}'",
    "UPDATE artists SET tenant = 'No Tenant!', name = CAST(X'4AFC' AS TEXT), timezone = CAST(X'FF' AS TEXT)
         WHERE id = '{second}'",
    "UPDATE artists SET subscription_status = 'trialling' WHERE id = '{first}'",
    "UPDATE accounts SET platform = 'No Name' WHERE artist_id = '{first}' AND platform = 'spotify'",
    "UPDATE accounts SET status = 'sleeping' WHERE artist_id = '{first}' AND platform = 'youtube'",
    "UPDATE accounts SET settings = '[]', platform_id = CAST(X'FF' AS TEXT)
         WHERE artist_id = '{second}' AND platform = 'youtube'",
    "UPDATE credentials SET platform = 'No Name' WHERE account_id IN
         (SELECT id FROM accounts WHERE artist_id = '{first}' AND platform = 'tiktok')",
    "UPDATE credentials SET kind = 'rumour', refresh_at = '{never}' WHERE account_id IN
         (SELECT id FROM accounts WHERE artist_id = '{second}' AND platform = 'tiktok')",
    "UPDATE credentials SET version = -7, status = 'lost', expires_at = '{never}' WHERE account_id IN
         (SELECT id FROM accounts WHERE artist_id = '{first}' AND platform = 'instagram')",
    "UPDATE schedules SET timezone = 'Mars/Phobos' WHERE name = 'first'",
    "UPDATE schedules SET cron = '61 * * * *', platforms = '{}' WHERE name = 'second'",
    "UPDATE schedules SET considered_until = '{never}', next_fire = '{never}' WHERE name = 'third'",
    "UPDATE releases SET manifest = '{}' WHERE NOT active",
    "UPDATE leaders SET holder = 'nobody', expires_at = '{never}' WHERE role = 'scheduler'",
    "INSERT INTO hosts (name, version, state, started_at, seen_at) VALUES ('', '?', 'asleep', '{never}', '{never}')",
    "UPDATE batches SET platform = 'No Name', state = 'sleeping', tenant = 'No Tenant!' WHERE id IN
         (SELECT b.id FROM batches b JOIN batch_accounts m ON m.batch_id = b.id JOIN accounts a ON a.id = m.account_id
             WHERE a.artist_id = '{first}' AND a.platform = 'apple_music')",
    "UPDATE batches SET finished_at = '{never}', created_at = '{never}' WHERE id IN
         (SELECT b.id FROM batches b JOIN batch_accounts m ON m.batch_id = b.id JOIN accounts a ON a.id = m.account_id
             WHERE a.artist_id = '{second}' AND a.platform = 'apple_music')",
    "UPDATE runs SET status = 'sleeping', started_at = '{never}' WHERE id IN
         (SELECT b.run_id FROM batches b JOIN batch_accounts m ON m.batch_id = b.id
             JOIN accounts a ON a.id = m.account_id WHERE a.artist_id = '{first}')",
    "INSERT INTO consents (artist_id, platform, granted, scope, source, recorded_at)
         VALUES ('{first}', 'No Name', TRUE, 'metrics', 'another program', '{never}')",
    "INSERT INTO activations (artist_id, platform, cause, at) VALUES ('{first}', 'No Name', 'whim', '{never}')",
    "UPDATE account_state SET last_accepted = '[]', state = 'x' WHERE account_id IN
         (SELECT id FROM accounts WHERE artist_id = '{second}')",
    "UPDATE metrics SET extra = '[]', absent = '7', findings = '{}', observed_at = '{never}'
         WHERE artist_id = '{second}'",
    "UPDATE events SET type = '', data = '[]', occurred_at = '{never}' WHERE artist_id = '{second}'",
    "INSERT INTO webhooks (id, name, kind, url, events, secret, enabled, seen, created_at, updated_at)
         VALUES ('00000000-0000-4000-8000-000000000001', 'odd', 'pigeon', 'nowhere', '{}', '', TRUE, -1, '{never}',
             '{never}')",
];

/// Writes a row past all triggers. Returns whether the database let it through; a type or a constraint may refuse it.
async fn is_let_through(url: &str, database: &mut AnyConnection, row: &str) -> bool {
    let written = if url.starts_with("sqlite") && row.starts_with("UPDATE artists") {
        unchecked(url, database, row).await
    } else {
        database.execute(AssertSqlSafe(row.to_owned())).await.map(|_| ())
    };
    match written {
        Ok(()) => true,
        Err(error) => {
            assert!(!error.to_string().contains("locked"), "it was written by nobody: {error}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_no_one_can_read_cost_themselves_while_hosts_work() {
    each_database(async |store, url| {
        let mut dice = dice();
        let mut rows = ROWS;
        rows.shuffle(&mut dice);
        let groups = u32::try_from(rows.len().div_ceil(HANDFUL)).expect("few") + 1;
        let world = World::on(url, groups, GROUP, |_| {}).await;
        // A release that is not in use, and schedules of which none fires.
        world.stage.host.install(&variant("youtube", "9.0.0", |_| {})).await.expect("installed");
        for name in ["first", "second", "third"] {
            let spec = ScheduleSpec { enabled: false, ..ScheduleSpec::default() };
            let now = world.stage.host.clock().now();
            let new = NewSchedule { name: name.to_owned(), spec, next_fire: None };
            store.schedule_add(&new, now).await.expect("a schedule is added");
        }
        let fleet = world.fleet(|_| {});
        let names: &[&str] = match store.kind() {
            DatabaseKind::Sqlite => &["one"],
            DatabaseKind::Postgres => &["one", "two"],
        };
        let hosts: Vec<_> = names.iter().map(|name| fleet.start(name)).collect();
        world.join(0).await;
        world.collected(1).await;
        let [first, second] = [0, 1].map(|index| world.stage.simulator.world().artist(index).id.to_string());
        let mut writer = world.database().await;
        if store.kind() == DatabaseKind::Postgres {
            // As one who may change everything.
            writer.execute("SET session_replication_role = replica").await.expect("triggers are passed");
            writer.execute("SET lock_timeout = '10s'").await.expect("it waits for hosts");
        }
        let mut let_through = 0;
        for (group, handful) in (1..).zip(rows.chunks(HANDFUL)) {
            world.join(group).await;
            for row in handful {
                let row = row.replace("{first}", &first).replace("{second}", &second).replace("{never}", "infinity");
                let_through += usize::from(is_let_through(url, &mut writer, &row).await);
            }
            others_are_collected(&world, group, [&first, &second]).await;
        }
        assert!(let_through >= LET_THROUGH_MIN, "the database let only {let_through} rows through");
        for host in &hosts {
            answers(host, 200, "").await;
        }
        writer.close().await.expect("closed");
        played(format!("{} let {let_through} of {} hostile rows through", store.kind(), ROWS.len()));
    })
    .await;
}

/// Waits until so many groups beside the first are collected: each account once, by its first attempt.
async fn others_are_collected(world: &World, groups: u32, spoilt: [&String; 2]) {
    let mut database = world.database().await;
    let [first, second] = spoilt;
    let theirs = format!("artist_id NOT IN ('{first}', '{second}')");
    let expected = world.accounts(groups);
    let collected = format!("SELECT COUNT(*) FROM metrics WHERE {theirs}");
    let ended = format!(
        "SELECT COUNT(*) FROM outcomes_all WHERE account_id IN (SELECT id FROM accounts WHERE {theirs})
             AND outcome = 'collected' AND attempts = 1"
    );
    let otherwise = format!(
        "SELECT COUNT(*) FROM outcomes_all WHERE account_id IN (SELECT id FROM accounts WHERE {theirs})
             AND (outcome <> 'collected' OR attempts <> 1)"
    );
    until(WAIT_MAX, &format!("{groups} groups are collected"), async || {
        let rows = number(&mut database, &collected).await;
        let outcomes = number(&mut database, &ended).await;
        assert_eq!(number(&mut database, &otherwise).await, 0, "nobody innocent ends in another way");
        (rows == expected && outcomes == expected).then_some(())
    })
    .await;
    let accounts = format!("SELECT COUNT(DISTINCT account_id) FROM metrics WHERE {theirs}");
    assert_eq!(number(&mut database, &accounts).await, expected, "each account has one row");
}
