//! `[account]` of a manifest: what an account's id looks like, how it is taken out of what people paste, and which
//! columns of a list feed an account.
//!
//! A manifest is not trusted: patterns are compiled by an engine that needs time linear in the text, are bounded in
//! size, and match a whole text or nothing. Columns begin with the platform's name, so that no connector is given what
//! another one's column holds.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::cell::{self, CellError, shown};
use crate::connector::manifest_error::ManifestError;
use crate::ids::Platform;
use crate::manifest::findings::{Findings, ManifestPath};
use crate::text::one_line;

/// Longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 500;

/// Largest compiled pattern, in bytes. `[A-Za-z0-9_-]{22}` takes under 2 KiB.
const COMPILED_BYTES_MAX: usize = 512 * 1024;

/// Most patterns, examples and columns of each list.
const ENTRIES_MAX: usize = 32;

/// Longest id of any platform, in characters.
pub const PLATFORM_ID_CHARS_MAX: usize = 256;

/// Longest explanation in a rule, in characters.
const EXPLANATION_CHARS_MAX: usize = 300;

/// The name of the group that a pattern of `from` takes the id by.
const ID_GROUP: &str = "id";

/// What a connector says about the ids of its platform's accounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountRule {
    /// Regular expression of a whole id.
    pub id: String,
    /// Longest id, in characters, where the pattern can't say it; [`PLATFORM_ID_CHARS_MAX`] unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chars_max: Option<usize>,
    /// What people may write; the first is a plain id, which messages show.
    pub examples: Vec<String>,
    /// Patterns of whole URLs and URIs; their group `id` is the id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// The id of an account whose secret is given without an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What people mistake for an id.
    #[serde(default, rename = "not", skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Mistake>,
    /// Columns of a list that feed an account.
    #[serde(default, rename = "column", skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<AccountColumn>,
}

/// Something that people mistake for an id, such as a handle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mistake {
    /// Regular expression of the whole text.
    pub pattern: String,
    /// What it is and what to give instead, after "it is".
    pub is: String,
}

/// A column of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountColumn {
    /// Its name, which begins with the platform's.
    pub name: String,
    /// What its values are.
    pub gives: Gives,
    /// Whether a setting is converted to lower case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lower_case: bool,
}

/// What the values of a column are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gives {
    /// Ids of accounts.
    Id,
    /// The setting with this name.
    Setting(String),
    /// The secret of an account's slot, or a part of it.
    Secret(SecretPart),
    /// Nothing that Backline can use, for the reason given.
    Nothing(String),
}

/// What a column gives of an account's secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretPart {
    /// The slot.
    pub slot: String,
    /// The field of the secret's JSON; the whole secret unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Whether the secret can't be used without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// Why a text is not the id of an account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnId {
    /// A spreadsheet's error, a rounded number or the like.
    #[error(transparent)]
    Cell(#[from] CellError),
    /// A text that is empty or holds a placeholder.
    #[error("'{0}' is not an id; give {1}")]
    Empty(String, String),
    /// Something else that the connector knows.
    #[error("'{given}' is {is}")]
    Mistake {
        /// The text.
        given: String,
        /// What it is, and what to give instead.
        is: String,
    },
    /// Something else.
    #[error("'{given}' is not the id of an account on {platform}; give {expected}")]
    Form {
        /// The text.
        given: String,
        /// Platform of the account.
        platform: Platform,
        /// An example, or what an id may not hold.
        expected: String,
    },
}

/// Reads ids of a platform's accounts.
///
/// ```
/// # use backline_model::Manifest;
/// # let text = r#"
/// # [connector]
/// # name = "example"
/// # platform = "example"
/// # version = "1.0.0"
/// # api = "^1.0"
/// # title = "Example"
/// # batch_size = 50
/// # [account]
/// # id = '[0-9]{4,}'
/// # examples = ["1234", "https://example.com/artists/1234"]
/// # from = ['https://example\.com/artists/(?<id>[0-9]+)']
/// # "#;
/// let reader = Manifest::parse(text)?.account_reader()?;
/// assert_eq!(reader.read("https://example.com/artists/1234")?, "1234");
/// assert!(reader.read("1.78403E+16").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AccountReader {
    platform: Platform,
    rule: Option<Compiled>,
}

/// A rule with its patterns compiled.
#[derive(Clone, Debug)]
struct Compiled {
    id: Regex,
    chars_max: usize,
    from: Vec<Regex>,
    mistakes: Vec<(Regex, String)>,
    example: String,
    default: Option<String>,
}

