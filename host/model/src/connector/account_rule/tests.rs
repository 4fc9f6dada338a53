//! Tests of account rules and their reader.

use super::*;
use crate::fixtures::manifest_with;
use crate::manifest::Manifest;

const RULE: &str = r#"
        [account]
        id = '[0-9]{4,}|me'
        examples = ["1234", "https://example.com/artists/1234?x=1", "example:artist:1234"]
        from = [
          '(?i:https?://)?(?i:www\.)?example\.com/artists/(?<id>[0-9]+)(?:[/?#].*)?',
          'example:artist:(?<id>[0-9]+)',
        ]
        default = "me"

        [[account.not]]
        pattern = '@.*'
        is = "a handle; give the number in the profile's address"

        [[account.column]]
        name = "example_artist"
        gives = "id"

        [[account.column]]
        name = "example_region"
        gives = { setting = "region" }
        lower_case = true

        [[account.column]]
        name = "example_token"
        gives = { secret = { slot = "token" } }

        [[account.column]]
        name = "example_handle"
        gives = { nothing = "handles may change" }

        [settings.properties.region]
        type = "string"

        [[host]]
        origin = "https://api.example.com"
        methods = ["GET"]
        reason = "to read"

        [[credential]]
        slot = "token"
        kind = "bearer"
        owner = "account"
        inject = "bearer"
        hosts = ["https://api.example.com"]

        [[credential]]
        slot = "key"
        kind = "api-key"
        owner = "operator"
        inject = { query = "key" }
        hosts = ["https://api.example.com"]
"#;

fn reader() -> AccountReader {
    Manifest::parse(&manifest_with(RULE)).expect("valid").account_reader().expect("valid")
}

fn with(from: &str, to: &str) -> String {
    assert!(RULE.contains(from), "{from}");
    Manifest::parse(&manifest_with(&RULE.replacen(from, to, 1))).expect_err(to).to_string()
}

#[test]
fn an_id_is_taken_out_of_what_people_paste() {
    let reader = reader();
    for text in [
        "1234",
        " '1234",
        "=\"1234\"",
        "1234.0",
        "\u{200b}1234\u{feff}",
        "https://example.com/artists/1234",
        "HTTPS://www.example.com/artists/1234?si=x#top",
        "www.example.com/artists/1234/",
        "example:artist:1234",
    ] {
        assert_eq!(reader.read(text).as_deref(), Ok("1234"), "{text}");
    }
}

