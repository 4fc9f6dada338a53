//! Lists of several pages: a page that comes again and cursors without an end are noticed, and what was read until then
//! is never taken for the whole.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value as Json;
use url::Url;

use super::bench::{Bench, Change, Made, Ran, Unmade};
use super::faults::{distinct, invented, is_same};
use super::leaves::walk;
use super::report::CheckResult;
use backline_gateway::{Asked, Exchange, Response, SendError};
use backline_model::FetchError;

/// Requests of an account beyond the recorded ones, after which its paging counts as endless.
const MORE_MAX: usize = 100;

/// Most places in an account's recording at which the pages are made to go wrong.
const PAGES_MAX: usize = 3;

/// How the pages go wrong.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// The next page is the same one again, with the same cursor.
    Again,
    /// Every further page has a cursor that was never there, and the items of the first one.
    Endless,
}

/// A page and the request for the one after it.
struct Page<'a> {
    next: &'a Asked,
    body: Json,
    /// Where its cursor stands, as JSON pointers.
    cursors: Vec<String>,
}

/// Lets the pages of each list repeat, and go on for ever.
pub(super) async fn paging(bench: &Bench, alone: &[Made], exchanges: &[Vec<Exchange>]) -> CheckResult {
    let mut check = CheckResult::new("paging");
    for ((account, good), exchanges) in bench.accounts.iter().zip(alone).zip(exchanges) {
        for page in pages(exchanges).into_iter().take(PAGES_MAX) {
            for wrong in [Wrong::Again, Wrong::Endless] {
                let sent_max = exchanges.len() + MORE_MAX;
                let change = going_wrong(&page, wrong, sent_max);
                let Some(ran) = bench.run_changed(std::slice::from_ref(account), change).await else { continue };
                check.cases += 1;
                let next = format!("{} {}", page.next.method.as_str(), page.next.url);
                let case = match wrong {
                    Wrong::Again => format!("{}: {next} gives the page before once more", account.platform_id),
                    Wrong::Endless => format!("{}: {next} and all after it have a new cursor", account.platform_id),
                };
                judge(&mut check, &case, good, ran, sent_max);
            }
        }
    }
    if check.cases == 0 {
        check.skipped = Some("no recording has a list of several pages; record an account that has one".to_owned());
    }
    check
}

/// Looks at what was made of pages that go wrong.
fn judge(check: &mut CheckResult, case: &str, good: &Made, ran: Ran, sent_max: usize) {
    if ran.exchanges.len() > sent_max {
        let sent = ran.exchanges.len();
        let why = "end at a cursor or at items that were there before, and after a number of pages";
        check.found(case, format!("it asks {sent} times; {why}"));
    }
    match ran.accounts.map(|accounts| accounts.into_iter().next()) {
        Err(why) => check.found(case, why),
        Ok(Some(Ok(made))) => {
            for (name, message) in invented(good, &made) {
                check.found(case, format!("{name} {message}"));
            }
        }
        Ok(Some(Err(Unmade::Fetch(error)))) => {
            use FetchError::{Forbidden, NotFound, Reconnect, Unauthorized};
            if matches!(error, Forbidden(_) | NotFound | Reconnect(_) | Unauthorized(_)) {
                let why = "pages without an end say nothing about the account";
                check.found(case, format!("it is reported as \"{error}\"; {why}"));
            }
        }
        Ok(Some(Err(Unmade::Normalize(why)))) => {
            check.found(case, format!("normalize refuses the document that fetch made: {why}"));
        }
        Ok(None) => {}
    }
}

