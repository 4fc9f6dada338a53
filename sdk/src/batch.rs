//! One request for many accounts: an answer belongs to the account whose id it names, wherever it stands in the list.

use std::collections::HashMap;
use std::future::Future;

use crate::{Account, BatchResult, FetchError, Fetched, Stop};

/// What one request answered: the platform's id of each object in the answer, with what was fetched for it.
pub type Named = Vec<(String, Result<Fetched, FetchError>)>;

impl BatchResult {
    /// Asks for at most `at_most` accounts with one request, and gives each account what was answered under its own
    /// platform id. The platform's order decides nothing.
    ///
    /// `fetch` gets platform ids, each once and sorted, so that a batch makes the same requests in whichever order its
    /// accounts stand. It answers with the id of each object that the platform sent.
    ///
    /// - An account that the answer does not name is [`FetchError::NotFound`].
    /// - An account that it names twice is [`FetchError::Unexpected`], and so are those that it does not name if it
    ///   names others instead: they may be there under another id, or it is not what it seems to be. Name an object
    ///   whose id can't be read by an empty one: it may be any of them.
    /// - An error of a request is that of its accounts. One that concerns every further request, such as a rate limit,
    ///   ends the batch, as [`Stop`] does.
    ///
    /// ```
    /// use backline_sdk::prelude::*;
    ///
    /// async fn fetch(http: &Http, accounts: &[Account]) -> BatchResult {
    ///     BatchResult::batch(accounts, 50, |ids| async move {
    ///         let request = http.get("https://api.example.com/artists").query("ids", ids.join(","));
    ///         let body = request.slot("app").send().await.map_err(FetchError::of_operator)?.ok_json()?;
    ///         let named = |artist: &Json| (id(&artist["id"]).unwrap_or_default(), Ok(Fetched::new(artist)));
    ///         Ok(list(&body, "artists")?.iter().map(named).collect())
    ///     })
    ///     .await
    /// }
    /// # use backline_sdk::testing::{Replay, accounts};
    /// # struct Example;
    /// # impl Connector for Example {
    /// #     async fn check(_: &Http, account: Account) -> Result<String, FetchError> { Ok(account.platform_id) }
    /// #     async fn fetch(http: &Http, accounts: Vec<Account>, _: Context) -> BatchResult {
    /// #         fetch(http, &accounts).await
    /// #     }
    /// #     fn normalize(_: Document) -> Result<Snapshot, String> { Ok(Snapshot::builder().build()) }
    /// # }
    ///
    /// // The platform answers in an order of its own, and does not know `c`.
    /// let replay = Replay::new().get("ids=a,b,c", 200, r#"{ "artists": [{ "id": "b" }, { "id": "a" }] }"#);
    /// let context = backline_sdk::testing::context(1_795_132_800);
    /// let outcomes = replay.fetch::<Example>(accounts(&["c", "a", "b"]), context).accounts;
    /// assert!(matches!(outcomes[0], Err(FetchError::NotFound)));
    /// assert!(outcomes[1].as_ref().is_ok_and(|fetched| fetched.body.contains("\"a\"")));
    /// assert!(outcomes[2].as_ref().is_ok_and(|fetched| fetched.body.contains("\"b\"")));
    /// ```
    pub async fn batch<F, Fut>(accounts: &[Account], at_most: usize, mut fetch: F) -> Self
    where
        F: FnMut(Vec<String>) -> Fut,
        Fut: Future<Output = Result<Named, FetchError>>,
    {
        let mut ids: Vec<String> = accounts.iter().map(|account| account.platform_id.clone()).collect();
        ids.sort_unstable();
        // Two artists may share an account.
        ids.dedup();
        let stop = Stop::default();
        let mut answers: HashMap<String, Result<Fetched, FetchError>> = HashMap::with_capacity(ids.len());
        for asked in ids.chunks(at_most.max(1)) {
            match stop.unless(fetch(asked.to_vec())).await {
                Ok(named) => answers.extend(assigned(asked, named)),
                Err(error) => answers.extend(asked.iter().map(|id| (id.clone(), Err(error.clone())))),
            }
        }
        let outcome = |account: &Account| answers.get(&account.platform_id).cloned();
        let accounts = accounts.iter().map(|account| outcome(account).unwrap_or(Err(FetchError::NotFound))).collect();
        Self { accounts, lost_metrics: Vec::new() }
    }
}

