//! What all pages have in common: the frame around them, tables, times and forms.
//!
//! Every page leaves by [`document`], which makes what connectors, platforms and other people wrote harmless; maud has
//! escaped it before.

use chrono::{DateTime, SecondsFormat, Utc};
use maud::{DOCTYPE, Markup, html};
use uuid::Uuid;

use super::assets::ASSETS;
use super::refusal::{Kind, Refusal};
use super::routes::{FormAct, MENU};
use super::session::Visitor;
use crate::pipeline::words::NONE;
use backline_model::text::printable;

/// How htmx is to behave: it evaluates nothing, adds neither styles nor scripts, keeps no page in the browser's
/// storage, and asks this host alone.
const HTMX: &str = concat!(
    r#"{"allowEval":false,"allowScriptTags":false,"historyEnabled":false,"#,
    r#""includeIndicatorStyles":false,"selfRequestsOnly":true}"#,
);

/// What a page shows inside the frame.
pub(super) struct View {
    pub(super) title: String,
    /// The link of the menu that it belongs to.
    pub(super) place: &'static str,
    pub(super) body: Markup,
}

impl View {
    pub(super) fn new(title: impl Into<String>, place: &'static str, body: Markup) -> Self {
        Self { title: title.into(), place, body }
    }
}

/// A page for someone who is logged in.
pub(super) fn page(view: &View, visitor: &Visitor, notice: Option<&str>) -> String {
    let View { title, place, body } = view;
    let token = visitor.token();
    let whose = visitor.tenant().map_or_else(|| "all tenants".to_owned(), |tenant| format!("tenant {tenant}"));
    document(
        title,
        &html! {
            header {
                div.who {
                    strong { "Backline" }
                    span { (token.name) " · " (token.role.as_str()) " · " (whose) }
                    form method="post" action="/logout" {
                        input type="hidden" name="csrf" value=(visitor.csrf());
                        button.quiet type="submit" { "Log out" }
                    }
                }
                nav aria-label="Pages" {
                    ul {
                        @for (path, name, _) in MENU.iter().filter(|(_, _, page)| visitor.may(page.needs())) {
                            li {
                                a href=(path) aria-current=[(path == place).then_some("page")] { (name) }
                            }
                        }
                    }
                }
            }
            main id="main" tabindex="-1" {
                h1 { (title) }
                @if let Some(notice) = notice {
                    p.notice role="status" { (notice) }
                }
                (body)
            }
        },
    )
}

/// The page of a form that was refused, which says why first.
pub(super) fn page_again(view: View, refusal: &Refusal, visitor: &Visitor) -> String {
    let View { title, place, body } = view;
    let body = html! {
        p.refused role="alert" { (refusal.detail) }
        (body)
    };
    page(&View { title, place, body }, visitor, None)
}

/// The page that takes a token; `refusal` says why the one that was given does not do.
pub(super) fn login(refusal: Option<&Refusal>) -> String {
    document(
        "Log in",
        &html! {
            main id="main" tabindex="-1" {
                h1 { "Backline" }
                @if let Some(refusal) = refusal {
                    p.refused role="alert" { (refusal.detail) }
                }
                form method="post" action="/login" {
                    label for="token" { "Token" }
                    input id="token" name="token" type="password" autocomplete="current-password" required
                        aria-describedby="token-help" autofocus;
                    p id="token-help" { "`backline tokens create --role viewer` makes one." }
                    button type="submit" { "Log in" }
                }
            }
        },
    )
}

/// The page that says why there is no other. Without a visitor it has no menu.
pub(super) fn refused(refusal: &Refusal, visitor: Option<&Visitor>) -> String {
    let body = html! {
        p.refused role="alert" { (refusal.detail) }
    };
    match visitor {
        Some(visitor) => page(&View::new(refusal.title(), "", body), visitor, None),
        None if matches!(refusal.kind, Kind::NoSession | Kind::WrongToken) => login(Some(refusal)),
        None => document(
            refusal.title(),
            &html! {
                main id="main" tabindex="-1" {
                    h1 { (refusal.title()) }
                    (body)
                    p { a href="/login" { "Log in" } }
                }
            },
        ),
    }
}

/// A whole document, without a character that steers what shows it.
fn document(title: &str, inside: &Markup) -> String {
    let assets = &*ASSETS;
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="htmx-config" content=(HTMX);
                title { (title) " · Backline" }
                link rel="icon" href=(assets.icon.path);
                link rel="stylesheet" href=(assets.uplot_style.path);
                link rel="stylesheet" href=(assets.style.path);
                script src=(assets.htmx.path) defer {}
                script src=(assets.uplot.path) defer {}
                script src=(assets.script.path) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (inside)
                footer { "Backline " (env!("CARGO_PKG_VERSION")) " · " a href="/openapi.json" { "API" } }
            }
        }
    };
    printable(&text.into_string())
}

/// What every document has once, before all that a page shows.
const BODY: &str = "<body>";

