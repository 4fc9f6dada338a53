//! Test of the real binary against the simulator, from an empty folder to growth: results, and that no secret is shown.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use backline_simulator::{Simulator, SimulatorConfig};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::support::components::workspace;
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
            let file = workspace().join("target/plugins").join(format!("{plugin}.wasm"));
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
            let seen =
                written.iter().any(|bytes| bytes.windows(canary.len()).any(|window| window == canary.as_bytes()));
            assert!(!seen, "a secret was written");
        }
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
