//! Why a page was not shown, or an act not done, in the words of the command line. `api` decides the status.

use std::error::Error;
use std::fmt::Display;

use crate::pipeline::names::NameError;
use crate::pipeline::{BulkError, Classified, ErrorClass, WebhookError, with_causes};
use backline_store::StoreError;

/// What kind of a refusal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request is wrong as it is.
    Wrong,
    /// No session, or its token is not in force any more.
    NoSession,
    /// The token was wrong.
    WrongToken,
    /// The token's role or tenant does not reach it, or the request does not come from a page of this dashboard.
    Forbidden,
    /// There is none, or none that the token reaches: which of these is not said.
    NotFound,
    /// The page takes no form.
    WrongMethod,
    /// The present state forbids it.
    Conflict,
    /// Too many requests.
    TooMany,
    /// The database does not answer.
    Unavailable,
    /// The receiver of a webhook does not answer.
    NoReceiver,
    /// A fault of this program; its cause is in the log.
    Internal,
}

/// A refusal with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
}

impl Refusal {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The request is wrong as it is.
    pub(super) fn wrong(detail: impl Into<String>) -> Self {
        Self::new(Kind::Wrong, detail)
    }

    /// There is none, or it is outside of the token's scope.
    pub(super) fn not_found(what: &str, id: impl Display) -> Self {
        Self::new(Kind::NotFound, format!("there is no {what} {id}"))
    }

    /// Too many requests: the next one is taken after so many seconds.
    pub(crate) fn too_many(seconds: u64) -> Self {
        Self::new(Kind::TooMany, format!("too many requests; send the next one in {seconds} s"))
    }

    /// A fault of this program.
    pub(crate) fn internal() -> Self {
        Self::new(Kind::Internal, "the request could not be answered; the log of the host says why")
    }

    /// The path takes no such method.
    pub(crate) fn wrong_method() -> Self {
        Self::new(Kind::WrongMethod, "this method is not allowed here; a page is read, or takes a form")
    }

    /// The request has more bytes than any form.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        Self::wrong(format!("the form has more than {bytes_max} bytes"))
    }

    /// Whether this program or what it needs failed, so that it is open what was done of an act.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::NoReceiver | Kind::Internal)
    }

    /// The heading of the page that says it.
    pub(super) fn title(&self) -> &'static str {
        match self.kind {
            Kind::Wrong => "This can't be read",
            Kind::NoSession => "Log in",
            Kind::WrongToken => "This token is not in force",
            Kind::Forbidden => "This is not allowed",
            Kind::NotFound => "There is no such page",
            Kind::WrongMethod => "This page takes no form",
            Kind::Conflict => "This was refused",
            Kind::TooMany => "Too many requests",
            Kind::Unavailable => "The database does not answer",
            Kind::NoReceiver => "The receiver does not answer",
            Kind::Internal => "Something failed",
        }
    }
}

impl<E: Classified> From<E> for Refusal {
    fn from(error: E) -> Self {
        let any = &error as &dyn std::any::Any;
        let kind = match (any.downcast_ref::<StoreError>(), error.class()) {
            (Some(StoreError::NotFound { .. }), _) => Kind::NotFound,
            (Some(StoreError::OutOfScope { .. }), _) => Kind::Forbidden,
            (_, ErrorClass::Refused) if any.is::<NameError>() => Kind::Wrong,
            (_, ErrorClass::Refused) if matches!(any.downcast_ref(), Some(BulkError::Name(_))) => Kind::Wrong,
            (_, ErrorClass::Refused) => Kind::Conflict,
            (_, ErrorClass::Unavailable) => Kind::Unavailable,
            (_, ErrorClass::Partial | ErrorClass::Internal) => Kind::Internal,
        };
        if let (Kind::Unavailable, Some(WebhookError::Request(problem))) = (kind, any.downcast_ref::<WebhookError>()) {
            return Self::new(Kind::NoReceiver, format!("the receiver got no message: {problem}"));
        }
        let told = with_causes(&error as &(dyn Error + 'static));
        match kind {
            // What a library says about the database is for the operator's log.
            Kind::Unavailable => {
                tracing::warn!(error = told, "a page was not shown");
                Self::new(kind, "the database does not answer; repeat the request later")
            }
            Kind::Internal => {
                tracing::warn!(error = told, "a page was not shown");
                Self::internal()
            }
            _ => Self::new(kind, told),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::Tenant;

    #[test]
    fn what_is_outside_looks_like_nothing_and_a_failing_database_is_not_described() {
        let unknown = Refusal::from(StoreError::NotFound { what: "run", id: "x".to_owned() });
        assert_eq!(unknown, Refusal::not_found("run", "x"));
        let tenant = Tenant::new("label").expect("a name");
        assert_eq!(Refusal::from(StoreError::OutOfScope { what: "do it", tenant }).kind, Kind::Forbidden);
        let down = Refusal::from(StoreError::NoAnswer { what: "answer", seconds: 1 });
        assert!(down.is_failure() && down.kind == Kind::Unavailable && !unknown.is_failure());
    }
}
