//! Fails the answers that only a part of an account's metrics hangs on, and checks that nothing else is lost.

use super::answers::{check_state, collect, compare, wholes};
use crate::replay::{Replay, response};
use crate::{Absence, Account, Connector, Context};

/// Replaces each answer that a part of the metrics hangs on by a page of HTML, by nothing, by half of itself, by JSON
/// of another form, and by 403, 404 and 503 that are no error of the platform's own form.
///
/// After each, every account that the good answers give must still be there with all its other numbers. Those of the
/// part are what they were, or missing as [`Absence::Unavailable`], or a sum that says that it skipped more. State that
/// was kept must give the good numbers as soon as the platform answers as it should.
///
/// `platform` prepares the good answers again for every run. `parts` has a text of the URL of each part's requests, and
/// the metrics that hang on them. A request that the good answers do not cover gets no response.
///
/// ```
/// use backline_sdk::prelude::*;
/// use backline_sdk::testing::{Replay, accounts, context};
/// use backline_sdk::{conformance, part, read_part};
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
///             let artist = format!("https://api.example.com/artists/{}", account.platform_id);
///             let albums = http.get(format!("{artist}/albums")).send_part().await.map_err(FetchError::from);
///             let albums = part("answer", albums.and_then(|answer| answer.ok_json()))?;
///             let artist = http.get(artist).send().await?.ok_json()?;
///             Ok(Fetched::new(&json!({ "artist": artist, "albums": albums })))
///         })
///         .await
///     }
///
///     fn normalize(document: Document) -> Result<Snapshot, String> {
///         let body = document.json()?;
///         let albums = read_part(&body["albums"], "answer").map(|answer| answer["total"].clone()).unwrap_or_default();
///         let builder = Snapshot::builder().count("fans", &body["artist"]["fans"], Absence::Hidden);
///         Ok(builder.count("albums", &albums, Absence::Unavailable).build())
///     }
/// }
///
/// let platform = || {
///     Replay::new().get("/albums", 200, r#"{ "total": 3 }"#).get("/artists/", 200, r#"{ "fans": 7 }"#)
/// };
/// let parts: [(&str, &[&str]); 1] = [("/albums", &["albums"])];
/// conformance::check_parts::<Example>(platform, &accounts(&["a1"]), &context(1_795_132_800), &parts);
/// ```
///
/// # Panics
/// At the first account or number that is lost with a part it does not hang on, or missing for another reason, with the
/// request and what stood in the answer's place.
pub fn check_parts<C: Connector>(
    platform: impl Fn() -> Replay,
    accounts: &[Account],
    context: &Context,
    parts: &[(&str, &[&str])],
) {
    let replay = platform();
    let good = collect::<C>(&replay, accounts, context);
    assert!(good.iter().any(Result::is_ok), "pass answers from which at least one account is collected");
    for (part, metrics) in parts {
        let exchanges = replay.exchanges().into_iter();
        let of_part: Vec<_> = exchanges.filter(|(asked, _)| asked.sent.url.contains(part)).collect();
        assert!(!of_part.is_empty(), "no request of the good answers has {part} in its URL");
        for (asked, answer) in of_part {
            for (status, body) in wholes(&answer.body) {
                let what = format!("{} {}: HTTP {status} with {body:?}", asked.sent.name(), asked.sent.url);
                let replay = platform().damaged(&asked, response(status, &[], body));
                let got = collect::<C>(&replay, accounts, context);
                compare(&good, &got, &what);
                check_state::<C>(&platform, accounts, context, &good, &got, &what);
                for (good, got) in good.iter().zip(&got) {
                    let Ok((_, good)) = good else { continue };
                    let (_, got) =
                        got.as_ref().unwrap_or_else(|error| panic!("{what}: the account is lost: {error:?}"));
                    for before in &good.metrics {
                        let name = before.name.as_str();
                        let after = got.metrics.iter().find(|after| after.name == name);
                        let after = after.unwrap_or_else(|| panic!("{what}: {name} is not reported"));
                        if !metrics.contains(&name) {
                            assert_eq!(after, before, "{what}: {name} does not hang on it");
                        } else if let Err(reason) = &after.value {
                            let is_right = *reason == Absence::Unavailable || before.value.as_ref() == Err(reason);
                            assert!(is_right, "{what}: {name} is missing as {reason:?}, and not as unavailable");
                        }
                    }
                }
            }
        }
    }
}
