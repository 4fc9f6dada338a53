//! Tests of exports: they hold every row of the tables, and are written while they are read.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use backline::pipeline::{ExportError, identifiers_of_export};
use backline_model::event::types;
use backline_model::growth::expanded;
use backline_model::privacy::{ColumnKind, personal};
use backline_model::{Artist, ArtistId, Event, SubscriptionStatus, Tenant};
use backline_simulator::SimulatorConfig;
use backline_store::{DatabaseKind, EventCursor, Scope, Store};
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value as Json, json};
use sha2::Digest as _;

use super::rows::{all_rows, columns, execute, raw, rows_of, split};
use crate::support::database::each_database;
use crate::support::fleet::Fleet;
use crate::support::stage::Stage;

/// Number of rows of the large artist.
const MANY: usize = 50_000;

/// Maximum growth of memory for these rows, in bytes. The rows take more than 50 MB.
const GROWTH_MAX: u64 = 24 * 1024 * 1024;

fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 18).expect("a date")
}

/// A file in memory that outlives its writer.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The files of a zip.
fn files(zip: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).expect("a zip");
    (0..archive.len())
        .map(|index| {
            let mut file = archive.by_index(index).expect("a file");
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).expect("it can be read");
            (file.name().expect("a name").into_owned(), bytes)
        })
        .collect()
}

