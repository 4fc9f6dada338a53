//! The real binary: its messages, its exit codes, and that a refused command changes nothing.

mod checks;
mod config;
mod examples;
mod first_party;
mod indexes;
mod manifests;
mod manners;
mod measured;
mod output;
mod projects;
mod trial;
mod zones;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tempfile::TempDir;

use crate::support::binary;
use crate::support::components;
use crate::support::variants::{replace, variant_of};

const ARTIST: &str = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";

/// A folder to run in, without any Backline variable in the environment.
struct Place(TempDir);

impl Place {
    fn empty() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn migrated() -> Self {
        let place = Self::empty();
        place.done(&["migrate"]);
        place
    }

    /// Lets a platform be known, as one is whose connector was installed.
    fn knows(&self, platform: &str) {
        let at = "2026-11-20T02:00:00.000000Z";
        self.write_row(format!(
            "INSERT INTO platforms (platform, title, optional, registered_at, updated_at)
             VALUES ('{platform}', '{platform}', 0, '{at}', '{at}')"
        ));
    }

    /// Writes into the database as another program does.
    fn write_row(&self, statement: String) {
        let url = format!("sqlite://{}", self.path().join("backline.db").display());
        let write = async {
            let mut database = SqliteConnection::connect(&url).await.expect("the database opens");
            sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await.expect("written");
            database.close().await.expect("closed");
        };
        tokio::runtime::Runtime::new().expect("a runtime").block_on(write);
    }

    /// Installs a component.
    fn install(&self, name: &str, component: &[u8]) {
        let file = format!("{name}.wasm");
        std::fs::write(self.path().join(&file), component).expect("written");
        self.done(&["plugins", "install", &file, "--yes"]);
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("written");
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = binary::command(self.path(), arguments);
        command.env("XDG_STATE_HOME", self.path().join("state")).output().expect("the binary starts")
    }

    /// Runs a command that must succeed; answers its standard output.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a command that must be refused with code 2, in one sentence, with no file changed.
    fn refused(&self, arguments: &[&str]) -> String {
        let before = self.files();
        let output = self.run(arguments);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?} printed something");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 1, "{arguments:?}: {said}");
        assert!(self.files() == before, "{arguments:?} changed a file");
        lines[0].strip_prefix("error: ").unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    /// Every file with its content. Of a database that is the content of its tables: its bytes move between the file
    /// and its log each time it is opened.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.path()).expect("readable").map(|entry| entry.expect("readable").path());
        let named = entries.map(|path| (path.file_name().expect("named").to_string_lossy().into_owned(), path));
        let named = named.filter(|(_, path)| path.is_file());
        let kept: Vec<_> = named.filter(|(name, _)| !name.ends_with("-wal") && !name.ends_with("-shm")).collect();
        let content = |path: &Path| match path.extension() {
            Some(extension) if extension == "db" => tables(path).into_bytes(),
            _ => std::fs::read(path).expect("readable"),
        };
        kept.into_iter().map(|(name, path)| (name, content(&path))).collect()
    }
}

/// Every row of every table of a SQLite file, as text.
fn tables(path: &Path) -> String {
    let url = format!("sqlite://{}", path.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut database = SqliteConnection::connect(&url).await.expect("the database opens");
        let list = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
        let names: Vec<String> = sqlx::query_scalar(list).fetch_all(&mut database).await.expect("tables");
        let mut text = String::new();
        for name in names {
            let columns: Vec<String> =
                sqlx::query_scalar("SELECT 'quote(\"' || name || '\")' FROM pragma_table_info($1)")
                    .bind(&name)
                    .fetch_all(&mut database)
                    .await
                    .expect("columns");
            let rows = format!("SELECT {} AS line FROM \"{name}\" ORDER BY 1", columns.join(" || ',' || "));
            let rows: Vec<String> =
                sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut database).await.expect("rows");
            text.push_str(&format!("{name}\n{}\n", rows.join("\n")));
        }
        database.close().await.expect("closed");
        text
    })
}

#[test]
fn a_change_of_the_database_is_noticed() {
    let place = Place::migrated();
    let before = place.files();
    place.done(&["artists", "add", "Ada"]);
    assert_ne!(place.files(), before);
}