#[test]
fn what_is_no_id_is_named_with_what_to_give() {
    let reader = reader();
    for (text, said) in [
        ("@ada", "'@ada' is a handle; give the number in the profile's address"),
        ("ada", "'ada' is not the id of an account on example; give one such as 1234"),
        ("https://example.com/ada", "give one such as 1234"),
        ("https://evil.test/?https://example.com/artists/1234", "give one such as 1234"),
        ("1.78403E+16", "rounded"),
        ("#REF!", "error of the spreadsheet"),
        ("N/A", "'N/A' is not an id; give one such as 1234"),
        ("", "'' is not an id"),
        ("12", "give one such as 1234"),
        ("1234\n5678", "give one such as 1234"),
    ] {
        let error = reader.read(text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    let token = reader.read(&"canary".repeat(40)).expect_err("long").to_string();
    assert!(!token.contains("canarycanarycanary"), "{token}");
}

#[test]
fn an_id_is_no_longer_than_the_connector_says() {
    let bounded = RULE.replacen("id = '[0-9]{4,}|me'", "id = '[0-9]{4,}|me'\n        chars_max = 6", 1);
    let reader = Manifest::parse(&manifest_with(&bounded)).expect("valid").account_reader().expect("valid");
    for text in ["123456", "https://example.com/artists/123456"] {
        assert_eq!(reader.read(text).as_deref(), Ok("123456"), "{text}");
    }
    for text in ["1234567", "https://example.com/artists/1234567", "example:artist:1234567"] {
        assert!(reader.read(text).expect_err(text).to_string().contains("give one such as 1234"), "{text}");
    }
    for wrong in ["0", "257"] {
        let refused = with("default = \"me\"", &format!("default = \"me\"\n        chars_max = {wrong}"));
        assert!(refused.contains("account.chars_max"), "{refused}");
    }
}

#[test]
fn a_cell_may_hold_several_ids() {
    let reader = reader();
    for text in ["1234,5678", "1234, 5678", "1234; 5678", "1234 | 5678", "1234\n5678", "1234 5678,1234"] {
        assert_eq!(reader.read_all(text), Ok(vec!["1234".to_owned(), "5678".to_owned()]), "{text}");
    }
    assert_eq!(reader.read_all("1234,"), Ok(vec!["1234".to_owned()]));
    assert_eq!(reader.read_all("N/A"), Ok(Vec::new()));
    assert!(reader.read_all("1234, ada").expect_err("one is none").to_string().starts_with("'ada' is not"));
    assert!(reader.read_all("Ada Lovelace").expect_err("none").to_string().starts_with("'Ada Lovelace' is not"));
    assert!(reader.read_all("1,234,567").expect_err("a number").to_string().contains("separators"));
}

#[test]
fn an_address_takes_nothing_else_for_its_query() {
    let reader = reader();
    let address = |id: &str| format!("https://example.com/artists/{id}?si=x");
    let two = Ok(vec!["1234".to_owned(), "5678".to_owned()]);
    for between in [",", ", ", "; ", ";", " | ", "|", " ", "\n"] {
        let text = format!("{}{between}{}", address("1234"), address("5678"));
        assert_eq!(reader.read_all(&text), two, "{text}");
        let error = reader.read(&text).expect_err(&text).to_string();
        assert!(error.contains("give one such as 1234"), "{text}: {error}");
    }
    assert_eq!(reader.read_all(&format!("{}, 5678", address("1234"))), two);
    assert_eq!(reader.read_all(&format!("5678, {0} {0}", address("1234"))).map(|ids| ids.len()), Ok(2));
    let two_of_them = reader.read(&format!("{}, {}", address("1234"), address("5678"))).expect_err("two").to_string();
    assert!(two_of_them.ends_with("one at a time"), "{two_of_them}");
    for (behind, named) in [
        (", @ada", "'@ada' is a handle"),
        (" Ada", "'Ada' is not"),
        ("|ada", "'ada' is not"),
        (",https://example.com/albums/5678", "'https://example.com/albums/5678' is not"),
    ] {
        let text = format!("{}{behind}", address("1234"));
        for error in [reader.read_all(&text).map(|_| ()), reader.read(&text).map(|_| ())] {
            let error = error.expect_err(&text).to_string();
            assert!(error.starts_with(named), "{text}: {error}");
        }
    }
    for one in ["https://example.com/artists/1234?of=a,b;c", "https://example.com/artists/1234?x=1,"] {
        assert_eq!(reader.read(one).as_deref(), Ok("1234"), "{one}");
        assert_eq!(reader.read_all(one), Ok(vec!["1234".to_owned()]), "{one}");
    }
    let twice = format!("{0}, {0}", address("1234"));
    assert_eq!(reader.read(&twice).as_deref(), Ok("1234"));
}

#[test]
fn a_connector_without_a_rule_takes_any_id() {
    let reader = Manifest::parse(&manifest_with("")).expect("valid").account_reader().expect("valid");
    assert_eq!(reader.read("any:id/at;all").as_deref(), Ok("any:id/at;all"));
    assert_eq!(reader.read_all("a, b,,a"), Ok(vec!["a".to_owned(), "b".to_owned()]));
    for text in ["U C", "1.78403E+16", "#REF!", "null", ""] {
        assert!(reader.read(text).is_err(), "{text}");
    }
    assert!(reader.read(&"x".repeat(PLATFORM_ID_CHARS_MAX + 1)).is_err());
}

#[test]
fn a_rule_that_can_not_work_is_refused_where_it_is_read() {
    for (from, to, said) in [
        ("'[0-9]{4,}|me'", "'[0-9'", "account.id"),
        ("'[0-9]{4,}|me'", "'[0-9]*'", "matches an empty text"),
        ("'[0-9]{4,}|me'", "'[0-9]{4,})|(?:.*'", "not a usable pattern"),
        ("'[0-9]{4,}|me'", "'(?:[0-9]{1000}){1000}'", "not a usable pattern"),
        ("'[0-9]{4,}|me'", "'[0-9]{5,}'", "the first, '1234', is not an id"),
        ("\"https://example.com/artists/1234?x=1\"", "\"https://other.test/1234\"", "account.examples"),
        ("\"1234\", \"https://example.com/artists/1234?x=1\", \"example:artist:1234\"", "", "it is empty"),
        ("example:artist:(?<id>[0-9]+)", "example:artist:[0-9]+", "no group (?<id>"),
        ("default = \"me\"", "default = \"you\"", "account.examples"),
        ("name = \"example_artist\"", "name = \"spotify_artist_id\"", "begins with example_"),
        ("name = \"example_artist\"", "name = \"id\"", "begins with example_"),
        ("name = \"example_artist\"", "name = \"Example_Artist\"", "lower case"),
        ("name = \"example_artist\"", "name = \"example_region\"", "twice"),
        ("setting = \"region\"", "setting = \"colour\"", "no setting 'colour'"),
        ("slot = \"token\" }", "slot = \"key\" }", "does not belong to accounts"),
        ("slot = \"token\" }", "slot = \"none\" }", "no credential slot"),
        ("handles may change", "", "explanation"),
    ] {
        let error = with(from, to);
        assert!(error.contains(said), "{to}: {error}");
    }
}

#[test]
fn columns_are_compared_by_their_plain_names() {
    for name in ["YouTube Channel ID", "\u{feff}youtube_channel_id", "youtube-channel-id ", "youtube\u{a0}channel_id"] {
        assert_eq!(column_name(name), "youtube_channel_id");
    }
}