/// Every page whose answer holds a value that the request for another page carries, and its own request does not.
fn pages(exchanges: &[Exchange]) -> Vec<Page<'_>> {
    let asked = distinct(exchanges);
    let mut pages = Vec::new();
    for first in asked.iter().copied() {
        let answer = exchanges.iter().find(|exchange| is_same(&exchange.asked, first));
        let Some(Ok(response)) = answer.and_then(|exchange| exchange.answer.as_ref()) else { continue };
        let Ok(body) = serde_json::from_slice::<Json>(&response.body) else { continue };
        let mut pointers = Vec::new();
        walk(&body, &mut String::new(), &mut pointers);
        let own = carried(first);
        for next in asked.iter().copied().filter(|next| follows(first, next)) {
            let of_next = carried(next);
            let is_cursor = |pointer: &&String| {
                let value = body.pointer(pointer.as_str()).and_then(word);
                value.is_some_and(|value| {
                    let is_link = leads_to(&value, next) && !leads_to(&value, first);
                    is_link || (of_next.contains(&value) && !own.contains(&value))
                })
            };
            let cursors: Vec<String> = pointers.iter().filter(is_cursor).cloned().collect();
            if !cursors.is_empty() {
                pages.push(Page { next, body: body.clone(), cursors });
            }
        }
    }
    pages
}

/// Whether two requests are for the same list: another query or body at the same path.
fn follows(first: &Asked, next: &Asked) -> bool {
    !is_same(first, next) && first.method == next.method && path(first) == path(next)
}

fn path(asked: &Asked) -> &str {
    asked.url.split(['?', '#']).next().unwrap_or_default()
}

/// Whether a text is a link to what is asked: the same path, and nothing in its query that the request has not, in any
/// order. A connector may add to it, and may count offsets by itself.
fn leads_to(link: &str, asked: &Asked) -> bool {
    let Ok(url) = asked.url.parse::<Url>() else { return false };
    if !(link.starts_with('/') || link.starts_with("https://")) {
        return false;
    }
    let Ok(link) = url.join(link) else { return false };
    let has = |pair: (Cow<'_, str>, Cow<'_, str>)| url.query_pairs().any(|own| own == pair);
    link.path() == url.path() && link.query().is_some() && link.query_pairs().all(has)
}

/// The values that a request carries: those of its query, whole and by the parts between brackets, since expansions of
/// fields are written so, and those of a body of JSON.
fn carried(asked: &Asked) -> Vec<String> {
    let mut values = Vec::new();
    if let Ok(url) = asked.url.parse::<Url>() {
        for (_, value) in url.query_pairs() {
            values.extend(value.split(['(', ')', '{', '}', '[', ']']).chain([&*value]).map(str::to_owned));
        }
    }
    let body = asked.body.as_deref().and_then(|body| serde_json::from_slice::<Json>(body).ok());
    if let Some(body) = body {
        let mut pointers = Vec::new();
        walk(&body, &mut String::new(), &mut pointers);
        values.extend(pointers.iter().filter_map(|pointer| body.pointer(pointer).and_then(word)));
    }
    values
}

