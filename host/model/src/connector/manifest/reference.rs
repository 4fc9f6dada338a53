//! The reference of `connector.toml`, made of its JSON Schema: `docs/authors/manifest.md` is what this module writes.

use serde_json::Value as Json;

use super::SCHEMA;

/// Columns of a line, in characters: those of every document.
const COLUMNS_MAX: usize = 120;

/// A valid manifest with every table but `[[bypass]]`.
pub const EXAMPLE: &str = include_str!("example.toml");

/// What the page says before the tables.
const OPENING: &str = "\
<!-- Made by `backline plugins schema --reference`. Don't edit it: a test compares it with the code. -->

# Reference of the manifest

`connector.toml` is embedded in the component and read without running any code. Unknown keys are refused.
`backline plugins check` names every fault with line, column and remedy; `backline plugins schema` prints the JSON
Schema that this page is made of. The [recipes](recipes.md) say which entries to write for what.
";

/// The reference as Markdown: every table and key with its type and bounds, and a manifest that has them.
///
/// ```
/// let page = backline_model::manifest::reference();
/// assert!(page.contains("## `[[budget]]`"));
/// ```
#[must_use]
pub fn reference() -> String {
    // The schema is a part of this program; a test reads it.
    let schema: Json = serde_json::from_str(SCHEMA).unwrap_or_default();
    let mut page = Page { schema: &schema, text: OPENING.to_owned() };
    for (key, property, is_required) in properties(&schema) {
        page.table(key, property, is_required);
    }
    page.text + "\n## An example\n\n```toml\n" + EXAMPLE + "```\n"
}

/// The page, as far as it is written.
struct Page<'a> {
    schema: &'a Json,
    text: String,
}

impl<'a> Page<'a> {
    /// Writes a table of the manifest as a section.
    fn table(&mut self, key: &str, property: &'a Json, is_required: bool) {
        let is_list = property["type"] == "array";
        let table = self.resolved(if is_list { &property["items"] } else { property });
        let heading = if is_list { format!("[[{key}]]") } else { format!("[{key}]") };
        self.text.push('\n');
        self.wrapped("", "", &format!("## `{heading}`"));
        self.text.push('\n');
        let presence = match (is_required, is_list) {
            (true, _) => " Required.",
            (false, true) => " Any number.",
            (false, false) => "",
        };
        self.wrapped("", "", &format!("{}{presence}", sentence(described(table, property))));
        if !properties(table).is_empty() {
            self.text.push('\n');
        }
        self.keys(0, table);
    }

    /// Writes the keys of a table as a list.
    fn keys(&mut self, depth: usize, table: &'a Json) {
        for (key, property, is_required) in properties(table) {
            let value = self.resolved(property);
            let required = if is_required { ", required" } else { "" };
            let opening = format!("`{key}` ({}{required}): {}", self.kind(value), sentence(described(property, value)));
            let entry = self.resolved(&value["items"]);
            self.item(depth, &with_bounds(&opening, &[value, entry]));
            self.choices(depth + 1, value);
            self.keys(depth + 1, value);
            self.keys(depth + 1, entry);
        }
    }

    /// Writes what a value may be, where there are several forms or words.
    fn choices(&mut self, depth: usize, value: &'a Json) {
        for (word, meaning) in list(&value["enum"]).iter().zip(list(&value["enumDescriptions"])) {
            self.item(depth, &format!("`{word}`: {}", meaning.as_str().unwrap_or_default()));
        }
        for form in list(&value["oneOf"]) {
            let table = self.resolved(form);
            if let Some(word) = table.get("const") {
                self.item(depth, &format!("`{word}`: {}", sentence(described(form, table))));
            }
            for (key, property, _) in properties(table) {
                let opening = format!("`{{ {key} = … }}`: {}", sentence(described(form, table)));
                self.item(depth, &with_bounds(&opening, &[property]));
                self.keys(depth + 1, self.resolved(property));
            }
        }
    }

    /// What kind of value it is.
    fn kind(&self, value: &'a Json) -> String {
        if value.get("enum").or_else(|| value.get("oneOf")).is_some() {
            return "one of these".to_owned();
        }
        match value["type"].as_str() {
            Some("string") => "text".to_owned(),
            Some("integer") => "whole number".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some("array") => match self.kind(self.resolved(&value["items"])).as_str() {
                "one of these" => "list of these".to_owned(),
                kind => format!("list of {kind}s"),
            },
            _ => "table".to_owned(),
        }
    }

