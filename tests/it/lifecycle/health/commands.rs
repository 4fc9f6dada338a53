//! `backline health` as people and scripts call it.

use backline_simulator::{Fault, FaultKind, RetryAfter, SimulatorConfig};
use backline_store::DatabaseKind;
use serde_json::Value as Json;

use crate::support::database::{each_database, write, write_unchecked};
use crate::support::fleet::Fleet;
use crate::support::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_tells_health_and_its_exit_code_tells_scripts() {
    each_database(async |_, url| {
        let simulator = SimulatorConfig { artists: 2, ..SimulatorConfig::default() };
        let start = simulator.date;
        let stage = Stage::set(url, simulator, |_| {}).await;
        let fleet = Fleet::of(&stage, |_| {});
        // The binary goes by the machine's clock, for which the stage's day may be long past or still to come.
        let run = |arguments: &[&str]| {
            let output = fleet.command(arguments).output().expect("it starts");
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
            (output.status.code(), text(output.stdout), text(output.stderr))
        };
        let (code, shown, _) = run(&["health"]);
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.starts_with("score no data, over the last 24 h"), "{shown}");
        for line in
            ["– accounts collected of those planned: no data (target > 95.00 %)", "apple_music (optional)", "backline "]
        {
            assert!(shown.contains(line), "'{line}' is missing:\n{shown}");
        }
        assert_eq!(run(&["health", "alerts"]), (Some(0), String::new(), "no alert has ever fired\n".to_owned()));

        let fault = Fault::always(FaultKind::Status { status: 503, retry_after: RetryAfter::Absent });
        stage.simulator.set_faults(vec![fault.on_host("api.spotify.com")]);
        stage.run(start).await;
        let (code, shown, _) = run(&["health", "--check"]);
        assert_eq!(code, Some(1), "an alert is firing: {shown}");
        assert!(shown.contains("! completion of spotify has been firing since"), "{shown}");
        assert_eq!(run(&["health"]).0, Some(0), "nobody asked for a check");
        let (_, listed, _) = run(&["health", "alerts", "--json"]);
        let alerts: Json = serde_json::from_str(&listed).expect("JSON");
        assert_eq!((&alerts[0]["name"], &alerts[0]["firing"]), (&"completion".into(), &true.into()), "{alerts}");
        let (_, report, _) = run(&["health", "--json", "--window", "7d"]);
        let report: Json = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["objectives"].as_array().map(Vec::len), Some(5), "{report}");
        let (code, shown, complaint) = run(&["health", "--tenant", "default"]);
        assert_eq!(code, Some(0), "{complaint}");
        assert!(shown.starts_with("tenant default: score ") && shown.contains("spotify"), "{shown}");
        assert!(!shown.contains("accounts collected of those planned") && !shown.contains("firing"), "{shown}");
        let (_, of_tenant, _) = run(&["health", "--tenant", "default", "--window", "7d", "--json"]);
        let of_tenant: Json = serde_json::from_str(&of_tenant).expect("JSON");
        for count in ["collected", "failed", "planned", "score"] {
            assert_eq!(
                of_tenant["total"][count], report["total"][count],
                "every artist is of this tenant: {of_tenant}"
            );
        }
        let (code, _, complaint) = run(&["health", "--tenant", "defualt"]);
        assert_eq!(code, Some(2));
        assert!(complaint.contains("'defualt'") && complaint.contains("'default'"), "{complaint}");
        let (code, _, complaint) = run(&["health", "--window", "1y"]);
        assert_eq!(code, Some(2));
        assert!(complaint.contains("write one such as 90m, 24h or 7d"), "{complaint}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_collects_nothing_names_the_artists_and_credentials_that_nothing_can_read() {
    each_database(async |store, url| {
        let simulator = SimulatorConfig { artists: 2, ..SimulatorConfig::default() };
        let stage = Stage::set(url, simulator, |_| {}).await;
        let health = async || {
            let output = Fleet::of(&stage, |_| {}).command(&["health"]).output().expect("it starts");
            String::from_utf8(output.stdout).expect("text")
        };
        let shown = health().await;
        assert!(!shown.contains("can't be read"), "{shown}");

        write_unchecked(url, "UPDATE artists SET timezone = 'europe/berlin'").await;
        // PostgreSQL's types keep such a row of credentials out.
        let is_typed = store.kind() == DatabaseKind::Postgres;
        if !is_typed {
            write(url, "UPDATE credentials SET updated_at = 'then' WHERE platform = 'youtube'").await;
        }
        let shown = health().await;
        assert!(shown.contains("2 rows of artists can't be read"), "{shown}");
        assert!(shown.contains("(timezone: 'europe/berlin')") && shown.contains("backline artists list"), "{shown}");
        let is_named = shown.contains("1 row of credentials can't be read") && shown.contains("(updated_at: ");
        assert!(is_named || is_typed, "{shown}");
    })
    .await;
}
