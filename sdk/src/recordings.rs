//! Recordings of `backline plugins try --record`, for tests: what the platform answered, without the network.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::bindings::backline::connector::http as wit;
use crate::replay::{Replay, Source, response};
use crate::{Account, Connector, Context, Document, FetchError, HttpError, Snapshot, Window, timestamp};

/// One account's recorded answers.
///
/// A request gets an answer only if it was recorded with the same method, URL and body, and not with the credential of
/// another account, so that no account is given what was recorded for another. `collect` runs a connector as it ran
/// when the answers were recorded:
///
/// ```
/// use backline_sdk::prelude::*;
/// use backline_sdk::recordings::Recording;
/// use backline_sdk::testing::metric;
///
/// struct Example;
///
/// impl Connector for Example {
///     async fn check(_: &Http, account: Account) -> Result<String, FetchError> {
///         Ok(account.platform_id)
///     }
///
///     async fn fetch(http: &Http, accounts: Vec<Account>, _: Context) -> BatchResult {
///         BatchResult::each(accounts, 8, |account| async move {
///             let url = format!("https://api.example.com/artists/{}", account.platform_id);
///             Ok(Fetched::new(&http.get(url).send().await?.ok_json()?))
///         })
///         .await
///     }
///
///     fn normalize(document: Document) -> Result<Snapshot, String> {
///         Ok(Snapshot::builder().count("fans", &document.json()?["fans"], Absence::Hidden).build())
///     }
/// }
///
/// // What `backline plugins try --record answers/a1` writes.
/// # let folder = std::env::temp_dir().join(format!("backline-recording-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # std::fs::write(folder.join("recording.json"), r#"{ "account": "a1", "settings": {},
/// #     "observed_at": "2026-11-28T12:00:00Z",
/// #     "window": { "since": "2026-10-31T12:00:00Z", "until": "2026-11-28T12:00:00Z" } }"#)?;
/// # std::fs::write(folder.join("001-get-artists-a1.json"), r#"{
/// #     "request": { "method": "GET", "url": "https://api.example.com/artists/a1" },
/// #     "answer": { "status": 200, "json": { "fans": 7 } } }"#)?;
/// let recording = Recording::read(&folder);
/// let snapshot = recording.collect::<Example>().expect("collected");
/// assert_eq!(metric(&snapshot, "fans"), json!(7));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recording {
    folder: PathBuf,
    about: Json,
    answers: Vec<(PathBuf, Json)>,
}

impl Recording {
    /// Reads a folder that `backline plugins try --record` wrote; a relative one begins at the crate's root.
    ///
    /// # Panics
    /// If a file can't be read, with its name.
    #[must_use]
    pub fn read(folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref().to_owned();
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        let about = read(&folder.join("recording.json"));
        files.retain(|path| !path.ends_with("recording.json"));
        let answers = files.into_iter().map(|path| (path.clone(), read(&path))).collect();
        Self { folder, about, answers }
    }

    /// The account, under the host's id that a test gives it.
    ///
    /// # Panics
    /// If `recording.json` names no account.
    #[must_use]
    pub fn account(&self, id: &str) -> Account {
        let settings = self.about["settings"].to_string();
        Account { id: id.to_owned(), platform_id: self.platform_id().to_owned(), settings, state: None }
    }

    fn platform_id(&self) -> &str {
        self.about["account"].as_str().unwrap_or_else(|| panic!("{}: no account", self.place()))
    }

    /// The context that it was recorded in: the same window.
    ///
    /// # Panics
    /// If `recording.json` has no window.
    #[must_use]
    pub fn context(&self) -> Context {
        let time = |field: &str| {
            timestamp(&self.about["window"][field])
                .unwrap_or_else(|| panic!("{}: window.{field} is not a time", self.place()))
        };
        Context { window: Window { since: time("since"), until: time("until") }, lost_metrics: Vec::new() }
    }

    /// The time at which it was recorded, in Unix seconds.
    ///
    /// # Panics
    /// If `recording.json` does not say it.
    #[must_use]
    pub fn observed_at(&self) -> i64 {
        timestamp(&self.about["observed_at"]).unwrap_or_else(|| panic!("{}: observed_at is not a time", self.place()))
    }

    /// The answers. A request that is not among them panics with its URL.
    ///
    /// # Panics
    /// If a file is not a recorded request with its answer.
    #[must_use]
    pub fn replay(&self) -> Replay {
        self.added_to(Replay::new())
    }

    /// The document that `fetch` makes of the answers.
    ///
    /// # Errors
    /// The error of the connector's `fetch`.
    ///
    /// # Panics
    /// For a request that is not recorded, and for a recording that can't be read.
    pub fn document<C: Connector>(&self) -> Result<Document, FetchError> {
        let context = self.context();
        let window = context.window;
        let fetched = self.replay().fetch::<C>(vec![self.account("account-1")], context).accounts.remove(0)?;
        Ok(Document { body: fetched.body, window, observed_at: self.observed_at() })
    }