/// Converts a value from either database to its form in an export.
fn plain(value: &Json, kind: ColumnKind) -> Json {
    match (kind, value) {
        (_, Json::Null) => Json::Null,
        (ColumnKind::Json, Json::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        (ColumnKind::Growth, Json::String(short)) => {
            plain(&serde_json::from_str(short).unwrap_or_else(|_| panic!("{short} is JSON")), kind)
        }
        (ColumnKind::Growth, _) => json!(expanded(value).unwrap_or_else(|| panic!("{value} is growth"))),
        (ColumnKind::Flag, Json::Number(number)) => json!(number.as_i64() != Some(0)),
        (ColumnKind::Time, Json::String(text)) => {
            let time: DateTime<Utc> = text.parse().unwrap_or_else(|_| panic!("{text} is a time"));
            json!(time.timestamp_micros())
        }
        (ColumnKind::Decimal, Json::Number(number)) => json!(number.as_f64()),
        _ => value.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_holds_what_the_tables_hold() {
    each_database(async |store, url| {
        let stage = Stage::set(
            url,
            SimulatorConfig { artists: 6, date: date(), troubles: true, ..SimulatorConfig::default() },
            |_| {},
        )
        .await;
        stage.run(date()).await;
        let artist = ArtistId(stage.simulator.world().artist(1).id);
        let accounts = store.accounts_of(&Scope::all_tenants(), &[artist]).await.expect("accounts are read");
        let pool = raw(&store, url).await;
        if store.kind() == DatabaseKind::Postgres {
            execute(&pool, "SELECT backline.ensure_month('metrics_archive'::regclass, '2026-11-18')").await;
        }
        execute(&pool, "INSERT INTO metrics_archive SELECT * FROM metrics").await;
        execute(&pool, &format!("UPDATE artists SET name = 'Zoë \"Z\", =1+1 ;' || 'x' WHERE id = '{artist}'")).await;
        let mut before = all_rows(&store, &pool).await;
        // With those that batches say of their accounts.
        let named = &columns(&store, &pool).await["collection_outcomes"];
        before.insert("collection_outcomes", rows_of(&store, &pool, "outcomes_all", named).await);
        let sink = Sink::default();
        let report = stage.host.privacy().export(artist, sink.clone(), &|_, _| {}).await.expect("exported");
        let zip = sink.0.lock().unwrap().clone();
        let exported = files(zip.clone());

        // What events say of rows is not in their own.
        let told = store.events_list(&Scope::all_tenants(), EventCursor::default(), 10_000).await.expect("read");
        let told: BTreeMap<String, Event> = told.into_iter().map(|(_, event)| (event.id.to_string(), event)).collect();

        for (table, rows) in personal() {
            let kinds: BTreeMap<&str, ColumnKind> = rows.columns().into_iter().collect();
            let shown = |row: &Json| -> Json {
                let row = row.as_object().unwrap();
                let hidden = |kind| matches!(kind, ColumnKind::Withheld | ColumnKind::Document);
                let shown = row.iter().filter(|(name, _)| !hidden(kinds[name.as_str()]));
                shown.map(|(name, value)| (name.clone(), plain(value, kinds[name.as_str()]))).collect()
            };
            let (held, _) = split(&before, table.name, artist, &accounts);
            let mut held: Vec<Json> = held.iter().map(shown).collect();
            for row in held.iter_mut().filter(|_| table.name == "events") {
                let event = &told[row["id"].as_str().expect("an id")];
                (row["data"], row["dedup_key"]) = (event.data.clone(), json!(event.dedup_key));
            }
            let lines = String::from_utf8(exported[&format!("{}.jsonl", table.name)].clone()).expect("text");
            let rows: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
            let mut found: Vec<Json> = rows.iter().map(shown).collect();
            held.sort_by_key(Json::to_string);
            found.sort_by_key(Json::to_string);
            assert_eq!(found, held, "{}", table.name);
            assert_eq!(report.rows[table.name], held.len() as u64);

            let mut csv = csv::Reader::from_reader(exported[&format!("{}.csv", table.name)].as_slice());
            let headers = csv.headers().expect("headers").clone();
            assert!(!headers.iter().any(|name| name == "sealed"), "{headers:?}");
            let records: Vec<csv::StringRecord> = csv.records().map(|record| record.expect("a record")).collect();
            assert_eq!(records.len(), rows.len(), "{}.csv", table.name);
            for (record, row) in records.iter().zip(&rows) {
                for (name, cell) in headers.iter().zip(record) {
                    let expected = match &row[name] {
                        Json::Null => String::new(),
                        Json::String(text) if text.starts_with(['=', '+', '-', '@']) => format!("'{text}"),
                        Json::String(text) => text.clone(),
                        other => other.to_string(),
                    };
                    assert_eq!(cell, expected, "{}.{name}", table.name);
                }
            }
        }
        assert!(
            report.rows["metrics"] >= 4 && report.rows["credentials"] >= 2 && report.rows["events"] > 0,
            "{report:?}"
        );

        let documents: Vec<Json> = String::from_utf8(exported["documents.jsonl"].clone())
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(documents.len() as u64, report.documents);
        for row in &documents {
            let id = row["id"].as_str().expect("an id");
            let body = store
                .document_get(&Scope::all_tenants(), id.parse().expect("an id"))
                .await
                .expect("read")
                .expect("it is there");
            assert_eq!(exported[&format!("documents/{id}.json")], body.into_bytes());
        }

        let manifest: Json = serde_json::from_slice(&exported["manifest.json"]).expect("JSON");
        assert_eq!(manifest["artist_id"], artist.to_string());
        assert_eq!(manifest["columns_left_out"]["credentials"][0], "sealed");
        let listed = manifest["files"].as_array().expect("files");
        assert_eq!(listed.len(), exported.len() - 1);
        for file in listed {
            let bytes = &exported[file["name"].as_str().expect("a name")];
            let hash: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((&file["sha256"], &file["bytes"]), (&json!(hash), &json!(bytes.len())), "{file}");
        }

        // The identifiers in the export are enough to find the artist's data.
        let identifiers = identifiers_of_export(Cursor::new(zip)).expect("an export");
        assert_eq!(identifiers.patterns(), stage.host.privacy().identifiers_of(artist).await.expect("read").patterns());

        // The export holds no id of another artist and no secret.
        let other = stage.simulator.world().artist(2).id.to_string();
        let secrets: Vec<String> =
            stage.simulator.world().artist_credentials(1).into_iter().map(|one| one.value).collect();
        for (name, bytes) in &exported {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains(&other), "{name} names another artist");
            for secret in &secrets {
                let value = serde_json::from_str::<Json>(secret)
                    .ok()
                    .and_then(|form| form["refresh_token"].as_str().map(str::to_owned));
                assert!(!text.contains(value.as_ref().unwrap_or(secret).as_str()), "{name} holds a secret");
            }
        }
        let nobody = ArtistId::generate();
        assert!(matches!(
            stage.host.privacy().export(nobody, Sink::default(), &|_, _| {}).await,
            Err(ExportError::NoArtist(_))
        ));
        pool.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_file_is_complete_or_absent_and_private_to_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;

    each_database(async |store, url| {
        let stage =
            Stage::bare(url, SimulatorConfig { artists: 1, date: date(), ..SimulatorConfig::default() }, |_| {}).await;
        let artists = people(&store, &[1]).await;
        let fleet = Fleet::of(&stage, |_| {});
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ada.zip");
        let export = |artist: ArtistId, out: &std::path::Path| {
            let (artist, out) = (artist.to_string(), out.display().to_string());
            fleet.command(&["privacy", "export", &artist, "--out", &out]).output().expect("it runs")
        };
        let names = || {
            std::fs::read_dir(folder.path())
                .expect("the folder")
                .flatten()
                .map(|file| file.file_name())
                .collect::<Vec<_>>()
        };
        assert_eq!(export(ArtistId::generate(), &path).status.code(), Some(2));
        assert_eq!(names(), Vec::<std::ffi::OsString>::new(), "a failed export leaves no file");
        let done = export(artists[0], &path);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(names(), ["ada.zip"]);
        let mode = std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert!(files(std::fs::read(&path).expect("read")).contains_key("artists.csv"));

        // After the erasure, the identifiers in the export find nothing.
        let id = artists[0].to_string();
        let erased = fleet.command(&["privacy", "erase", &id]).output().expect("it runs");
        let said = String::from_utf8_lossy(&erased.stderr).into_owned();
        assert!(erased.status.code() == Some(2) && said.contains("--yes"), "there is no terminal to ask: {said}");
        let erased =
            fleet.command(&["privacy", "erase", &id, "--yes", "--verify", "--json"]).output().expect("it runs");
        let said: Json = serde_json::from_slice(&erased.stdout).expect("JSON");
        assert_eq!((&said["found"], &said["receipt"]["rows"]["artists"]), (&json!([]), &json!(1)), "{said}");
        let from = path.display().to_string();
        let verified = fleet.command(&["privacy", "verify", &id, "--from", &from, "--json"]).output().expect("it runs");
        let said: Json = serde_json::from_slice(&verified.stdout).expect("JSON");
        assert!(verified.status.success() && said["found"] == json!([]) && said["searched_for"] == 2, "{said}");
    })
    .await;
}

/// Artists without accounts, with one event each.
async fn people(store: &Store, numbers: &[u128]) -> Vec<ArtistId> {
    let now = DateTime::UNIX_EPOCH;
    let artists: Vec<Artist> = numbers
        .iter()
        .map(|number| Artist {
            id: ArtistId(uuid::Uuid::from_u128(0xE4_0000 + number)),
            name: "Ada".to_owned(),
            tenant: Tenant::default(),
            subscription_status: SubscriptionStatus::Active,
            data_collection_enabled: true,
            timezone: backline_model::Zone::utc(),
        })
        .collect();
    store.artists_save(&Scope::all_tenants(), &artists, now).await.expect("saved");
    artists.iter().map(|artist| artist.id).collect()
}

/// Events about an artist with incompressible data.
async fn events(store: &Store, artist: ArtistId, count: usize) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    for chunk in (0..count).collect::<Vec<_>>().chunks(2_000) {
        let events: Vec<Event> = chunk
            .iter()
            .map(|_| Event {
                id: uuid::Uuid::new_v4(),
                kind: types::METRICS_COLLECTED.to_owned(),
                artist_id: Some(artist),
                occurred_at: DateTime::UNIX_EPOCH,
                dedup_key: None,
                data: json!({ "noise": (0..64).map(|_| noise()).collect::<String>() }),
            })
            .collect();
        store.events_write(&Scope::all_tenants(), &events).await.expect("written");
    }
}

/// Peak memory of a command until shortly before its end, in bytes, measured each time its output fills the pipe.
fn peak(mut command: Command) -> (u64, usize) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut out = child.stdout.take().expect("piped");
    let (mut bytes, mut most, mut block) = (0, 0, vec![0; 16 * 1024]);
    loop {
        let read = out.read(&mut block).expect("readable");
        if read == 0 {
            break;
        }
        bytes += read;
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(kib.unwrap_or_default() * 1024);
    }
    assert!(child.wait().expect("it ends").success());
    (most, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_grow_with_what_is_exported() {
    each_database(async |store, url| {
        let stage =
            Stage::bare(url, SimulatorConfig { artists: 1, date: date(), ..SimulatorConfig::default() }, |_| {}).await;
        let artists = people(&store, &[1, 2]).await;
        events(&store, artists[0], 400).await;
        events(&store, artists[1], MANY).await;
        let fleet = Fleet::of(&stage, |_| {});
        let export = |artist: ArtistId| fleet.command(&["privacy", "export", &artist.to_string(), "--out", "-"]);
        let (few, few_bytes) = peak(export(artists[0]));
        let (many, many_bytes) = peak(export(artists[1]));
        assert!(few > 0 && few_bytes > 200_000 && many_bytes > 40_000_000, "{few} {few_bytes} {many_bytes}");
        let grown = many.saturating_sub(few);
        assert!(grown < GROWTH_MAX, "{} rows took {grown} bytes more than 400", MANY);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_or_a_closed_pipe_is_a_failure_and_no_refusal() {
    each_database(async |store, url| {
        let stage =
            Stage::bare(url, SimulatorConfig { artists: 1, date: date(), ..SimulatorConfig::default() }, |_| {}).await;
        let artists = people(&store, &[1]).await;
        let fleet = Fleet::of(&stage, |_| {});
        let export = |out: Stdio| {
            let id = artists[0].to_string();
            let done = fleet
                .command(&["privacy", "export", &id, "--out", "-"])
                .stdout(out)
                .stderr(Stdio::piped())
                .spawn()
                .and_then(Child::wait_with_output)
                .expect("it runs");
            (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
        };
        let full = std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        for (out, cause) in [(full.into(), "No space left on device"), (writer.into(), "Broken pipe")] {
            let (code, said) = export(out);
            assert_eq!(code, Some(4), "{said}");
            assert!(said.contains("the export can't be written: ") && said.contains(cause), "{said}");
            assert!(!said.contains("ZipWriter"), "a library's own line: {said}");
        }
    })
    .await;
}
