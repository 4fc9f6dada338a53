//! A connector that is right, or makes the one mistake that the account's settings name, for tests of the conformance
//! checks.

use backline_sdk::prelude::*;
use backline_sdk::{Lost, Paging, Tally, encode, has_word};

/// Pages of posts that are read at most.
const PAGES_MAX: usize = 10;

struct Guest;

/// The mistake of an account's settings.
fn mistake(settings: &str) -> String {
    let settings: Json = settings.parse().unwrap_or_default();
    settings["mistake"].as_str().unwrap_or("none").to_owned()
}

async fn artist(http: &Http, account: &Account) -> Result<Json, FetchError> {
    let mistake = mistake(&account.settings);
    let id = if mistake == "raw id" { account.platform_id.clone() } else { encode(&account.platform_id) };
    let host = if mistake == "other host" { "elsewhere" } else { "api" };
    let url = format!("https://{host}.example.com/artists/{id}");
    let response = http.get(&url).send().await?;
    if mistake == "chatty" {
        http.get(&url).send().await?;
    }
    let why = format!("HTTP {}", response.status);
    match (response.status, mistake.as_str()) {
        (200, "trap") => Ok(serde_json_of(&response.body).expect("JSON")),
        (200, "no shape") => response.ok_json(),
        (200, "bad body is nobody") => match response.ok_json() {
            Ok(body) if id_of(&body).is_some() => Ok(body),
            _ => Err(FetchError::NotFound),
        },
        (200, _) => {
            let body = response.ok_json()?;
            if id_of(&body).is_some() { Ok(body) } else { Err(FetchError::Unexpected("no artist".to_owned())) }
        }
        (500.., "outage is nobody") => Err(FetchError::NotFound),
        (500.., "outage is zero") => Ok(json!({ "id": account.platform_id, "followers": 0, "posts": [] })),
        (500.., "outage is broken") => Err(FetchError::Unexpected(why)),
        (401 | 403, "refused is nobody") => Err(FetchError::NotFound),
        (401, "refused key is an outage") => Err(FetchError::Unavailable(why)),
        (404, "gone is throttled") => Err(FetchError::RateLimited(None)),
        (429, "throttled is down") => Err(FetchError::Unavailable(why)),
        (404, "never not found") => Err(FetchError::Reconnect(why)),
        (404, _) => Err(FetchError::NotFound),
        (401, _) => Err(FetchError::Misconfigured(why)),
        (403, _) => Err(FetchError::Forbidden(why)),
        (429, "no wait") => Err(FetchError::RateLimited(None)),
        (429, _) => Err(FetchError::RateLimited(response.retry_after())),
        (500.., _) => Err(FetchError::Unavailable(why)),
        _ => Err(FetchError::Unexpected(why)),
    }
}

fn serde_json_of(body: &[u8]) -> Option<Json> {
    std::str::from_utf8(body).ok()?.parse().ok()
}

fn id_of(body: &Json) -> Option<String> {
    backline_sdk::id(&body["id"])
}

/// Reads the posts of the further pages. Where paging leads nowhere, there are none.
async fn further_posts(http: &Http, account: &Account, body: &mut Json) -> Result<(), FetchError> {
    let mistake = mistake(&account.settings);
    let ids = |page: &Json| page["posts"].as_array().into_iter().flatten().filter_map(id_of).collect::<Vec<_>>();
    let (mut next, mut seen) = (text(&body["next"]), ids(&*body));
    let mut paging = Paging::new(PAGES_MAX);
    while let Some(cursor) = next {
        let leads_on = paging.goes_on(Some(&cursor), seen);
        if !leads_on && mistake != "endless" {
            if mistake != "half is whole" {
                body["posts"] = Json::Null;
            }
            return Ok(());
        }
        let artist = encode(&account.platform_id);
        let url = format!("https://api.example.com/artists/{artist}?after={}", encode(&cursor));
        let response = http.get(&url).send().await?;
        let why = format!("HTTP {}", response.status);
        let page = match response.status {
            200 => response.ok_json()?,
            401 => return Err(FetchError::Misconfigured(why)),
            403 => return Err(FetchError::Forbidden(why)),
            404 => return Err(FetchError::NotFound),
            429 => return Err(FetchError::RateLimited(response.retry_after())),
            500.. => return Err(FetchError::Unavailable(why)),
            _ => return Err(FetchError::Unexpected(why)),
        };
        let Some(posts) = page["posts"].as_array() else {
            return Err(FetchError::Unexpected("no page of posts".to_owned()));
        };
        if let Some(all) = body["posts"].as_array_mut() {
            all.extend(posts.iter().cloned());
        }
        (next, seen) = (text(&page["next"]), ids(&page));
    }
    Ok(())
}

/// Asks for what the artist's answer names beside its numbers, unless it is lost. No metric depends on it.
async fn extras(http: &Http, account: &Account, body: &Json, lost: &Lost) {
    let names: Vec<String> = body["extras"].as_array().into_iter().flatten().filter_map(text).collect();
    for name in names.iter().filter(|name| !lost.has(name)) {
        let artist = encode(&account.platform_id);
        let url = format!("https://api.example.com/artists/{artist}/extra?metric={}", encode(name));
        let Ok(response) = http.get(&url).send().await else { continue };
        if response.status == 400 && has_word(&String::from_utf8_lossy(&response.body), name) {
            lost.add(name, "the platform does not know it");
        }
    }
}

