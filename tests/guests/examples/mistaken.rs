//! A connector that is right, or makes the one mistake that the account's settings name, for tests of the conformance
//! checks.

use backline_sdk::prelude::*;
use backline_sdk::{Tally, encode};

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

impl Connector for Guest {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        artist(http, &account).await.map(|_| account.platform_id)
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        let mistake = accounts.first().map(|account| mistake(&account.settings)).unwrap_or_default();
        let mut result = BatchResult::each(accounts, 8, |account| async move {
            let mut body = artist(http, &account).await?;
            body["mistake"] = json!(self::mistake(&account.settings));
            Ok(Fetched::new(&body))
        })
        .await;
        let failed = result.accounts.iter().find_map(|fetched| fetched.as_ref().err().cloned());
        match (mistake.as_str(), failed) {
            ("reversed", _) => result.accounts.reverse(),
            ("rotated", _) => result.accounts.rotate_left(1),
            ("drops one", _) if result.accounts.len() > 1 => drop(result.accounts.pop()),
            ("all or nothing", Some(error)) => {
                result.accounts.iter_mut().for_each(|fetched| *fetched = Err(error.clone()));
            }
            _ => {}
        }
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
        posts.iter().for_each(|post| likes.add(integer(&post["likes"])));
        Ok(snapshot.tally("likes", likes, Absence::Unavailable).build())
    }
}

backline_sdk::export_connector!(Guest);