/// A document with the sign that all it shows is simulated, before everything else.
pub(super) fn simulated(document: &str) -> String {
    let sign = html! {
        aside.simulated aria-label="Simulated" {
            strong { "Simulated." }
            " All artists, accounts and numbers here are made up, by " code { "backline demo" } "."
        }
    };
    document.replacen(BODY, &format!("{BODY}{}", sign.into_string()), 1)
}

/// A table with a caption; where there is no row, a sentence.
pub(super) fn table(caption: &str, heads: &[&str], rows: Vec<Vec<Markup>>, none: &str) -> Markup {
    if rows.is_empty() {
        return html! { p.none { (none) } };
    }
    html! {
        div.scroll role="region" aria-label=(caption) tabindex="0" {
            table {
                caption { (caption) }
                thead {
                    tr {
                        @for head in heads { th scope="col" { (head) } }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            @for (cell, head) in row.iter().zip(heads).take(1) {
                                th scope="row" data-label=(head) { (cell) }
                            }
                            @for (cell, head) in row.iter().zip(heads).skip(1) {
                                td data-label=(head) { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Names with their values.
pub(super) fn facts(facts: Vec<(&str, Markup)>) -> Markup {
    html! {
        dl {
            @for (name, value) in facts {
                dt { (name) }
                dd { (value) }
            }
        }
    }
}

/// A text as it is.
pub(super) fn text(text: impl std::fmt::Display) -> Markup {
    html! { (text.to_string()) }
}

/// A text, or the sign that there is none.
pub(super) fn or_none(given: Option<impl std::fmt::Display>) -> Markup {
    given.map_or_else(|| text(NONE), text)
}

/// A time in UTC.
pub(super) fn time(at: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(at.to_rfc3339_opts(SecondsFormat::Secs, true)) {
            (at.format("%Y-%m-%d %H:%M:%S").to_string()) " UTC"
        }
    }
}

/// A time, or the sign that there is none.
pub(super) fn time_or_none(at: Option<DateTime<Utc>>) -> Markup {
    at.map_or_else(|| text(NONE), time)
}

/// A share in percent.
pub(super) fn percent(share: Option<f64>) -> Markup {
    or_none(share.map(|share| format!("{:.1} %", share * 100.0)))
}

/// A link inside the dashboard.
pub(super) fn link(path: &str, name: impl std::fmt::Display) -> Markup {
    html! { a href=(path) { (name.to_string()) } }
}

/// A form of one button. `fields` are sent with it; `what` tells a screen reader which of several buttons it is.
pub(super) fn button(visitor: &Visitor, act: &FormAct, fields: &[(&str, &str)], label: &str, what: &str) -> Markup {
    form(
        visitor,
        act,
        &html! {
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button type="submit" aria-label=(format!("{label} {what}")) { (label) }
        },
    )
}

/// A form of an act, with the session's secret in it, and with what tells the form from others: one that is sent twice
/// is the same.
pub(super) fn form(visitor: &Visitor, act: &FormAct, inside: &Markup) -> Markup {
    html! {
        form.row method="post" action=(act.path()) {
            input type="hidden" name="csrf" value=(visitor.csrf());
            input type="hidden" name="once" value=(Uuid::new_v4().to_string());
            (inside)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_text_and_steers_nothing() {
        let rows = vec![vec![text("<script>alert(1)</script>"), text("a\u{202e}b\u{7}")]];
        let shown = document("\"><b>", &table("<i>", &["one", "two"], rows, ""));
        assert!(!shown.contains("<script>alert") && !shown.contains("<i>") && !shown.contains("<b>"), "{shown}");
        assert!(shown.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{shown}");
        assert!(shown.contains("a\u{fffd}b\u{fffd}"), "{shown}");
    }

    #[test]
    fn a_simulated_page_says_so_once_before_everything_else() {
        let rows = vec![vec![text("<body>")]];
        for page in
            [login(None), refused(&Refusal::wrong("x"), None), document("<body>", &table("a", &["b"], rows, ""))]
        {
            assert_eq!(page.matches(BODY).count(), 1, "what others wrote is no second place: {page}");
            let shown = simulated(&page);
            let (_, inside) = shown.split_once(BODY).expect("there is a body");
            assert!(inside.starts_with("<aside class=\"simulated\""), "{inside}");
            assert_eq!(shown.matches("class=\"simulated\"").count(), 1);
            assert_eq!(shown.len() - page.len(), inside.find("</aside>").expect("an end") + "</aside>".len());
        }
    }

    #[test]
    fn no_page_has_a_script_or_a_style_of_its_own() {
        let shown = login(Some(&Refusal::wrong("x")));
        assert_eq!(shown.matches("<script").count(), shown.matches("<script src=\"/assets/").count());
        for forbidden in ["<style", " style=", " onclick=", "hx-on", "javascript:", "http://", "https://"] {
            assert!(!shown.contains(forbidden), "{forbidden}: {shown}");
        }
    }
}