async fn collected(http: &Http, account: &Account, lost: &Lost) -> Result<Fetched, FetchError> {
    let mistake = mistake(&account.settings);
    let state = match (mistake.as_str(), &account.state) {
        ("state must parse", Some(state)) => serde_json_of(state.as_bytes()).expect("JSON"),
        _ => account.state_json().unwrap_or_default(),
    };
    let found = artist(http, account).await;
    if mistake == "outage is lost" && matches!(found, Err(FetchError::Unavailable(_))) {
        lost.add("followers", "the platform fails");
    }
    let mut body = found?;
    let mut has_failed = mistake == "keeps a failure" && state["has_failed"] == true;
    if has_failed {
        body["posts"] = Json::Null;
    } else if let Err(error) = further_posts(http, account, &mut body).await {
        if mistake != "keeps a failure" {
            return Err(error);
        }
        has_failed = true;
        body["posts"] = Json::Null;
    }
    extras(http, account, &body, lost).await;
    if mistake == "adds up" {
        let before = integer(&state["followers"]).unwrap_or(0);
        body["followers"] = integer(&body["followers"]).map_or(Json::Null, |now| json!(now.saturating_add(before)));
    }
    if mistake == "host id" {
        body["account"] = json!(account.id);
    }
    let state = json!({ "followers": body["followers"], "has_failed": has_failed });
    body["mistake"] = json!(mistake);
    Ok(Fetched::new(&body).with_state(&state))
}

impl Connector for Guest {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        artist(http, &account).await.map(|_| account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        let mistake = accounts.first().map(|account| mistake(&account.settings)).unwrap_or_default();
        let lost = match mistake.as_str() {
            "asks again" => Lost::default(),
            _ => Lost::new(&context.lost_metrics),
        };
        let known = &lost;
        let mut result =
            BatchResult::each(accounts, 8, |account| async move { collected(http, &account, known).await }).await;
        let failed = result.accounts.iter().find_map(|fetched| fetched.as_ref().err().cloned());
        match (mistake.as_str(), failed) {
            ("reversed", _) => result.accounts.reverse(),
            ("rotated", _) => result.accounts.rotate_left(1),
            ("drops one", _) if result.accounts.len() > 1 => drop(result.accounts.pop()),
            ("all or nothing", Some(error)) => {
                result.accounts.iter_mut().for_each(|fetched| *fetched = Err(error.clone()));
            }
            ("gives up when lost", _) if !context.lost_metrics.is_empty() => {
                let why = || FetchError::Unexpected("a metric is lost".to_owned());
                result.accounts.iter_mut().for_each(|fetched| *fetched = Err(why()));
            }
            _ => {}
        }
        result.lost_metrics = lost.into_found();
        result
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let body = document.json()?;
        let followers = &body["followers"];
        let mistake = body["mistake"].as_str().unwrap_or_default();
        let mut snapshot = Snapshot::builder();
        #[expect(clippy::cast_possible_truncation, reason = "that is the mistake")]
        let wrong = match mistake {
            "zero" => Some(followers.as_i64().unwrap_or(0)),
            "float" => followers.as_f64().map(|value| value as i64),
            "absolute" => integer(followers).map(i64::abs),
            "32 bits" => integer(followers).map(|value| i64::from(value as i32)),
            "negative is zero" => integer(followers).map(|value| value.max(0)),
            "saturates" => followers.as_u64().map(|value| i64::try_from(value).unwrap_or(i64::MAX)),
            "length" => followers.as_str().map_or(integer(followers), |text| i64::try_from(text.len()).ok()),
            "made up" => Some(integer(followers).unwrap_or(42)),
            _ => None,
        };
        snapshot = match (mistake, wrong) {
            ("wrong kind", _) => snapshot.metric("followers", Ok(Value::Text("many".to_owned()))),
            ("hides", _) => snapshot.absent(&["followers"], Absence::Hidden),
            (_, Some(value)) => snapshot.metric("followers", Ok(Value::Integer(value))),
            ("zero" | "float" | "absolute" | "32 bits" | "made up", None) => {
                snapshot.absent(&["followers"], Absence::Hidden)
            }
            _ => snapshot.count("followers", followers, Absence::Hidden),
        };
        if mistake == "twice" {
            snapshot = snapshot.count("followers", followers, Absence::Hidden);
        }
        if mistake == "undeclared" {
            snapshot = snapshot.count("plays", followers, Absence::Hidden);
        }
        if mistake == "forgets" {
            return Ok(snapshot.build());
        }
        let Some(posts) = body["posts"].as_array() else {
            return Ok(snapshot.absent(&["likes"], Absence::Unavailable).build());
        };
        let mut likes = Tally::default();
        for post in posts {
            match timestamp(&post["at"]) {
                _ if mistake == "no window" => likes.add(integer(&post["likes"])),
                Some(at) if document.window.contains(at) => likes.add(integer(&post["likes"])),
                Some(_) => {}
                None => likes.add(None),
            }
        }
        Ok(snapshot.tally("likes", likes, Absence::Unavailable).build())
    }
}

backline_sdk::export_connector!(Guest);
