//! Why a request was not answered, as RFC 9457 writes it, in the words of the command line.

use std::error::Error;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use uuid::Uuid;

use crate::pipeline::names::NameError;
use crate::pipeline::{Classified, ErrorClass, WebhookError, with_causes};
use backline_model::text::harmless_json;
use backline_store::{EventCursor, StoreError};

/// Content type of a problem, by RFC 9457.
const PROBLEM_JSON: &str = "application/problem+json";

/// The header that names a request in answers and in the log.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// The id of a request with these headers: the one that it gives, if that is a UUID, or else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> Uuid {
    let given = headers.get(REQUEST_ID).and_then(|given| Uuid::try_parse(given.to_str().ok()?.trim()).ok());
    given.unwrap_or_else(Uuid::now_v7)
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    /// What programs tell problems apart by.
    code: &'static str,
    detail: String,
    retry_after_s: Option<u64>,
    /// The earliest cursor after which everything is there still, where the one that was given is older.
    oldest: Option<EventCursor>,
    /// What failed, for the log alone: what a library says of the database is not for a caller.
    cause: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None, oldest: None, cause: None }
    }

    /// The request is wrong as it is.
    pub(super) fn wrong(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "wrong_request", detail)
    }

    /// A parameter that the operation does not have; ignoring it could return what was not asked for.
    pub(super) fn unknown_parameter(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unknown_parameter", detail)
    }

    /// No token, or none that is in force: which of these is not said.
    pub(super) fn no_token() -> Self {
        let detail = "no token in force was given; send one as `Authorization: Bearer …`, `backline tokens create` \
                      makes one";
        Self::new(StatusCode::UNAUTHORIZED, "no_token", detail)
    }

    /// The token does not allow the operation.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// The present state forbids it.
    pub(super) fn refused(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "refused", detail)
    }

    /// Nothing is changed through this host.
    pub(super) fn read_only() -> Self {
        let detail = "this host only reads (service.read_only); nothing was changed";
        Self::new(StatusCode::FORBIDDEN, "read_only", detail)
    }

    /// This machine's clock jumped.
    pub(super) fn clock_jumped() -> Self {
        let detail = "the clock of this host jumped, so nothing was changed; repeat the request on another host, or \
                      when the clock is right";
        Self { retry_after_s: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail) }
    }

    /// There is none, or it is outside of the token's scope: which of these is not said.
    pub(super) fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} {id}"))
    }

    /// No such path.
    pub(super) fn no_endpoint() -> Self {
        let detail = "no such endpoint; /openapi.json lists them";
        Self::new(StatusCode::NOT_FOUND, "no_endpoint", detail)
    }

    /// The path has no such method.
    pub(super) fn wrong_method() -> Self {
        let detail = "this method is not allowed here; /openapi.json lists those that are";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail)
    }

    /// The body is larger than any operation takes.
    pub(super) fn body_too_large(bytes_max: usize) -> Self {
        let detail = format!("the body has more than {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    }

    /// Events after the one that was named are deleted already.
    pub(super) fn events_gone(oldest: EventCursor) -> Self {
        let detail = format!(
            "events after the one that was named are deleted, so some would be missing; go on after {oldest}, and read \
             what you need of earlier ones elsewhere"
        );
        Self { oldest: Some(oldest), ..Self::new(StatusCode::GONE, "events_gone", detail) }
    }

    /// The key of a request is that of another one.
    pub(super) fn key_reused() -> Self {
        let detail = "the Idempotency-Key was given with another request before; give each request a key of its own";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", detail)
    }

    /// Too many requests.
    pub(super) fn too_many(retry_after_s: u64) -> Self {
        let detail = format!("too many requests; send the next one in {retry_after_s} s");
        Self {
            retry_after_s: Some(retry_after_s),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
        }
    }

    /// A fault of this program.
    pub(super) fn internal() -> Self {
        let detail = "the request could not be answered; the log of the host says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The same, with its cause for the log.
    pub(super) fn internal_by(cause: &(dyn Error + 'static)) -> Self {
        Self { cause: Some(with_causes(cause)), ..Self::internal() }
    }

    /// What failed, for the log.
    pub(super) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Whether this program or what it needs failed, so that it is open what was done of the request.
    pub(super) fn is_failure(&self) -> bool {
        self.status.is_server_error()
    }

    /// The problem as a response.
    pub(super) fn response(&self, request: Uuid) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
            "request_id": request,
        });
        if let Some(oldest) = self.oldest {
            body["oldest"] = json!(oldest);
        }
        let mut response = (self.status, harmless_json(body.to_string())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Ok(request) = HeaderValue::try_from(request.to_string()) {
            headers.insert(REQUEST_ID, request);
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl<E: Classified> From<E> for Problem {
    fn from(error: E) -> Self {
        let any = &error as &dyn std::any::Any;
        let (known, is_name) = (any.downcast_ref::<StoreError>(), any.is::<NameError>());
        let (status, code) = match (known, error.class()) {
            (Some(StoreError::NotFound { .. }), _) => (StatusCode::NOT_FOUND, "not_found"),
            (Some(StoreError::OutOfScope { .. }), _) => (StatusCode::FORBIDDEN, "forbidden"),
            _ if is_name && error.class() == ErrorClass::Refused => (StatusCode::BAD_REQUEST, "wrong_request"),
            (_, ErrorClass::Refused) => (StatusCode::CONFLICT, "refused"),
            (_, ErrorClass::Unavailable) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            (_, ErrorClass::Partial | ErrorClass::Internal) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        if status.is_server_error() {
            let cause = &error as &(dyn Error + 'static);
            if status != StatusCode::SERVICE_UNAVAILABLE {
                return Self::internal_by(cause);
            }
            let detail = match any.downcast_ref::<WebhookError>() {
                Some(WebhookError::Request(problem)) => format!("the receiver got no message: {problem}"),
                _ => "the database does not answer; repeat the request later".to_owned(),
            };
            let cause = Some(with_causes(cause));
            return Self { retry_after_s: Some(5), cause, ..Self::new(status, code, detail) };
        }
        Self::new(status, code, with_causes(&error as &(dyn Error + 'static)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_gateway::WebhookRequestError;
    use backline_model::Tenant;

    #[test]
    fn an_unknown_row_and_one_of_another_tenant_are_told_the_same() {
        let unknown = Problem::from(StoreError::NotFound { what: "run", id: "x".to_owned() });
        assert_eq!(unknown, Problem::not_found("run", "x"));
        let tenant = Tenant::new("label").expect("a name");
        let outside = Problem::from(StoreError::OutOfScope { what: "do it", tenant });
        assert_eq!(outside.status, StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_request_keeps_the_id_it_gives_if_that_is_one() {
        let id = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(given).expect("a value"));
            request_id(&headers)
        };
        // As most proxies write it, and as nginx does.
        for given in ["018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d", "018f4e6a7c1d7b3a9c553f1d2a4b5c6d"] {
            assert_eq!(id(given).to_string(), "018f4e6a-7c1d-7b3a-9c55-3f1d2a4b5c6d");
        }
        for given in ["", "7", "a\tb", "018f4e6a-7c1d-7b3a-9c55"] {
            assert_eq!(id(given).get_version_num(), 7, "{given}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn a_failing_database_is_a_reason_to_come_again() {
        let problem = Problem::from(StoreError::NoAnswer { what: "answer", seconds: 1 });
        assert_eq!((problem.status, problem.retry_after_s), (StatusCode::SERVICE_UNAVAILABLE, Some(5)));
        assert!(problem.is_failure() && Problem::internal().is_failure());
    }

    #[test]
    fn a_receiver_that_does_not_answer_is_not_taken_for_the_database() {
        let problem = Problem::from(WebhookError::Request(WebhookRequestError::TimedOut(5_000)));
        assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(problem.detail, "the receiver got no message: it did not answer within 5000 ms");
    }

    #[test]
    fn every_refusal_names_its_request_and_is_no_failure() {
        let id = Uuid::from_u128(7);
        for problem in [Problem::no_endpoint(), Problem::wrong_method(), Problem::no_token(), Problem::too_many(3)] {
            assert_eq!(problem.response(id).headers()[REQUEST_ID], id.to_string(), "{problem:?}");
            assert!(!problem.is_failure(), "{problem:?}");
        }
    }
}
