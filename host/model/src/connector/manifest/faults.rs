//! Every fault of a manifest, each with its place in the text, for the author who writes one.
//!
//! The parser stops at the first value of a wrong form. So what holds that value is taken out of a copy of the tables,
//! which are read again, until the rest has the right form.

use std::ops::Range;

use serde::{Deserialize as _, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::findings::{InvalidValue, ManifestPath, Step};
use super::{MANIFEST_BYTES_MAX, Manifest};
use crate::nearest::nearest;
use crate::text::one_line;

/// Most faults that are listed: a reader fixes the first ones first.
const FAULTS_MAX: usize = 50;

/// Stands for a `[connector]` that can't be read, so that the other tables can.
const CONNECTOR: &str = "connector = { name = 'a', platform = 'a', version = '0.0.0', api = '*', title = '', \
                         batch_size = 1 }";

/// A fault of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Line in the text, counted from 1.
    pub line: usize,
    /// Column in the line, in characters, counted from 1.
    pub column: usize,
    /// Path of the field, such as `connector.batch_size`; `None` if the text is not TOML, or a whole table is missing.
    pub field: Option<String>,
    /// What is wrong, and what is expected.
    pub problem: String,
}

impl Manifest {
    /// Every fault of a manifest's text, in the order of the text; none if [`Manifest::parse`] accepts it.
    ///
    /// Nothing more is said of a text that is not TOML. Of a table with values of a wrong form, the first one is
    /// named, and values are checked once every table has its form.
    ///
    /// ```
    /// # use backline_model::Manifest;
    /// let faults = Manifest::faults("[connector]\nname = \"example\"\nplatfrom = \"example\"\n");
    /// assert_eq!((faults[0].line, faults[0].column, faults[0].field.as_deref()), (1, 1, Some("connector")));
    /// assert_eq!((faults[1].line, faults[1].column, faults[1].field.as_deref()), (3, 1, Some("connector.platfrom")));
    /// assert!(faults[1].problem.ends_with("did you mean `platform`?"));
    /// ```
    #[must_use]
    pub fn faults(text: &str) -> Vec<Fault> {
        if text.len() > MANIFEST_BYTES_MAX {
            let problem = format!("it has {} bytes, more than {MANIFEST_BYTES_MAX}", text.len());
            return vec![Fault::at(text, 0, None, problem)];
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let start = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
            let mut faults: Vec<Fault> =
                errors.iter().map(|error| Fault::at(text, start(error), None, error.message().to_owned())).collect();
            faults.sort_by_key(|fault| (fault.line, fault.column));
            // A parser that goes on after an error finds consequences of it in the same line.
            faults.dedup_by_key(|fault| fault.line);
            faults.truncate(FAULTS_MAX);
            return faults;
        }
        let root = root.into_inner();
        let (mut raw, manifest) = of_forms(&root);
        if let Some(manifest) = manifest {
            raw.extend(manifest.findings().0.into_iter().map(|InvalidValue { place, problem, .. }| {
                let start = span_of(&root, &place).start;
                Raw { start, steps: place.0, problem }
            }));
        }
        raw.sort_by_key(|fault| fault.start);
        raw.truncate(FAULTS_MAX);
        raw.into_iter().map(|Raw { start, steps, problem }| Fault::at(text, start, path(&steps), problem)).collect()
    }
}