    /// The definition that a value refers to, or the value itself.
    fn resolved(&self, value: &'a Json) -> &'a Json {
        let name = value["$ref"].as_str().and_then(|path| path.strip_prefix("#/definitions/"));
        name.map_or(value, |name| &self.schema["definitions"][name])
    }

    fn item(&mut self, depth: usize, text: &str) {
        let indent = "  ".repeat(depth);
        self.wrapped(&format!("{indent}- "), &format!("{indent}  "), text);
    }

    /// Writes words as lines of at most [`COLUMNS_MAX`] characters.
    fn wrapped(&mut self, first: &str, following: &str, text: &str) {
        let mut line = first.to_owned();
        let mut is_empty = true;
        for word in text.split(' ') {
            if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS_MAX {
                self.text += &line;
                self.text.push('\n');
                following.clone_into(&mut line);
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line += word;
            is_empty = false;
        }
        self.text += &line;
        self.text.push('\n');
    }
}

/// The properties of an object: the required ones in their order, then the others by name, since not every map of JSON
/// keeps the order of its file.
fn properties(object: &Json) -> Vec<(&str, &Json, bool)> {
    let Some(all) = object["properties"].as_object() else { return Vec::new() };
    let required: Vec<&str> = list(&object["required"]).iter().filter_map(Json::as_str).collect();
    let mut found: Vec<(usize, &str, &Json)> = all
        .iter()
        .map(|(key, property)| {
            let place = required.iter().position(|other| *other == key.as_str());
            (place.unwrap_or(required.len()), key.as_str(), property)
        })
        .collect();
    found.sort_by_key(|(place, key, _)| (*place, *key));
    found.into_iter().map(|(place, key, property)| (key, property, place < required.len())).collect()
}

fn list(value: &Json) -> &[Json] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The description of a value, or else that of the definition behind it.
fn described<'a>(value: &'a Json, definition: &'a Json) -> &'a str {
    value["description"].as_str().or_else(|| definition["description"].as_str()).unwrap_or_default()
}

fn sentence(text: &str) -> String {
    if text.is_empty() || text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

/// A text with the bounds that these schemas set.
fn with_bounds(text: &str, schemas: &[&Json]) -> String {
    let bounds = schemas.iter().flat_map(|schema| bounds(schema));
    bounds.fold(text.trim_end().to_owned(), |text, bound| text + " " + &bound)
}

fn bounds(schema: &Json) -> Vec<String> {
    let mut bounds = Vec::new();
    let words = list(&schema["enum"]);
    if !words.is_empty() && schema.get("enumDescriptions").is_none() {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        bounds.push(format!("One of {}.", words.join(", ")));
    }
    let between = |low: &str, high: &str, what: &str| {
        Some(match (schema[low].as_u64(), schema[high].as_u64()) {
            (Some(low), Some(high)) => format!("From {low} to {high}{what}."),
            (Some(0) | None, None) => return None,
            (Some(low), None) => format!("At least {low}{what}."),
            (None, Some(high)) => format!("At most {high}{what}."),
        })
    };
    bounds.extend(between("minimum", "maximum", ""));
    bounds.extend(between("minItems", "maxItems", " of them"));
    bounds.extend(between("", "maxLength", " characters"));
    if schema.get("minLength").is_some() {
        bounds.push("Not empty.".to_owned());
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        bounds.push(match pattern {
            r"\S" => "Not empty.".to_owned(),
            // Two backticks: a pattern may hold one.
            pattern => format!("Form: ``{pattern}``."),
        });
    }
    if let Some(default) = schema.get("default") {
        bounds.push(format!("Default: `{default}`."));
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    #[test]
    fn the_page_is_what_the_code_says() {
        let written = include_str!("../../../../../docs/authors/manifest.md");
        let made = reference();
        for (line, (written, made)) in written.lines().zip(made.lines()).enumerate() {
            assert_eq!(written, made, "line {}; run `backline plugins schema --reference` and replace it", line + 1);
        }
        assert_eq!(written, made);
    }

    #[test]
    fn every_key_of_the_schema_is_in_the_page_with_what_it_means() {
        fn keys<'a>(schema: &'a Json, found: &mut Vec<(&'a str, &'a Json)>) {
            match schema {
                Json::Object(fields) => {
                    if let Some(Json::Object(properties)) = fields.get("properties") {
                        found.extend(properties.iter().map(|(key, property)| (key.as_str(), property)));
                    }
                    fields.values().for_each(|inner| keys(inner, found));
                }
                Json::Array(items) => items.iter().for_each(|inner| keys(inner, found)),
                _ => {}
            }
        }
        let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
        let page = reference();
        let mut found = Vec::new();
        keys(&schema, &mut found);
        assert!(found.len() > 60, "{}", found.len());
        for (key, property) in found {
            let is_there = [format!("- `{key}` ("), format!("`{{ {key} = … }}`"), format!("[{key}]")];
            assert!(is_there.iter().any(|form| page.contains(form)), "{key}");
            let (words, meanings) = (list(&property["enum"]), list(&property["enumDescriptions"]));
            assert!(meanings.is_empty() || meanings.len() == words.len(), "{key}: a word without its meaning");
        }
        assert!(!page.lines().any(|line| line.ends_with("):")), "a key without a description");
        let mut lines = page.lines().take_while(|line| !line.starts_with("```"));
        assert!(lines.all(|line| line.chars().count() <= COLUMNS_MAX));
    }

    #[test]
    fn the_example_is_valid_and_has_every_table() {
        assert_eq!(Manifest::faults(EXAMPLE), []);
        let manifest = Manifest::parse(EXAMPLE).expect("a manifest");
        manifest.check_owners().expect("hosts of one owner");
        let schema: Json = serde_json::from_str(SCHEMA).expect("JSON");
        // A bypass ends within a year: an example of one would have to be renewed.
        for (key, property, _) in properties(&schema).into_iter().filter(|(key, ..)| *key != "bypass") {
            let heading = if property["type"] == "array" { format!("[[{key}]]") } else { format!("[{key}]") };
            assert!(EXAMPLE.lines().any(|line| line == heading), "{heading}");
        }
    }
}
