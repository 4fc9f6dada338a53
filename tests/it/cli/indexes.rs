//! `plugins index`, `plugins search`, and installing by a name.

use serde_json::Value as Json;

use super::Place;
use crate::support::components::guest;
use crate::support::variants::{replace, variant_of};

/// A place with a component `guest.wasm`, a key `acme`, and an index of the component that the key signed.
fn indexed() -> (Place, String) {
    let place = Place::migrated();
    std::fs::write(place.path().join("guest.wasm"), guest("well_behaved")).expect("written");
    let trusted = place.done(&["plugins", "keygen", "--name", "acme"]);
    let add = ["plugins", "index", "add", "index.json", "guest.wasm", "--source", "guest.wasm", "--key", "acme.key"];
    place.done(&add);
    place.write("backline.toml", &format!("[plugins]\nindex = \"index.json\"\n\n{trusted}"));
    (place, trusted)
}

#[test]
fn a_connector_is_found_in_a_signed_index_and_installed_by_its_name() {
    let (place, _) = indexed();
    assert!(place.path().join("index.json.minisig").is_file());
    let found: Json = serde_json::from_str(&place.done(&["plugins", "search", "FOLLOW", "--json"])).expect("JSON");
    assert_eq!((&found[0]["name"], &found[0]["version"]), (&"guest".into(), &"1.0.0".into()), "{found}");
    assert_eq!(found[0]["metrics"][0], "followers", "{found}");
    assert_eq!(place.done(&["plugins", "search", "nothing"]), "");
    let verified = place.done(&["plugins", "index", "verify", "--components"]);
    assert!(verified.contains("1 connector, 1 release") && verified.contains("signed by acme"), "{verified}");

    for (name, said) in [
        ("gest", "has no connector 'gest'; did you mean 'guest'?"),
        ("guest@2.0.0", "no version 2.0.0 of guest; it has 1.0.0"),
    ] {
        let refused = place.refused(&["plugins", "install", name, "--yes"]);
        assert!(refused.contains(said), "{refused}");
    }
    let digest = "0".repeat(64);
    let refused = place.refused(&["plugins", "install", "guest", "--yes", "--digest", &digest]);
    assert!(refused.contains("the index has the digest"), "{refused}");
    place.done(&["plugins", "install", "guest@1.0.0", "--yes"]);
    assert!(place.done(&["plugins", "list"]).contains("guest.wasm"), "the source is recorded");
}

#[test]
fn an_index_that_was_changed_or_that_a_restricted_key_signed_is_refused() {
    let (place, trusted) = indexed();
    let text = std::fs::read_to_string(place.path().join("index.json")).expect("text");
    place.write("index.json", &text.replace("guest.wasm", "other.wasm"));
    let refused = place.refused(&["plugins", "search"]);
    assert!(refused.contains("the index can't be trusted") && refused.contains("does not match"), "{refused}");
    assert!(place.refused(&["plugins", "install", "guest", "--yes"]).contains("does not match"));

    place.write("index.json", &text);
    let restricted =
        format!("[plugins]\nindex = \"index.json\"\nsignatures = \"require\"\n\n{trusted}connectors = [\"guest\"]\n");
    place.write("backline.toml", &restricted);
    let refused = place.refused(&["plugins", "search"]);
    assert!(refused.contains("trusted for some connectors only"), "{refused}");
}

#[test]
fn the_rules_for_components_hold_for_those_of_an_index_too() {
    let (place, trusted) = indexed();
    // The key signed the index and not the component.
    let required = format!("[plugins]\nindex = \"index.json\"\nsignatures = \"require\"\n\n{trusted}");
    place.write("backline.toml", &required);
    assert!(place.refused(&["plugins", "install", "guest", "--yes"]).contains("it is not signed"));
    place.done(&["plugins", "sign", "guest.wasm", "--key", "acme.key"]);
    place.done(&["plugins", "install", "guest", "--yes"]);

    // Other bytes in the place of those that the index names.
    let other = variant_of(&guest("well_behaved"), "1.0.0", |manifest| {
        replace(manifest, "title = \"", "title = \"Other ");
    });
    std::fs::write(place.path().join("guest.wasm"), other).expect("written");
    place.done(&["plugins", "sign", "guest.wasm", "--key", "acme.key", "--force"]);
    let refused = place.refused(&["plugins", "install", "guest", "--yes"]);
    assert!(refused.contains("it was replaced"), "{refused}");
    let verified = place.run(&["plugins", "index", "verify", "--components"]);
    assert_eq!(verified.status.code(), Some(4));

    // A signed index stays signed, and a version keeps its bytes.
    let add = ["plugins", "index", "add", "index.json", "guest.wasm", "--source", "guest.wasm"];
    assert!(place.refused(&add).contains("raise the version"));
    let forced = [&add[..], &["--force"]].concat();
    assert!(place.refused(&forced).contains("add --key FILE"));
    place.done(&[&forced[..], &["--key", "acme.key"]].concat());
    place.done(&["plugins", "index", "verify", "--components"]);
}

#[test]
fn without_an_index_a_name_is_refused_with_what_to_do() {
    let place = Place::migrated();
    assert!(place.refused(&["plugins", "search"]).contains("set index under [plugins]"));
    let refused = place.refused(&["plugins", "install", "guest", "--yes"]);
    assert!(refused.contains("there is no file guest, and no index"), "{refused}");
    let schema: Json = serde_json::from_str(&place.done(&["plugins", "schema", "--index"])).expect("JSON");
    assert_eq!(schema["properties"]["format"]["const"], 1);
}