impl AccountReader {
    /// The reader of a platform's ids by a connector's rule.
    pub(super) fn new(platform: &Platform, rule: Option<&AccountRule>) -> Result<Self, ManifestError> {
        Ok(Self { platform: platform.clone(), rule: rule.map(Compiled::of).transpose()? })
    }

    /// The id that a text gives.
    ///
    /// # Errors
    /// [`NotAnId`] says what the text is instead, and what to give.
    pub fn read(&self, text: &str) -> Result<String, NotAnId> {
        let Some(value) = cell::value(text)? else {
            return Err(NotAnId::Empty(shown(text), self.expected()));
        };
        let whole = self.id_of(&value)?;
        if !self.holds_more(&value, &whole) {
            return Ok(whole);
        }
        match self.listed(&value, Ok(whole))?.as_slice() {
            [id] => Ok(id.clone()),
            _ => Err(NotAnId::Form {
                given: shown(&value),
                platform: self.platform.clone(),
                expected: format!("{}, one at a time", self.expected()),
            }),
        }
    }

    /// The ids that a cell gives: none, one, or several between commas, semicolons, bars or white space.
    ///
    /// # Errors
    /// [`NotAnId`] for the whole cell, or for the first of several that is not an id.
    pub fn read_all(&self, text: &str) -> Result<Vec<String>, NotAnId> {
        let Some(value) = cell::value(text)? else { return Ok(Vec::new()) };
        match self.id_of(&value) {
            Ok(id) if self.rule.is_some() && !self.holds_more(&value, &id) => Ok(vec![id]),
            whole => self.listed(&value, whole),
        }
    }

    /// The ids of a value that may be a list, where `whole` is what it gives as one id.
    fn listed(&self, value: &str, whole: Result<String, NotAnId>) -> Result<Vec<String>, NotAnId> {
        let parts = self.parts(value);
        if parts.len() < 2 {
            return match parts.first() {
                Some(part) if *part != value => self.one(part).map(|id| vec![id]),
                _ => whole.map(|id| vec![id]),
            };
        }
        let mut ids: Vec<String> = Vec::new();
        let mut wrong = None;
        for part in &parts {
            match self.one(part) {
                Ok(id) if ids.contains(&id) => {}
                Ok(id) => ids.push(id),
                Err(problem) => wrong = wrong.or(Some(problem)),
            }
        }
        match (wrong, ids.is_empty(), whole) {
            (None, _, _) => Ok(ids),
            // None of them is an id, so it is no list.
            (Some(_), true, Err(whole)) => Err(whole),
            (Some(problem), _, _) => Err(problem),
        }
    }

    /// Whether a value is an address that gives `id`, with something behind it that is not the address's: a pattern of
    /// an address takes everything behind a `?` for its query.
    fn holds_more(&self, value: &str, id: &str) -> bool {
        if value == id {
            return false;
        }
        let parts = self.parts(value);
        match parts.iter().filter(|part| self.one(part).is_ok()).count() {
            0 => false,
            // A query may hold commas and semicolons, but nothing of the others.
            1 => {
                let is_of_no_query = |part: &&str| part.contains("://");
                parts.len() > 1
                    && (value.contains(|c: char| c == '|' || c.is_whitespace())
                        || parts.iter().skip(1).any(is_of_no_query))
            }
            _ => true,
        }
    }

