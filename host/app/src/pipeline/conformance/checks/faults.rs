//! Each answer in turn refused, throttled, failing, cut off, not JSON, of another shape, redirected or missing: the
//! right class, no invented value, no trap.

use super::batches::shown;
use super::bench::{Bench, Change, Made, Unmade};
use super::report::CheckResult;
use backline_gateway::{Asked, Exchange, Response, SendError};
use backline_model::snapshot::Reported;
use backline_model::{FetchError, Value};

/// Seconds that the throttling platform asks to wait.
const WAIT_S: u32 = 17;

/// What happens to an answer.
#[derive(Clone, Copy, Debug)]
enum AnswerFault {
    Status(u16),
    Body(&'static str),
    CutOff,
    Redirected,
    TimedOut,
    Unreachable,
    TooLarge,
}

const FAULTS: [AnswerFault; 16] = [
    AnswerFault::Status(401),
    AnswerFault::Status(403),
    AnswerFault::Status(404),
    AnswerFault::Status(429),
    AnswerFault::Status(500),
    AnswerFault::Status(503),
    AnswerFault::Body(""),
    AnswerFault::Body("<html>busy</html>"),
    AnswerFault::Body("null"),
    AnswerFault::Body("{}"),
    AnswerFault::Body("\"text\""),
    AnswerFault::CutOff,
    AnswerFault::Redirected,
    AnswerFault::TimedOut,
    AnswerFault::Unreachable,
    AnswerFault::TooLarge,
];

impl AnswerFault {
    fn shown(self) -> String {
        match self {
            Self::Status(429) => format!("HTTP 429 with retry-after {WAIT_S}"),
            Self::Status(status) => format!("HTTP {status}"),
            Self::Body("") => "an empty body".to_owned(),
            Self::Body(body) => format!("the body {body}"),
            Self::CutOff => "half of its body".to_owned(),
            Self::Redirected => "a redirect to a host that is not declared".to_owned(),
            Self::TimedOut => "no answer in time".to_owned(),
            Self::Unreachable => "no connection".to_owned(),
            Self::TooLarge => "a body that is too large".to_owned(),
        }
    }

    fn answer(self, before: Result<Response, SendError>) -> Result<Response, SendError> {
        let response = |status, headers: &[(&str, &str)], body: &[u8]| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Ok(Response { status, headers, body: body.to_vec() })
        };
        match self {
            Self::Status(429) => response(429, &[("retry-after", &WAIT_S.to_string())], b"{}"),
            Self::Status(status) => response(status, &[], b"{}"),
            Self::Body(body) => response(200, &[("content-type", "application/json")], body.as_bytes()),
            Self::CutOff => {
                before.map(|before| Response { body: before.body[..before.body.len() / 2].to_vec(), ..before })
            }
            Self::Redirected => response(302, &[("location", "https://elsewhere.invalid/")], b""),
            Self::TimedOut => Err(SendError::TimedOut),
            Self::Unreachable => Err(SendError::Unreachable("no route".to_owned())),
            Self::TooLarge => Err(SendError::TooLarge(1)),
        }
    }

