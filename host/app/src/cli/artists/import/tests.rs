//! The survey of a list: what it refuses, and that no row is lost.

use proptest::prelude::*;

use super::*;
use backline_model::Manifest;
use backline_model::fixtures::manifest_with;

const ID: &str = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d";

const OTHER: &str = "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6e";

/// A connector that nobody here knows.
const RULE: &str = r#"
    [account]
    id = '[0-9]{4,}'
    examples = ["1234"]
    [[account.column]]
    name = "example_region"
    gives = { setting = "regions" }
    lower_case = true
    [settings.properties.regions]
    type = "array"
    description = "two letters each, such as us"
    items = { type = "string", pattern = "^[a-z]{2}$" }
"#;

fn survey_of(text: &str, ignored: &[&str]) -> (Survey, u64, Result<(), Failure>) {
    let directory = Directory::of([&Manifest::parse(&manifest_with(RULE)).expect("valid")]);
    let ignored = ignored.iter().map(|name| column_name(name)).collect();
    let (mut survey, mut good) = (Survey::of(Arc::new(Reading::of(directory, ignored))), 0);
    let mut used = BTreeSet::new();
    let shape = lists::read(text.as_bytes(), &mut |record| {
        used.extend(record.fields.iter().flat_map(BTreeMap::keys).cloned());
        match survey.take(&record) {
            Ok(_) => good += 1,
            Err(problem) => survey.report.bad.push(BadRow { place: record.place, problem }),
        }
    });
    let columns = survey.expect_columns(&shape.unwrap_or_else(|error| panic!("{error}")), &used);
    (survey, good, columns)
}

#[test]
fn the_same_id_twice_is_a_bad_row_that_names_the_first() {
    let (survey, good, _) = survey_of(&format!("id,name\n{ID},Ada\n{ID},Bo\n"), &[]);
    assert_eq!(good, 1);
    let bad = &survey.report.bad[0];
    assert_eq!(bad.place, "line 3");
    assert_eq!(bad.problem, format!("id: {ID} is also in line 2; keep one of the rows"));
}

#[test]
fn a_column_that_no_connector_names_is_refused_unless_it_is_to_be_ignored() {
    let text = format!("id,name,E-Mail,exmaple_region,notes\n{ID},Ada,x@y,us,\n");
    let refused = survey_of(&text, &[]).2.expect_err("refused").message;
    assert!(refused.contains("'e_mail', 'exmaple_region' (is 'example_region' meant?)"), "{refused}");
    assert!(refused.ends_with("--ignore-column 'e_mail' --ignore-column 'exmaple_region'"), "{refused}");
    assert!(!refused.contains("notes"), "a column without a value is nothing: {refused}");
    assert!(survey_of(&text, &["E-Mail", "exmaple_region"]).2.is_ok());
    let refused = survey_of(&text, &["e-mail", "phone"]).2.expect_err("refused").message;
    assert!(refused.contains("no column 'phone' to ignore"), "{refused}");
}

#[test]
fn settings_are_checked_by_the_connectors_schema() {
    let (survey, good, columns) =
        survey_of(&format!("id,name,example,Example Region\n{ID},Ada,1234,Germany\n{OTHER},Bo,1234,US\n"), &[]);
    assert!(columns.is_ok());
    assert_eq!(good, 1);
    let bad = &survey.report.bad[0].problem;
    assert!(bad.starts_with("example_region: ") && bad.contains("\"germany\""), "{bad}");
    assert!(bad.contains("regions: two letters each, such as us"), "{bad}");
}

#[test]
fn an_account_of_two_artists_is_said() {
    let (survey, good, _) = survey_of(&format!("id,name,example_id\n{ID},Ada,1234\n{OTHER},Bo,'1234\n"), &[]);
    assert_eq!(good, 2);
    let warnings = survey.reported().0.warnings;
    assert_eq!(warnings, ["1 account listed for more than one artist: example 1234"]);
}

#[test]
fn a_refusal_names_rows_columns_values_and_the_way_out() {
    let (survey, ..) = survey_of("id,name,example_id\n7,Ada,1.78403E+16\n", &[]);
    let failure = refusal(Path::new("a.csv"), &survey.report);
    assert_eq!(failure.exit, Exit::Usage);
    let message = failure.message;
    assert!(
        message.starts_with("nothing was imported: 1 of 1 row of a.csv can't be: line 2: id: '7' is not a UUID"),
        "{message}"
    );
    assert!(message.contains("example_id: '1.78403E+16' is a rounded number"), "{message}");
    assert!(message.ends_with("with --skip-bad"), "{message}");
}

proptest! {
    #[test]
    fn every_row_is_good_or_reported(
        rows in prop::collection::vec(("[a-f0-9-]{0,36}", "[ -~]{0,9}", any::<bool>()), 0..30)
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["id", "name", "data_collection_enabled"]).expect("written");
        for (index, (id, name, valid)) in rows.iter().enumerate() {
            let id = if *valid { format!("018f4e6a-7c1d-7b3a-9c55-{index:012}") } else { id.clone() };
            writer.write_record([id.as_str(), name, "true"]).expect("written");
        }
        let text = String::from_utf8(writer.into_inner().expect("flushed")).expect("text");
        let (survey, good, _) = survey_of(&text, &[]);
        prop_assert_eq!(survey.report.rows, rows.len() as u64);
        prop_assert_eq!(good + survey.report.bad.len() as u64, rows.len() as u64);
    }
}