/// Gives each id that was asked for what was answered under it.
fn assigned(asked: &[String], named: Named) -> HashMap<String, Result<Fetched, FetchError>> {
    let unexpected = |what: &str| Err(FetchError::Unexpected(what.to_owned()));
    let mut names_others = false;
    let mut answers = HashMap::new();
    for (id, answer) in named {
        // An empty id stands for one that can't be read, whatever was asked.
        if !id.is_empty() && asked.contains(&id) {
            let known = answers.entry(id);
            known.and_modify(|known| *known = unexpected("the answer names the account twice")).or_insert(answer);
        } else {
            names_others = true;
        }
    }
    if names_others {
        for id in asked {
            answers.entry(id.clone()).or_insert_with(|| unexpected("the answer names others, and not this account"));
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{accounts, class_name};

    /// What each account gets: its document, or the class of its error.
    fn run(ids: &[&str], at_most: usize, answer: impl Fn(&[String]) -> Result<Named, FetchError>) -> Vec<String> {
        let accounts = accounts(ids);
        let batch = BatchResult::batch(&accounts, at_most, |ids| std::future::ready(answer(&ids)));
        let outcomes = futures::executor::block_on(batch).accounts;
        let shown = |outcome: Result<Fetched, FetchError>| match outcome {
            Ok(fetched) => fetched.body,
            Err(error) => class_name(&error).to_owned(),
        };
        outcomes.into_iter().map(shown).collect()
    }

    fn named(ids: &[&str]) -> Named {
        let fetched = |id: &str| Ok(Fetched { body: format!("of {id}"), state: None });
        ids.iter().map(|id| ((*id).to_owned(), fetched(id))).collect()
    }

    #[test]
    fn each_account_gets_what_names_it_in_any_order() {
        let answer = |_: &[String]| Ok(named(&["c", "a", "b", "other"]));
        assert_eq!(run(&["a", "b", "c"], 50, answer), ["of a", "of b", "of c"]);
        assert_eq!(run(&["c", "b", "a", "c"], 50, answer), ["of c", "of b", "of a", "of c"]);
        let answer = |_: &[String]| Ok(named(&["b", "a"]));
        assert_eq!(run(&["a", "unknown", "b"], 50, answer), ["of a", "not-found", "of b"]);
    }

    #[test]
    fn a_doubtful_answer_is_nobodys() {
        assert_eq!(run(&["a", "b"], 50, |_| Ok(named(&["a", "b", "a"]))), ["unexpected", "of b"]);
        assert_eq!(run(&["a", "b"], 50, |_| Ok(named(&["x", "y"]))), ["unexpected", "unexpected"]);
        assert_eq!(run(&["a", "b"], 50, |_| Ok(named(&["x", "b"]))), ["unexpected", "of b"], "x may be a");
        let without_id = |_: &[String]| Ok(named(&["", "b"]));
        assert_eq!(run(&["a", "b", ""], 50, without_id), ["unexpected", "of b", "unexpected"], "it may be a");
        assert_eq!(run(&["a", "b"], 50, |_| Ok(named(&[]))), ["not-found", "not-found"]);
    }

    #[test]
    fn a_request_fails_for_its_own_accounts_unless_its_error_concerns_all() {
        let failing = |error: FetchError| {
            move |ids: &[String]| {
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                if ids.contains(&"b") { Err(error.clone()) } else { Ok(named(&ids)) }
            }
        };
        let busy = FetchError::Unavailable("busy".into());
        let limited = FetchError::RateLimited(Some(30));
        assert_eq!(run(&["a", "b", "c"], 1, failing(busy)), ["of a", "unavailable", "of c"]);
        assert_eq!(run(&["a", "b", "c"], 1, failing(limited)), ["of a", "rate-limited", "rate-limited"]);
    }
}
