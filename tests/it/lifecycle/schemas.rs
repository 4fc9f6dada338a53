//! Tests that all events match the schemas in docs/events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use backline_model::Event;
use backline_model::event::types;
use backline_rules::delivery;
use backline_simulator::SimulatorConfig;
use backline_store::Store;
use chrono::{NaiveDate, TimeDelta};
use jsonschema::Validator;
use serde_json::{Value as Json, json};

use crate::support::database::each_database;
use crate::support::host::HostExt as _;
use crate::support::stage::{Stage, noon, platform};
use crate::support::variants::variant;

/// The schemas in docs/events, by event type.
pub fn schemas() -> BTreeMap<String, Json> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events");
    let files = std::fs::read_dir(folder).expect("docs/events is there").map(|entry| entry.expect("readable").path());
    files
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            let kind = name
                .strip_suffix(".v1.schema.json")
                .unwrap_or_else(|| panic!("the file name {name} is no event schema"))
                .to_owned();
            let schema = std::fs::read_to_string(&path).expect("readable");
            (kind, serde_json::from_str(&schema).unwrap_or_else(|error| panic!("{name}: {error}")))
        })
        .collect()
}

fn validator(kind: &str, schema: &Json) -> Validator {
    jsonschema::options().should_validate_formats(true).build(schema).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

/// Checks a message against its schema. Additional fields are allowed only if the schema describes them.
pub fn check(schemas: &BTreeMap<String, Json>, message: &Json) {
    let kind = message["type"].as_str().expect("a type");
    let schema = schemas.get(kind).unwrap_or_else(|| panic!("{kind} has no schema in docs/events"));
    let wrong: Vec<String> = validator(kind, schema).iter_errors(message).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{kind}: {wrong:?} in {message}");
    for (described, value) in
        [(&schema["properties"], message), (&schema["properties"]["data"]["properties"], &message["data"])]
    {
        for field in value.as_object().expect("an object").keys() {
            assert!(described.get(field).is_some(), "{kind}: '{field}' is not described");
        }
    }
}

#[test]
fn every_type_of_event_has_a_schema_with_an_example_that_fits_and_a_chapter() {
    let schemas = schemas();
    let described: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    assert_eq!(described, types::ALL.into_iter().collect::<BTreeSet<_>>());
    let chapters = include_str!("../../../docs/events.md");
    for (kind, schema) in &schemas {
        let example = &schema["examples"][0];
        assert_eq!(example["type"], json!(kind));
        check(&schemas, example);
        let without = |field: &str| {
            let mut message = example.clone();
            message.as_object_mut().expect("an object").remove(field);
            message
        };
        for field in ["id", "type", "version", "timestamp", "artist_id", "data"] {
            assert!(!validator(kind, schema).is_valid(&without(field)), "{kind}: a message without {field} passes");
        }
        assert!(chapters.contains(&format!("### `{kind}`")), "docs/events.md has no chapter on {kind}");
        assert!(chapters.contains(&format!("events/{kind}.v1.schema.json")), "nor a link to its schema");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_of_a_series_of_collections_match_the_schemas() {
    each_database(async |_store: Store, url: &str| {
        let date = NaiveDate::from_ymd_opt(2026, 11, 18).expect("a date");
        let simulator = SimulatorConfig {
            artists: 25,
            date,
            troubles: true,
            instagram_lost: vec!["saved".to_owned()],
            ..SimulatorConfig::default()
        };
        let stage = Stage::set(url, simulator, |_| {}).await;
        stage.run(date).await;
        let second = variant("youtube", "9.0.0", |_| {});
        stage.host.install(&second).await.expect("it is installed and activated");
        stage.set_date(date + TimeDelta::days(1));
        stage.run(date + TimeDelta::days(1)).await;
        stage.host.releases().roll_back(&platform("youtube"), "for the test").await.expect("it is rolled back");
        stage.set_time(noon(date) + TimeDelta::days(59));
        stage.host.refresh_credentials().await.expect("credentials are kept");

        let events: Vec<Event> = stage.events().await;
        let schemas = schemas();
        for event in &events {
            check(&schemas, &delivery::message(event));
        }
        let written: BTreeSet<&str> = events.iter().map(|event| event.kind.as_str()).collect();
        for kind in [
            types::METRICS_COLLECTED,
            types::SIGNIFICANT_CHANGE,
            types::RECONNECT_NEEDED,
            types::CREDENTIAL_EXPIRING,
            types::METRIC_LOST,
            types::CONNECTOR_ACTIVATED,
            types::CONNECTOR_ROLLED_BACK,
            types::RUN_COMPLETED,
        ] {
            assert!(written.contains(kind), "no {kind} was written, so its schema was not checked: {written:?}");
        }
    })
    .await;
}