impl Fault {
    /// A fault of what begins at this byte of the text.
    fn at(text: &str, start: usize, field: Option<String>, problem: String) -> Self {
        let start = (0..=start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let before = &text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Self { line, column, field: field.map(|field| one_line(&field)), problem: one_line(&problem) }
    }
}

/// A fault whose place is a byte of the text.
#[derive(PartialEq, Eq)]
struct Raw {
    start: usize,
    steps: Vec<Step>,
    problem: String,
}

/// What has a wrong form; and the manifest, if nothing but keys that no table has had to be taken out of it.
fn of_forms(root: &DeTable<'_>) -> (Vec<Raw>, Option<Manifest>) {
    let mut rest = root.clone();
    let (mut faults, mut only_keys) = (Vec::new(), true);
    while faults.len() < FAULTS_MAX {
        let error = match Manifest::deserialize(toml::Deserializer::from(Spanned::new(0..0, rest.clone()))) {
            Ok(manifest) => return (faults, only_keys.then_some(manifest)),
            Err(error) => error,
        };
        let message = error.message();
        // What is wrong with the whole document has no span.
        let span = error.span().filter(|span| !span.is_empty());
        let way = |table: &DeTable<'_>| span.as_ref().and_then(|span| way_to(table, span)).unwrap_or_default();
        let fault = Raw {
            start: span.as_ref().map_or(0, |span| span.start),
            steps: way(root),
            problem: format!("{message}{}", probably_meant(message)),
        };
        let is_key = message.starts_with("unknown field ");
        let steps = way(&rest);
        // Indices in the rest are others than in the text once an entry before was taken out.
        let taken = match steps.as_slice() {
            [] => message.contains("`connector`") && !rest.contains_key("connector"),
            all if is_key => remove(&mut rest, all),
            [first, second @ Step::Index(_), ..] => remove(&mut rest, &[first.clone(), second.clone()]),
            [first, ..] => remove(&mut rest, std::slice::from_ref(first)),
        };
        let is_new = !faults.contains(&fault);
        if is_new {
            faults.push(fault);
        }
        only_keys &= is_key;
        if !taken || !is_new {
            break;
        }
        if !rest.contains_key("connector") {
            let stub = DeTable::parse(CONNECTOR).map(Spanned::into_inner).unwrap_or_default();
            for (key, value) in stub {
                rest.insert(key, value);
            }
        }
    }
    (faults, None)
}

/// The end of a message about a key or a word that is not known. The message names it first, and then those that are.
fn probably_meant(message: &str) -> String {
    if !message.starts_with("unknown ") {
        return String::new();
    }
    let mut named = message.split('`').skip(1).step_by(2);
    let given = named.next().unwrap_or_default();
    nearest(given, named).map_or(String::new(), |known| format!("; did you mean `{known}`?"))
}

/// The way to what has this span: a key, or the innermost value.
fn way_to(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<Step>> {
    table.iter().find_map(|(key, value)| {
        let step = Step::Key(key.get_ref().clone().into_owned());
        if key.span() == *span {
            return Some(vec![step]);
        }
        let below = way_below(value, span)?;
        Some(std::iter::once(step).chain(below).collect())
    })
}

fn way_below(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<Step>> {
    let below = match value.get_ref() {
        DeValue::Table(table) => way_to(table, span),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let below = way_below(item, span)?;
            Some(std::iter::once(Step::Index(index)).chain(below).collect())
        }),
        _ => None,
    };
    // The span of a table with a header is that of the header.
    let own = value.span();
    below.or_else(|| (own.start <= span.start && span.end <= own.end).then(Vec::new))
}

/// Takes out what is at the end of the way.
fn remove(table: &mut DeTable<'_>, steps: &[Step]) -> bool {
    match steps {
        [Step::Key(key)] => table.remove(key.as_str()).is_some(),
        [Step::Key(key), below @ ..] => {
            table.get_mut(key.as_str()).is_some_and(|value| remove_below(value.get_mut(), below))
        }
        _ => false,
    }
}

fn remove_below(value: &mut DeValue<'_>, steps: &[Step]) -> bool {
    match (value, steps) {
        (DeValue::Table(table), _) => remove(table, steps),
        (DeValue::Array(items), [Step::Index(index)]) => {
            let kept = items.iter().enumerate().filter(|(at, _)| at != index).map(|(_, item)| item.clone()).collect();
            *items = kept;
            true
        }
        (DeValue::Array(items), [Step::Index(index), below @ ..]) => {
            items.get_mut(*index).is_some_and(|item| remove_below(item.get_mut(), below))
        }
        _ => false,
    }
}

/// Where the value at a place is written; of one that is not, where the nearest is that would hold it.
fn span_of(root: &DeTable<'_>, place: &ManifestPath) -> Range<usize> {
    let mut steps = place.0.iter();
    let Some(Step::Key(first)) = steps.next() else { return 0..0 };
    let Some(mut at) = root.get(first.as_str()) else { return 0..0 };
    for step in steps {
        let below = match (step, at.get_ref()) {
            (Step::Key(key), DeValue::Table(table)) => table.get(key.as_str()),
            (Step::Index(index), DeValue::Array(items)) => items.get(*index),
            _ => None,
        };
        match below {
            Some(below) => at = below,
            None => break,
        }
    }
    at.span()
}

/// The way as it is written in messages: `host[0].methods`, counted from 0.
fn path(steps: &[Step]) -> Option<String> {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) if path.is_empty() => path.push_str(key),
            Step::Key(key) => path.push_str(&format!(".{key}")),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;
    use crate::fixtures::manifest_with;
    use crate::manifest::SCHEMA;

    const TABLES: &str = r#"
[[host]]
origin = "https://api.test"
methods = ["GET"]
reason = "numbers"

[[host]]
origin = "https://media.test"
methods = ["GET"]
reason = "posts"

[[metric]]
name = "followers"
kind = "gauge"
unit = "followers"
"#;

