//! The connectors of the job that `cargo xtask bench` measures, without measuring anything: the bench runs too rarely
//! to show that the simulator's list no longer feeds them.

use backline_model::Manifest;
use backline_model::account_rule::Gives;
use backline_rules::lists::{ColumnRole, Directory};
use backline_simulator::{SimulatorConfig, World};

use crate::support::components::workspace;

const CONNECTORS: [&str; 5] = ["youtube", "spotify", "apple_music", "instagram", "tiktok"];

/// Columns of the list that are about the artist, not about an account.
const ARTIST_COLUMNS: [&str; 7] =
    ["id", "name", "tenant", "timezone", "subscription_status", "data_collection_enabled", "consents"];

fn manifest(name: &str) -> Manifest {
    let path = workspace().join(format!("bench/connectors/examples/{name}.toml"));
    let text = std::fs::read_to_string(path).expect("readable");
    Manifest::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_measured_connectors_take_every_column_of_the_simulators_list() {
    let manifests = CONNECTORS.map(manifest);
    let directory = Directory::of(&manifests);
    let csv = World::new(7, 20, SimulatorConfig::default().date, false).artists_csv();
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let artists: Vec<Vec<&str>> = lines.collect();
    assert_eq!(artists.len(), 20);
    let mut ids = 0;
    for (at, column) in header.iter().enumerate().filter(|(_, column)| !ARTIST_COLUMNS.contains(*column)) {
        let ColumnRole::Column { listed, gives, .. } = directory.column(column) else { panic!("none takes {column}") };
        if *gives == Gives::Id {
            ids += 1;
            for artist in &artists {
                assert_eq!(listed.reader.read(artist[at]).as_deref(), Ok(artist[at]), "{column}");
            }
        }
    }
    assert_eq!(ids, CONNECTORS.len(), "each platform has its account of every artist");
}