#[test]
fn a_wrong_argument_is_refused_with_what_would_be_right() {
    let place = Place::migrated();
    for (arguments, said) in [
        (&["run", "--dat", "2026-11-20"][..], "a similar argument exists: '--date'"),
        (&["run", "--date", "2026-02-30"], "it is not a calendar date; write YYYY-MM-DD"),
        (&["run", "--date", "2999-01-01"], "2999-01-01 is in the future; give a date up to "),
        (
            &["run", "cancel", "0199f1de-0000-7aa1-b7a4-0c2b6f5d8e22"],
            "no run has the id 0199f1de-0000-7aa1-b7a4-0c2b6f5d8e22; `backline runs list` shows them",
        ),
        (&["run", "cancel", "latest"], "no run yet; `backline run` starts one"),
        (&["run", "--platform", "You Tube"], "there is no platform 'You Tube'"),
        (&["run", "--platform", "myspace"], "there is no platform 'myspace'; no connector is installed"),
        (&["run", "--platform", ""], "a platform's name has 1 to 100 bytes"),
        (&["run"], "no connector is installed; install one with `backline plugins install"),
        (&["run", "--artist", ARTIST], "no artist has the id 018f4e6a"),
        (&["metrics", "ada"], "no artist has the id or the name 'ada'; `backline artists list` shows them"),
        (&["metrics", ARTIST], "`backline artists list` shows them"),
        (&["runs", "show", ARTIST], "`backline runs list` shows them"),
        (&["quarantine", "discard", ARTIST], "`backline quarantine list` shows them"),
        (&["quarantine", "release", "x"], "no value in quarantine has the id 'x'; `backline quarantine list` shows"),
        (&["accounts", "set", ARTIST, "--status", "active"], "`backline accounts list` shows them"),
        (&["plugins", "inspect", "missing.wasm"], "missing.wasm can't be read"),
        (&["artists", "add", " "], "the artist's name is empty"),
        (&["artists", "add", "x".repeat(501).as_str()], "the artist's name is longer than 500 characters; give a"),
        (&["artists", "add", "Ada", "--timezone", "Berlin"], "did you mean 'Europe/Berlin'?"),
        (&["metrics", "--since", "2026-02-02", "--until", "2026-02-01"], "is after --until"),
        (&["--set", "collection.windw_days=3", "runs", "list"], "did you mean 'collection.window_days'?"),
        (&["--config", "missing.toml", "runs", "list"], "failed to read the configuration file missing.toml"),
    ] {
        let sentence = place.refused(arguments);
        assert!(sentence.contains(said), "{arguments:?}: {sentence}");
    }
}

#[test]
fn without_a_database_the_first_step_is_named_and_no_file_appears() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::empty();
    assert_eq!(place.refused(&["run"]), "there is no database at backline.db; create one with `backline migrate`");
    place.write("backline.db", "");
    let file = place.path().join("backline.db");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("set");
    assert!(place.refused(&["runs", "list"]).contains("run `backline migrate`"));
}

#[test]
fn a_wrong_database_url_is_refused_without_its_password() {
    let place = Place::empty();
    for url in [
        "mysql://user:canary@host/db",
        "postgres://user:canary@127.0.0.1:1/db",
        ":memory:",
        "sqlite://no/such/folder/x.db",
    ] {
        let sentence = place.refused(&["--database", url, "migrate"]);
        assert!(!sentence.contains("canary"), "{sentence}");
    }
}