    /// The faults of the text with these replacements, as `line of the text: field: problem`.
    fn faults(changes: &[(&str, &str)]) -> Vec<String> {
        let mut text = manifest_with(TABLES);
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        assert_eq!(Manifest::faults(&text).is_empty(), Manifest::parse(&text).is_ok(), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        let shown = |fault: Fault| {
            let line = lines.get(fault.line - 1).unwrap_or(&"");
            let from = line.chars().skip(fault.column - 1).collect::<String>();
            format!("{from}: {}: {}", fault.field.unwrap_or_default(), fault.problem)
        };
        Manifest::faults(&text).into_iter().map(shown).collect()
    }

    #[test]
    fn every_wrong_value_is_found_at_once_and_in_its_place() {
        let found = faults(&[
            ("batch_size = 2", "batch_size = 0"),
            ("methods = [\"GET\"]\nreason = \"posts\"", "methods = []\nreason = \" \""),
            (
                "unit = \"followers\"",
                "unit = \"a\"\n[[metric]]\nname = \"followers\"\nkind = \"flow\"\nunit = \"b\"\n\
                 [[request]]\nname = \"list\"\npath = \"/v1\"\nper = \"account\"\ncount = 3\nmost = 2",
            ),
        ]);
        let expected = [
            "0: connector.batch_size: 0 is not between 1 and 500",
            "[]: host[1].methods: it lists no method",
            "\" \": host[1].reason: it gives no reason",
            "\"followers\": metric[1].name: it is declared twice",
            "2: request[0].most: it is less than count, which is 3",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found} and not {expected}");
        }
    }

