//! How the component's `fetch` calls a connector's.
//!
//! Under the contract 1.0.0 the two are the same. Under 1.1.0, with the feature `contract-1-1`, answers name their
//! accounts and may hold past dates: both are filled in here, so that a connector changes nothing but the feature.

#[cfg(not(feature = "contract-1-1"))]
pub use first::{BatchResult, Context, fetch};
#[cfg(feature = "contract-1-1")]
pub use next::{BatchResult, Context, fetch};

#[cfg(not(feature = "contract-1-1"))]
mod first {
    pub use crate::bindings::backline::connector::types::{BatchResult, Context};
    use crate::{Account, Connector, Http};

    /// Calls a connector's `fetch`.
    pub async fn fetch<C: Connector>(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        C::fetch(http, accounts, context).await
    }
}

#[cfg(feature = "contract-1-1")]
mod next {
    use std::iter::repeat;

    use crate::bindings::backline::connector::types::Answer;
    pub use crate::bindings::backline::connector::types::{BatchResult, Context};
    use crate::{Account, Connector, FetchError, Fetched, Http, Window, gather};

    /// Accounts whose past dates are fetched at once.
    const PAST_AT_ONCE: usize = 4;

    /// Calls a connector's `fetch`, and its `past` for those accounts that have a document. A result without an account
    /// names none, and an account without a result is not named: the host refuses both.
    pub async fn fetch<C: Connector>(http: &Http, accounts: Vec<Account>, context: Context) -> BatchResult {
        let Context { window, lost_metrics, history } = context;
        let context = crate::Context { window, lost_metrics };
        let asked = accounts.clone();
        let result = C::fetch(http, accounts, context.clone()).await;
        let ids: Vec<String> = asked.iter().map(|account| account.id.clone()).collect();
        let fetched = asked.into_iter().zip(result.accounts.iter().map(Result::is_ok));
        let (windows, context) = (history.as_slice(), &context);
        let pasts = gather(fetched, PAST_AT_ONCE, |(account, is_fetched)| async move {
            let serves = is_fetched && !windows.is_empty();
            if serves { C::past(http, account, windows, context).await } else { Vec::new() }
        });
        let pasts: Vec<Vec<(Window, Result<Fetched, FetchError>)>> = pasts.await;
        let named = ids.into_iter().zip(pasts).chain(repeat((String::new(), Vec::new())));
        let answers = result.accounts.into_iter().zip(named);
        BatchResult {
            answers: answers.map(|(document, (account, history))| Answer { account, document, history }).collect(),
            lost_metrics: result.lost_metrics,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::testing::{Replay, accounts};
        use crate::{Document, Snapshot};

        struct Example;

        impl Connector for Example {
            async fn check(_: &Http, account: Account) -> Result<String, FetchError> {
                Ok(account.platform_id)
            }

            async fn fetch(_: &Http, accounts: Vec<Account>, _: crate::Context) -> crate::BatchResult {
                let mut result = crate::BatchResult::each(accounts, 8, |account| async move {
                    match account.platform_id.as_str() {
                        "unknown" => Err(FetchError::NotFound),
                        id => Ok(Fetched { body: format!("\"{id}\""), state: None }),
                    }
                })
                .await;
                if result.accounts.len() == 1 {
                    result.accounts.push(Err(FetchError::NotFound));
                }
                result
            }

            async fn past(
                _: &Http,
                account: Account,
                windows: &[Window],
                _: &crate::Context,
            ) -> Vec<(Window, Result<Fetched, FetchError>)> {
                let body = |window: &Window| format!("\"{} {}\"", account.platform_id, window.until);
                let of = |window: &Window| (*window, Ok(Fetched { body: body(window), state: None }));
                windows.iter().map(of).collect()
            }

            fn normalize(_: Document) -> Result<Snapshot, String> {
                Ok(Snapshot::builder().build())
            }
        }

        fn run(ids: &[&str], history: &[Window]) -> Vec<Answer> {
            let window = Window { since: 8, until: 9 };
            let context = Context { window, lost_metrics: Vec::new(), history: history.to_vec() };
            let http = Http { replay: Replay::new() };
            futures::executor::block_on(fetch::<Example>(&http, accounts(ids), context)).answers
        }

        #[test]
        fn each_answer_names_its_account_and_has_its_past_dates() {
            let history = [Window { since: 1, until: 2 }, Window { since: 2, until: 3 }];
            let answers = run(&["a", "unknown", "b"], &history);
            let names: Vec<&str> = answers.iter().map(|answer| answer.account.as_str()).collect();
            assert_eq!(names, ["account-0", "account-1", "account-2"]);
            let bodies = |answer: &Answer| {
                let body = |fetched: &Result<Fetched, FetchError>| fetched.as_ref().map(|it| it.body.clone()).ok();
                let past = answer.history.iter().map(|(_, fetched)| body(fetched));
                std::iter::once(body(&answer.document)).chain(past).flatten().collect::<Vec<_>>()
            };
            assert_eq!(bodies(&answers[0]), ["\"a\"", "\"a 2\"", "\"a 3\""]);
            assert!(bodies(&answers[1]).is_empty(), "what has no document has no past either");
            assert_eq!(bodies(&answers[2]), ["\"b\"", "\"b 2\"", "\"b 3\""]);
            assert!(run(&["a", "b"], &[]).iter().all(|answer| answer.history.is_empty()));
        }

        #[test]
        fn a_result_too_many_names_no_account() {
            let names: Vec<String> = run(&["a"], &[]).into_iter().map(|answer| answer.account).collect();
            assert_eq!(names, ["account-0", ""]);
        }
    }
}
