//! Lists in every form that spreadsheets and shells write, and columns of connectors that the host does not know.

use proptest::prelude::*;

use super::*;
use backline_model::Manifest;
use backline_model::account_rule::Gives;
use backline_model::fixtures::manifest_with;

fn all(bytes: &[u8]) -> Result<(Shape, Vec<Record>), String> {
    let mut records = Vec::new();
    let shape = read(bytes, &mut |record| records.push(record)).map_err(|error| error.to_string())?;
    Ok((shape, records))
}

fn field<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.fields.as_ref().ok()?.get(name).map(String::as_str)
}

fn problem(record: &Record) -> &str {
    record.fields.as_ref().err().map_or("", |unreadable| &unreadable.problem)
}

fn places(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.place.as_str()).collect()
}

#[test]
fn the_three_formats_give_the_same_records() {
    let table = b"\xef\xbb\xbfID,Name,extra\r\n1,\"Ada, the first\",x\r\n2,Bo,\"\"\r\n\r\n";
    let array = br#" [{"id":"1","name":"Ada, the first","extra":"x"}, {"ID":2,"name":" Bo ","extra":null}]"#;
    let lines = b"{\"id\":\"1\",\"name\":\"Ada, the first\",\"extra\":\"x\"}\n\n\
                  {\"id\":2,\"Name\":\"Bo\",\"extra\":\"\"}\n";
    for (text, format, expected) in [
        (table.as_slice(), Format::Table, ["line 2", "line 3"]),
        (array, Format::JsonArray, ["entry 1", "entry 2"]),
        (lines, Format::JsonLines, ["line 1", "line 3"]),
    ] {
        let (shape, records) = all(text).expect("readable");
        assert_eq!(shape.format, format);
        assert_eq!(shape.columns, ["id", "name", "extra"].map(str::to_owned).into());
        assert_eq!(places(&records), expected);
        let shown = |at: usize| ["id", "name", "extra"].map(|name| field(&records[at], name));
        assert_eq!(shown(0), [Some("1"), Some("Ada, the first"), Some("x")]);
        assert_eq!(shown(1), [Some("2"), Some("Bo"), None]);
    }
}