    /// Fetches the account and normalises its document, as at the time of the recording.
    ///
    /// # Errors
    /// The error of the connector's `fetch`.
    ///
    /// # Panics
    /// If `normalize` refuses the document that `fetch` returned, and as [`Self::document`].
    pub fn collect<C: Connector>(&self) -> Result<Snapshot, FetchError> {
        Ok(C::normalize(self.document::<C>()?).unwrap_or_else(|error| panic!("normalize failed: {error}")))
    }

    fn added_to(&self, replay: Replay) -> Replay {
        self.answers.iter().fold(replay, |replay, (path, recorded)| {
            let (place, request) = (path.display(), &recorded["request"]);
            let url = request["url"].as_str().unwrap_or_else(|| panic!("{place}: no request.url"));
            let method = request["method"].as_str().and_then(method_of);
            let method = method.unwrap_or_else(|| panic!("{place}: no request.method"));
            let source = Source {
                account: self.platform_id().to_owned(),
                credential: request["credential"]["slot"].as_str().map(|slot| {
                    let account = request["credential"]["account"].as_str();
                    (slot.to_owned(), account.map(str::to_owned))
                }),
            };
            replay.recorded(method, url, request["body"].as_str(), source, answer_of(&recorded["answer"]))
        })
    }

    fn place(&self) -> String {
        self.folder.join("recording.json").display().to_string()
    }
}

/// The answers of several recordings together, for a batch of their accounts.
///
/// # Panics
/// As [`Recording::replay`].
#[must_use]
pub fn replay_all(recordings: &[Recording]) -> Replay {
    recordings.iter().fold(Replay::new(), |replay, recording| recording.added_to(replay))
}