    #[test]
    fn values_of_a_wrong_form_hide_no_other_table() {
        let found = faults(&[
            ("title = \"Example\"", "titel = \"Example\""),
            ("reason = \"numbers\"", "reason = 7"),
            ("origin = \"https://media.test\"", "origin = \"http://media.test\""),
            ("kind = \"gauge\"", "kind = \"gage\""),
        ]);
        let expected = [
            "[connector]: connector: missing field `title`",
            "titel = \"Example\": connector.titel: unknown field `titel`",
            "7: host[0].reason: invalid type",
            "\"http://media.test\": host[1].origin: 'http://media.test' is not an allowed origin",
            "\"gage\": metric[0].kind: unknown variant `gage`",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found} and not {expected}");
        }
        assert!(
            found[1].ends_with("did you mean `title`?") && found[4].ends_with("did you mean `gauge`?"),
            "{found:?}"
        );
    }

    #[test]
    fn a_key_that_no_table_has_hides_no_wrong_value() {
        let found = faults(&[("batch_size = 2", "batch_size = 0\nbatchsize = 2"), ("[[metric]]", "[[metrics]]")]);
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].starts_with("0: connector.batch_size"), "{found:?}");
        assert!(found[1].ends_with("did you mean `batch_size`?"), "{found:?}");
        assert!(found[2].starts_with("metrics]]: metrics: unknown field `metrics`"), "{found:?}");
    }

    #[test]
    fn what_is_missing_or_not_toml_has_a_place_too() {
        let found = Manifest::faults("# nothing\n");
        assert_eq!((found.len(), found[0].line, found[0].column), (1, 1, 1), "{found:?}");
        assert!(found[0].problem.contains("missing field `connector`"), "{found:?}");
        let found = faults(&[("reason = \"numbers\"\n", "")]);
        assert!(found[0].starts_with("[[host]]: host[0]: missing field `reason`"), "{found:?}");
        let found =
            faults(&[("name = \"followers\"", "name = followers"), ("\"https://api.test\"", "\"https://api.test")]);
        assert!(found.len() >= 2, "both lines are named: {found:#?}");
        let long = format!("# {}", "x".repeat(MANIFEST_BYTES_MAX));
        assert!(Manifest::faults(&long)[0].problem.contains("more than"));
    }

    #[test]
    fn columns_are_counted_in_characters_and_nothing_steers_the_terminal() {
        let found = Manifest::faults("connector = { name = \"ü\u{1f3b5}\", b\u{1b}[2J = 1 }");
        assert!(found.iter().all(|fault| !fault.problem.contains('\u{1b}')), "{found:?}");
        let settings = "[policy]\nnote = \"ü\" # ü\n\n[settings]\n\"ü\" = \"\\u001b\"\n";
        let found = Manifest::faults(&manifest_with(settings));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].column, found[0].field.as_deref()), (7, Some("settings.ü")), "{found:?}");
    }

    /// The keys that the parser takes where this manifest has the key `zz`.
    fn keys(tables: &str) -> BTreeSet<String> {
        let faults = Manifest::faults(&manifest_with(tables));
        // What the TOML parser says itself of a table that stands for a variant.
        let own = "unexpected keys in table: zz, available keys: ";
        if let Some(known) = faults.iter().find_map(|fault| fault.problem.strip_prefix(own)) {
            return known.split(", ").map(str::to_owned).collect();
        }
        let mut unknown = faults.iter().filter(|fault| fault.problem.starts_with("unknown field `zz`"));
        let (Some(fault), None) = (unknown.next(), unknown.next()) else { panic!("{tables}: {faults:?}") };
        fault.problem.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_schema_has_the_keys_that_the_parser_takes() {
        let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
        let budget = "[[budget]]\nname = \"a\"\nlimit = 1\nwindow = { seconds = 1 }\n";
        let account = "[account]\nid = \"a\"\nexamples = [\"a\"]\n";
        for (definition, tables) in [
            ("", "[zz]".to_owned()),
            ("host", "[[host]]\nzz = 1".to_owned()),
            ("credential", "[[credential]]\nzz = 1".to_owned()),
            ("budget", "[[budget]]\nzz = 1".to_owned()),
            ("cost", format!("{budget}costs = [{{ zz = 1 }}]")),
            ("daily-at", "[[budget]]\nwindow = { daily = { zz = 1 } }".to_owned()),
            ("request", "[[request]]\nzz = 1".to_owned()),
            ("metric", "[[metric]]\nzz = 1".to_owned()),
            ("break", "[[break]]\nzz = 1".to_owned()),
            ("account", "[account]\nzz = 1".to_owned()),
            ("mistake", format!("{account}[[account.not]]\nzz = 1")),
            ("column", format!("{account}[[account.column]]\nzz = 1")),
            ("secret-part", format!("{account}[[account.column]]\nname = \"a\"\ngives = {{ secret = {{ zz = 1 }} }}")),
            ("policy", "[policy]\nzz = 1".to_owned()),
            ("bypass", "[[bypass]]\nzz = 1".to_owned()),
        ] {
            let at = if definition.is_empty() { &schema } else { &schema["definitions"][definition] };
            let known: BTreeSet<String> =
                at["properties"].as_object().expect(definition).keys().map(String::clone).collect();
            assert_eq!(keys(&tables), known, "{definition}");
            assert_eq!(at["additionalProperties"], false, "{definition}");
        }
        let text = manifest_with("").replace("title =", "zz = 1\ntitle =");
        let fault = Manifest::faults(&text).remove(0);
        let known: BTreeSet<&str> = fault.problem.split('`').skip(3).step_by(2).collect();
        let of_schema = schema["definitions"]["connector"]["properties"].as_object().expect("keys");
        assert_eq!(known, of_schema.keys().map(String::as_str).collect::<BTreeSet<&str>>());
    }

    #[test]
    fn the_schema_has_the_words_that_the_parser_takes() {
        let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
        let all = &schema["definitions"];
        for (words, tables) in [
            (&all["host"]["properties"]["methods"]["items"], "[[host]]\nmethods = [\"zz\"]"),
            (&all["credential"]["properties"]["kind"], "[[credential]]\nkind = \"zz\""),
            (&all["credential"]["properties"]["owner"], "[[credential]]\nowner = \"zz\""),
            (&all["request"]["properties"]["per"], "[[request]]\nper = \"zz\""),
            (&all["request"]["properties"]["of"], "[[request]]\nof = \"zz\""),
            (&all["metric"]["properties"]["kind"], "[[metric]]\nkind = \"zz\""),
            (&all["bypass"]["properties"]["check"], "[[bypass]]\ncheck = \"zz\""),
        ] {
            let faults = Manifest::faults(&manifest_with(tables));
            let known: BTreeSet<&str> = faults[0].problem.split('`').skip(3).step_by(2).collect();
            let of_schema = words["enum"].as_array().expect(tables).iter().filter_map(Json::as_str);
            assert_eq!(known, of_schema.collect::<BTreeSet<&str>>(), "{tables}");
        }
    }

    proptest! {
        #[test]
        fn there_are_faults_exactly_where_the_parser_refuses(
            at in 0_usize..400, length in 0_usize..12, other in "[a-z0-9=\\[\\]\"{}.\n -]{0,8}",
        ) {
            let mut changed = manifest_with(TABLES);
            let start = at.min(changed.len());
            changed.replace_range(start..(start + length).min(changed.len()), &other);
            prop_assert_eq!(Manifest::faults(&changed).is_empty(), Manifest::parse(&changed).is_ok(), "{}", changed);
        }
    }
}
