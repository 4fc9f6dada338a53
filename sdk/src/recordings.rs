//! Recordings of `backline plugins try --record`, for tests: what the platform answered, without the network.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::bindings::backline::connector::http as wit;
use crate::testing::{Replay, response};
use crate::{Account, Context, HttpError, Window, timestamp};

/// One account's recorded answers.
///
/// ```no_run
/// use backline_sdk::recordings::Recording;
///
/// let recording = Recording::read("answers/a1");
/// let (account, context) = (recording.account("account-1"), recording.context());
/// // recording.replay().collect::<MyConnector>(account, context)
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
        let platform_id = self.about["account"].as_str().unwrap_or_else(|| panic!("{}: no account", self.place()));
        let settings = self.about["settings"].to_string();
        Account { id: id.to_owned(), platform_id: platform_id.to_owned(), settings, state: None }
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

    /// The answers. A request that is not among them panics with its URL.
    ///
    /// # Panics
    /// If a file is not a recorded request with its answer.
    #[must_use]
    pub fn replay(&self) -> Replay {
        let mut answers: Vec<(wit::Method, &str, Result<wit::Response, HttpError>)> = Vec::new();
        for (path, recorded) in &self.answers {
            let place = path.display();
            let url = recorded["request"]["url"].as_str().unwrap_or_else(|| panic!("{place}: no request.url"));
            let method = recorded["request"]["method"].as_str().unwrap_or_default();
            let method = method_of(method).unwrap_or_else(|| panic!("{place}: no request.method"));
            answers.push((method, url, answer_of(&recorded["answer"])));
        }
        // An entry answers every URL that its text occurs in, and the first one that fits counts.
        answers.sort_by_key(|(_, url, _)| std::cmp::Reverse(url.len()));
        answers.into_iter().fold(Replay::new(), |replay, (method, url, answer)| replay.on(method, url, answer))
    }

    fn place(&self) -> String {
        self.folder.join("recording.json").display().to_string()
    }
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
    use crate::{BatchResult, Document, FetchError, Fetched, Snapshot};
    use crate::{Connector, Http};

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

        async fn fetch(_: &Http, accounts: Vec<Account>, _: Context) -> BatchResult {
            BatchResult::each(accounts, 1, |_| async { Ok(Fetched::new(&Json::Null)) }).await
        }

        fn normalize(_: Document) -> Result<Snapshot, String> {
            Ok(Snapshot::builder().build())
        }
    }

    #[test]
    fn recorded_answers_are_given_in_turn() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/rust/answers/a1");
        let recording = Recording::read(folder);
        assert_eq!(recording.context().window.until - recording.context().window.since, 28 * 86_400);
        assert_eq!(recording.replay().check::<Example>(recording.account("account-1")), Ok("a1".to_owned()));
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
