//! Tests of `backline webhooks` and `backline events`: the real binary on its own database.

use std::process::Output;

use backline_gateway::secrets::Keyring;
use backline_model::event::types;
use backline_store::{Scope, Store, StoreOptions};
use serde_json::{Value as Json, json};

use crate::support::binary;
use crate::support::http::Server;
use crate::support::post::{Time, event, id_of, taken, verify};

struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    async fn with(receiver: &Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("backline.db");
        let text = format!(
            "[database]\nurl = \"sqlite://{}\"\n[secrets]\nkey = \"{}\"\n\
             [[gateway.routes]]\norigin = \"https://hooks.test\"\nconnect = \"{}\"\n",
            path.display(),
            Keyring::generate_base64(),
            receiver.base()
        );
        std::fs::write(folder.path().join("backline.toml"), text).expect("written");
        let store = Store::open(&format!("sqlite://{}", path.display()), StoreOptions::default()).await.expect("opens");
        store.migrate().await.expect("migrates");
        Self { folder, store }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::from(binary::command(self.folder.path(), arguments));
        command.output().await.expect("it starts")
    }

    async fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    async fn json(&self, arguments: &[&str]) -> Json {
        serde_json::from_str(&self.done(&[arguments, &["--json"]].concat()).await).expect("JSON")
    }

    async fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_added_tested_delivered_to_and_removed() {
    let receiver = Server::start(|_| taken()).await;
    let place = Place::with(&receiver).await;
    let now = Time::noon().now();
    let early = event(now, None, types::RUN_COMPLETED, json!({ "n": 0 }));
    place.store.events_write(&Scope::all_tenants(), &[early]).await.expect("written");

    let secret = place.done(&["webhooks", "add", "app", "https://hooks.test/app", "--event", "run.*"]).await;
    let secret = secret.trim();
    let said = place.refused(&["webhooks", "add", "app", "https://hooks.test/app"]).await;
    assert!(said.contains("there is a webhook 'app' already"), "{said}");
    let said = place.refused(&["webhooks", "add", "other", "https://hooks.test/", "--event", "runs.*"]).await;
    assert!(said.contains("is not a type of event"), "{said}");
    assert!(place.refused(&["webhooks", "test", "nobody"]).await.contains("`backline webhooks list`"));
    let of_north = ["webhooks", "add", "ai", "https://hooks.test", "--kind", "ai", "--tenant", "north"];
    let said = place.refused(&of_north).await;
    assert!(said.contains("no artist belongs to a tenant 'north'"), "{said}");
    place.done(&["artists", "add", "Ada", "--tenant", "north"]).await;
    place.done(&of_north).await;

    let listed = place.json(&["webhooks", "list"]).await;
    assert_eq!(listed[0]["name"], "ai");
    assert_eq!(
        (&listed[0]["events"], &listed[1]["events"]),
        (&json!(["metrics.significant_change"]), &json!(["run.*"]))
    );
    assert!(!listed.to_string().contains("secret"), "{listed}");
    assert!(place.done(&["webhooks", "test", "app"]).await.contains("app answered 204"));
    verify(&receiver.asked()[0], secret);

    let told = event(now, None, types::RUN_COMPLETED, json!({ "n": 1 }));
    place.store.events_write(&Scope::all_tenants(), std::slice::from_ref(&told)).await.expect("written");
    let report = place.json(&["webhooks", "deliver"]).await;
    assert_eq!(
        (&report["noted"], &report["delivered"]),
        (&json!(1), &json!(1)),
        "only events after the webhook was added"
    );
    assert_eq!(id_of(&receiver.asked()[1]), told.id);
    verify(&receiver.asked()[1], secret);
    let listed = place.json(&["webhooks", "deliveries", "app", "--state", "delivered"]).await;
    assert_eq!((&listed[0]["event_id"], &listed[0]["status"]), (&json!(told.id), &json!(204)));

    assert!(place.refused(&["webhooks", "resend", "app"]).await.contains("--parked"));
    place.done(&["webhooks", "disable", "app"]).await;
    place.done(&["webhooks", "resend", "app", "--event", &told.id.to_string()]).await;
    assert_eq!(place.json(&["webhooks", "deliver"]).await["delivered"], 0, "the webhook is disabled");
    place.done(&["webhooks", "enable", "app"]).await;
    let new = place.done(&["webhooks", "rotate-secret", "app", "--keep-old", "1h"]).await;
    assert_eq!(place.json(&["webhooks", "deliver"]).await["delivered"], 1);
    let last = receiver.asked().pop().expect("told again");
    assert_eq!((id_of(&last), verify(&last, secret).0, verify(&last, new.trim()).0), (told.id, 2, 2));

    let shown = place.json(&["events", "show", &told.id.to_string()]).await;
    assert_eq!((&shown["type"], &shown["deliveries"][0]["webhook"]), (&json!("run.completed"), &json!("app")));
    place.done(&["webhooks", "remove", "app"]).await;
    assert_eq!(place.json(&["webhooks", "list"]).await.as_array().map(Vec::len), Some(1));
    assert_eq!(place.json(&["webhooks", "deliveries"]).await, json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_continues_after_the_last_event_it_saw() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let receiver = Server::start(|_| taken()).await;
    let place = Place::with(&receiver).await;
    let now = Time::noon().now();
    let write = async |kind: &str| {
        let told = event(now, None, kind, json!({}));
        place.store.events_write(&Scope::all_tenants(), std::slice::from_ref(&told)).await.expect("written");
        told
    };
    let (one, two) = (write(types::RUN_COMPLETED).await, write(types::CONNECTOR_ACTIVATED).await);
    let lines =
        |text: &str| -> Vec<Json> { text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect() };
    let all = lines(&place.done(&["events", "tail", "--no-follow", "--json"]).await);
    assert_eq!((&all[0]["id"], &all[1]["id"], all.len()), (&json!(one.id), &json!(two.id), 2));
    let last = lines(&place.done(&["events", "tail", "--no-follow", "--json", "--last", "1"]).await);
    assert_eq!((&last[0]["id"], last.len()), (&json!(two.id), 1));
    let last_run = ["events", "tail", "--no-follow", "--json", "--last", "1", "--type", "run.*"];
    let last = lines(&place.done(&last_run).await);
    assert_eq!((&last[0]["id"], last.len()), (&json!(one.id), 1), "it counts those that match");
    let cursor = all[0]["cursor"].to_string();
    let rest = lines(&place.done(&["events", "tail", "--after", &cursor, "--no-follow", "--json"]).await);
    assert_eq!((&rest[0]["id"], rest.len()), (&json!(two.id), 1));
    let runs =
        lines(&place.done(&["events", "tail", "--after", "0", "--type", "run.*", "--no-follow", "--json"]).await);
    assert_eq!((&runs[0]["id"], runs.len()), (&json!(one.id), 1));

    let cursor = all[1]["cursor"].to_string();
    let mut follower = tokio::process::Command::new(env!("CARGO_BIN_EXE_backline"))
        .current_dir(place.folder.path())
        .args(["events", "tail", "--after", &cursor, "--json", "--set", "service.poll_ms=50"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(follower.stdout.take().expect("piped")).lines();
    for _ in 0..3 {
        let told = write(types::RUN_COMPLETED).await;
        let line = tokio::time::timeout(std::time::Duration::from_secs(180), said.next_line()).await;
        let line = line.expect("it says so in time").expect("readable").expect("a line");
        assert_eq!(lines(&line)[0]["id"], json!(told.id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_is_added_previewed_sent_and_removed() {
    let receiver = Server::start(|_| taken()).await;
    let place = Place::with(&receiver).await;
    std::fs::write(place.folder.path().join("url.txt"), "https://hooks.test/ops\n").expect("written");
    place.done(&["alerts", "channels", "add", "ops", "--kind", "slack", "--file", "url.txt"]).await;
    let add = ["alerts", "digests", "add", "week", "--channel", "ops", "--tenant", "north", "--every", "monday"];
    assert!(place.refused(&add).await.contains("no artist belongs to a tenant 'north'"));
    place.done(&["artists", "add", "Ada", "--tenant", "north"]).await;
    let zone = ["--hour", "9", "--timezone", "Europe/Berlin", "--quiet", "22:00-07:00"];
    assert!(place.done(&[&add[..], &zone[..]].concat()).await.contains("added digest week, due at "));
    assert!(place.refused(&[&add[..], &["--timezone", "Mars/Phobos"]].concat()).await.contains("--timezone"));
    let wrong = ["alerts", "digests", "add", "x", "--channel", "ops", "--tenant", "north", "--every", "fortnight"];
    assert!(place.refused(&wrong).await.contains("it is not one of day, monday"));

    let listed = place.json(&["alerts", "digests", "list"]).await;
    let digest = &listed[0];
    assert_eq!((&digest["name"], &digest["every"], &digest["hour"]), (&json!("week"), &json!("monday"), &json!(9)));
    assert_eq!(digest["quiet"]["zone"], "Europe/Berlin", "{digest}");
    let table = place.done(&["alerts", "digests", "list"]).await;
    assert!(table.contains("09:00") && table.contains("22:00-07:00 Europe/Berlin"), "{table}");

    let text = place.done(&["alerts", "digests", "send", "week", "--preview"]).await;
    assert!(text.starts_with("Weekly digest of north, ") && text.contains("No numbers came in."), "{text}");
    let html = place.done(&["alerts", "digests", "send", "week", "--preview", "--html"]).await;
    assert!(html.starts_with("<!DOCTYPE html>") && html.trim_end().ends_with("</html>"), "{html}");
    let both = place.json(&["alerts", "digests", "send", "week", "--preview"]).await;
    assert!(both["text"].as_str().is_some_and(|both| text.starts_with(both)), "{both}");
    assert!(place.refused(&["alerts", "digests", "send", "week", "--html"]).await.contains("--preview"));
    assert!(receiver.asked().is_empty(), "a preview sends nothing");

    let sent = place.json(&["alerts", "digests", "send", "week"]).await;
    assert_eq!((&sent["state"], &sent["type"]), (&json!("sent"), &json!("digest")));
    assert_eq!(receiver.asked().len(), 1);
    assert!(place.refused(&["alerts", "digests", "send", "other"]).await.contains("`backline alerts digests list`"));
    assert!(place.refused(&["alerts", "channels", "remove", "ops"]).await.contains("alerts digests remove week"));
    place.done(&["alerts", "digests", "remove", "week"]).await;
    assert_eq!(place.json(&["alerts", "digests", "list"]).await, json!([]));
    let acts = place.json(&["audit", "list"]).await.to_string();
    assert!(acts.contains("alerts digests add") && acts.contains("alerts digests send"), "{acts}");
    assert!(!acts.contains("hooks.test"), "{acts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_written_to_a_file_that_is_replaced_only_with_force() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    let receiver = Server::start(|_| taken()).await;
    let place = Place::with(&receiver).await;
    for command in ["metrics", "growth"] {
        let file = format!("{command}.parquet");
        place.done(&[command, "--parquet", &file]).await;
        assert!(place.refused(&[command, "--parquet", &file]).await.contains("--force"));
        let told = place.json(&[command, "--parquet", &file, "--force"]).await;
        assert_eq!(told, json!({ "file": file, "lines": 0 }));
        let written = std::fs::File::open(place.folder.path().join(&file)).expect("a file");
        let reader = SerializedFileReader::new(written).expect("a Parquet file");
        let columns = reader.metadata().file_metadata().schema_descr().num_columns();
        assert_eq!(columns, if command == "metrics" { 20 } else { 11 });
    }
    assert!(place.refused(&["metrics", "--force"]).await.contains("--parquet"));
    assert!(place.refused(&["metrics", "--parquet", "-", "--json"]).await.contains("leave out --json"));
}
