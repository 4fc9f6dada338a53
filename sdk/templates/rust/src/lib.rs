//! Backline connector for Example: one request per artist.

use backline_sdk::{Placement, prelude::*};

/// Credential slot in the manifest.
const SLOT: &str = "app";

/// How many accounts are fetched at the same time.
const AT_ONCE: usize = 8;

/// The connector for Example.
#[derive(Debug)]
pub struct MyConnector;

impl Connector for MyConnector {
    async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
        let artist = artist(http, &account).await?;
        text(&artist["name"]).ok_or_else(|| FetchError::Unexpected("the artist has no name".into()))
    }

    async fn fetch(http: &Http, accounts: Vec<Account>, _context: Context) -> BatchResult {
        BatchResult::each(accounts, AT_ONCE, |account| async move { Ok(Fetched::new(&artist(http, &account).await?)) })
            .await
    }

    fn normalize(document: Document) -> Result<Snapshot, String> {
        let artist = document.json()?;
        let builder = Snapshot::builder()
            .count("followers", &artist["followers"], Absence::Hidden)
            .absent(&["streams"], Absence::NotOffered);
        // A missing list is not an empty one, so the count is 0 only if the platform sent a list.
        let Ok(releases) = list(&artist, "releases") else {
            return Ok(builder.absent(&["recent_releases"], Absence::Unavailable).build());
        };
        let mut coverage = Coverage { counted: 0, skipped: 0 };
        for release in releases {
            match document.window.placement(release["date"].as_str().unwrap_or_default()) {
                Placement::Inside => coverage.counted += 1,
                Placement::Unclear => coverage.skipped += 1,
                Placement::Outside => {}
            }
        }
        Ok(builder.metric_with("recent_releases", Ok(Value::Integer(coverage.counted.into())), coverage).build())
    }
}

backline_sdk::export_connector!(MyConnector);

async fn artist(http: &Http, account: &Account) -> Result<Json, FetchError> {
    let url = format!("https://api.example.com/v1/artists/{}", backline_sdk::encode(&account.platform_id));
    let response = http.get(url).slot(SLOT).send().await.map_err(FetchError::of_operator)?;
    let artist = response.sorted(|body| own_error(&response, body?))?;
    // A body of another shape must not be taken for an artist without numbers.
    if id(&artist["id"]).is_some() {
        Ok(artist)
    } else {
        Err(FetchError::Unexpected("the response is not an artist".into()))
    }
}

/// The class of an error in the platform's own form, here `{"error": {"message"}}`; `None` for everything else, such as
/// a page of a proxy. The class tells the host whether to refresh, wait, defer or report.
fn own_error(response: &Response, body: &Json) -> Option<FetchError> {
    let status = format!("HTTP {}: {}", response.status, text(&body["error"]["message"])?);
    Some(match response.status {
        // An API key can't be refreshed, so a refused one means that the operator's configuration is wrong.
        401 => FetchError::Misconfigured(status),
        403 => FetchError::Forbidden(status),
        404 | 410 => FetchError::NotFound,
        429 => FetchError::RateLimited(response.retry_after()),
        500.. => FetchError::Unavailable(status),
        _ => FetchError::Unexpected(status),
    })
}

#[cfg(test)]
mod tests {
    use backline_sdk::recordings::Recording;
    use backline_sdk::testing::{Replay, absent, account, context, metric};
    use backline_sdk::{conformance, prelude::*};

    use super::MyConnector;

    const ARTIST: &str = include_str!("../fixtures/artist.json");

    const UNKNOWN: &str = r#"{ "error": { "message": "no such artist" } }"#;

    /// 2026-11-20, 00:00 UTC.
    const UNTIL: i64 = 1_795_132_800;

    #[test]
    fn collects_an_artist() {
        let replay = Replay::new().get("/v1/artists/a1", 200, ARTIST);
        let snapshot = replay.collect::<MyConnector>(account("account-1", "a1"), context(UNTIL)).expect("collected");
        assert_eq!(metric(&snapshot, "followers"), json!(120_345));
        assert_eq!(metric(&snapshot, "recent_releases"), json!(1));
        assert_eq!(replay.urls(), ["https://api.example.com/v1/artists/a1"]);
    }

    #[test]
    fn the_recorded_answers_give_these_numbers() {
        for (answers, followers, releases) in [
            ("answers/a1", json!(120_345), 1),
            ("answers/a2", absent("hidden"), 0),
            ("answers/a3", json!(3_331_930_783_i64), 1),
        ] {
            let recording = Recording::read(answers);
            let (account, context) = (recording.account("account-1"), recording.context());
            let snapshot = recording.replay().collect::<MyConnector>(account, context).expect("collected");
            assert_eq!(metric(&snapshot, "followers"), followers, "{answers}");
            assert_eq!(metric(&snapshot, "recent_releases"), json!(releases), "{answers}");
        }
    }

    #[test]
    fn one_artists_failure_does_not_affect_others() {
        let replay = Replay::new().get("/a1", 404, UNKNOWN).get("/a2", 429, "").get("/a3", 200, ARTIST);
        let accounts = ["a1", "a2", "a3"].map(|id| account(id, id)).to_vec();
        let outcomes = replay.fetch::<MyConnector>(accounts, context(UNTIL)).accounts;
        assert!(matches!(outcomes[0], Err(FetchError::NotFound)));
        assert!(matches!(outcomes[1], Err(FetchError::RateLimited(None))));
        assert!(outcomes[2].is_ok());
    }

    #[test]
    fn a_missing_key_is_a_configuration_error() {
        let missing = Err(HttpError::CredentialUnavailable("none is stored".into()));
        let replay = Replay::new().on(Method::Get, "/a1", missing);
        let outcome = replay.collect::<MyConnector>(account("account-1", "a1"), context(UNTIL));
        assert!(matches!(outcome, Err(FetchError::Misconfigured(_))));
    }

    #[test]
    fn passes_the_conformance_checks() {
        let window = context(UNTIL).window;
        let document = Document { body: ARTIST.to_owned(), window, observed_at: UNTIL };
        conformance::check::<MyConnector>(include_str!("../connector.toml"), &[document]);
        let platform = || Replay::new().get("/v1/artists/a1", 200, ARTIST);
        conformance::check_answers::<MyConnector>(platform, &[account("account-1", "a1")], &context(UNTIL));
    }
}