fn read(path: &Path) -> Json {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn method_of(name: &str) -> Option<wit::Method> {
    Some(match name {
        "GET" => wit::Method::Get,
        "HEAD" => wit::Method::Head,
        "POST" => wit::Method::Post,
        "PUT" => wit::Method::Put,
        "PATCH" => wit::Method::Patch,
        "DELETE" => wit::Method::Delete,
        _ => return None,
    })
}

fn answer_of(answer: &Json) -> Result<wit::Response, HttpError> {
    match answer["error"].as_str() {
        Some("timed-out") => return Err(HttpError::TimedOut),
        Some("too-large") => return Err(HttpError::TooLarge(16 << 20)),
        Some(other) => return Err(HttpError::Unreachable(other.to_owned())),
        None => {}
    }
    let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    let headers: Vec<(&str, &str)> = answer["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let body = match &answer["json"] {
        Json::Null => answer["text"].as_str().unwrap_or_default().to_owned(),
        body => body.to_string(),
    };
    Ok(response(status, &headers, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::metric;
    use crate::{Absence, BatchResult, Fetched, Http};

    struct Example;

    impl Connector for Example {
        async fn check(http: &Http, account: Account) -> Result<String, FetchError> {
            let url = format!("https://api.example.com/v1/artists/{}", account.platform_id);
            let answer = http.get(url).send().await?;
            if answer.status == 429 {
                return Err(FetchError::RateLimited(answer.retry_after()));
            }
            Ok(answer.ok_json()?["id"].as_str().unwrap_or_default().to_owned())
        }

        async fn fetch(http: &Http, accounts: Vec<Account>, _: Context) -> BatchResult {
            BatchResult::each(accounts, 1, |account| async move {
                let url = format!("https://api.example.com/v1/artists/{}", account.platform_id);
                Ok(Fetched::new(&http.get(url).send().await?.ok_json()?))
            })
            .await
        }

        fn normalize(document: Document) -> Result<Snapshot, String> {
            let (body, moment) = (document.json()?, Ok(crate::Value::Integer(document.observed_at)));
            let builder = Snapshot::builder().count("followers", &body["followers"], Absence::Hidden);
            Ok(builder.metric("moment", moment).build())
        }
    }

    fn recording(account: &str) -> Recording {
        Recording::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/rust/answers").join(account))
    }

    #[test]
    fn recorded_answers_are_given_in_turn() {
        let recording = recording("a1");
        assert_eq!(recording.context().window.until - recording.context().window.since, 28 * 86_400);
        assert_eq!(recording.replay().check::<Example>(recording.account("account-1")), Ok("a1".to_owned()));
    }

    #[test]
    fn a_recording_is_collected_at_its_own_time() {
        let snapshot = recording("a1").collect::<Example>().expect("collected");
        assert_eq!(metric(&snapshot, "followers"), 120_345);
        // 2026-11-28, 12:00 UTC.
        assert_eq!(metric(&snapshot, "moment"), 1_795_867_200);
    }

    #[test]
    fn recordings_together_answer_a_batch_and_no_other_account() {
        let recordings = ["a1", "a2", "a3"].map(recording);
        let batch = |accounts: Vec<Account>| {
            replay_all(&recordings).or_unreachable().fetch::<Example>(accounts, recordings[0].context()).accounts
        };
        let mut accounts: Vec<Account> = recordings.iter().rev().map(|recording| recording.account("id")).collect();
        let outcomes = batch(accounts.clone());
        for (account, outcome) in accounts.iter().zip(outcomes) {
            let body: Json = serde_json::from_str(&outcome.expect("fetched").body).expect("JSON");
            assert_eq!(body["id"], account.platform_id.as_str());
        }
        // Its URL begins with one that is recorded.
        "a12".clone_into(&mut accounts[0].platform_id);
        assert!(matches!(batch(accounts)[0], Err(FetchError::Unavailable(_))));
    }

    /// Each account asks the same address with its own token.
    struct Mine;

    impl Connector for Mine {
        async fn check(_: &Http, account: Account) -> Result<String, FetchError> {
            Ok(account.platform_id)
        }

        async fn fetch(http: &Http, accounts: Vec<Account>, _: Context) -> BatchResult {
            BatchResult::each(accounts, 1, |account| async move {
                let answer = http.get("https://api.example.com/me").account("user", &account).send().await?;
                Ok(Fetched::new(&answer.ok_json()?))
            })
            .await
        }

        fn normalize(_: Document) -> Result<Snapshot, String> {
            Ok(Snapshot::builder().build())
        }
    }

    fn asking_me(account: &str, credential: Option<&str>) -> Recording {
        let mut request = serde_json::json!({ "method": "GET", "url": "https://api.example.com/me" });
        if let Some(of) = credential {
            request["credential"] = serde_json::json!({ "slot": "user", "account": of });
        }
        let one = serde_json::json!({ "request": request, "answer": { "json": { "id": account } } });
        let time = "2026-11-28T12:00:00Z";
        let window = serde_json::json!({ "since": "2026-10-31T12:00:00Z", "until": time });
        let about = serde_json::json!({ "account": account, "settings": {}, "observed_at": time, "window": window });
        Recording { folder: PathBuf::from(account), about, answers: vec![(PathBuf::from("001.json"), one)] }
    }

    #[test]
    fn an_address_that_all_accounts_ask_is_answered_by_the_credential() {
        // Older recordings do not say whose credential it was.
        for says_so in [true, false] {
            let recordings = ["a1", "a2", "a3"].map(|account| asking_me(account, says_so.then_some(account)));
            let own = ["a3", "a1", "a2"].map(|platform_id| crate::testing::account(platform_id, platform_id));
            let replay = replay_all(&recordings);
            for account in own.iter().chain(&own) {
                let got = replay.fetch::<Mine>(vec![account.clone()], recordings[0].context()).accounts.remove(0);
                assert!(got.expect("fetched").body.contains(account.platform_id.as_str()), "{says_so}");
            }
            let batch = replay_all(&recordings).fetch::<Mine>(own.to_vec(), recordings[0].context()).accounts;
            for (account, got) in own.iter().zip(batch) {
                assert!(got.expect("fetched").body.contains(account.platform_id.as_str()), "{says_so}");
            }
            // What happens to the answer of one account is not what another one gets.
            let replay = replay_all(&recordings);
            replay.fetch::<Mine>(own.to_vec(), recordings[0].context());
            let exchanges = replay.exchanges();
            assert_eq!(exchanges.len(), own.len());
            for (damaged, (asked, _)) in exchanges.iter().enumerate() {
                let replay = replay_all(&recordings).damaged(asked, response(503, &[], ""));
                let got = replay.fetch::<Mine>(own.to_vec(), recordings[0].context()).accounts;
                let failed: Vec<usize> = (0..own.len()).filter(|account| got[*account].is_err()).collect();
                assert_eq!(failed, [damaged], "{got:?}");
            }
        }
        let other = crate::testing::account("account-1", "a9");
        let replay = asking_me("a1", Some("a1")).replay().or_unreachable();
        let got = replay.fetch::<Mine>(vec![other], asking_me("a1", None).context()).accounts.remove(0);
        assert!(matches!(got, Err(FetchError::Unavailable(_))), "{got:?}");
    }

    #[test]
    fn errors_headers_and_texts_are_read() {
        let limited = serde_json::json!({ "status": 429, "headers": { "retry-after": "17" }, "text": "slow down" });
        let answer = answer_of(&limited).expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (429, &b"slow down"[..]));
        assert_eq!(answer.headers, [("retry-after".to_owned(), "17".to_owned())]);
        assert!(matches!(answer_of(&serde_json::json!({ "error": "timed-out" })), Err(HttpError::TimedOut)));
    }
}
