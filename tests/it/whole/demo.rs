//! `backline demo` as a newcomer runs it: what it shows, what it says of itself, and what it leaves alone.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use backline_model::event::types;
use backline_model::{InstallationId, Platform};
use backline_store::{EventCursor, MetricsFilter, Scope, Store, StoreOptions};
use chrono::{Days, NaiveDate};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::service::support::ask;
use crate::support::database::write;

/// Longest wait for a line: the first start compiles the connectors, in a build that is not optimised.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Artists of the demo: the first one's token expires, the sixth one's followers jump, and the eleventh one has more
/// likes than views.
const ARTISTS: &str = "11";

/// Days of the demo, today included. The platforms' outage is on the second one, the jump on the third.
const DAYS: u64 = 4;

struct Newcomer {
    place: TempDir,
}

impl Newcomer {
    fn new() -> Self {
        Self { place: tempfile::tempdir().expect("a folder") }
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("backline-demo")
    }

    /// A command in a folder of its own. What an operator has in the environment must not reach a demo.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backline"));
        command.env("BACKLINE_DATABASE__URL", "sqlite://elsewhere/backline.db");
        command.env("XDG_CACHE_HOME", self.place.path().join("cache"));
        command.env("XDG_STATE_HOME", self.place.path().join("elsewhere-state"));
        command.current_dir(self.place.path()).args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end: exit code, standard output and standard error.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = tokio::time::timeout(WAIT_MAX, self.command(arguments).output()).await;
        let output = output.expect("it ends in time").expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// A command on the demo's database, as the demo says it.
    async fn of_demo(&self, arguments: &[&str]) -> (String, String) {
        let file = self.folder().join("backline.toml");
        let all = [&["--config", file.to_str().expect("a path")][..], arguments].concat();
        let mut command = self.command(&all);
        command.env_remove("BACKLINE_DATABASE__URL");
        let output = tokio::time::timeout(WAIT_MAX, command.output()).await.expect("in time").expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let (told, said) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}{said}");
        (told, said)
    }

    /// Starts the demo, and waits until it serves.
    async fn demo(&self) -> Showing {
        let log = self.place.path().join("log");
        let days = DAYS.to_string();
        let mut command = self.command(&["demo", "--artists", ARTISTS, "--days", &days, "--listen", "127.0.0.1:0"]);
        let mut child = command.stderr(std::fs::File::create(&log).expect("a log")).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut said = Vec::new();
        while !said.iter().any(|line: &String| line.contains("Ctrl-C ends")) {
            let line = tokio::time::timeout(WAIT_MAX, lines.next_line()).await.expect("in time").expect("readable");
            let Some(line) = line else {
                panic!("it ended: {said:?} {}", std::fs::read_to_string(&log).unwrap_or_default());
            };
            said.push(line);
        }
        let after = |mark: &str| {
            let found = said.iter().find_map(|line| Some(line.split_once(mark)?.1.trim().to_owned()));
            found.unwrap_or_else(|| panic!("nothing says '{mark}': {said:?}"))
        };
        let (address, token) = (after(" listens on http://"), after("  token "));
        Showing { child, said, address, token, _lines: lines }
    }
}

/// A running demo.
struct Showing {
    child: Child,
    said: Vec<String>,
    address: String,
    token: String,
    /// Kept open, so that the process can write.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Showing {
    /// What the API answers: the head in lower case, and the body.
    async fn api(&self, path: &str) -> (String, Json) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
            self.address, self.token
        );
        let (status, head, body) = ask(&self.address, &request).await;
        assert_eq!(status, 200, "{path}: {body}");
        (head, serde_json::from_str(&body).expect("JSON"))
    }

    /// Logs in, and opens a page of the dashboard.
    async fn page(&self, path: &str) -> String {
        let form = format!("token={}", self.token);
        let request = format!(
            "POST /login HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
            self.address,
            form.len()
        );
        let (status, head, body) = ask(&self.address, &request).await;
        assert_eq!(status, 303, "{body}");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next());
        let cookie = cookie.expect("a cookie");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncookie: {cookie}\r\n\r\n", self.address);
        let (status, _, body) = ask(&self.address, &request).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// The runs of the history that have ended.
    async fn runs_of_history(&self) -> usize {
        let (_, runs) = self.api("/v1/runs").await;
        let runs = runs["data"].as_array().expect("runs").clone();
        runs.iter().filter(|run| run["trigger"] == "demo" && run["finished_at"].is_string()).count()
    }

    /// The lines that say what was collected.
    fn collected(&self) -> Vec<&str> {
        self.said.iter().map(String::as_str).filter(|line| line.contains(" collected")).collect()
    }

    /// Ends it by a signal.
    async fn stop(mut self, signal: &str) -> ExitStatus {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args([signal, &id]).status().await.expect("kill runs");
        assert!(status.success());
        tokio::time::timeout(WAIT_MAX, self.child.wait()).await.expect("it ends in time").expect("it ends")
    }
}