    /// What is wrong with an error that the fault was reported as.
    fn misread(self, error: &FetchError) -> Option<&'static str> {
        use FetchError::{
            Forbidden, Misconfigured, NotFound, QuotaExhausted, RateLimited, Reconnect, Unauthorized, Unavailable,
            Unexpected,
        };
        let (fits, right) = match self {
            Self::Status(401) => (
                matches!(error, Unauthorized(_) | Reconnect(_) | Misconfigured(_) | Forbidden(_)),
                "a refused credential is unauthorized, reconnect or, of the operator, misconfigured",
            ),
            Self::Status(403) => (!matches!(error, NotFound), "a refusal does not say that there is no such account"),
            Self::Status(404) => (
                !matches!(error, Unauthorized(_) | Reconnect(_) | RateLimited(_) | QuotaExhausted(_)),
                "what does not exist is not-found",
            ),
            Self::Status(429) => match error {
                RateLimited(wait) => {
                    (wait.is_some_and(|wait| wait >= WAIT_S), "rate-limited has to give the seconds of retry-after")
                }
                other => (matches!(other, QuotaExhausted(_)), "too many requests are rate-limited or quota-exhausted"),
            },
            Self::Status(_) | Self::TimedOut | Self::Unreachable => {
                (matches!(error, Unavailable(_) | RateLimited(_)), "a platform that fails is unavailable")
            }
            Self::Body(_) | Self::CutOff | Self::TooLarge => (
                matches!(error, Unavailable(_) | Unexpected(_)),
                "an answer that can't be read is unavailable or unexpected, and says nothing about the account",
            ),
            Self::Redirected => (
                !matches!(error, NotFound | Reconnect(_) | RateLimited(_) | QuotaExhausted(_)),
                "a redirect that the host refuses says nothing about the account",
            ),
        };
        (!fits).then_some(right)
    }
}

/// A state that an account returned with a fault, and not without one.
pub(super) struct Kept {
    /// The account's place among the accounts.
    pub account: usize,
    /// What was tried.
    pub case: String,
    pub state: String,
}

/// Tries each fault on each answer of each account. Returns the states of the days with faults, too.
pub(super) async fn faults(bench: &Bench, alone: &[Made], exchanges: &[Vec<Exchange>]) -> (CheckResult, Vec<Kept>) {
    let (mut check, mut kept) = (CheckResult::new("faults"), Vec::new());
    for (index, ((account, good), exchanges)) in bench.accounts.iter().zip(alone).zip(exchanges).enumerate() {
        // What the good answers themselves refuse by name.
        let lost = bench.run(std::slice::from_ref(account)).await.lost;
        let targets = distinct(exchanges).into_iter();
        let cases: Vec<(&Asked, AnswerFault)> =
            targets.flat_map(|target| FAULTS.map(|fault| (target, fault))).collect();
        for (target, fault) in bench.spread(cases, usize::MAX) {
            let Some(ran) = bench.run_changed(std::slice::from_ref(account), on(target, fault)).await else {
                continue;
            };
            check.cases += 1;
            let request = format!("{} {}", target.method.as_str(), target.url);
            let case = format!("{}: {request} gets {}", account.platform_id, fault.shown());
            for metric in ran.lost.iter().filter(|metric| lost.iter().all(|known| known.name != metric.name)) {
                let name = &metric.name;
                check.found(&case, format!("it reports {name} as lost, and no answer refused it by that name"));
            }
            match ran.accounts.map(|accounts| accounts.into_iter().next()) {
                Err(why) => check.found(case, why),
                Ok(Some(Ok(made))) => {
                    for (name, message) in invented(good, &made) {
                        check.found(&case, format!("{name} {message}"));
                    }
                    if let Some(state) = made.state.filter(|state| Some(state) != good.state.as_ref()) {
                        kept.push(Kept { account: index, case, state });
                    }
                }
                Ok(Some(Err(Unmade::Fetch(error)))) => {
                    // It may speak of what was asked in its place. After HTTP 429 nothing more is to be asked.
                    let is_of_another = !ran.missing.is_empty()
                        && matches!(error, FetchError::Unavailable(_))
                        && !matches!(fault, AnswerFault::Status(429));
                    if let Some(right) = fault.misread(&error).filter(|_| !is_of_another) {
                        check.found(case, format!("it is reported as \"{error}\"; {right}"));
                    }
                }
                Ok(Some(Err(why @ Unmade::Normalize(_)))) => check.found(case, shown(&why)),
                Ok(None) => {}
            }
        }
    }
    (check, kept)
}

/// Each request once.
pub(super) fn distinct(exchanges: &[Exchange]) -> Vec<&Asked> {
    let mut seen: Vec<&Asked> = Vec::new();
    for exchange in exchanges {
        let asked = &exchange.asked;
        if !seen.iter().any(|known| is_same(known, asked)) {
            seen.push(asked);
        }
    }
    seen
}

