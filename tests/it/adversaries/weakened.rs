//! The attacks against a host with the bound that stops them switched off: each succeeds, so it is that bound that
//! stops it.
//!
//! Only in a build with the feature `weakened`: `cargo xtask test --suite adversaries --long`.

use std::time::{Duration, Instant};

use backline_model::weakened::{Bound, only};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// How a success shows.
#[derive(Clone, Copy, Debug)]
enum Shows {
    /// The account does not end as the bound makes it end.
    EndsOtherwise,
    /// The account is collected.
    Collected,
    /// Its message has this part.
    Says(&'static str),
    /// What is stored for it, or shown of it, holds the secret, in this form.
    Leaks(fn(&str) -> String),
    /// Its message has characters that steer.
    Steers,
    /// More requests were sent than this.
    Asks(u64),
    /// A statement's number is greater than this.
    Exceeds(&'static str, u64),
    /// The run lasts longer than this.
    Lasts(Duration),
    /// The process takes more memory meanwhile than this, in bytes.
    Fills(u64),
    /// Its message has more bytes than this.
    Longer(usize),
    /// Its row has a value of this metric.
    Stores(&'static str),
    /// Its row has more notes than this.
    Notes(usize),
    /// One of its row's notes has more characters than this.
    NoteOf(usize),
    /// Its neighbours fail with it.
    TakesNeighbours,
    /// The token is taken.
    Granted,
    /// The component is installed.
    Installed,
}

use Shows::{
    Asks, Collected, EndsOtherwise, Exceeds, Fills, Granted, Installed, Lasts, Leaks, Longer, NoteOf, Notes, Says,
    Steers, Stores, TakesNeighbours,
};

/// Each bound that can be switched off, with attacks that it stops.
const WEAK: [(Bound, &[(&str, Shows)]); 45] = [
    (
        Bound::Redaction,
        &[
            ("echo-plain", Leaks(as_it_is)),
            ("echo-gzip", Leaks(as_it_is)),
            ("echo-in-a-header", Leaks(as_it_is)),
            ("echo-in-pieces", Leaks(as_it_is)),
            ("echo-often", Leaks(as_it_is)),
            ("echo-percent", Leaks(percent)),
            ("echo-base64", Leaks(base64)),
            ("echo-hex", Leaks(hexadecimal)),
            ("error-with-nuls", Says("c\u{fffd}a\u{fffd}n\u{fffd}a")),
            ("token-repeats-the-secret", Granted),
        ],
    ),
    (
        Bound::SecretsInRequests,
        &[("secret-in-the-url", Collected), ("secret-in-a-header", Collected), ("secret-in-the-body", Collected)],
    ),
    (
        Bound::Hosts,
        &[
            ("host-not-listed", EndsOtherwise),
            ("host-with-the-suffix", EndsOtherwise),
            ("host-above-the-wildcard", EndsOtherwise),
            ("host-below-another", EndsOtherwise),
            ("port-not-listed", EndsOtherwise),
            ("method-not-listed", Collected),
        ],
    ),
    (
        Bound::PublicAddresses,
        &[
            ("name-not-public", EndsOtherwise),
            ("address-not-public", EndsOtherwise),
            ("address-as-a-number", EndsOtherwise),
            ("address-in-hexadecimal", EndsOtherwise),
        ],
    ),
    (Bound::RequestHeaders, &[("headers-of-thousands", Collected), ("header-of-many-bytes", Collected)]),
    (
        Bound::HeadersOfTheHost,
        &[
            ("header-authorization", Collected),
            ("header-cookie", Collected),
            ("header-encoding", Collected),
            ("header-asker", Collected),
            ("header-metadata", Collected),
            ("header-method", Collected),
            ("header-of-any-vendor", Collected),
        ],
    ),
    (Bound::SplitAnswers, &[("range-with-a-secret", Collected)]),
    (
        Bound::ContentCodings,
        &[("gzip-twice", Collected), ("gzip-in-two-lines", Collected), ("encoding-unknown", Collected)],
    ),
    (
        Bound::AnswerBytes,
        &[("gzip-bomb", EndsOtherwise), ("zstd-bomb", EndsOtherwise), ("length-of-gigabytes", EndsOtherwise)],
    ),
    (Bound::RequestTime, &[("never-answers", Lasts(ANSWERS)), ("drips-a-body", Lasts(ANSWERS))]),
    (Bound::Requests, &[("sends-without-end", Asks(REQUESTS_MAX))]),
    (Bound::ReceivedBytes, &[("closes-in-the-middle-for-ever", EndsOtherwise)]),
    (
        Bound::TokenForm,
        &[
            ("token-of-percents", Granted),
            ("token-of-backslashes", Granted),
            ("token-with-a-line", Granted),
            ("token-with-a-blank", Granted),
            ("token-too-long", Granted),
            ("token-too-short", Granted),
        ],
    ),
    // What ends it then is the time of its batch.
    (
        Bound::CpuTime,
        &[("loop-in-fetch", Says("did not answer within")), ("poll-without-end", Says("did not answer within"))],
    ),
    (Bound::OutputBytes, &[("body-of-megabytes", Collected)]),
    (Bound::LogBytes, &[("log-flood", Exceeds("SELECT CAST(SUM(LENGTH(message)) AS TEXT) FROM plugin_logs", 400_000))]),
    (
        Bound::StateBytes,
        &[("state-of-megabytes", Exceeds("SELECT CAST(MAX(LENGTH(state)) AS TEXT) FROM account_state", 64 << 10))],
    ),
    (Bound::Metrics, &[("metrics-unknown-4000", EndsOtherwise), ("metric-repeated", EndsOtherwise)]),
    (Bound::LostMetrics, &[("lost-metrics-200", Collected)]),
    (Bound::Characters, &[("error-steers", Steers)]),
    (
        Bound::Memory,
        &[
            ("memory-bomb-in-fetch", Fills(128 << 20)),
            ("memory-bomb-in-normalize", EndsOtherwise),
            ("memory-in-one-piece", EndsOtherwise),
            ("memory-to-the-brim", EndsOtherwise),
        ],
    ),
    // Frames have at least 32 bytes, and a stack has 512 KiB.
    (Bound::Stack, &[("recursion-in-fetch", DEEP), ("recursion-in-normalize", DEEP)]),
    (Bound::Resources, &[("handles-without-end", Says("requests_max"))]),
    (Bound::BatchTime, &[("wait-for-ever", Lasts(Duration::from_secs(50)))]),
    (Bound::Halves, &[("panic-in-fetch", TakesNeighbours), ("panic-in-normalize", TakesNeighbours)]),
    (Bound::OneAnswer, &[("too-many-answers", Collected), ("too-many-snapshots", Collected)]),
    (Bound::Json, &[("body-no-json", EndsOtherwise), ("state-no-json", Collected)]),
    (
        Bound::Texts,
        &[
            ("error-of-megabytes", Longer(100_000)),
            ("error-of-normalize", Longer(100_000)),
            ("lost-metric-of-megabytes", Exceeds(REASON, 100_000)),
        ],
    ),
    (Bound::TwoReports, &[("metric-twice", Stores("likes"))]),
    (
        Bound::Validation,
        &[
            ("number-negative", Stores("likes")),
            ("text-of-megabytes", Stores("top_track")),
            ("texts-100000", Stores("genres")),
            ("engagement-negative", Stores("engagement_rate")),
            ("engagement-overflows", Stores("engagement_rate")),
        ],
    ),
    (Bound::WithheldText, &[("text-of-unknown-metric", Exceeds(WITHHELD, 100_000))]),
    (Bound::Notes, &[("notes-10000", Notes(50)), ("note-of-megabytes", NoteOf(500))]),
    (Bound::UserInUrl, &[("user-and-password", Collected), ("redirects-with-a-user", Collected)]),
    (Bound::UrlBytes, &[("redirects-to-megabytes", EndsOtherwise)]),
    (Bound::RequestBody, &[("request-of-megabytes", EndsOtherwise)]),
    (Bound::SlotHosts, &[("secret-toward-another-host", EndsOtherwise)]),
    (Bound::BatchAccounts, &[("secret-of-another-account", EndsOtherwise)]),
    (Bound::Retries, &[("outage-for-ever", Asks(2))]),
    (Bound::HttpForm, &[("http-09", Collected), ("no-http", Collected)]),
    (Bound::AnswerHeaders, &[("headers-10000", Collected)]),
    (Bound::WithheldHeaders, &[("sets-cookies", Leaks(cookie))]),
    (Bound::Redirects, &[("redirects-for-ever", Asks(10))]),
    (Bound::TokenLife, &[("token-lasts-for-ever", Granted), ("token-lasts-a-negative-time", Granted)]),
    (Bound::Owners, &[("file-wildcard-over-a-suffix", Installed)]),
    // The last one: the credential pauses for all that follow.
    (Bound::Pauses, &[("defer-to-2100", EndsOtherwise)]),
];

/// Twice `gateway.request_timeout_ms` of the suite. The first call may last for almost half of the batch's time.
const ANSWERS: Duration = Duration::from_secs(6);

/// Recursion went deeper than the stack of a call allows.
const DEEP: Shows = Exceeds("SELECT CAST(COUNT(*) AS TEXT) FROM plugin_logs WHERE message = 'depth 32768'", 0);

/// The longest reason of a lost metric.
const REASON: &str = "SELECT CAST(MAX(LENGTH(reason)) AS TEXT) FROM lost_metrics";

/// The longest value that is withheld.
const WITHHELD: &str = "SELECT CAST(MAX(LENGTH(CAST(value AS TEXT))) AS TEXT) FROM quarantine";

/// What stops attacks and has no switch, and why.
const WITHOUT_SWITCH: [(&str, &str); 25] = [
    ("U+0000 is removed", "PostgreSQL refuses it by itself"),
    ("states are stored as text", "it is the type of a column"),
    ("one fresh credential", "nothing would go on: a batch has one more call, and no loop"),
    ("`normalize` has no capability", "there is nothing that could be handed to it"),
    ("1,000 unknown metrics of a batch", "the suite's batches are too small to reach it; a unit test does"),
    ("2,000 bytes of a name", "such a name is in no catalogue, and is cut again where it is withheld"),
    ("quarantine: not in the catalogue", "no column would take it"),
    ("quarantine: not finite", "neither JSON nor a database holds it"),
    ("quarantine: wrong kind", "no column would take it"),
    ("the host computes it", "what is reported has no way into the row"),
    ("characters that steer are replaced where it is shown", "it is the tests of commands that see it"),
    ("counts of posts have 64 bits", "it is a type"),
    ("headers are valid HTTP", "it is a type of the HTTP library"),
    ("slots of the manifest", "an unknown slot has no secret"),
    ("a week of a pause, and the call's deadline", "the deadline ends the call first, and the week has a switch"),
    ("it counts as not given", "a negative time says nothing"),
    ("a body is bytes", "it is a type"),
    ("a token is text", "it is a type"),
    ("an answer is JSON", "no token could be read from it"),
    ("no redirects of token endpoints", "no code follows them"),
    ("a file is a component", "nothing could be run"),
    ("imports of the contract only", "the linker has no others"),
    ("one manifest in a file", "of two, none is the right one"),
    ("256 KiB of a manifest", "a file with a second manifest is refused in any case"),
    ("`sandbox.component_bytes_max`", "it would be compiled for minutes"),
];

fn cookie(_: &str) -> String {
    "domain=attacks.test".to_owned()
}

fn as_it_is(secret: &str) -> String {
    secret.to_owned()
}

fn percent(secret: &str) -> String {
    secret.bytes().map(|byte| format!("%25{byte:02X}")).collect()
}

fn base64(secret: &str) -> String {
    STANDARD.encode(format!("ab{secret}"))
}

fn hexadecimal(secret: &str) -> String {
    secret.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Attacks through accounts that the table names for some bounds.
fn chosen(is_wanted: impl Fn(Bound) -> bool) -> Vec<Attack> {
    let attacks_of = |(bound, attacks): (Bound, &'static [(&'static str, Shows)])| is_wanted(bound).then_some(attacks);
    let names: Vec<&str> = WEAK.into_iter().filter_map(attacks_of).flatten().map(|(name, _)| *name).collect();
    attacks().into_iter().filter(|attack| names.contains(&attack.name)).collect()
}

#[test]
fn every_bound_is_in_the_table_once_and_every_attack_exists() {
    let of_files = files::FILES.iter().map(|file| file.name);
    let of_accounts = attacks().into_iter().map(|attack| attack.name);
    let known: Vec<&str> = of_accounts.chain(tokens::names()).chain(of_files).collect();
    let mut seen: Vec<Bound> = Vec::new();
    for (bound, attacks) in WEAK {
        assert!(!seen.contains(&bound), "{bound:?} is listed twice");
        seen.push(bound);
        for (name, _) in attacks {
            assert!(known.contains(name), "{name}");
        }
    }
    // The enum has no other variant.
    assert_eq!(seen.iter().map(|bound| *bound as usize).max(), Some(seen.len() - 1));
}

#[test]
fn whatever_stops_an_attack_is_switched_off_once_or_has_a_reason() {
    let switched: Vec<&str> = WEAK.iter().flat_map(|(_, attacks)| attacks.iter().map(|(name, _)| *name)).collect();
    let rows = documented();
    let rows: Vec<[&str; 3]> = rows
        .lines()
        .filter_map(|row| {
            row.strip_prefix("| ")?.strip_suffix(" |")?.splitn(3, " | ").collect::<Vec<_>>().try_into().ok()
        })
        .collect();
    assert!(rows.len() >= 80, "{} rows", rows.len());
    // All forms of a secret are found by one search.
    let is_seen = |bound: &str| rows.iter().any(|[_, name, stops]| *stops == bound && switched.contains(name));
    for [class, name, bound] in &rows {
        let has_reason = WITHOUT_SWITCH.iter().any(|(known, _)| known == bound);
        assert!(*class == "secret" || is_seen(bound) || has_reason, "nothing shows that '{bound}' stops {name}");
        assert!(!(is_seen(bound) && has_reason) || *class == "secret", "'{bound}' has a switch");
    }
    for (bound, _) in WITHOUT_SWITCH {
        assert!(rows.iter().any(|[_, _, stops]| *stops == bound), "nothing is stopped by '{bound}'");
    }
}

/// Set in the process whose bounds are switched off: they are switched for the whole process.
const WEAKENED: &str = "ADVERSARIES_WEAKENED";

#[test]
fn attacks_succeed_where_the_bound_that_stops_them_is_off() {
    let name = "adversaries::weakened::attacks_succeed_where_the_bound_that_stops_them_is_off";
    alone(WEAKENED, name, all_weak_spots());
}

async fn all_weak_spots() {
    let cache = tempfile::tempdir().expect("a folder");
    for of_stack in [true, false] {
        each_database(async |_store: Store, url: &str| {
            // The stack is the engine's, which is made with the host.
            only(of_stack.then_some(Bound::Stack));
            let attacks = chosen(|bound| (bound == Bound::Stack) == of_stack);
            let battle = Battle::prepare(url, cache.path(), attacks, |config| {
                // What nothing else ends lasts this long.
                config.collection.batch_deadline_ms = 24_000;
                config.sandbox.deadline_ms = 30_000;
                // What is let through is worked on.
                config.sandbox.cpu_ms_max = 5_000;
                // So that the gateway's own bound of a request's body is reached.
                config.sandbox.requests_bytes_max = 8 << 20;
            })
            .await;
            let mut faults = Faults::default();
            for (bound, attacks) in WEAK.into_iter().filter(|(bound, _)| (*bound == Bound::Stack) == of_stack) {
                only(Some(bound));
                strike(&battle, url, attacks, &mut faults).await;
                only(None);
            }
            assert!(faults.0.is_empty(), "{} attacks failed:\n{}", faults.0.len(), faults.0.join("\n"));
        })
        .await;
    }
}

/// Starts the attacks of one bound, and adds those that do not succeed to the faults.
async fn strike(battle: &Battle, url: &str, attacks: &[(&str, Shows)], faults: &mut Faults) {
    strike_elsewhere(battle, attacks, faults).await;
    let is_chosen = |name: &str| attacks.iter().any(|(chosen, _)| *chosen == name);
    let artists = battle.attacks.iter().enumerate().filter(|(_, attack)| is_chosen(attack.name));
    let artists: Vec<ArtistId> = artists.map(|(n, _)| artist(n as u128 + 1, "default").id).collect();
    if artists.is_empty() {
        return;
    }
    std::fs::write("/proc/self/clear_refs", "5").expect("the highest use is forgotten");
    let (before, began) = (memory("VmRSS:"), Instant::now());
    let report = battle.run(artists).await;
    let (took, filled) = (began.elapsed(), memory("VmHWM:").saturating_sub(before));
    let (outcomes, rows) = (battle.outcomes(&report).await, battle.rows().await);
    let hay = haystack(battle, &report, url).await;
    for attack in battle.attacks.iter().filter(|attack| is_chosen(attack.name)) {
        let shows = attacks.iter().find(|(name, _)| *name == attack.name).expect("it is chosen").1;
        let (outcome, row) = (outcomes.get(attack.name), rows.get(attack.name));
        let message = message_of(outcome);
        let succeeds = match shows {
            EndsOtherwise => outcome.is_some() && check_end(attack, outcome).is_err(),
            Collected => outcome.is_some_and(|named| named.outcome == Outcome::Collected),
            Says(part) => message.contains(part),
            Leaks(form) => hay.lines().any(|line| line.starts_with(attack.name) && line.contains(&form(SECRET))),
            Steers => message.chars().any(steers),
            Asks(most) => battle.platform.asked(attack.name) > most,
            Exceeds(query, most) => number(url, query).await > most,
            Lasts(longest) => took > longest,
            Fills(most) => filled > most,
            Longer(most) => message.len() > most,
            Stores(metric) => row.is_some_and(|row| row.values.contains_key(metric)),
            Notes(most) => row.is_some_and(|row| row.notes.len() > most),
            NoteOf(most) => row.is_some_and(|row| row.notes.iter().any(|note| note.chars().count() > most)),
            TakesNeighbours => neighbours(attack).iter().all(|neighbour| {
                outcomes.get(neighbour).is_some_and(|named| matches!(named.outcome, Outcome::Failed { .. }))
            }),
            Granted | Installed => false,
        };
        let shown: String = format!("{:?}", outcome.map(|named| &named.outcome)).chars().take(300).collect();
        faults.expect(succeeds, || {
            let name = attack.name;
            format!("{name} does not show {shows:?} in {took:?} with {} MiB, and it is {shown}", filled >> 20)
        });
    }
}

fn message_of(outcome: Option<&NamedOutcome>) -> &str {
    match outcome.map(|named| &named.outcome) {
        Some(Outcome::Failed { message, .. }) => message,
        _ => "",
    }
}

/// The same for attacks that need no account: those of token endpoints and of component files.
async fn strike_elsewhere(battle: &Battle, attacks: &[(&str, Shows)], faults: &mut Faults) {
    let are_of_tokens = attacks.iter().any(|(_, shows)| matches!(shows, Granted));
    let granted = if are_of_tokens { tokens::attack(battle.host.config()).await } else { Vec::new() };
    for (name, shows) in attacks {
        match shows {
            Granted => {
                let is_granted = granted.iter().any(|found| found.starts_with(&format!("{name}:")));
                faults.expect(is_granted, || format!("{name}: it did what it should"));
            }
            Installed => {
                if let Err(said) = files::install(&battle.host, name).await {
                    faults.0.push(format!("{name}: {said}"));
                }
            }
            _ => {}
        }
    }
}
