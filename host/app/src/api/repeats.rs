//! Requests that come again. One that changes something may name itself by a key: it is carried out once, and each
//! repetition gets the answer of the first, also from another host.

use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use super::answer::Reply;
use super::operations::Operation;
use super::problem::Problem;
use crate::pipeline::Host;
use backline_model::Digest;
use backline_store::KeyedRequest;

/// The header in which a client names a request, by the draft "The Idempotency-Key HTTP Header Field" of the IETF.
pub(super) const KEY: &str = "idempotency-key";

/// The header of an answer that is the one of an earlier request.
pub(super) const REPLAYED: &str = "idempotency-replayed";

/// Longest key, in characters.
pub(super) const KEY_CHARACTERS_MAX: usize = 255;

/// What a request for an operation names itself; none where it does not. What only reads needs none.
///
/// # Errors
/// When it is not one, there are several, or the operation takes none.
pub(super) fn key(headers: &HeaderMap, operation: &Operation) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(KEY).into_iter();
    let Some(key) = given.next().filter(|_| operation.action.is_some()) else { return Ok(None) };
    if !operation.is_keyed {
        // Accepting it would promise what is not kept.
        return Err(Problem::wrong(format!("{KEY}: this takes none; repeating it does no harm")));
    }
    let key = key.to_str().ok().filter(|key| (1..=KEY_CHARACTERS_MAX).contains(&key.len()) && given.next().is_none());
    let wrong = || Problem::wrong(format!("{KEY}: give one of 1 to {KEY_CHARACTERS_MAX} ASCII characters"));
    key.map(|key| Some(key.to_owned())).ok_or_else(wrong)
}

/// Everything that a request asks for.
pub(super) fn asked(operation: &str, path: &str, body: &[u8]) -> Digest {
    // Neither a name nor a path has a zero byte.
    Digest::of(&[operation.as_bytes(), &[0], path.as_bytes(), &[0], body].concat())
}

/// The answer to an earlier request of the same key; none where there was none.
///
/// # Errors
/// When the earlier one asked for something else, or the database fails.
pub(super) async fn answered_before(host: &Host, request: &KeyedRequest) -> Result<Option<Reply>, Problem> {
    match host.store().kept_answer_get(request.token, &request.key).await? {
        Some(kept) if kept.request == request.id => Ok(None),
        Some(kept) if kept.asked == request.asked => Ok(Some(Reply::again(kept.answer))),
        Some(_) => Err(Problem::key_reused()),
        None => Ok(None),
    }
}

/// Marks a response as the answer of an earlier request.
pub(super) fn mark(response: &mut Response) {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations;

    fn read(operation: &str, keys: &[&str]) -> Result<Option<String>, Problem> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(KEY, HeaderValue::from_bytes(key.as_bytes()).expect("a value"));
        }
        let all = operations::all();
        let operation = all.iter().find(|one| one.id == operation).expect("an operation");
        key(&headers, operation)
    }

    #[test]
    fn a_key_is_one_short_text() {
        assert_eq!(read("run_start", &[]), Ok(None));
        let longest = "k".repeat(KEY_CHARACTERS_MAX);
        for good in ["a", "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d", longest.as_str()] {
            assert_eq!(read("run_start", &[good]), Ok(Some(good.to_owned())));
        }
        let too_long = format!("{longest}k");
        for wrong in [&[""][..], &["é"], &["a", "b"], &["a", "a"], &[too_long.as_str()]] {
            read("run_start", wrong).expect_err(wrong[0]);
        }
    }

    #[test]
    fn a_key_is_refused_where_none_is_kept_and_ignored_by_what_reads() {
        read("webhook_test", &["a"]).expect_err("it is not kept");
        assert_eq!(read("runs", &["a"]), Ok(None));
    }

    #[test]
    fn what_is_asked_for_is_operation_path_and_body() {
        let one = asked("run_cancel", "/v1/runs/1/cancel", b"{}");
        assert_eq!(one, asked("run_cancel", "/v1/runs/1/cancel", b"{}"));
        for other in [
            asked("run_start", "/v1/runs/1/cancel", b"{}"),
            asked("run_cancel", "/v1/runs/2/cancel", b"{}"),
            asked("run_cancel", "/v1/runs/1/cancel", b""),
            asked("run_cancel", "/v1/runs/1", b"/cancel{}"),
        ] {
            assert_ne!(one, other);
        }
    }
}