/// A text that is not empty, or a whole number, as a cursor is written.
fn word(value: &Json) -> Option<String> {
    match value {
        Json::String(text) if !text.is_empty() => Some(text.clone()),
        Json::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// The answers with the page after this one gone wrong.
fn going_wrong(page: &Page<'_>, wrong: Wrong, sent_max: usize) -> Change {
    let (next, body, cursors) = (page.next.clone(), page.body.clone(), page.cursors.clone());
    let sent = AtomicUsize::new(0);
    Box::new(move |asked, before| {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        if number >= sent_max {
            // Enough was seen; a connector that repeats failures has to come to an end too.
            return Err(SendError::TimedOut);
        }
        let is_after = path(asked) == path(&next) && matches!(before, Err(SendError::Denied(_)));
        let body = match wrong {
            Wrong::Again if is_same(asked, &next) => body.to_string(),
            Wrong::Endless if is_same(asked, &next) || is_after => with_cursor(&body, &cursors, number).to_string(),
            _ => return before,
        };
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(Response { status: 200, headers, body: body.into_bytes() })
    })
}

/// A page with a cursor that was never there before.
fn with_cursor(body: &Json, cursors: &[String], number: usize) -> Json {
    let mut body = body.clone();
    for pointer in cursors {
        let Some(value) = body.pointer_mut(pointer) else { continue };
        let new = match &*value {
            Json::String(link) if link.contains('?') => Json::String(format!("{link}&zq={number}")),
            Json::String(text) => Json::String(format!("{text}{number}")),
            Json::Number(cursor) => {
                let more = i64::try_from(number).unwrap_or_default().saturating_add(1);
                cursor.as_i64().map_or(Json::Null, |cursor| Json::from(cursor.saturating_add(more)))
            }
            _ => continue,
        };
        *value = new;
    }
    body
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use backline_model::manifest::Method;

    fn exchange(url: &str, sent: Option<Json>, answer: &Json) -> Exchange {
        let body = sent.map(|body| body.to_string().into_bytes());
        let asked = Asked { method: Method::Get, url: url.to_owned(), headers: Vec::new(), body, credential: None };
        let response = Response { status: 200, headers: Vec::new(), body: answer.to_string().into_bytes() };
        Exchange { asked, units: BTreeMap::new(), attempts: 1, wall_ms: 1, answer: Some(Ok(response)) }
    }

    fn found(exchanges: &[Exchange]) -> Vec<(String, Vec<String>)> {
        pages(exchanges).into_iter().map(|page| (page.next.url.clone(), page.cursors)).collect()
    }

    #[test]
    fn a_page_is_known_by_the_cursor_that_the_next_request_carries() {
        let (first, next) = ("https://a.test/posts?limit=50", "https://a.test/posts?limit=50&after=QQ%3D%3D");
        let page = json!({ "limit": 50, "next": next, "page": { "after": "QQ==" } });
        let other = exchange("https://a.test/videos?after=QQ%3D%3D", None, &json!({}));
        let by_query = [exchange(first, None, &page), exchange(next, None, &json!({ "limit": 50 })), other];
        assert_eq!(found(&by_query), [(next.to_owned(), vec!["/next".to_owned(), "/page/after".to_owned()])]);
        let url = "https://a.test/list";
        let by_body = [
            exchange(url, Some(json!({ "max": 20 })), &json!({ "cursor": 1_700, "max": 20 })),
            exchange(url, Some(json!({ "max": 20, "cursor": 1_700 })), &json!({ "cursor": 0 })),
        ];
        assert_eq!(found(&by_body), [(url.to_owned(), vec!["/cursor".to_owned()])]);
        let by_link = [
            exchange("https://a.test/albums?limit=1", None, &json!({ "next": "/albums?offset=1" })),
            exchange("https://a.test/albums?limit=1&offset=1", None, &json!({})),
        ];
        assert_eq!(found(&by_link).len(), 1);
        let by_field = [
            exchange("https://a.test/x?fields=of(ada)%7Bposts%7D", None, &json!({ "after": "QQ" })),
            exchange("https://a.test/x?fields=of(ada)%7Bposts.after(QQ)%7D", None, &json!({})),
        ];
        assert_eq!(found(&by_field).len(), 1);
        let chunks = [
            exchange("https://a.test/v?id=1,2", None, &json!({ "ids": [1, 2] })),
            exchange("https://a.test/v?id=3,4", None, &json!({ "ids": [3, 4] })),
        ];
        assert!(found(&chunks).is_empty(), "parts of one list are no pages");
    }

    #[test]
    fn every_further_page_has_another_cursor() {
        let body = json!({ "after": "QQ", "cursor": 5, "next": "https://a.test/?p=1" });
        let cursors = ["/after", "/cursor", "/next"].map(str::to_owned);
        let page = with_cursor(&body, &cursors, 7);
        assert_eq!(page, json!({ "after": "QQ7", "cursor": 13, "next": "https://a.test/?p=1&zq=7" }));
        assert_ne!(page, with_cursor(&body, &cursors, 8));
    }
}
