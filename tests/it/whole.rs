//! Test of the real binary against the simulator, from an empty folder to growth: results, and that no secret is shown.

#[cfg(feature = "demo")]
mod demo;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use backline_model::clock::Clock;
use backline_simulator::{Simulator, SimulatorConfig};
use chrono::Days;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::support::bytes::holds;
use crate::support::components::target;
use crate::support::database::each_empty_database;

/// A folder with a configuration for a simulator.
struct Operator {
    folder: TempDir,
}

impl Operator {
    fn new(url: &str, simulator: &Simulator) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config =
            format!("[database]\nurl = \"{url}\"\n[secrets]\nkey_file = \"backline.key\"\n[log]\nfilter = \"trace\"\n");
        config.push_str("[sandbox]\ncache_dir = \"cache\"\n[gateway]\nbackoff_base_ms = 1\nbackoff_max_ms = 5\n");
        // The simulator's dates are not the machine's.
        config.push_str("[collection]\nlate_s = 4000000000\n");
        for host in backline_simulator::HOSTS {
            config.push_str(&format!(
                "[[gateway.routes]]\norigin = \"https://{host}\"\nconnect = \"http://{}\"\n",
                simulator.addr()
            ));
        }
        std::fs::write(folder.path().join("backline.toml"), config).expect("written");
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command with standard input. It must end with one of the exit codes.
    async fn run(&self, arguments: &[&str], input: &str, codes: &[i32]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backline"));
        command.env("XDG_STATE_HOME", self.path().join("state"));
        command.current_dir(self.path()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let output = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("the binary starts");
            // A command that does not read its input may have ended already.
            let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
            child.wait_with_output().expect("it ends")
        });
        let output = output.await.expect("it ends");
        let code = output.status.code().expect("it ends by itself");
        assert!(codes.contains(&code), "{arguments:?} ended with {code}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

fn json(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).expect("one JSON document on standard output")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_empty_folder_to_growth_without_showing_a_secret() {
    each_empty_database(async |url| {
        let config =
            SimulatorConfig { artists: 25, troubles: true, remember_requests: 20_000, ..SimulatorConfig::default() };
        let simulator = Simulator::start(config).await.expect("the simulator starts");
        let world = simulator.world();
        let operator = Operator::new(url, &simulator);
        let mut said = Vec::new();
        let mut note = |output: Output| {
            said.extend_from_slice(&output.stdout);
            said.extend_from_slice(&output.stderr);
        };

        note(operator.run(&["keys", "generate", "--file", "backline.key"], "", &[0]).await);
        note(operator.run(&["migrate"], "", &[0]).await);
        for plugin in ["youtube", "spotify", "instagram", "tiktok", "apple-music"] {
            let file = target().join("plugins").join(format!("{plugin}.wasm"));
            let file = file.to_str().expect("a path").to_owned();
            note(operator.run(&["plugins", "install", &file, "--yes"], "", &[0]).await);
        }
        let csv = world.artists_csv();
        let odd = csv.replacen(&world.artist(24).instagram_token, "short", 1);
        std::fs::write(operator.path().join("odd.csv"), odd).expect("written");
        let refused = operator.run(&["artists", "import", "odd.csv"], "", &[2]).await;
        let refused = String::from_utf8(refused.stderr).expect("text");
        assert!(refused.contains("line 26") && refused.contains("the instagram token can't be used"), "{refused}");
        let nobody = operator.run(&["artists", "list", "--json"], "", &[0]).await;
        assert_eq!(json(&nobody).as_array().map(Vec::len), Some(0), "an unusable token refuses the whole file");
        std::fs::remove_file(operator.path().join("odd.csv")).expect("removed");
        std::fs::write(operator.path().join("artists.csv"), csv).expect("written");
        note(operator.run(&["artists", "import", "artists.csv"], "", &[0]).await);
        for credential in world.operator_credentials() {
            let arguments = ["credentials", "set", credential.platform, credential.slot];
            note(operator.run(&arguments, &credential.value, &[0]).await);
        }
        note(operator.run(&["credentials", "list", "--json"], "", &[0]).await);
        note(operator.run(&["config", "show"], "", &[0]).await);

        let date = simulator.world().start().to_string();
        let planned = operator.run(&["plan", "--date", &date, "--json"], "", &[0]).await;
        assert_eq!(json(&planned)["total"]["accounts"], 125);
        let run = operator.run(&["run", "--date", &date, "--json"], "", &[3]).await;
        let report = json(&run);
        assert_eq!(report["run"]["status"], "partial_failure");
        assert_eq!(report["run"]["counts"]["planned"], 125);
        assert!(report["run"]["counts"]["collected"].as_u64().is_some_and(|collected| collected > 110), "{report}");
        note(run);
        for listing in ["metrics", "growth"] {
            let artist = world.artist(0).id.to_string();
            let listed = operator.run(&[listing, &artist, "--json"], "", &[0]).await;
            assert_eq!(json(&listed).as_array().map(Vec::len), Some(5), "{listing}: a row on each platform");
            note(listed);
        }
        let runs = operator.run(&["runs", "list", "--json"], "", &[0]).await;
        let id = json(&runs)[0]["id"].as_str().expect("an id").to_owned();
        note(operator.run(&["runs", "show", &id, "--json"], "", &[0]).await);

        let canaries = canaries(&simulator);
        // 25 tokens of Instagram, 25 refresh tokens, four operator secrets, and the tokens they were exchanged for.
        assert!(canaries.len() > 60, "{} canaries", canaries.len());
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("TRACE") || said.contains("DEBUG"), "the log was on");
        // Files of the operator hold secrets; files that Backline writes must not.
        let mut written = Vec::new();
        for entry in std::fs::read_dir(operator.path()).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_file() && !path.ends_with("artists.csv") {
                written.push(std::fs::read(path).expect("readable"));
            }
        }
        if let Some(path) = url.strip_prefix("sqlite://") {
            for file in [path.to_owned(), format!("{path}-wal")] {
                written.extend(std::fs::read(file));
            }
        }
        for canary in &canaries {
            assert!(!said.contains(canary.as_str()), "a secret was shown");
            assert!(!written.iter().any(|bytes| holds(bytes, canary)), "a secret was written");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_collects_what_past_dates_lack_and_nothing_twice() {
    each_empty_database(async |url| {
        // The connector takes a day for final three days after it ended in California.
        let today = Clock::system().now().date_naive();
        let date = |back: u64| today - Days::new(back);
        let config = SimulatorConfig { artists: 2, date: today, ..SimulatorConfig::default() };
        let simulator = Simulator::start(config).await.expect("the simulator starts");
        let world = simulator.world();
        let operator = Operator::new(url, &simulator);
        operator.run(&["keys", "generate", "--file", "backline.key"], "", &[0]).await;
        operator.run(&["migrate"], "", &[0]).await;
        let file = target().join("plugins/youtube-analytics.wasm");
        operator.run(&["plugins", "install", file.to_str().expect("a path"), "--yes"], "", &[0]).await;
        let mut csv = "id,name,youtube_analytics_channel_id,youtube_analytics_refresh_token\n".to_owned();
        for index in 0..2 {
            let (artist, token) = (world.artist(index), world.google_refresh_token(index));
            csv.push_str(&format!("{},Artist {index},{},{token}\n", artist.id, artist.youtube_channel_id));
        }
        std::fs::write(operator.path().join("artists.csv"), csv).expect("written");
        operator.run(&["artists", "import", "artists.csv"], "", &[0]).await;
        let check = ["credentials", "check", "youtube_analytics", "--json"];
        let failed = json(&operator.run(&check, "", &[4]).await);
        assert!(failed["problem"].is_string() && failed["name"].is_null(), "without a client: {failed}");
        let client = json!({ "client_id": world.google_client_id(), "client_secret": world.google_client_secret() });
        let set = ["credentials", "set", "youtube_analytics", "user"];
        operator.run(&set, &client.to_string(), &[0]).await;
        let passed = json(&operator.run(&check, "", &[0]).await);
        assert_eq!((&passed["name"], &passed["problem"]), (&passed["platform_id"], &Json::Null), "{passed}");

        let again = ["artists", "import", "artists.csv", "--check", "--json"];
        let checked = json(&operator.run(&again, "", &[0]).await);
        assert_eq!((&checked["checks"]["passed"], &checked["checks"]["failed"]), (&json!(2), &json!([])), "{checked}");

        let (from, to) = (date(7).to_string(), date(5).to_string());
        let backfill = async |more: &[&str]| {
            let arguments = ["--set", "collection.late_s=21600", "backfill", "--platform", "youtube-analytics"];
            let arguments = [&arguments[..], &["--from", from.as_str(), "--to", to.as_str(), "--json"], more].concat();
            json(&operator.run(&arguments, "", &[0]).await)
        };
        let asked_before = simulator.counts().operation("GET /v2/reports");
        assert_eq!(asked_before, 3, "a check asks once for each account");
        let asked = || simulator.counts().operation("GET /v2/reports") - asked_before;
        let forecast = backfill(&[]).await;
        assert_eq!((&forecast["forecast"]["accounts"], &forecast["complete"]), (&json!(6), &json!(0)), "{forecast}");
        assert_eq!((&forecast["collected"], asked()), (&json!([]), 0), "a forecast asks for nothing");

        let done = backfill(&["--yes"]).await;
        let dates: Vec<&str> = (0..3_usize).filter_map(|index| done["collected"][index]["date"].as_str()).collect();
        assert_eq!(dates, [5, 6, 7].map(|back| date(back).to_string()), "the newest first");
        assert!((0..3_usize).all(|index| done["collected"][index]["counts"]["collected"] == 2), "{done}");
        assert_eq!((&done["is_cut"], asked()), (&json!(false), 12), "two requests for each channel and day");

        let rows = json(&operator.run(&["metrics", "--json"], "", &[0]).await);
        let rows = rows.as_array().expect("a list");
        assert_eq!(rows.len(), 6);
        for (index, back) in (0..2).flat_map(|index| (5..8).map(move |back| (index, back))) {
            let (id, day) = (world.artist(index).id.to_string(), date(back));
            let row = rows.iter().find(|row| row["artist_id"] == id && row["metric_date"] == day.to_string());
            let views = &row.expect("a row of each artist and date")["values"]["account_views"];
            let expected = world.analytics_day(index, day).map(|numbers| numbers[0]);
            assert_eq!(views.as_i64(), expected, "{id} on {day}");
            let countries = &row.expect("a row of each artist and date")["values"]["views_by_country"];
            let first = world.analytics_countries(index, day).map(|found| format!("{} {}", found[0].0, found[0].1[0]));
            assert_eq!(countries[0].as_str(), first.as_deref(), "{id} on {day}");
        }

        let again = backfill(&["--yes"]).await;
        assert_eq!((&again["complete"], &again["collected"]), (&json!(3), &json!([])), "{again}");
        assert_eq!(asked(), 12, "nothing is asked twice");
    })
    .await;
}

/// All secrets of the world, and all tokens that the simulator received.
fn canaries(simulator: &Simulator) -> Vec<String> {
    let world = simulator.world();
    let mut canaries = Vec::new();
    let artists = (0..world.artists()).flat_map(|index| world.artist_credentials(index));
    for credential in world.operator_credentials().into_iter().chain(artists) {
        match serde_json::from_str::<Json>(&credential.value) {
            Ok(Json::Object(fields)) => canaries.extend(
                ["client_secret", "refresh_token", "private_key_pem"]
                    .iter()
                    .filter_map(|field| fields.get(*field)?.as_str().map(str::to_owned)),
            ),
            _ => canaries.push(credential.value),
        }
    }
    for request in simulator.requests() {
        let authorization = request.headers.iter().filter(|(name, _)| name == "authorization");
        canaries.extend(authorization.filter_map(|(_, value)| value.split(' ').next_back().map(str::to_owned)));
    }
    canaries.sort();
    canaries.dedup();
    assert!(canaries.iter().all(|canary| canary.len() >= 8), "a short canary proves nothing");
    canaries
}