    /// The parts of a value that may be a list.
    fn parts<'a>(&self, value: &'a str) -> Vec<&'a str> {
        let separates = |c: char| match self.rule {
            Some(_) => matches!(c, ',' | ';' | '|') || c.is_whitespace(),
            // Without a rule anything else may belong to an id.
            None => matches!(c, ',' | '\n'),
        };
        value.split(separates).map(str::trim).filter(|part| !part.is_empty()).collect()
    }

    /// The id that a part of a value gives.
    fn one(&self, part: &str) -> Result<String, NotAnId> {
        match cell::value(part)? {
            Some(value) => self.id_of(&value),
            None => Err(NotAnId::Empty(shown(part), self.expected())),
        }
    }

    /// The id of an account whose secret is given without an id.
    #[must_use]
    pub fn default_id(&self) -> Option<&str> {
        self.rule.as_ref().and_then(|rule| rule.default.as_deref())
    }

    /// What a message asks for.
    #[must_use]
    pub fn expected(&self) -> String {
        match &self.rule {
            Some(rule) => format!("one such as {}", one_line(&rule.example)),
            None => "the account's id on the platform".to_owned(),
        }
    }

    fn id_of(&self, value: &str) -> Result<String, NotAnId> {
        let form = |expected: String| NotAnId::Form { given: shown(value), platform: self.platform.clone(), expected };
        let Some(rule) = &self.rule else {
            let bounded = value.chars().count() <= PLATFORM_ID_CHARS_MAX;
            return if bounded && !value.chars().any(|c| c.is_whitespace() || c.is_control()) {
                Ok(value.to_owned())
            } else {
                Err(form(format!("one without white space, of at most {PLATFORM_ID_CHARS_MAX} characters")))
            };
        };
        let is_id = |text: &str| text.chars().count() <= rule.chars_max && rule.id.is_match(text);
        if is_id(value) {
            return Ok(value.to_owned());
        }
        let taken = rule.from.iter().find_map(|from| {
            let id = from.captures(value)?.name(ID_GROUP)?.as_str().to_owned();
            is_id(&id).then_some(id)
        });
        if let Some(id) = taken {
            return Ok(id);
        }
        match rule.mistakes.iter().find(|(pattern, _)| pattern.is_match(value)) {
            Some((_, is)) => Err(NotAnId::Mistake { given: shown(value), is: is.clone() }),
            None => Err(form(self.expected())),
        }
    }
}

impl Compiled {
    fn of(rule: &AccountRule) -> Result<Self, ManifestError> {
        let compiled = |field: &str, pattern: &String| {
            compile(pattern).map_err(|problem| ManifestError::Value {
                field: field.to_owned(),
                problem: crate::text::printable(&problem),
            })
        };
        Ok(Self {
            id: compiled("account.id", &rule.id)?,
            chars_max: rule.chars_max.unwrap_or(PLATFORM_ID_CHARS_MAX),
            from: rule.from.iter().map(|pattern| compiled("account.from", pattern)).collect::<Result<_, _>>()?,
            mistakes: rule
                .mistakes
                .iter()
                .map(|known| Ok((compiled("account.not", &known.pattern)?, known.is.clone())))
                .collect::<Result<_, ManifestError>>()?,
            example: rule.examples.first().cloned().unwrap_or_default(),
            default: rule.default.clone(),
        })
    }
}

/// Compiles a pattern that matches a whole text or nothing; the error says why it can't be.
fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).nest_limit(32).build();
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("a pattern is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    // On its own first: a pattern that closes a group it did not open would escape the anchors.
    build(pattern)
        .and_then(|_| build(&format!(r"\A(?:{pattern})\z")))
        .map_err(|error| format!("'{}' is not a usable pattern: {error}", one_line(pattern)))
}

/// A column's name as names are compared: in lower case and ASCII's width, with `_` for blanks and hyphens, without
/// what is invisible.
#[must_use]
pub fn column_name(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(cell::narrow)
        .map(|c| if c.is_whitespace() || c == '-' { '_' } else { c })
        .filter(|c| !crate::text::misleads(*c))
        .collect();
    visible.trim_matches('_').to_lowercase()
}

/// What a manifest declares beside its rule, and the rule's columns may name.
pub(super) struct Declared<'a> {
    pub(super) platform: &'a Platform,
    /// JSON Schema of the settings.
    pub(super) settings: &'a serde_json::Value,
    /// Whether a slot's secrets belong to accounts; none for a slot that is not declared.
    pub(super) is_of_accounts: &'a dyn Fn(&str) -> Option<bool>,
}

/// Checks a manifest's rule.
pub(super) fn check(rule: &AccountRule, declared: &Declared<'_>, findings: &mut Findings) {
    let account = ManifestPath::of("account");
    let lists = [
        ("examples", rule.examples.len()),
        ("from", rule.from.len()),
        ("not", rule.mistakes.len()),
        ("column", rule.columns.len()),
    ];
    let mut bounded = true;
    for (key, _) in lists.into_iter().filter(|(_, count)| *count > ENTRIES_MAX) {
        bounded = false;
        findings.add(account.key(key), format!("account.{key}"), format!("it has more than {ENTRIES_MAX} entries"));
    }
    if rule.chars_max.is_some_and(|most| !(1..=PLATFORM_ID_CHARS_MAX).contains(&most)) {
        let problem = format!("it is not between 1 and {PLATFORM_ID_CHARS_MAX}");
        findings.add(account.key("chars_max"), "account.chars_max", problem);
    }
    // Each pattern takes time to compile.
    if !bounded {
        return;
    }
    check_patterns(rule, declared, &account, findings);
    let mistakes =
        rule.mistakes.iter().enumerate().map(|(at, known)| (account.key("not").index(at).key("is"), &known.is));
    let reasons = rule.columns.iter().enumerate().filter_map(|(at, column)| {
        let place = account.key("column").index(at).key("gives");
        if let Gives::Nothing(reason) = &column.gives { Some((place, reason)) } else { None }
    });
    for (place, explanation) in mistakes.chain(reasons) {
        if explanation.trim().is_empty() || explanation.chars().count() > EXPLANATION_CHARS_MAX {
            let problem = format!("an explanation is empty or longer than {EXPLANATION_CHARS_MAX} characters");
            findings.add(place, "account", problem);
        }
    }
    check_columns(rule, declared, &account, findings);
}

