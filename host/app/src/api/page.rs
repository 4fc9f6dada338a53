//! The OpenAPI document as a page to read. It is made of the document alone, needs no script, and asks for nothing but
//! its own style sheet, so that it works without a network.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value as Json};

use backline_model::text::html_text;

/// Where the page's style sheet is.
pub(super) const STYLE_PATH: &str = "/openapi.css";

/// What a browser may load for the page: its style sheet. Nothing runs, and no other page can show it.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The style sheet.
pub(super) const STYLE: &str = include_str!("page.css");

/// A text of this type, with the rules of the page.
pub(super) fn response(text: String, content_type: &'static str) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    (headers, text).into_response()
}

/// The page of a document.
pub(super) fn of(document: &Json) -> String {
    let (info, empty) = (&document["info"], Map::new());
    let paths = document["paths"].as_object().unwrap_or(&empty);
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let group = operation["tags"][0].as_str().unwrap_or_default();
            let text = operation_of(method, path, operation);
            match groups.iter_mut().find(|(name, _)| *name == group) {
                Some((_, operations)) => operations.push(text),
                None => groups.push((group, vec![text])),
            }
        }
    }
    let links = groups.iter().map(|(name, _)| format!("<li><a href=\"#group-{0}\">{0}</a></li>", html_text(name)));
    let links: String = links.chain(["<li><a href=\"#schemas\">schemas</a></li>".to_owned()]).collect();
    let sections: String = groups
        .iter()
        .map(|(name, operations)| {
            let name = html_text(name);
            format!("<section id=\"group-{name}\"><h2>{name}</h2>{}</section>\n", operations.concat())
        })
        .collect();
    let schemas: String = document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| {
            let name = html_text(name);
            format!("<article id=\"schema-{name}\"><h3><code>{name}</code></h3>{}</article>\n", kind(schema))
        })
        .collect();
    let (title, version, about) = (text(&info["title"]), text(&info["version"]), text(&info["description"]));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en-GB\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} {version}: HTTP API</title>\n<link rel=\"stylesheet\" href=\"{STYLE_PATH}\">\n</head>\n<body>\n\
         <header><h1>{title} {version}: HTTP API</h1><p>{about}</p>\
         <p>For programs: <a href=\"/openapi.json\">/openapi.json</a></p></header>\n\
         <nav aria-label=\"Groups\"><ul>{links}</ul></nav>\n<main>\n{sections}\
         <section id=\"schemas\"><h2>schemas</h2>\n{schemas}</section>\n</main>\n</body>\n</html>\n"
    )
}

fn operation_of(method: &str, path: &str, operation: &Json) -> String {
    let (id, method) = (text(&operation["operationId"]), html_text(&method.to_ascii_uppercase()));
    let mut out = format!(
        "<article id=\"{id}\"><h3><span class=\"method\">{method}</span> <code>{}</code></h3><p>{}</p><p>{}</p>\n",
        html_text(path),
        text(&operation["summary"]),
        text(&operation["description"])
    );
    let parameters: Vec<&Json> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        out.push_str("<table><thead><tr>");
        for head in ["parameter", "in", "what", "type"] {
            out.push_str(&format!("<th scope=\"col\">{head}</th>"));
        }
        out.push_str("</tr></thead><tbody>");
        for parameter in parameters {
            out.push_str(&format!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["description"]),
                kind(&parameter["schema"])
            ));
        }
        out.push_str("</tbody></table>\n");
    }
    let bodies =
        [("Body", &operation["requestBody"]["content"]), ("Answer", &operation["responses"]["200"]["content"])];
    for (title, content) in bodies {
        for (content_type, body) in content.as_object().into_iter().flatten() {
            let content_type = html_text(content_type);
            out.push_str(&format!("<h4>{title}, <code>{content_type}</code></h4>{}\n", kind(&body["schema"])));
        }
    }
    out.push_str("</article>\n");
    out
}

/// A schema in words.
fn kind(schema: &Json) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = html_text(reference.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(names) = schema["enum"].as_array() {
        let names = names.iter().map(|name| format!("<code>{}</code>", text(name)));
        return names.collect::<Vec<_>>().join(", ");
    }
    if let Some(properties) = schema["properties"].as_object() {
        let required = schema["required"].as_array();
        let rows = properties.iter().map(|(name, schema)| {
            let is_required = required.is_some_and(|all| all.iter().any(|one| one == name.as_str()));
            let mark = if is_required { "" } else { " <em>optional</em>" };
            format!("<tr><td><code>{}</code>{mark}</td><td>{}</td></tr>", html_text(name), kind(schema))
        });
        return format!("<table><tbody>{}</tbody></table>", rows.collect::<String>());
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", kind(&schema["items"])),
        Some("object") if schema["additionalProperties"].is_object() => {
            format!("by name: {}", kind(&schema["additionalProperties"]))
        }
        Some(name) => {
            let details = ["format", "pattern", "minimum", "maximum", "minLength", "maxLength", "default"];
            let details = details.iter().filter(|detail| !schema[**detail].is_null());
            let details = details.map(|detail| format!(", {detail} <code>{}</code>", text(&schema[*detail])));
            format!("{}{}", html_text(name), details.collect::<String>())
        }
        None => "anything".to_owned(),
    }
}

/// A value of the document, ready for the page.
fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => html_text(text),
        other => html_text(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{document, operations};

    #[test]
    fn the_page_names_every_operation_and_schema_and_all_links_within_it_lead_somewhere() {
        let (document, page) = (document(), of(&document()));
        for operation in operations::all() {
            assert!(page.contains(&format!("<article id=\"{}\">", operation.id)), "{}", operation.id);
            assert!(page.contains(&html_text(operation.summary)), "{}", operation.id);
        }
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        assert!(schemas.keys().all(|name| page.contains(&format!("<article id=\"schema-{name}\">"))));
        let targets: Vec<&str> = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(targets.len() > 50, "{targets:?}");
        for target in targets {
            assert!(page.contains(&format!(" id=\"{target}\"")), "nothing is called {target}");
        }
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_runs_nothing() {
        let page = of(&document());
        for forbidden in ["<script", "<style", " style=", " onclick", "http://", "https://", "<img", "<iframe"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    #[test]
    fn what_the_document_says_is_text() {
        let hostile = "<b>&\"'</b>";
        let operation = json!({
            "operationId": hostile, "summary": hostile, "description": hostile, "tags": [hostile],
            "parameters": [{ "name": hostile, "in": hostile, "description": hostile, "schema": { "enum": [hostile] } }],
            "responses": { "200": { "content": { hostile: { "schema": { "type": hostile, "pattern": hostile } } } } },
        });
        let document = json!({
            "info": { "title": hostile, "version": hostile, "description": hostile },
            "paths": { hostile: { "get": operation } },
            "components": { "schemas": { hostile: { "properties": { hostile: { "$ref": hostile } } } } },
        });
        let page = of(&document);
        assert!(!page.contains("<b>") && page.matches("&lt;b&gt;&amp;&quot;&#39;&lt;/b&gt;").count() > 15, "{page}");
    }
}
