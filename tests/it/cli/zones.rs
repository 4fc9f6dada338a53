//! Time zones: that the rules come from the folder that an operator can update, and what is said about it.

use std::path::Path;

use serde_json::Value as Json;

use super::Place;
use crate::support::zones;

/// A place whose time zones come from a folder.
fn place_with(folder: &Path) -> Place {
    let place = Place::migrated();
    place.write("backline.toml", &format!("[timezones]\nfolder = \"{}\"\n[schedules]\n", folder.display()));
    place
}

/// A place with a folder of its own beside the database: UTC, and what is copied there.
fn place_of_own() -> Place {
    let place = Place::migrated();
    place.write("backline.toml", "[timezones]\nfolder = \"zones\"\n[schedules]\n");
    for folder in ["Etc", "Europe"] {
        std::fs::create_dir_all(place.path().join("zones").join(folder)).expect("created");
    }
    copy(&place, "Etc/UTC", "Etc/UTC");
    place
}

fn copy(place: &Place, from: &str, to: &str) {
    let to = place.path().join("zones").join(to);
    std::fs::copy(zones::folder().join(from), to).expect("copied");
}

/// When a schedule for two at night there fires next.
fn two_at_night(place: &Place, zone: &str) -> String {
    place.done(&["schedules", "add", "night", "--cron", "0 2 * * *", "--timezone", zone]);
    let listed: Json = serde_json::from_str(&place.done(&["schedules", "list", "--json"])).expect("JSON");
    assert_eq!(listed[0]["timezone"], zone);
    let next = listed[0]["next_fire"].as_str().expect("it fires").to_owned();
    place.done(&["schedules", "remove", "night"]);
    next
}

#[test]
fn clocks_that_stopped_changing_in_2026_are_right() {
    let place = place_with(&zones::folder());
    for (zone, two) in
        [("America/Vancouver", "T09:00:00Z"), ("America/Edmonton", "T08:00:00Z"), ("Africa/Casablanca", "T02:00:00Z")]
    {
        let next = two_at_night(&place, zone);
        assert!(next.ends_with(two), "{zone}: {next}");
    }
    let shown = place.done(&["config", "show"]);
    let said = format!("\n# time zone data {} from {}", zones::VERSION, zones::folder().display());
    assert!(shown.contains(&said), "{shown}");
}

#[test]
fn the_folder_decides_and_what_it_lacks_comes_from_the_binary() {
    let place = place_of_own();
    copy(&place, "Asia/Tokyo", "Europe/Berlin");
    assert!(two_at_night(&place, "Europe/Berlin").ends_with("T17:00:00Z"), "the folder's rules are used");
    assert!(two_at_night(&place, "Asia/Tokyo").ends_with("T17:00:00Z"), "the folder has no file for it");

    std::fs::write(place.path().join("zones/Europe/Paris"), "nonsense").expect("written");
    let next = two_at_night(&place, "Europe/Paris");
    assert!(next.ends_with("T01:00:00Z") || next.ends_with("T00:00:00Z"), "a file that can't be read costs nothing");
}

#[test]
fn a_report_says_which_data_is_used_and_that_it_is_old() {
    let place = place_of_own();
    std::fs::write(place.path().join("zones/tzdata.zi"), "# version 2025b\nR d 1916 o\n").expect("written");
    let shown = place.done(&["health"]);
    assert!(shown.contains("time zone data 2025b from zones; the copy in this binary is 2026"), "{shown}");
    assert!(shown.contains("update the system's package tzdata"), "{shown}");
    let report: Json = serde_json::from_str(&place.done(&["health", "--json"])).expect("JSON");
    assert_eq!((&report["time_zones"]["version"], &report["time_zones"]["folder"]), (&"2025b".into(), &"zones".into()));
    let config: Json = serde_json::from_str(&place.done(&["config", "show", "--json"])).expect("JSON");
    assert_eq!(config["time_zones"], report["time_zones"]);

    std::fs::write(place.path().join("zones/tzdata.zi"), "# version 2099a\n").expect("written");
    let shown = place.done(&["health"]);
    assert!(shown.contains("time zone data 2099a from zones") && !shown.contains("package tzdata"), "{shown}");
}

#[test]
fn a_folder_without_time_zones_and_a_zone_that_does_not_exist_are_refused() {
    let place = place_of_own();
    let said = place.refused(&["--set", "timezones.folder=elsewhere", "artists", "list"]);
    assert!(said.starts_with("timezones.folder in flag --set is wrong: elsewhere holds no compiled"), "{said}");
    // As the files in `right` are: a header alone, with 27 leap seconds.
    let mut right = [0; 44];
    right[..4].copy_from_slice(b"TZif");
    right[31] = 27;
    std::fs::create_dir_all(place.path().join("right/Etc")).expect("created");
    std::fs::write(place.path().join("right/Etc/UTC"), right).expect("written");
    let said = place.refused(&["--set", "timezones.folder=right", "artists", "list"]);
    assert!(said.contains("timezones.folder in flag --set is wrong: right can't be used (it counts leap"), "{said}");
    for (zone, nearest) in [("europe/berlin", "Europe/Berlin"), ("Berlin", "Europe/Berlin"), ("utc", "UTC")] {
        let said = place.refused(&["artists", "add", "Ada", "--timezone", zone]);
        assert_eq!(said, format!("--timezone: '{zone}' is not an IANA time zone; did you mean '{nearest}'?"));
    }
    place.write("bad.toml", "[schedules.night]\ntimezone = \"Berlin\"\n");
    let said = place.refused(&["--config", "bad.toml", "artists", "list"]);
    assert!(said.contains("schedules.night.timezone in bad.toml is wrong") && said.contains("Europe/Berlin"), "{said}");
}
