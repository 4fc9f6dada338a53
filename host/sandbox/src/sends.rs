//! Requests of a call on their way to the gateway: what they hold while they wait, and many at once.

use std::sync::Arc;

use backline_gateway::{Request, Response, SendError, Session};
use futures::future::join_all;

use super::meters::{HeldRequest, Meters};
use super::state::CallState;

/// Most requests of one `send-all`. Source: the contract.
pub(super) const TOGETHER_MAX: usize = 64;

/// What the answers of a call may hold together until the slowest of their `send-all` has come, in bytes: two of the
/// largest that the gateway lets through, and some hundred of an ordinary size. Those that come later than that are too
/// large. A guest with async code may have many `send-all` under way at once: they share it.
const ANSWERS_BYTES_MAX: u64 = 32 << 20;

impl CallState {
    /// The session to send a request with, and the count of what it holds; none if that is too much.
    pub(super) fn hold(&self, request: &Request) -> (Session, Option<HeldRequest>) {
        (self.session.clone(), self.meters.hold_request(bytes_of(request), self.requests_bytes_max))
    }

    /// The same for many requests, counted one after the other.
    pub(super) fn hold_all(&self, requests: Vec<Request>) -> (Session, Vec<(Request, Option<HeldRequest>)>) {
        let held = requests.into_iter().map(|request| {
            let (_, held) = self.hold(&request);
            (request, held)
        });
        (self.session.clone(), held.collect())
    }
}

/// Sends one request.
pub(super) async fn send(
    session: &Session,
    held: Option<HeldRequest>,
    request: Request,
) -> Result<Response, SendError> {
    let Some(_held) = held else {
        return Err(SendError::Denied(
            "the waiting requests have more than requests_bytes_max bytes; send fewer at once".to_owned(),
        ));
    };
    session.send(request).await
}

/// Sends many requests, of which the session sends a few at a time, and answers in their order. `asked` is how many
/// there were: those beyond the first [`TOGETHER_MAX`] are denied. `meters` are the call's.
pub(super) async fn send_all(
    session: &Session,
    meters: &Arc<Meters>,
    requests: Vec<(Request, Option<HeldRequest>)>,
    asked: usize,
) -> Vec<Result<Response, SendError>> {
    let sent = requests.into_iter().map(|(request, held)| async move {
        let answer = send(session, held, request).await?;
        match meters.hold_answer(bytes_of_answer(&answer), ANSWERS_BYTES_MAX) {
            Some(held) => Ok((answer, held)),
            None => Err(SendError::TooLarge(ANSWERS_BYTES_MAX)),
        }
    });
    let answers = join_all(sent).await;
    let mut answers: Vec<_> = answers.into_iter().map(|answer| answer.map(|(answer, _held)| answer)).collect();
    let beyond = || Err(SendError::Denied(format!("send-all takes at most {TOGETHER_MAX} requests")));
    answers.resize_with(asked, beyond);
    answers
}

/// Memory that an answer holds in the host while it waits for others.
fn bytes_of_answer(answer: &Response) -> u64 {
    (answer.body.len() + bytes_of_headers(&answer.headers)) as u64
}

/// Memory that a waiting request holds in the host.
fn bytes_of(request: &Request) -> u64 {
    let credential = request
        .credential
        .as_ref()
        .map_or(0, |credential| credential.slot.len() + credential.account.as_ref().map_or(0, |account| account.len()));
    let body = request.body.as_ref().map_or(0, Vec::len);
    (request.url.len() + bytes_of_headers(&request.headers) + credential + body) as u64
}

/// Memory that a list of headers holds, even if they are empty.
fn bytes_of_headers(headers: &[(String, String)]) -> usize {
    headers.iter().map(|header| size_of_val(header) + header.0.len() + header.1.len()).sum()
}

#[cfg(test)]
mod tests {
    use backline_gateway::CredentialRef;
    use backline_model::manifest::Method;

    use super::*;
    use crate::config::SandboxConfig;

    fn plain() -> Request {
        Request {
            method: Method::Get,
            url: "https://a.test/".to_owned(),
            headers: Vec::new(),
            body: None,
            credential: None,
        }
    }

    #[test]
    fn nothing_a_waiting_request_holds_goes_uncounted() {
        assert_eq!(bytes_of(&plain()), 15);
        let empty_headers = Request { headers: vec![Default::default(); 1_000_000], ..plain() };
        assert!(bytes_of(&empty_headers) > 40_000_000, "{}", bytes_of(&empty_headers));
        let credential = CredentialRef { slot: "s".repeat(1_000), account: Some("a".repeat(1_000)) };
        let named = Request { credential: Some(credential), body: Some(vec![0; 10]), ..plain() };
        assert_eq!(bytes_of(&named), 15 + 2_000 + 10);
    }

    #[test]
    fn answers_that_wait_for_others_share_the_room_of_their_call() {
        let answer = |bytes: usize| Response { status: 200, headers: Vec::new(), body: vec![0; bytes] };
        let meters = Meters::new(&SandboxConfig::default(), 0);
        let hold = |answer: &Response| meters.hold_answer(bytes_of_answer(answer), 100);
        let first = hold(&answer(60));
        assert!(first.is_some());
        assert!(hold(&answer(41)).is_none());
        let second = hold(&answer(40));
        assert!(second.is_some(), "what was dropped takes no room");
        assert!(hold(&answer(1)).is_none(), "whichever `send-all` it is of");
        drop((first, second));
        assert!(hold(&answer(100)).is_some(), "what was handed over takes no room");
        let with_headers = Response { headers: vec![Default::default(); 3], ..answer(0) };
        assert!(hold(&with_headers).is_none(), "empty headers take room too");
    }

    #[tokio::test]
    async fn many_requests_are_held_before_the_first_is_sent_and_those_beyond_are_denied() {
        // Three requests of 15 bytes fit.
        let config = SandboxConfig { requests_bytes_max: 45, ..SandboxConfig::default() };
        let meters = Meters::new(&config, 0);
        let state = CallState::new(Session::without_capabilities(), meters, &config, None);
        let (session, held) = state.hold_all(vec![plain(); 5]);
        let fits: Vec<bool> = held.iter().map(|(_, held)| held.is_some()).collect();
        assert_eq!(fits, [true, true, true, false, false]);
        let why = |answer: Result<Response, SendError>| match answer {
            Err(SendError::Denied(why)) => why,
            other => panic!("{other:?}"),
        };
        let said: Vec<String> = send_all(&session, &state.meters, held, 7).await.into_iter().map(why).collect();
        let words = ["only possible in"; 3].into_iter().chain(["send fewer"; 2]).chain(["at most 64 requests"; 2]);
        for (said, word) in said.iter().zip(words) {
            assert!(said.contains(word), "{said}: {word}");
        }
        assert_eq!(said.len(), 7, "one answer for each");
        assert!(state.hold(&plain()).1.is_some(), "what was answered holds nothing more");
    }
}