pub(super) fn is_same(a: &Asked, b: &Asked) -> bool {
    a.method == b.method && a.url == b.url && a.body == b.body
}

fn on(target: &Asked, fault: AnswerFault) -> Change {
    let target = target.clone();
    Box::new(move |asked, before| match before {
        before if is_same(asked, &target) => fault.answer(before),
        // What is asked in its place is recorded nowhere. A refusal by the host's policy would be one of the connector.
        Err(SendError::Denied(_)) => Err(SendError::Unreachable("it is not recorded".to_owned())),
        before => before,
    })
}

/// Numbers that are neither what the good answers gave nor missing.
pub(super) fn invented(good: &Made, made: &Made) -> Vec<(String, String)> {
    let numbers = made.numbers().into_iter();
    let wrong = numbers.filter(|(name, metric)| {
        let before = good.metric(name);
        before.map(|before| &before.value) != Some(&metric.value) && !says_that_it_is_a_part(before, metric)
    });
    wrong
        .map(|(name, metric)| {
            let before = good.metric(name).and_then(|before| before.value.as_ref().ok());
            let before = before.map_or("missing".to_owned(), text);
            let now = metric.value.as_ref().map_or("missing".to_owned(), text);
            (name.to_owned(), format!("is {now} instead of {before}; what was not answered is missing, never a number"))
        })
        .collect()
}

/// Whether an aggregate says that it left out more than before.
fn says_that_it_is_a_part(before: Option<&Reported>, now: &Reported) -> bool {
    let skipped = |metric: &Reported| metric.coverage.map_or(0, |coverage| coverage.skipped);
    skipped(now) > before.map_or(0, skipped)
}

pub(super) fn text(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use backline_model::manifest::Method;

    #[test]
    fn what_is_asked_in_place_of_a_failed_answer_gets_no_connection_and_no_refusal() {
        let asked = |url: &str| Asked {
            method: Method::Get,
            url: url.to_owned(),
            headers: Vec::new(),
            body: None,
            credential: None,
        };
        let good = || Ok(Response { status: 200, headers: Vec::new(), body: b"{}".to_vec() });
        let not_recorded = || Err(SendError::Denied("it is not in the recording".to_owned()));
        let failing = on(&asked("https://a.test/batch"), AnswerFault::TimedOut);
        assert_eq!(failing(&asked("https://a.test/batch"), good()), Err(SendError::TimedOut));
        assert_eq!(failing(&asked("https://a.test/other"), good()), good());
        let instead = failing(&asked("https://a.test/one"), not_recorded());
        assert!(matches!(instead, Err(SendError::Unreachable(_))), "{instead:?}");
    }

    #[test]
    fn a_fault_has_classes_that_fit_and_classes_that_do_not() {
        let why = || "why".to_owned();
        for (fault, fits, misreads) in [
            (AnswerFault::Status(401), FetchError::Reconnect(why()), FetchError::NotFound),
            (AnswerFault::Status(403), FetchError::Forbidden(why()), FetchError::NotFound),
            (AnswerFault::Status(404), FetchError::NotFound, FetchError::Reconnect(why())),
            (AnswerFault::Status(429), FetchError::RateLimited(Some(17)), FetchError::RateLimited(None)),
            (AnswerFault::Status(429), FetchError::QuotaExhausted(None), FetchError::Unavailable(why())),
            (AnswerFault::Status(503), FetchError::Unavailable(why()), FetchError::NotFound),
            (AnswerFault::TimedOut, FetchError::Unavailable(why()), FetchError::Unexpected(why())),
            (AnswerFault::Body("{}"), FetchError::Unexpected(why()), FetchError::NotFound),
            (AnswerFault::Redirected, FetchError::Misconfigured(why()), FetchError::NotFound),
        ] {
            assert_eq!(fault.misread(&fits), None, "{fault:?} {fits:?}");
            assert!(fault.misread(&misreads).is_some(), "{fault:?} {misreads:?}");
        }
    }
}
