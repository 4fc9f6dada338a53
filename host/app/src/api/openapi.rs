//! The OpenAPI document, made of the table of operations.

use serde_json::{Map, Value as Json, json};

use super::SIMULATED;
use super::operations::{Operation, Reach};
use super::problem::REQUEST_ID;
use super::repeats;
use super::schema::{Components, Described as _, Field, object};
use backline_store::EventCursor;

/// The document about these operations.
pub(super) fn document(operations: &[Operation]) -> Json {
    let mut components = Components::new();
    components.insert("Problem".to_owned(), problem(&mut Components::new()));
    let mut paths = Map::new();
    for operation in operations {
        let described = described(operation, &mut components);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Backline",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "Artists' daily numbers, and how their collection went. Lists have one form: `data`, `has_more` and \
                 `next`, which is the `cursor` of the page that follows. Unknown parameters are refused. Where an \
                 answer has the header `{SIMULATED}`, all artists and numbers are simulated.",
            ),
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "Made by `backline tokens create`." },
            },
        },
    })
}

fn described(operation: &Operation, components: &mut Components) -> Json {
    let in_path = variables(operation.path)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let in_query = (operation.parameters)().into_iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "in": "query",
            "required": false,
            "description": parameter.about,
            "schema": (parameter.schema)(),
        })
    });
    let parameters: Vec<Json> = in_path.chain(in_query).collect();
    let reach = match operation.reach {
        Reach::Tenant => "A token of one tenant reaches that tenant's rows.",
        Reach::Installation => "Takes a token of all tenants.",
    };
    let refused = json!({
        "description": "Why it was not answered",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        "headers": { REQUEST_ID: { "schema": { "type": "string" } } },
    });
    let mut described = json!({
        "operationId": operation.id,
        "tags": [group(operation.path)],
        "summary": operation.summary,
        "description": format!("For the role {} and above. {reach}", operation.role.as_str()),
        "parameters": parameters,
        "responses": {
            "200": {
                "description": operation.summary,
                "content": (operation.content)(components),
                "headers": { REQUEST_ID: { "schema": { "type": "string" } } },
            },
            "default": refused,
        },
    });
    match operation.body {
        Some(body) => {
            if operation.is_keyed {
                let key = json!({
                    "name": repeats::KEY,
                    "in": "header",
                    "required": false,
                    "description": "Names the request, so that a repetition within a day is answered like it and not \
                        carried out again",
                    "schema": { "type": "string", "minLength": 1, "maxLength": repeats::KEY_CHARACTERS_MAX },
                });
                if let Some(parameters) = described["parameters"].as_array_mut() {
                    parameters.push(key);
                }
                let mark = json!({ "schema": { "type": "string" } });
                described["responses"]["200"]["headers"][repeats::REPLAYED] = mark;
            }
            let content = json!({ "application/json": { "schema": body(components) } });
            described["requestBody"] = json!({ "required": false, "content": content });
        }
        None => {
            let unchanged = "Nothing has changed since the answer whose ETag was given";
            described["responses"]["304"] = json!({ "description": unchanged });
        }
    }
    described
}

/// What a path is about: what follows the version.
fn group(path: &'static str) -> &'static str {
    path.split('/').nth(2).unwrap_or_default()
}

/// The names of a path's variable parts.
fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// What a refusal looks like.
fn problem(components: &mut Components) -> Json {
    let field = |name, schema| Field { name, schema, required: true };
    object(vec![
        field("type", String::refer(components)),
        field("title", String::refer(components)),
        field("status", u16::refer(components)),
        field("code", String::refer(components)),
        field("detail", String::refer(components)),
        field("request_id", uuid::Uuid::refer(components)),
        Field { name: "oldest", schema: EventCursor::refer(components), required: false },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations;

    /// Every reference in a document.
    fn references(json: &Json, found: &mut Vec<String>) {
        match json {
            Json::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("$ref", Json::String(reference)) => found.push(reference.clone()),
                        _ => references(value, found),
                    }
                }
            }
            Json::Array(elements) => elements.iter().for_each(|element| references(element, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_holds_every_operation_and_what_it_refers_to() {
        let operations = operations::all();
        let document = document(&operations);
        for operation in &operations {
            let found = &document["paths"][operation.path][operation.method.as_str().to_ascii_lowercase()];
            assert_eq!(found["operationId"], operation.id);
            let parameters = found["parameters"].as_array().expect("a list");
            for name in variables(operation.path) {
                assert!(parameters.iter().any(|one| one["name"] == name && one["in"] == "path"), "{name}");
            }
        }
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{found:?}");
        for reference in found {
            let place = reference.strip_prefix('#').expect("a place in the document");
            assert!(document.pointer(place).is_some_and(Json::is_object), "{reference}");
        }
    }
}