fn check_patterns(rule: &AccountRule, declared: &Declared<'_>, account: &ManifestPath, findings: &mut Findings) {
    let ids = [(account.key("id"), "account.id", &rule.id)].into_iter();
    let from = rule.from.iter().enumerate().map(|(at, from)| (account.key("from").index(at), "account.from", from));
    let mistakes = rule.mistakes.iter().enumerate();
    let mistakes =
        mistakes.map(|(at, known)| (account.key("not").index(at).key("pattern"), "account.not", &known.pattern));
    let mut compiles = true;
    for (place, field, pattern) in ids.chain(from).chain(mistakes) {
        if let Err(problem) = compile(pattern) {
            compiles = false;
            findings.add(place, field, problem);
        }
    }
    let (true, Ok(compiled)) = (compiles, Compiled::of(rule)) else { return };
    if compiled.id.is_match("") {
        let problem = "it matches an empty text, which identifies no account";
        findings.add(account.key("id"), "account.id", problem);
    }
    for (at, (given, from)) in rule.from.iter().zip(&compiled.from).enumerate() {
        if from.capture_names().all(|name| name != Some(ID_GROUP)) {
            let problem = format!("'{}' has no group (?<{ID_GROUP}>…), which is the id", one_line(given));
            findings.add(account.key("from").index(at), "account.from", problem);
        }
    }
    let reader = AccountReader { platform: declared.platform.clone(), rule: Some(compiled) };
    let examples = account.key("examples");
    if rule.examples.is_empty() {
        findings.add(examples.clone(), "account.examples", "it is empty; messages show the first one");
    }
    for (at, example) in rule.examples.iter().enumerate() {
        match reader.read(example) {
            Err(problem) if at > 0 => {
                findings.add(examples.index(at), "account.examples", problem.to_string());
            }
            Ok(id) if at > 0 || id == *example => {}
            Ok(_) | Err(_) => {
                let problem = format!("the first, '{}', is not an id of the pattern account.id", one_line(example));
                findings.add(examples.index(at), "account.examples", problem);
            }
        }
    }
    if let Some(Err(problem)) = rule.default.as_ref().map(|default| reader.read(default)) {
        findings.add(account.key("default"), "account.examples", problem.to_string());
    }
}

fn check_columns(rule: &AccountRule, declared: &Declared<'_>, account: &ManifestPath, findings: &mut Findings) {
    let prefix = format!("{}_", column_name(declared.platform.as_str()));
    let mut seen = BTreeSet::new();
    for (at, column) in rule.columns.iter().enumerate() {
        let place = account.key("column").index(at);
        let mut add = |key: &str, problem: String| {
            findings.add(place.key(key), format!("account.column {}", one_line(&column.name)), problem);
        };
        if column.name != column_name(&column.name) || !column.name.starts_with(&prefix) || column.name.len() > 64 {
            add(
                "name",
                format!(
                    "a column's name is in lower case, begins with {prefix} and has at most 64 characters, so that it \
                     is no other platform's"
                ),
            );
        }
        if !seen.insert(&column.name) {
            add("name", "it is declared twice".to_owned());
        }
        match &column.gives {
            Gives::Id | Gives::Nothing(_) => {}
            Gives::Setting(name) => {
                let is_known = declared.settings.get("properties").is_some_and(|all| all.get(name).is_some());
                if !is_known {
                    add("gives", format!("the manifest declares no setting '{}'", one_line(name)));
                }
            }
            Gives::Secret(part) => match (declared.is_of_accounts)(&part.slot) {
                Some(true) => {}
                Some(false) => add("gives", format!("the slot '{}' does not belong to accounts", part.slot)),
                None => add("gives", format!("there is no credential slot '{}'", one_line(&part.slot))),
            },
        }
    }
}

#[cfg(test)]
mod tests;