#[test]
fn every_dress_of_a_spreadsheet_gives_the_same_rows_with_their_lines() {
    let plain = "id;name;youtube_channel_id\n1;Jürgen, der Erste;UC1\n2;\"The \"\"Night\"\"\nOwls\";UC2\n3;Bo;\n";
    let utf16 = |bytes: fn(u16) -> [u8; 2], mark: bool| {
        let mark = if mark { "\u{feff}" } else { "" };
        format!("{mark}{plain}").encode_utf16().flat_map(bytes).collect::<Vec<u8>>()
    };
    let dresses: [(&str, Vec<u8>, u32); 12] = [
        ("LF", plain.into(), 0),
        ("CRLF", plain.replace('\n', "\r\n").into(), 0),
        ("CR", plain.replace('\n', "\r").into(), 0),
        ("byte order mark", format!("\u{feff}{plain}").into(), 0),
        ("tabs", plain.replace(';', "\t").into(), 0),
        ("bars", plain.replace(';', "|").into(), 0),
        ("sep", format!("sep=;\r\n{plain}").into(), 1),
        ("quoted sep", format!("\u{feff}\"sep=;\"\n{plain}").into(), 1),
        ("blank lines before", format!("\n\n;;\n{plain}").into(), 3),
        ("UTF-16 LE", utf16(u16::to_le_bytes, true), 0),
        ("UTF-16 BE", utf16(u16::to_be_bytes, true), 0),
        ("UTF-16 without a mark", utf16(u16::to_le_bytes, false), 0),
    ];
    for (dress, bytes, moved) in dresses {
        let (_, records) = all(&bytes).unwrap_or_else(|error| panic!("{dress}: {error}"));
        let expected: Vec<String> = [2, 3, 5].map(|line| format!("line {}", line + moved)).into();
        assert_eq!(places(&records), expected, "{dress}");
        let names = records.iter().map(|record| field(record, "name").unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(names, ["Jürgen, der Erste", "The \"Night\"\nOwls", "Bo"], "{dress}");
        assert_eq!(field(&records[1], "youtube_channel_id"), Some("UC2"), "{dress}");
    }
}

#[test]
fn rows_and_columns_without_a_value_are_nothing() {
    let (shape, records) = all(
        b"id,name,YouTube Channel ID,,\r\n1,Ada,UC1,,\r\n,,,,\r\n2,Bo\r\n\" \",,,,\r\n3,Cy,UC3,,,,,\r\n4,Di,UC4\r\n",
    )
    .expect("readable");
    assert_eq!(shape.columns.len(), 3);
    assert_eq!(places(&records), ["line 2", "line 4", "line 6", "line 7"]);
    assert_eq!(problem(&records[1]), "it has 2 cells, the header has 3");
    assert_eq!(field(&records[3], "youtube_channel_id"), Some("UC4"), "it need not have columns without a name");
    assert_eq!(field(&records[0], "youtube_channel_id"), Some("UC1"));
    assert_eq!(field(&records[2], "youtube_channel_id"), Some("UC3"));
    let (_, records) = all(b"id,name,\n1,Ada,x\n2,Bo,,y\n").expect("readable");
    assert!(problem(&records[0]).starts_with("column 3 without a name has a value"), "{}", problem(&records[0]));
    assert!(problem(&records[1]).starts_with("it has 4 cells, the header has 3;"), "{}", problem(&records[1]));
}

#[test]
fn what_can_not_be_seen_makes_no_row_no_column_and_no_value() {
    let text = "id,name,tenant,\u{a0}\r\n1,Ada,\u{200b},\u{200b}\r\n\u{a0},\u{feff},,\r\n2,Bo,x,,\u{a0},\r\n\u{1a}";
    let (shape, records) = all(text.as_bytes()).expect("readable");
    assert_eq!(shape.columns.len(), 3, "{shape:?}");
    assert_eq!(places(&records), ["line 2", "line 4"], "neither blank cells nor the end of a DOS file are a row");
    assert_eq!(field(&records[0], "tenant"), None, "it is as good as empty");
    assert_eq!(field(&records[1], "tenant"), Some("x"));
    let (_, records) = all(b"id,name\n\xff,\n").expect("readable");
    assert!(problem(&records[0]).contains("is not UTF-8"), "bytes that can't be read are something");
    let (_, records) = all("[{\"id\":1,\"tenant\":\"\u{200b}\"}]".as_bytes()).expect("readable");
    assert_eq!(field(&records[0], "tenant"), None);
}

#[test]
fn a_bad_record_is_handed_on_with_its_line_and_the_others_are_read() {
    let (_, records) = all(b"id,name\n1,Ada\n2\n3,Cy,x\n4,\"D\nd\"\n5,\xff\n6,Fay\n").expect("readable");
    let expected =
        [("line 2", true), ("line 3", false), ("line 4", false), ("line 5", true), ("line 7", false), ("line 8", true)];
    let found: Vec<_> = records.iter().map(|record| (record.place.as_str(), record.fields.is_ok())).collect();
    assert_eq!(found, expected);
    assert!(problem(&records[4]).contains("column 'name' is not UTF-8; save"), "{}", problem(&records[4]));
    let (_, records) = all(b"\n{\"id\":1}\n{broken\n7\n{\"id\":1,\"ID\":2}\n").expect("readable");
    assert_eq!(records.iter().map(|record| record.fields.is_ok()).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(records[1].place, "line 3");
}

#[test]
fn a_quote_that_is_not_closed_takes_in_no_row_unnoticed() {
    for text in [
        "id,name,x\n1,\"Ada,a\n2,Bo,b\n3,Cy,c\n",
        "id,name,x\n1,\"Ada,a\n2,\"Bo\",b\n3,Cy,c\n",
        "id,name,x\n1,Ada,\"a\n2,Bo,b\n3,Cy,\"c\"\n",
    ] {
        let (_, records) = all(text.as_bytes()).expect("readable");
        assert!(problem(&records[0]).contains("has a line break and a delimiter; close its quote"), "{records:?}");
    }
}

#[test]
fn a_file_that_is_no_list_is_refused_with_the_way_out() {
    for (bytes, said) in [
        (b"".as_slice(), "the file is empty"),
        (b" \r\n\n", "the file is empty"),
        (b",,\n;;\n", "the file is empty"),
        (b"artist,name\n", "no column 'id'; it has: artist, name"),
        (b"id,name,ID\n", "'id' twice"),
        (b"id,name,You Tube,you-tube\n", "'you_tube' twice"),
        (b"id,\"name\n1,Ada\n", "a quote without an end"),
        (b"[{\"id\":1},", "the JSON array is invalid after 1 entries"),
        (b"[] x", "trailing characters"),
        (b"PK\x03\x04\x14\0\x06\0", "CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "CSV UTF-8"),
        (b"%PDF-1.7", "export the list as CSV"),
        (b"\xef\xbb\xbf<?xml version=", "export the list as CSV"),
        (b"\n <!DOCTYPE html><html>", "sign in"),
        (b"\x1f\x8b\x08\0\0\0", "gunzip"),
        (b"id,name\n1,A\0\n", "binary"),
        (b"SQLite format 3\0", "artists sync"),
        (b"\xff\xfei\0d\0,", "not valid UTF-16"),
    ] {
        let error = all(bytes).expect_err(said);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_file_of_any_size_is_read_in_parts() {
    let rows: String = (0..40_000).map(|n| format!("{n},Ädä {n}\r\n")).collect();
    for bytes in [
        format!("id,name\r\n{rows}").into_bytes(),
        format!("\u{feff}id,name\r\n{rows}").encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ] {
        let (_, records) = all(&bytes).expect("readable");
        assert_eq!(records.len(), 40_000);
        assert_eq!(
            (records[39_999].place.as_str(), field(&records[39_999], "name")),
            ("line 40001", Some("Ädä 39999"))
        );
    }
}

#[test]
fn files_that_were_put_together_are_one_list() {
    let (shape, records) = all("\u{feff}{\"id\":1}\n\u{feff}{\"id\":2}\n\u{feff}\n".as_bytes()).expect("readable");
    assert_eq!(shape.format, Format::JsonLines);
    assert_eq!(records.iter().map(|record| field(record, "id")).collect::<Vec<_>>(), [Some("1"), Some("2")]);
    let (_, records) = all("ｉｄ,Ｎａｍｅ\n\u{feff}1,Ada\n".as_bytes()).expect("readable");
    assert_eq!(field(&records[0], "name"), Some("Ada"), "letters of full width are the same names");
}

#[test]
fn a_key_that_an_object_has_twice_loses_no_value_unnoticed() {
    let object = r#"{"id":1,"x":"a","y":null,"x":"b","y":2}"#;
    for list in [format!("{object}\n"), format!("[{object}]")] {
        let (_, records) = all(list.as_bytes()).expect("readable");
        let unreadable = records[0].fields.as_ref().expect_err("refused");
        assert_eq!((unreadable.problem.as_str(), unreadable.text.as_str()), ("it names 'x' twice", object), "{list}");
    }
    let (_, records) = all(b"{\"id\":1}\n[1,\"2\"]\n\"3\"\n").expect("readable");
    assert_eq!(records.iter().map(|record| record.fields.is_ok()).collect::<Vec<_>>(), [true, false, false]);
    let text = |at: usize| records[at].fields.as_ref().err().map(|unreadable| unreadable.text.as_str());
    assert_eq!((text(1), text(2)), (Some(r#"[1,"2"]"#), Some(r#""3""#)), "as it is in the list");
}

#[test]
fn json_lists_of_ids_are_as_cells_hold_them() {
    let (_, records) = all(br#"[{"id":1,"tempo_id":["a",17841405793187218],"x":{"y":1}}]"#).expect("readable");
    assert_eq!(field(&records[0], "tempo_id"), Some("a, 17841405793187218"));
    assert_eq!(field(&records[0], "x"), Some("{\"y\":1}"));
}

fn tempo(account: &str) -> Manifest {
    let text = manifest_with(account).replace("platform = \"example\"", "platform = \"tempo-fm\"");
    Manifest::parse(&text.replace("name = \"example\"", "name = \"tempo\"")).expect("valid")
}

#[test]
fn a_platform_that_nobody_here_knows_has_columns_of_its_own() {
    let rule = r#"
        [account]
        id = 'tp[0-9]{6}'
        examples = ["tp123456"]
        [[account.column]]
        name = "tempo_fm_profile"
        gives = "id"
        [[account.column]]
        name = "tempo_fm_handle"
        gives = { nothing = "handles may change" }
    "#;
    let directory = Directory::of([&tempo(rule)]);
    for column in ["tempo_fm", "tempo_fm_id", "tempo_fm_profile"] {
        let ColumnRole::Column { listed, gives: Gives::Id, .. } = directory.column(column) else { panic!("{column}") };
        assert_eq!(listed.reader.read(" tp123456").as_deref(), Ok("tp123456"));
    }
    assert!(matches!(directory.column("tempo_fm_handle"), ColumnRole::Column { gives: Gives::Nothing(_), .. }));
    assert!(matches!(directory.column("tempo_fm_profil"), ColumnRole::Unknown(Some("tempo_fm_profile"))));
    assert!(
        matches!(directory.column("tempo_fm_artist_id"), ColumnRole::Unknown(_)),
        "the connector names its columns"
    );
    assert!(matches!(directory.column("email"), ColumnRole::Unknown(None)));
    assert!(directory.platform("tempo").is_some() && directory.platform("tempo-fm").is_some());
    assert!(directory.platform("temp").is_none());
}

#[test]
fn a_connector_without_a_rule_is_fed_by_its_platforms_name() {
    let directory = Directory::of([&tempo("")]);
    for column in ["tempo_fm", "tempo_fm_id", "tempo_fm_artist_id"] {
        assert!(matches!(directory.column(column), ColumnRole::Column { gives: Gives::Id, .. }), "{column}");
    }
    for column in ["tempo_fm_token", "tempo_id", "tempo_fm_a_b_id", "tempo_fm__id"] {
        assert!(matches!(directory.column(column), ColumnRole::Unknown(_)), "{column}");
    }
}

#[test]
fn a_column_of_two_connectors_belongs_to_neither() {
    let other = manifest_with("").replace("platform = \"example\"", "platform = \"tempo_fm\"");
    let other = Manifest::parse(&other).expect("valid");
    let directory = Directory::of([&tempo(""), &other]);
    assert!(matches!(directory.column("tempo_fm_id"), ColumnRole::Ambiguous(both) if both.len() == 2));
}

proptest! {
    #[test]
    fn no_row_is_lost(rows in prop::collection::vec(prop::collection::vec("[^\\x00\r\n]{0,12}", 3..5), 0..20)) {
        let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        writer.write_record(["id", "name", "extra"]).expect("written");
        let mut written = 0;
        for row in &rows {
            writer.write_record(row).expect("written");
            written += usize::from(row.iter().any(|cell| !backline_model::cell::is_blank(cell)));
        }
        let (_, records) = all(&writer.into_inner().expect("flushed")).expect("readable");
        prop_assert_eq!(records.len(), written);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        start in prop::sample::select(vec!["", "[", "{", "id,name\n", "sep=;\n", "\u{feff}"])
    ) {
        let _ = all(&[start.as_bytes(), &bytes].concat());
    }
}
