//! A database whose disk is full: hosts wait for room and go on by themselves, and a run ends with the reason.

use std::process::{Command, Output};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::played::played;
use super::world::{WAIT_MAX, World};
use crate::support::fleet::until;

/// The room on the disk of a server. PostgreSQL itself can't be kept from growing without rights that a test has not,
/// so each table has a trigger that raises PostgreSQL's own error.
pub struct Disk {
    url: String,
}

/// For what there is room.
#[derive(Clone, Copy, Debug)]
pub enum Room {
    Everything,
    Nothing,
    /// Everything but rows of `metrics`, as where they have a tablespace of their own.
    NoMetrics,
    /// Everything until rows of `metrics` are to be written, and nothing from then on.
    NothingFromMetricsOn,
}

impl Room {
    /// The condition under which a statement finds no room.
    fn lacking(self) -> &'static str {
        match self {
            Self::Everything => "FALSE",
            Self::Nothing => "TRUE",
            Self::NoMetrics => "TG_TABLE_NAME = 'metrics'",
            // What a sequence has counted is not rolled back.
            Self::NothingFromMetricsOn => "(SELECT is_called FROM chaos.begun)",
        }
    }
}

impl Disk {
    /// The disk of a server, with room for everything. No host may be at work yet.
    pub async fn of(url: &str) -> Self {
        let disk = Self { url: url.to_owned() };
        disk.execute("CREATE SCHEMA chaos").await;
        disk.execute("CREATE SEQUENCE chaos.begun").await;
        disk.has(Room::Everything).await;
        disk.execute(
            "DO $$ DECLARE one regclass; BEGIN
                 FOR one IN SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname IN ('public', 'backline') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                 LOOP
                     EXECUTE format('CREATE TRIGGER room BEFORE INSERT OR UPDATE ON %s
                         FOR EACH STATEMENT EXECUTE FUNCTION chaos.room()', one);
                 END LOOP;
             END $$",
        )
        .await;
        disk
    }

    /// Lets there be room for this from now on.
    pub async fn has(&self, room: Room) {
        let lacking = room.lacking();
        self.execute(&format!(
            "CREATE OR REPLACE FUNCTION chaos.room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF TG_TABLE_NAME = 'metrics' THEN PERFORM nextval('chaos.begun'); END IF;
                 IF {lacking} THEN
                     RAISE EXCEPTION USING ERRCODE = '53100', HINT = 'Check free disk space.',
                         MESSAGE = 'could not extend file \"base/5/16384\": No space left on device';
                 END IF;
                 RETURN NULL;
             END $$"
        ))
        .await;
    }

    /// By a connection of its own: faults of the server end those that are open, and leave none for a moment.
    async fn execute(&self, statement: &str) {
        let connect = async || PgConnection::connect(&self.url).await.ok();
        let mut server = until(WAIT_MAX, "the server answers", connect).await;
        sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut server).await.expect("done");
    }
}

/// Runs a command to its end, which must come.
pub async fn ended(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(WAIT_MAX, output).await.expect("it ends by itself");
    output.expect("it is waited for").expect("the binary starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_on_a_full_disk_ends_with_the_reason_and_a_host_does_the_rest_once_there_is_room() {
    for room in [Room::NoMetrics, Room::NothingFromMetricsOn] {
        let world = World::new(1, 4, |_| {}).await;
        let fleet = world.fleet(|_| {});
        let disk = Disk::of(&world.url).await;
        world.join(0).await;
        disk.has(room).await;
        let output = ended(fleet.command(&["run"])).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{room:?}: {told}");
        assert!(told.contains("No space left on device"), "{room:?}: {told}");
        disk.has(Room::Everything).await;
        let _host = fleet.start("host");
        world.collected(1).await;
        world.expect_right(1).await;
        played(format!("a run ended on a disk that was full: {room:?}"));
    }
}