#[test]
fn a_bad_row_refuses_the_whole_import_unless_it_is_to_be_skipped() {
    let place = Place::migrated();
    place.install("guest", &components::guest("well_behaved"));
    place.write("artists.csv", &format!("id,name,guest_id,email\n{ARTIST},Ada,UC1,a@b.c\nx,Bo,UC2,\n"));
    let sentence = place.refused(&["artists", "import", "artists.csv"]);
    assert!(sentence.contains("no installed connector names the column 'email'"), "{sentence}");
    let import = ["artists", "import", "artists.csv", "--ignore-column", "email"];
    let sentence = place.refused(&import);
    assert!(sentence.contains("line 3: id: 'x' is not a UUID") && sentence.contains("--skip-bad"), "{sentence}");
    assert_eq!(place.done(&["artists", "list", "--json"]).trim(), "[]");

    let partly = |more: &[&str]| {
        let output = place.run(&[&import[..], &["--skip-bad", "--json"], more].concat());
        assert_eq!(output.status.code(), Some(3), "a part was left out: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let report: serde_json::Value = serde_json::from_str(&partly(&[])).expect("JSON");
    assert_eq!(
        (report["rows"].as_u64(), report["artists_added"].as_u64(), report["accounts_added"].as_u64()),
        (Some(2), Some(1), Some(1))
    );
    let bad = std::fs::read_to_string(place.path().join("artists.bad.ndjson")).expect("written");
    let corrected = bad.replace("\"x\"", "\"018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6e\"");
    place.write("corrected.ndjson", &corrected);
    assert!(place.done(&["artists", "import", "corrected.ndjson", "--dry-run"]).contains("1 artist could be"));
    assert!(bad.contains("\"name\":\"Bo\"") && bad.lines().count() == 1, "{bad}");

    let again: serde_json::Value = serde_json::from_str(&partly(&["--bad-rows", "other.ndjson"])).expect("JSON");
    for nothing in ["artists_added", "artists_changed", "accounts_added", "consents_recorded"] {
        assert_eq!(again[nothing].as_u64(), Some(0), "{nothing}");
    }
    let shown = place.done(&["artists", "show", ARTIST]);
    assert!(shown.contains("UC1") && shown.contains("given"), "{shown}");
}

/// Columns and ids of a platform that the host has never heard of.
const TEMPO: &str = r#"
[account]
id = 'tp[0-9]{6}'
examples = ["tp123456", "https://tempo.example/artist/tp123456?from=app"]
from = ['https://tempo\.example/artist/(?<id>tp[0-9]+)(?:[/?#].*)?']

[[account.not]]
pattern = '@.*'
is = "a handle; give the id in the profile's address"

[[account.column]]
name = "tempo_profile"
gives = "id"

[[account.column]]
name = "tempo_region"
gives = { setting = "region" }
lower_case = true

[settings]
type = "object"

[settings.properties.region]
type = "string"
pattern = "^[a-z]{2}$"
"#;

#[test]
fn a_platform_of_a_third_party_is_imported_by_its_own_columns() {
    let place = Place::migrated();
    let tempo = variant_of(&components::guest("well_behaved"), "1.0.0", |manifest| {
        replace(manifest, "platform = \"guest\"", "platform = \"tempo\"");
        manifest.push_str(TEMPO);
    });
    place.install("tempo", &tempo);
    let row = |id: &str, region: &str| format!("id,Name,Tempo Profile,tempo_region\r\n{ARTIST},Ada,{id},{region}\r\n");
    for (id, region, said) in [
        ("@ada", "us", "line 2: tempo_profile: '@ada' is a handle; give the id in the profile's address"),
        ("1.78403E+16", "us", "tempo_profile: '1.78403E+16' is a rounded number"),
        ("tp12", "us", "tempo_profile: 'tp12' is not the id of an account on tempo; give one such as tp123456"),
        ("tp123456", "Germany", "tempo_region: \"germany\" does not match"),
    ] {
        place.write("artists.csv", &row(id, region));
        let sentence = place.refused(&["artists", "import", "artists.csv"]);
        assert!(sentence.contains(said), "{sentence}");
    }
    let utf16: Vec<u8> =
        row("https://tempo.example/artist/tp123456?x", "US").encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(place.path().join("artists.csv"), [b"\xff\xfe".as_slice(), &utf16].concat()).expect("written");
    let said = place.done(&["artists", "import", "artists.csv"]);
    assert!(said.contains("1 account added") && said.contains("1 consent"), "{said}");
    let listed = place.done(&["accounts", "list", "--status", "active", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!((&listed[0]["platform"], &listed[0]["platform_id"]), (&"tempo".into(), &"tp123456".into()));
    assert_eq!(listed[0]["settings"], serde_json::json!({ "region": "us" }));
    assert_eq!(place.done(&["accounts", "list", "--status", "disabled", "--json"]).trim(), "[]");

    // An older connector took any id.
    let url = format!("sqlite://{}", place.path().join("backline.db").display());
    let set = |update: &'static str, value: &'static str| {
        let write = async {
            let mut database = SqliteConnection::connect(&url).await.expect("the database opens");
            sqlx::query(update).bind(value).execute(&mut database).await.expect("written");
        };
        tokio::runtime::Runtime::new().expect("a runtime").block_on(write);
    };
    let rename = |id| set("UPDATE accounts SET platform_id = $1", id);
    rename("@ada");
    let planned = place.run(&["plan"]);
    let noted = String::from_utf8_lossy(&planned.stderr).into_owned();
    assert!(noted.contains("1 account has an id that the connector can't collect by"), "{noted}");
    let attention = place.done(&["accounts", "attention"]);
    assert!(attention.contains("Ada") && attention.contains("is a handle"), "{attention}");
    rename("tp123456");
    assert_eq!(place.done(&["accounts", "attention", "--json"]).trim(), "[]");

    // Hosts ended of it.
    set("UPDATE accounts SET status = $1", "host_killed");
    let attention = place.done(&["accounts", "attention", "--json"]);
    let attention: serde_json::Value = serde_json::from_str(&attention).expect("JSON");
    let account = listed[0]["id"].as_str().expect("an id");
    let remedy = attention[0]["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains(&format!("`backline accounts set {account} --status active`")), "{attention}");
    assert!(attention[0]["reconnect_url"].is_null(), "its artist can do nothing: {attention}");
    let killed = place.done(&["accounts", "list", "--status", "host_killed", "--json"]);
    assert!(killed.contains(account), "{killed}");
    place.done(&["accounts", "set", account, "--status", "active"]);
    assert_eq!(place.done(&["accounts", "attention", "--json"]).trim(), "[]");

    // Its artist has to connect it, and where is configured.
    set("UPDATE accounts SET status = $1", "reconnect_needed");
    let link = format!("https://app.example.com/{ARTIST}/tempo?account={account}");
    let template = "service.reconnect_url=https://app.example.com/{artist}/{platform}?account={account}";
    let attention = place.done(&["accounts", "attention", "--json", "--set", template]);
    let attention: serde_json::Value = serde_json::from_str(&attention).expect("JSON");
    assert_eq!(attention[0]["reconnect_url"], serde_json::json!(link), "{attention}");
    place.done(&["accounts", "set", account, "--status", "active"]);

    let add = |platform: &str, id: &str| place.refused(&["accounts", "add", ARTIST, platform, id]);
    assert!(add("tempo", "N/A").contains("'N/A' is not an id; give one such as tp123456"));
    let sentence = add("temop", "tp123456");
    assert!(sentence.contains("there is no platform 'temop'; did you mean 'tempo'?"), "{sentence}");
    assert!(place.done(&["accounts", "add", ARTIST, "guest", "'tp123456 "]).starts_with("exists already"));
}

#[test]
fn tokens_without_a_connector_are_refused_before_anything_is_written() {
    let place = Place::migrated();
    place.write("artists.csv", &format!("id,name,instagram_token\n{ARTIST},Ada,canary-token\n"));
    let sentence = place.refused(&["artists", "import", "artists.csv"]);
    assert!(sentence.contains("names the column 'instagram_token'") && !sentence.contains("canary"), "{sentence}");
    assert_eq!(place.done(&["artists", "list", "--json"]).trim(), "[]");
}

#[test]
fn a_status_that_another_program_wrote_is_told_beside_the_list() {
    let place = Place::migrated();
    place.done(&["artists", "add", "Ada", "--id", ARTIST]);
    place.write_row("UPDATE artists SET subscription_status = 'unpaid'".to_owned());
    let listed = place.run(&["artists", "list", "--status", "inactive", "--json"]);
    let told = String::from_utf8(listed.stderr).expect("text").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("'unpaid' is none of Backline's and counts as inactive; artists with it: 1"), "{told}");
    let found = String::from_utf8(listed.stdout).expect("text");
    assert!(found.contains(ARTIST), "{found}");
    assert_eq!(place.done(&["artists", "list", "--status", "active", "--json"]).trim(), "[]");
}

#[test]
fn a_key_file_is_the_owners_alone_and_never_replaced() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::empty();
    place.done(&["keys", "generate", "--file", "backline.key"]);
    let mode = std::fs::metadata(place.path().join("backline.key")).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(place.refused(&["keys", "generate", "--file", "backline.key"]).contains("exists already"));
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let place = Place::empty();
    place.write("backline.toml", "[database]\nurl = \"postgres://user:canary@host/db\"\n[secrets]\nkey = \"canary\"\n");
    for arguments in [&["config", "show"][..], &["config", "show", "--json"]] {
        let shown = place.done(arguments);
        assert!(!shown.contains("canary") && shown.contains("user"), "{shown}");
    }
}

#[test]
fn dead_batches_are_shown_and_brought_back() {
    let place = Place::migrated();
    place.knows("spotify");
    let (run, batch) = ("018f4e6a-7c1d-7b3a-9c55-000000000001", "018f4e6a-7c1d-7b3a-9c55-000000000002");
    let at = "2026-11-20T02:00:00.000000Z";
    let digest = "0".repeat(64);
    let url = format!("sqlite://{}", place.path().join("backline.db").display());
    let write = async {
        let mut database = SqliteConnection::connect(&url).await.expect("the database opens");
        for statement in [
            format!("INSERT INTO runs VALUES ('{run}', 'manual', '2026-11-20', 'failed', 0, '{at}', '{at}')"),
            format!(
                "INSERT INTO batches (id, run_id, turn, tenant, platform, release_digest, window_since, window_until,
                     state, attempts, lease_token, available_at, message, created_at, finished_at)
                 VALUES ('{batch}', '{run}', 0, 'default', 'youtube', '{digest}', '{at}', '{at}',
                     'dead', 3, 3, '{at}', 'it did not answer', '{at}', '{at}')"
            ),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut database).await.expect("written");
        }
    };
    tokio::runtime::Runtime::new().expect("a runtime").block_on(write);

    let listed = place.done(&["batches", "list"]);
    assert!(listed.contains(batch) && listed.contains("it did not answer"), "{listed}");
    assert!(place.done(&["batches", "show", batch]).contains(run));
    assert!(place.done(&["runs", "show", run]).contains(&format!("backline batches retry --run {run}")));
    assert!(place.refused(&["batches", "retry"]).contains("required"), "nothing is retried by accident");
    assert!(place.refused(&["batches", "list", "--state", "lost"]).contains("planned, leased, deferred, done, dead"));
    assert!(place.refused(&["batches", "show", run]).contains("backline batches list"));

    assert!(place.done(&["batches", "retry", "--platform", "spotify"]).contains("no dead batch matches"));
    assert!(place.done(&["batches", "retry", batch]).contains("1 batch with 0 accounts planned again"));
    let listed = place.done(&["batches", "list", "--json", "--state", "planned"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!((&listed[0]["id"], &listed[0]["attempts"]), (&batch.into(), &0.into()));
    assert!(place.done(&["runs", "list"]).contains("running"));
    assert!(place.done(&["batches", "retry", "--all-dead"]).contains("no dead batch matches"));

    assert_eq!(place.done(&["pauses", "list"]), "");
    assert_eq!(place.done(&["pauses", "list", "--json"]).trim(), "[]");
    assert!(place.refused(&["pauses", "end", "platform/youtube"]).contains("no pause of platform/youtube is in force"));
    assert!(place.refused(&["pauses", "end", "youtube"]).contains("credential/ID or platform/NAME"));
    assert!(place.refused(&["batches", "release"]).contains("required"), "nothing is released by accident");
    assert!(place.done(&["batches", "release", "--all-deferred"]).contains("no deferred batch matches"));
    assert!(place.done(&["batches", "release", batch]).contains("no deferred batch matches"));
}

#[test]
fn schedules_are_listed_added_and_switched_and_the_configurations_are_not_touched() {
    let place = Place::migrated();
    place.knows("youtube");
    let listed = place.done(&["schedules", "list"]);
    assert!(listed.contains("daily") && listed.contains("0 2 * * *") && listed.contains("config"), "{listed}");
    let add = ["schedules", "add", "hourly", "--cron", "15 * * * *", "--timezone", "Europe/Berlin"];
    let added =
        place.done(&[&add[..], &["--platform", "youtube", "--catch-up", "none", "--overlap", "queue"]].concat());
    assert!(added.starts_with("added schedule hourly; it fires next at "), "{added}");
    let list = || {
        let text = place.done(&["schedules", "list", "--json"]);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let hourly = &list()[1];
    assert_eq!(hourly["name"], "hourly");
    assert_eq!((&hourly["timezone"], &hourly["origin"]), (&"Europe/Berlin".into(), &"database".into()));
    assert_eq!((&hourly["catch_up"], &hourly["overlap"]), (&"none".into(), &"queue".into()));
    assert!(hourly["next_fire"].is_string() && hourly["last_fire"].is_null(), "{hourly}");
    assert_eq!(place.done(&["schedules", "fires", "--json"]).trim(), "[]");

    let said = place.refused(&add);
    assert!(said.contains("there is a schedule 'hourly' already"), "{said}");
    let said = place.refused(&["schedules", "add", "x", "--cron", "0 25 * * *"]);
    assert!(said.starts_with("the field for the hour, '25', is wrong") && said.contains("0 to 23"), "{said}");
    for change in ["remove", "disable", "enable"] {
        let said = place.refused(&["schedules", change, "daily"]);
        assert!(said.contains("change [schedules.daily] there"), "{said}");
        let said = place.refused(&["schedules", change, "none"]);
        assert!(said.contains("there is no schedule 'none'"), "{said}");
    }
    place.done(&["schedules", "disable", "hourly"]);
    assert_eq!((&list()[1]["enabled"], &list()[1]["next_fire"]), (&false.into(), &serde_json::Value::Null));
    place.done(&["schedules", "enable", "hourly"]);
    assert!(list()[1]["next_fire"].is_string());
    place.done(&["schedules", "remove", "hourly"]);
    assert_eq!(list().as_array().map(Vec::len), Some(1));

    place.write("backline.toml", "[schedules.nightly]\ncron = \"0 2 * *\"\n");
    let said = place.refused(&["schedules", "list"]);
    assert!(said.starts_with("schedules.nightly.cron in backline.toml is wrong: '0 2 * *' has 4 fields"), "{said}");
}