/// First date of a demo, as its folder says.
fn first_date(folder: &Path) -> NaiveDate {
    let mark = std::fs::read_to_string(folder.join("demo.json")).expect("the demo's mark");
    let mark: Json = serde_json::from_str(&mark).expect("JSON");
    mark["first"].as_str().and_then(|date| date.parse().ok()).expect("a date")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_sees_days_of_numbers_that_say_they_are_simulated_and_are_collected_once() {
    let newcomer = Newcomer::new();
    let showing = newcomer.demo().await;
    assert!(showing.said[0].starts_with("simulated: "), "{:?}", showing.said);
    assert_eq!(showing.collected().len(), 4, "{:?}", showing.said);
    assert_eq!(showing.runs_of_history().await, 4);
    assert!(!newcomer.place.path().join("elsewhere").exists(), "the environment names no other database");

    // Today's rows are of the artists' own dates, so that those of the days before it are looked at.
    let first = first_date(&newcomer.folder());
    for day in 0..DAYS - 1 {
        let date = first + Days::new(day);
        let (head, rows) = showing.api(&format!("/v1/metrics?since={date}&until={date}&limit=1")).await;
        assert_eq!(rows["data"].as_array().map(Vec::len), Some(1), "{date}");
        assert!(head.contains("backline-simulated: true"), "{head}");
    }
    let (_, fresh) = showing.api("/v1/freshness").await;
    let fresh = fresh["data"].as_array().expect("platforms").clone();
    assert_eq!(fresh.len(), 5, "what was collected today was due: {fresh:?}");
    for one in fresh {
        assert!(one["run"].is_string() && one["collected"].as_u64().is_some_and(|collected| collected > 0), "{one}");
    }
    for path in ["/", "/artists", "/runs", "/attention"] {
        let page = showing.page(path).await;
        assert!(page.contains("class=\"simulated\""), "{path}: {page}");
    }

    let database = newcomer.folder().join("backline.db");
    let store = Store::open(&format!("sqlite://{}", database.display()), StoreOptions::default()).await.expect("opens");
    let all = Scope::all_tenants();
    assert_eq!(store.installation_get().await.expect("read"), Some(InstallationId::SIMULATED));
    let rows = async |date: NaiveDate| {
        let platform = Some(Platform::new("youtube").expect("a name"));
        let filter = MetricsFilter { platform, since: Some(date), until: Some(date), ..MetricsFilter::default() };
        store.metrics_list(&all, &filter).await.expect("metrics").len()
    };
    let outage = first + Days::new(1);
    assert_eq!(rows(outage).await, 0, "a gap");
    assert_eq!(rows(outage + Days::new(1)).await, 11, "after the gap");
    let events = store.events_list(&all, EventCursor::default(), 10_000).await.expect("events");
    let jumped = |data: &Json| data["change"]["followers_percent"].as_f64().is_some_and(|percent| percent > 100.0);
    let has =
        |kind: &str, is: &dyn Fn(&Json) -> bool| events.iter().any(|(_, event)| event.kind == kind && is(&event.data));
    assert!(has(types::SIGNIFICANT_CHANGE, &jumped), "followers jump");
    assert!(has(types::RECONNECT_NEEDED, &|_| true), "a token is over");
    store.close().await;

    let (held, said) = newcomer.of_demo(&["quarantine", "list", "--json"]).await;
    let held: Json = serde_json::from_str(&held).expect("JSON");
    assert!(held.as_array().is_some_and(|held| !held.is_empty()), "a value failed validation");
    assert!(said.starts_with("simulated: "), "{said}");
    let (shown, _) = newcomer.of_demo(&["config", "show"]).await;
    assert!(shown.starts_with("# simulated: "), "{shown}");
    let (health, _) = newcomer.of_demo(&["health", "--json"]).await;
    let health: Json = serde_json::from_str(&health).expect("JSON");
    assert_eq!(health["simulated"], true);

    // Nothing else has the folder meanwhile.
    let (code, _, said) = newcomer.run(&["demo", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("another `backline demo` uses"), "{said}");
    let token = showing.token.clone();
    assert_eq!(showing.stop("-INT").await.code(), Some(0));

    let again = newcomer.demo().await;
    assert_eq!(again.collected(), [""; 0], "{:?}", again.said);
    assert_eq!((again.runs_of_history().await, first_date(&newcomer.folder())), (4, first));
    assert_ne!(again.token, token);
    let request =
        format!("GET /v1/runs HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n");
    assert_eq!(ask(&again.address, &request).await.0, 401, "the token of the start before is revoked");
    // As when its terminal is closed.
    assert_eq!(again.stop("-HUP").await.code(), Some(0));

    let (code, _, said) = newcomer.run(&["demo", "--days", "9", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("has 4 days, not 9") && said.contains("--fresh"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demo_touches_no_other_folder_and_is_shown_on_this_machine_alone() {
    let newcomer = Newcomer::new();
    let theirs = newcomer.place.path().join("theirs");
    std::fs::create_dir(&theirs).expect("made");
    std::fs::write(theirs.join("backline.db"), "theirs").expect("written");
    let empty = newcomer.place.path().join("empty");
    std::fs::create_dir(&empty).expect("made");
    let empty = empty.to_str().expect("a path");
    for (arguments, expected) in [
        (&["demo", "--folder", "theirs"][..], "is not a folder of a demo"),
        (&["demo", "--folder", "theirs", "--fresh"], "is not a folder of a demo"),
        (&["demo", "--listen", "0.0.0.0:0"], "on this machine alone"),
        (&["demo", "--connectors", empty], "`cargo xtask build`"),
        (&["demo", "--config", "backline.toml"], "leave --config out"),
        (&["demo", "--database", "sqlite://theirs/backline.db"], "leave --database out"),
    ] {
        let mut arguments = arguments.to_vec();
        if !arguments.contains(&"--listen") {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let (code, told, said) = newcomer.run(&arguments).await;
        assert_eq!((code, told.as_str()), (Some(2), ""), "{arguments:?}: {said}");
        assert!(said.contains(expected) && said.lines().count() == 1, "{arguments:?}: {said}");
    }
    assert_eq!(std::fs::read_to_string(theirs.join("backline.db")).expect("there"), "theirs");
    assert_eq!(std::fs::read_dir(&theirs).expect("readable").count(), 1);
    assert!(!newcomer.folder().exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_the_folder_that_is_not_the_demos_is_left_as_it_is() {
    let newcomer = Newcomer::new();
    let folder = newcomer.folder();
    std::fs::create_dir(&folder).expect("made");
    let mark = json!({
        "kind": "simulated data of `backline demo`", "first": "2026-11-26", "days": DAYS, "artists": 3,
        "set_up": false,
    });
    std::fs::write(folder.join("demo.json"), mark.to_string()).expect("written");
    let file = folder.join("backline.db");
    let store = Store::open(&format!("sqlite://{}", file.display()), StoreOptions::default()).await.expect("opens");
    store.migrate().await.expect("migrates");
    let now = "2026-11-26T00:00:00Z".parse().expect("a time");
    store.installation_claim(InstallationId::generate(), now).await.expect("claimed");
    store.close().await;
    // As an earlier version left it.
    write(&format!("sqlite://{}", file.display()), "DELETE FROM _sqlx_migrations WHERE version > 20").await;
    let before = std::fs::read(&file).expect("there");
    let (code, _, said) = newcomer.run(&["demo", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not a demo's"), "{said}");
    assert!(std::fs::read(&file).expect("there") == before, "nothing of it was changed");
}
