//! Answers from recordings, in place of the network.
//!
//! Accounts may ask for the same address, such as `/me`, each with a credential of its own. So an answer that was
//! recorded with the credential of an account is for that account alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::recording::{RecordedCredential, RecordedExchange, RecordedRequest, Recording};
use backline_gateway::{Answers, Asked, Response, SendError};
use backline_model::AccountId;

/// Answers from recordings. A request that was recorded several times gets its answers in turn, and then the last one
/// again. Cloning shares what was given already.
#[derive(Clone, Debug)]
pub(in crate::pipeline::conformance) struct Replay {
    /// By request, whatever its credential.
    answers: Arc<BTreeMap<RecordedRequest, Vec<OfAccount>>>,
    /// The platform's ids of the accounts that are asked for, by the host's ids, as connectors write them.
    accounts: Arc<HashMap<String, String>>,
    turns: Arc<Turns>,
}

/// A recorded answer, and whose recording it is from.
#[derive(Debug)]
struct OfAccount {
    account: String,
    recorded: RecordedExchange,
}

#[derive(Debug, Default)]
struct Turns {
    given: Mutex<HashMap<RecordedRequest, usize>>,
    missing: Mutex<Vec<String>>,
}

impl Replay {
    /// The answers of several recordings together.
    pub(in crate::pipeline::conformance) fn of(recordings: impl IntoIterator<Item = Recording>) -> Self {
        let mut answers: BTreeMap<RecordedRequest, Vec<OfAccount>> = BTreeMap::new();
        for Recording { about, recorded } in recordings {
            for recorded in recorded {
                let of_request = answers.entry(recorded.request.with_any_credential()).or_default();
                of_request.push(OfAccount { account: about.account.clone(), recorded });
            }
        }
        Self { answers: Arc::new(answers), accounts: Arc::default(), turns: Arc::default() }
    }

    /// The same answers from the beginning, for these accounts: the host's id of each, and the platform's.
    pub(in crate::pipeline::conformance) fn again<'a>(
        &self,
        accounts: impl IntoIterator<Item = (AccountId, &'a str)>,
    ) -> Self {
        let accounts = accounts.into_iter().map(|(id, platform_id)| (id.to_string(), platform_id.to_owned()));
        Self { answers: Arc::clone(&self.answers), accounts: Arc::new(accounts.collect()), turns: Arc::default() }
    }

    /// The requests that are not in the recordings, each once and with the nearest one that is.
    pub(in crate::pipeline::conformance) fn missing(&self) -> Vec<String> {
        self.turns.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why a request has no answer.
    fn why_missing(&self, request: &RecordedRequest) -> String {
        let shown = request.shown();
        if self.answers.contains_key(&request.with_any_credential()) {
            return format!("{shown} is recorded with the credential of another account alone");
        }
        let nearest = nearest(request, self.answers.keys());
        let nearest = nearest.map_or("it has none".to_owned(), |nearest| format!("the nearest is {nearest}"));
        format!("{shown} is not in the recording; {nearest}")
    }
}

impl Answers for Replay {
    fn answer(&self, asked: &Asked) -> Result<Response, SendError> {
        let platform_id = |id: &str| self.accounts.get(id).cloned().unwrap_or_else(|| id.to_owned());
        let request = RecordedRequest::of(asked, platform_id);
        let recorded = self.answers.get(&request.with_any_credential()).map(Vec::as_slice).unwrap_or_default();
        let fitting = fitting(recorded, request.credential.as_ref());
        let Some(last) = fitting.len().checked_sub(1) else {
            let message = self.why_missing(&request);
            let mut missing = self.turns.missing.lock().unwrap_or_else(PoisonError::into_inner);
            if !missing.contains(&message) {
                missing.push(message.clone());
            }
            return Err(SendError::Denied(message));
        };
        let mut given = self.turns.given.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = given.entry(request).or_default();
        let index = (*turn).min(last);
        *turn += 1;
        fitting[index].replayed()
    }
}

/// The answers to a request that are for this credential: those that were recorded with it, or else what does not say
/// that it is another account's, and of that what is from the account's own recording.
fn fitting<'a>(recorded: &'a [OfAccount], credential: Option<&RecordedCredential>) -> Vec<&'a RecordedExchange> {
    let account = credential.and_then(|credential| credential.account.as_deref());
    let rank = |one: &OfAccount| -> Option<u8> {
        let with = one.recorded.request.credential.as_ref();
        let of = with.and_then(|with| with.account.as_deref());
        if of.is_some() && of != account {
            None
        } else if with.is_some() && with == credential {
            Some(2)
        } else {
            Some(u8::from(account == Some(one.account.as_str())))
        }
    };
    let Some(best) = recorded.iter().filter_map(rank).max() else { return Vec::new() };
    recorded.iter().filter(|one| rank(one) == Some(best)).map(|one| &one.recorded).collect()
}

