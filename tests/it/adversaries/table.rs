//! The attacks, with the bound that stops each. docs/security.md has the same table; a test compares them.

use backline_model::FailureClass;
use serde_json::{Value as Json, json};

use super::server::{SECRET, TOKEN};

/// What an attack comes to for the account that it was started with.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    /// It has a row; what could not be stored is missing from it.
    Collected,
    /// It waits, for a week at most.
    Deferred,
    /// It failed, with one of these classes.
    Failed(&'static [FailureClass]),
    /// Either, depending on what was faster.
    CollectedOr(&'static [FailureClass]),
}

use FailureClass::{
    Forbidden, LimitExceeded, Misconfigured, NotNormalised, RateLimited, Reconnect, TimedOut, Trapped, Unavailable,
    Unexpected,
};

/// One behaviour of a connector or of a platform.
#[derive(Clone, Debug)]
pub struct Attack {
    /// Name; the account's id on the platform, and the first label of the platform's host.
    pub name: &'static str,
    /// What it is an attack on.
    pub class: &'static str,
    /// What stops it.
    pub bound: &'static str,
    pub ends: Ends,
    /// What the connector sends: the member `send` of the account's settings.
    pub send: Option<Json>,
    /// Part of the message that the account ends with.
    pub says: &'static str,
}

impl Attack {
    /// Whether it is a wait that is asked for. All accounts with the operator's credential keep it, so such attacks
    /// have a run of their own, after the others.
    pub fn asks_for_a_pause(&self) -> bool {
        self.name.starts_with("defer-")
            || ["wait-136-years", "retry-after-beyond", "retry-after-9999"].contains(&self.name)
    }
}

/// A behaviour of the connector itself.
fn guest(class: &'static str, name: &'static str, bound: &'static str, ends: Ends) -> Attack {
    Attack { name, class, bound, ends, send: None, says: "" }
}

/// A request that is refused before it is sent.
fn denied(name: &'static str, bound: &'static str, says: &'static str, send: Json) -> Attack {
    Attack { name, class: "request", bound, ends: Ends::Failed(&[Forbidden]), send: Some(send), says }
}

/// A behaviour of the platform, which gets the operator's secret.
fn platform(class: &'static str, name: &'static str, bound: &'static str, ends: Ends) -> Attack {
    let send = json!({ "url": format!("https://{name}.attacks.test/"), "slot": "app" });
    Attack { name, class, bound, ends, send: Some(send), says: "" }
}

/// All attacks through accounts, in the order of the table.
pub fn attacks() -> Vec<Attack> {
    let mut all = of_calls();
    all.extend(of_answers());
    all.extend(of_snapshots());
    all.extend(of_requests());
    all.extend(of_platforms());
    all.extend(of_echoes());
    all
}

const LIMIT: Ends = Ends::Failed(&[LimitExceeded]);
const LATE: Ends = Ends::Failed(&[TimedOut]);
const TRAP: Ends = Ends::Failed(&[Trapped]);
const BREACH: Ends = Ends::Failed(&[Unexpected]);

/// Time and memory of calls, and what is sent without measure.
fn of_calls() -> Vec<Attack> {
    let url = |name: &str| Some(json!({ "url": format!("https://{name}.attacks.test/") }));
    let halves = "calls for halves of a batch";
    vec![
        guest("time", "loop-in-fetch", "`sandbox.cpu_ms_max`", LATE),
        guest("time", "loop-in-normalize", "`sandbox.cpu_ms_max`", LATE),
        guest("time", "poll-without-end", "`sandbox.cpu_ms_max`", LATE),
        guest("time", "log-without-end", "`sandbox.cpu_ms_max`", LATE),
        guest("time", "wait-for-ever", "`collection.batch_deadline_ms`", LATE),
        guest("memory", "recursion-in-fetch", "stack of a call", TRAP),
        guest("memory", "recursion-in-normalize", "stack of a call", TRAP),
        guest("memory", "memory-bomb-in-fetch", "`sandbox.memory_bytes_max`", LIMIT),
        guest("memory", "memory-bomb-in-normalize", "`sandbox.memory_bytes_max`", LIMIT),
        guest("memory", "memory-in-one-piece", "`sandbox.memory_bytes_max`", LIMIT),
        guest("memory", "memory-to-the-brim", "`sandbox.memory_bytes_max`", LIMIT),
        guest("trap", "panic-in-fetch", halves, TRAP),
        guest("trap", "panic-in-normalize", halves, TRAP),
        guest("trap", "trap-in-fetch", halves, TRAP),
        guest("log", "log-flood", "`sandbox.log_bytes_max`", Ends::Collected),
        guest("log", "log-flood-in-normalize", "`sandbox.log_bytes_max`", Ends::Collected),
        guest("log", "log-empty-lines", "`sandbox.log_bytes_max`", Ends::Collected),
        guest("log", "log-one-line", "`sandbox.log_bytes_max`", Ends::Collected),
        guest("log", "log-forged", "characters that steer are replaced", Ends::Collected),
        Attack {
            send: url("sends-left-behind"),
            ..guest("requests", "sends-left-behind", "`gateway.requests_max`", Ends::CollectedOr(&[Forbidden]))
        },
        Attack {
            send: url("sends-without-waiting"),
            ..guest(
                "requests",
                "sends-without-waiting",
                "`gateway.requests_max`",
                Ends::Failed(&[Forbidden, LimitExceeded]),
            )
        },
        Attack {
            send: url("sends-without-end"),
            says: "requests_max",
            ..guest("requests", "sends-without-end", "`gateway.requests_max`", Ends::Failed(&[Forbidden]))
        },
        Attack {
            send: url("handles-without-end"),
            ..guest(
                "requests",
                "handles-without-end",
                "`sandbox.resources_max`",
                Ends::Failed(&[LimitExceeded, Forbidden, TimedOut]),
            )
        },
    ]
}

/// What `fetch` answers.
fn of_answers() -> Vec<Attack> {
    let json = "documents and states are JSON";
    let count = "one answer for each account";
    let wait = "a week at most";
    vec![
        guest("answer", "too-few-answers", count, BREACH),
        guest("answer", "too-many-answers", count, BREACH),
        guest("answer", "no-answers", count, BREACH),
        guest(
            "answer",
            "answers-without-end",
            "`sandbox.output_bytes_max`",
            Ends::Failed(&[LimitExceeded, Unexpected]),
        ),
        guest("answer", "body-of-megabytes", "`sandbox.output_bytes_max`", Ends::Failed(&[LimitExceeded, TimedOut])),
        guest("answer", "body-no-json", json, BREACH),
        guest("answer", "body-of-nothing", json, BREACH),
        guest("answer", "body-too-deep", json, Ends::Failed(&[NotNormalised, Unexpected])),
        guest("answer", "body-number-beyond", json, Ends::Failed(&[NotNormalised, Unexpected])),
        guest("answer", "body-half-a-character", json, Ends::Failed(&[NotNormalised, Unexpected])),
        guest("answer", "body-with-nul", "U+0000 is removed", Ends::Collected),
        guest("answer", "state-of-megabytes", "64 KiB of state", BREACH),
        guest("answer", "state-no-json", json, BREACH),
        guest("answer", "state-with-nul", "states are stored as text", Ends::Collected),
        guest("answer", "error-of-megabytes", "2,000 bytes of an error", BREACH),
        guest("answer", "error-steers", "characters that steer are replaced", BREACH),
        guest("answer", "wait-136-years", wait, Ends::Failed(&[RateLimited])),
        guest("answer", "defer-past-9999", wait, Ends::Deferred),
        guest("answer", "defer-to-the-end", wait, Ends::Deferred),
        guest("answer", "defer-to-the-beginning", wait, Ends::Deferred),
        guest("answer", "defer-to-2100", wait, Ends::Deferred),
        guest("answer", "defer-to-1970", wait, Ends::Deferred),
        guest("answer", "unauthorized-always", "one fresh credential", Ends::Failed(&[Reconnect, Misconfigured])),
        guest(
            "answer",
            "lost-metrics-100000",
            "`sandbox.output_bytes_max`",
            Ends::Failed(&[LimitExceeded, Unexpected, TimedOut]),
        ),
        guest("answer", "lost-metrics-200", "100 lost metrics of an answer", BREACH),
        guest("answer", "lost-metric-of-megabytes", "2,000 bytes of a name or reason", Ends::Collected),
    ]
}

/// What `normalize` answers.
fn of_snapshots() -> Vec<Attack> {
    let of = |name, bound| guest("snapshot", name, bound, Ends::Collected);
    let (quarantine, finite) = ("quarantine: wrong kind", "quarantine: not finite");
    vec![
        guest("snapshot", "too-few-snapshots", "one snapshot for each document", BREACH),
        guest("snapshot", "too-many-snapshots", "one snapshot for each document", BREACH),
        guest("snapshot", "error-of-normalize", "2,000 bytes of an error", Ends::Failed(&[NotNormalised])),
        of("sends-in-normalize", "`normalize` has no capability"),
        guest("snapshot", "metrics-unknown-4000", "256 metrics of a snapshot", BREACH),
        of("metrics-unknown-250", "1,000 unknown metrics of a batch"),
        guest("snapshot", "metric-repeated", "256 metrics of a snapshot", BREACH),
        of("metric-twice", "neither of two reports is used"),
        of("metric-name-of-megabytes", "2,000 bytes of a name"),
        of("metric-name-steers", "characters that steer are replaced"),
        of("metric-of-another-column", "quarantine: not in the catalogue"),
        of("metric-of-the-host", "the host computes it"),
        of("number-nan", finite),
        of("number-infinite", finite),
        of("number-negative", "quarantine: negative count"),
        of("number-smallest", "quarantine: negative count"),
        of("number-beyond-exact", quarantine),
        of("number-of-digits", quarantine),
        of("number-no-number", quarantine),
        of("text-of-megabytes", "`validation` bounds a text"),
        of("text-steers", "characters that steer are replaced where it is shown"),
        of("texts-100000", "`validation` bounds a list"),
        of("text-of-unknown-metric", "2,000 characters of a withheld text"),
        of("notes-10000", "50 notes of a snapshot"),
        of("note-of-megabytes", "500 characters of a note"),
        of("note-steers", "characters that steer are replaced"),
        of("engagement-overflows", "quarantine: rate over 100"),
        of("engagement-negative", "quarantine: rate under 0"),
        of("coverage-overflows", "counts of posts have 64 bits"),
    ]
}

/// Requests that the gateway refuses.
fn of_requests() -> Vec<Attack> {
    let here = |name: &str| format!("https://{name}.attacks.test/");
    let to = |url: &str| json!({ "url": url });
    let with_header =
        |name: &str, header: &str, value: &str| json!({ "url": here(name), "headers": [[header, value]] });
    let (list, plain, public) = ("hosts of the manifest", "https URLs without a user", "public addresses only");
    let host = "headers of the host";
    let searched = "requests are searched for secrets";
    let mut all = vec![
        denied("host-not-listed", list, "evil.test", to("https://evil.test/")),
        denied("host-with-the-suffix", list, "", to("https://evilattacks.test/")),
        denied("host-above-the-wildcard", list, "", to("https://attacks.test/")),
        denied("host-below-another", list, "", to("https://good.attacks.test.evil.test/")),
        denied("host-with-dots", list, "", to("https://good.attacks.test../")),
        denied("port-not-listed", list, "8443", to("https://good.attacks.test:8443/")),
        denied("method-not-listed", "methods of the manifest", "", json!({ "url": here("good"), "method": "DELETE" })),
        denied("user-before-the-host", plain, "", to("https://good.attacks.test@evil.test/")),
        denied("user-and-password", plain, "", to("https://user:pw@good.attacks.test/")),
        denied("scheme-http", plain, "", to("http://good.attacks.test/")),
        denied("scheme-file", plain, "", to("file:///etc/passwd")),
        denied("scheme-data", plain, "", to("data:text/plain,x")),
        denied("name-not-public", public, "not a public address", to("https://localhost/")),
        denied("address-not-public", public, "not a public address", to("https://127.0.0.1/")),
        denied("address-as-a-number", public, "not a public address", to("https://2130706433/")),
        denied("address-in-hexadecimal", public, "not a public address", to("https://0x7f.1/")),
        denied("address-of-metadata", public, "not a public address", to("https://169.254.169.254/latest/")),
        denied("address-within-ipv6", list, "", to("https://[::ffff:127.0.0.1]/")),
        denied("url-of-megabytes", "16 KiB of a URL", "", json!({ "url": here("good"), "url_bytes": 2 << 20 })),
        denied(
            "request-of-megabytes",
            "`gateway.request_body_bytes_max`",
            "",
            json!({ "url": here("good"), "method": "POST", "body_bytes": 2 << 20 }),
        ),
        denied(
            "headers-of-thousands",
            "64 headers of a request",
            "",
            json!({ "url": here("good"), "header_flood": 5_000 }),
        ),
        denied("header-of-many-bytes", "16 KiB of headers", "", with_header("good", "x-a", &"y".repeat(20_000))),
        denied("header-smuggles", "headers are valid HTTP", "", with_header("good", "x-a", "b\r\nhost: evil.test")),
        denied("header-without-a-name", "headers are valid HTTP", "", with_header("good", "", "b")),
        denied("range-with-a-secret", "headers refused with a credential", "range", {
            json!({ "url": here("good"), "headers": [["Range", "bytes=0-5"]], "slot": "app" })
        }),
        denied(
            "secret-in-the-url",
            searched,
            "holds a secret",
            json!({
                "url": format!("{}?k={SECRET}", here("good")), "slot": "app",
            }),
        ),
        denied(
            "secret-in-a-header",
            searched,
            "holds a secret",
            json!({
                "url": here("good"), "headers": [["x-a", TOKEN]],
            }),
        ),
        denied(
            "secret-in-the-body",
            searched,
            "holds a secret",
            json!({
                "url": here("good"), "method": "POST", "body": format!("a={SECRET}"),
            }),
        ),
        denied(
            "secret-toward-another-host",
            "hosts of a credential slot",
            "may not be sent to",
            json!({
                "url": "https://localhost/", "slot": "app",
            }),
        ),
        Attack {
            ends: Ends::Failed(&[Forbidden, Misconfigured]),
            ..denied("slot-unknown", "slots of the manifest", "", json!({ "url": here("good"), "slot": "root" }))
        },
        Attack {
            ends: Ends::Failed(&[Forbidden, Misconfigured]),
            ..denied(
                "secret-of-another-account",
                "accounts of the batch",
                "not one of this batch",
                json!({
                    "url": here("good"), "slot": "user", "account": "00000000-0000-0000-0000-000000000001",
                }),
            )
        },
    ];
    let headers = [
        ("header-host", "Host"),
        ("header-authorization", "authorization"),
        ("header-cookie", "Cookie"),
        ("header-length", "content-length"),
        ("header-framing", "Transfer_Encoding"),
        ("header-encoding", "Accept-Encoding"),
        ("header-asker", "X-Forwarded-For"),
        ("header-metadata", "Metadata-Flavor"),
        ("header-method", "x-http-method-override"),
        ("header-of-any-vendor", "X-New-Vendor-Client-IP"),
    ];
    all.extend(
        headers.map(|(name, header)| denied(name, host, "is set by the host", with_header("good", header, "evil"))),
    );
    all
}

/// What a platform answers.
fn of_platforms() -> Vec<Attack> {
    let late =
        |name| platform("answer of a platform", name, "`gateway.request_timeout_ms`", Ends::Failed(&[Unavailable]));
    let large = |name| platform("answer of a platform", name, "`gateway.body_bytes_max`", BREACH);
    // A slow machine reads until the time is over.
    let endless = |name| {
        let ends = Ends::Failed(&[Unexpected, Unavailable]);
        platform("answer of a platform", name, "`gateway.body_bytes_max`", ends)
    };
    let broken = |name, bound| platform("answer of a platform", name, bound, Ends::Failed(&[Unavailable]));
    let any = |name, bound| {
        platform("answer of a platform", name, bound, Ends::CollectedOr(&[Unavailable, Unexpected, Forbidden]))
    };
    let refused = |name, bound| platform("redirect", name, bound, Ends::Failed(&[Forbidden, Unavailable]));
    let (framing, coding, headers) = ("valid HTTP only", "one known content coding", "128 headers and 64 KiB of them");
    let closes = "`gateway.received_bytes_max`, for what broke off too";
    vec![
        late("never-answers"),
        late("drips-headers"),
        late("drips-a-body"),
        any("interim-answers", "`gateway.request_timeout_ms`"),
        platform("answer of a platform", "outage-for-ever", "`gateway.retries_max`", BREACH),
        platform("answer of a platform", "retry-after-beyond", "a week of a pause, and the call's deadline", BREACH),
        platform("answer of a platform", "retry-after-9999", "a week of a pause, and the call's deadline", BREACH),
        platform("answer of a platform", "retry-after-negative", "it counts as not given", BREACH),
        endless("body-without-end"),
        endless("frames-of-nothing"),
        any("chunks-without-end", "`gateway.body_bytes_max`"),
        large("gzip-bomb"),
        large("zstd-bomb"),
        large("length-of-gigabytes"),
        any("length-beyond", "`gateway.body_bytes_max`"),
        broken("chunk-extensions", framing),
        any("trailers-without-end", framing),
        broken("gzip-twice", coding),
        broken("gzip-in-two-lines", coding),
        broken("encoding-unknown", coding),
        broken("gzip-broken", coding),
        broken("headers-10000", headers),
        broken("header-of-a-megabyte", headers),
        broken("headers-without-end", headers),
        broken("closes-at-once", closes),
        broken("closes-in-the-middle", closes),
        Attack {
            send: Some(json!({ "url": "https://closes-in-the-middle-for-ever.attacks.test/", "until_denied": true })),
            says: "received_bytes_max",
            ..platform("answer of a platform", "closes-in-the-middle-for-ever", closes, Ends::Failed(&[Forbidden]))
        },
        broken("length-lies", framing),
        any("lengths-differ", framing),
        any("length-and-chunks", framing),
        broken("no-http", framing),
        broken("http-09", framing),
        broken("status-garbage", framing),
        any("status-beyond", framing),
        any("switches-protocols", framing),
        broken("chunk-size-beyond", framing),
        broken("chunk-size-garbage", framing),
        any("header-splits", framing),
        platform("answer of a platform", "body-binary", "a body is bytes", Ends::Collected),
        platform("answer of a platform", "body-deep", "a body is bytes", Ends::Collected),
        platform("answer of a platform", "sets-cookies", "headers withheld from answers", Ends::Collected),
        refused("redirects-for-ever", "`gateway.redirects_max`"),
        refused("redirects-to-private", "public addresses only"),
        refused("redirects-to-metadata", "public addresses only"),
        refused("redirects-to-http", "https URLs without a user"),
        refused("redirects-to-file", "https URLs without a user"),
        refused("redirects-off-the-list", "hosts of the manifest"),
        refused("redirects-with-a-user", "https URLs without a user"),
        refused("redirects-with-the-secret", "requests are searched for secrets"),
        Attack { says: "more than 16384 bytes", ..refused("redirects-to-megabytes", "16 KiB of a URL") },
    ]
}

/// A platform that repeats the secret it got. The account is collected, and nothing that is stored or shown holds it.
fn of_echoes() -> Vec<Attack> {
    [
        ("echo-plain", "as it is"),
        ("echo-percent", "percent-encoded twice"),
        ("echo-json", "escapes of JSON in JSON"),
        ("echo-base64", "base64, not at a multiple of three"),
        ("echo-base64-lines", "base64 in lines"),
        ("echo-hex", "hexadecimal"),
        ("echo-entities", "entities of HTML"),
        ("echo-utf16", "UTF-16"),
        ("echo-gzip", "compressed"),
        ("echo-in-a-header", "in a header"),
        ("echo-in-pieces", "a byte at a time"),
        ("echo-often", "20,000 times"),
    ]
    .into_iter()
    .map(|(name, bound)| platform("secret", name, bound, Ends::Collected))
    .chain([Attack {
        // The connector knows it from elsewhere, and says it in a form that is made printable before it is stored.
        send: Some(json!({ "fail_spaced": SECRET })),
        ..guest("secret", "error-with-nuls", "U+0000 between its letters", BREACH)
    }])
    .collect()
}