/// The recorded request that has most in common with one that is not recorded: at its beginning and at its end. (Not by
/// the characters that differ, as names are compared: a long cursor in the middle says nothing about what is asked.)
fn nearest<'a>(request: &RecordedRequest, known: impl Iterator<Item = &'a RecordedRequest>) -> Option<String> {
    let wanted = request.shown();
    let in_common = |other: &String| {
        let start = wanted.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
        let end = wanted.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b).count();
        start + end
    };
    known.map(RecordedRequest::shown).max_by_key(in_common).map(|shown| {
        let only_the_body_differs = shown == wanted;
        if only_the_body_differs { format!("{shown} with another body") } else { shown }
    })
}

#[cfg(test)]
mod tests {
    use backline_gateway::CredentialRef;
    use backline_model::manifest::Method;
    use serde_json::{Value as Json, json};

    use super::*;

    const ME: &str = "https://a.test/me";

    /// A recording of an account whose requests are to [`ME`], each with the credential of a slot if one is given.
    fn recording(account: &str, answers: &[(Option<Json>, u64)]) -> Recording {
        let about = json!({
            "format": 1, "connector": "example 1.0.0", "account": account, "settings": {},
            "observed_at": "2026-11-28T12:00:00Z",
            "window": { "since": "2026-10-31T12:00:00Z", "until": "2026-11-28T12:00:00Z" },
        });
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("recording.json"), about.to_string()).expect("written");
        for (index, (credential, number)) in answers.iter().enumerate() {
            let mut request = json!({ "method": "GET", "url": ME });
            if let Some(credential) = credential {
                request["credential"] = credential.clone();
            }
            let one = json!({ "request": request, "answer": { "json": number } });
            std::fs::write(folder.path().join(format!("{index:03}.json")), one.to_string()).expect("written");
        }
        Recording::load(folder.path()).expect("a recording")
    }

    fn of_account(account: &str) -> Option<Json> {
        Some(json!({ "slot": "user", "account": account }))
    }

    fn asked(slot: &str, account: Option<AccountId>) -> Asked {
        let account = account.map(|account| account.to_string());
        let credential = Some(CredentialRef { slot: slot.to_owned(), account });
        Asked { method: Method::Get, url: ME.to_owned(), headers: Vec::new(), body: None, credential }
    }

    fn number(replay: &Replay, asked: &Asked) -> Result<u64, SendError> {
        let body = replay.answer(asked)?.body;
        Ok(serde_json::from_slice(&body).expect("a number"))
    }

    #[test]
    fn each_account_gets_what_was_recorded_with_its_own_credential() {
        let replay = Replay::of([
            recording("a1", &[(of_account("a1"), 11), (of_account("a1"), 12)]),
            recording("a2", &[(of_account("a2"), 21)]),
        ]);
        let (first, second, unknown) = (AccountId::generate(), AccountId::generate(), AccountId::generate());
        let replay = replay.again([(second, "a2"), (first, "a1"), (unknown, "a3")]);
        for (account, expected) in [(second, 21), (first, 11), (second, 21), (first, 12), (first, 12)] {
            assert_eq!(number(&replay, &asked("user", Some(account))), Ok(expected));
        }
        assert!(replay.missing().is_empty());
        let without = Asked { credential: None, ..asked("user", None) };
        for other in [asked("user", Some(unknown)), asked("app", None), without] {
            let Err(SendError::Denied(why)) = number(&replay, &other) else { panic!("{other:?} got an answer") };
            assert!(why.ends_with("/me is recorded with the credential of another account alone"), "{why}");
        }
    }

    #[test]
    fn the_operators_credential_is_the_same_for_all_accounts() {
        let of_operator = || Some(json!({ "slot": "app" }));
        let replay = Replay::of([
            recording("a1", &[(of_operator(), 1), (Some(json!({ "slot": "other" })), 3)]),
            recording("a2", &[(of_operator(), 2)]),
        ]);
        let replay = replay.again([(AccountId::generate(), "a2")]);
        for expected in [1, 2, 2] {
            assert_eq!(number(&replay, &asked("app", None)), Ok(expected), "in turn");
        }
        assert_eq!(number(&replay, &asked("other", None)), Ok(3));
    }

    #[test]
    fn older_recordings_do_not_say_the_credential_and_answer_their_own_account_first() {
        let replay = Replay::of([recording("a1", &[(None, 1)]), recording("a2", &[(None, 2)])]);
        let (own, other) = (AccountId::generate(), AccountId::generate());
        let replay = replay.again([(own, "a2"), (other, "a3")]);
        assert_eq!(number(&replay, &asked("user", Some(own))), Ok(2));
        for expected in [1, 2, 2] {
            assert_eq!(number(&replay, &asked("user", Some(other))), Ok(expected), "it has no recording of its own");
        }
    }
}
