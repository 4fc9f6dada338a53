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
    /// More requests were sent than a batch may send.
    Asks,
    /// A statement's number is greater than this.
    Exceeds(&'static str, u64),
    /// The run lasts longer than one answer may take.
    Lasts,
    /// The token is taken.
    Granted,
}

use Shows::{Asks, Collected, EndsOtherwise, Exceeds, Granted, Lasts, Leaks, Says, Steers};

/// Each bound that can be switched off, with attacks that it stops.
const WEAK: [(Bound, &[(&str, Shows)]); 21] = [
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
        ],
    ),
    (Bound::SplitAnswers, &[("range-with-a-secret", Collected)]),
    (Bound::ContentCodings, &[("gzip-twice", Collected), ("encoding-unknown", Collected)]),
    (
        Bound::AnswerBytes,
        &[("gzip-bomb", EndsOtherwise), ("zstd-bomb", EndsOtherwise), ("length-of-gigabytes", EndsOtherwise)],
    ),
    (Bound::RequestTime, &[("never-answers", Lasts), ("drips-a-body", Lasts)]),
    (Bound::Requests, &[("sends-without-end", Asks)]),
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
    // The last one: the credential pauses for all that follow.
    (Bound::Pauses, &[("defer-to-2100", EndsOtherwise)]),
];

/// `gateway.request_timeout_ms` of the suite.
const ANSWER: Duration = Duration::from_secs(3);

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

/// Attacks through accounts that the table names.
fn chosen() -> Vec<Attack> {
    let names: Vec<&str> = WEAK.iter().flat_map(|(_, attacks)| attacks.iter().map(|(name, _)| *name)).collect();
    attacks().into_iter().filter(|attack| names.contains(&attack.name)).collect()
}

#[test]
fn every_bound_is_in_the_table_once_and_every_attack_exists() {
    let known: Vec<&str> = attacks().into_iter().map(|attack| attack.name).chain(tokens::names()).collect();
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

/// Set in the process whose bounds are switched off: they are switched for the whole process.
const WEAKENED: &str = "ADVERSARIES_WEAKENED";

#[test]
fn attacks_succeed_where_the_bound_that_stops_them_is_off() {
    if std::env::var_os(WEAKENED).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a runtime").block_on(all_weak_spots());
    }
    let mut child = Command::new(std::env::current_exe().expect("this test binary"));
    let name = "adversaries::weakened::attacks_succeed_where_the_bound_that_stops_them_is_off";
    child.args(["--exact", name, "--nocapture"]).env(WEAKENED, "1").stdin(Stdio::null());
    let output = child.output().expect("the test binary runs");
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}\n{told}", output.status);
}

async fn all_weak_spots() {
    let cache = tempfile::tempdir().expect("a folder");
    each_database(async |_store: Store, url: &str| {
        only(None);
        let battle = Battle::prepare(url, cache.path(), chosen(), |config| {
            // What nothing else ends lasts this long.
            config.collection.batch_deadline_ms = 24_000;
            // What is let through is worked on.
            config.sandbox.cpu_ms_max = 5_000;
        })
        .await;
        let mut faults = Faults::default();
        for (bound, attacks) in WEAK {
            only(Some(bound));
            strike(&battle, url, attacks, &mut faults).await;
            only(None);
        }
        assert!(faults.0.is_empty(), "{} attacks failed:\n{}", faults.0.len(), faults.0.join("\n"));
    })
    .await;
}

/// Starts the attacks of one bound, and adds those that do not succeed to the faults.
async fn strike(battle: &Battle, url: &str, attacks: &[(&str, Shows)], faults: &mut Faults) {
    let is_chosen = |name: &str| attacks.iter().any(|(chosen, _)| *chosen == name);
    let artists = battle.attacks.iter().enumerate().filter(|(_, attack)| is_chosen(attack.name));
    let artists: Vec<ArtistId> = artists.map(|(n, _)| artist(n as u128 + 1, "default").id).collect();
    if artists.is_empty() {
        let granted = tokens::attack(battle.host.config()).await;
        for (name, _) in attacks {
            let is_granted = granted.iter().any(|found| found.starts_with(&format!("{name}:")));
            faults.expect(is_granted, || format!("{name}: no token was granted"));
        }
        return;
    }
    let began = Instant::now();
    let report = battle.run(artists).await;
    let took = began.elapsed();
    let (outcomes, hay) = (battle.outcomes(&report).await, haystack(battle, &report, url).await);
    for attack in battle.attacks.iter().filter(|attack| is_chosen(attack.name)) {
        let shows = attacks.iter().find(|(name, _)| *name == attack.name).expect("it is chosen").1;
        let outcome = outcomes.get(attack.name);
        let message = match outcome.map(|named| &named.outcome) {
            Some(Outcome::Failed { message, .. }) => message.as_str(),
            _ => "",
        };
        let succeeds = match shows {
            EndsOtherwise => outcome.is_some() && check_end(attack, outcome).is_err(),
            Collected => outcome.is_some_and(|named| named.outcome == Outcome::Collected),
            Says(part) => message.contains(part),
            Leaks(form) => hay.lines().any(|line| line.starts_with(attack.name) && line.contains(&form(SECRET))),
            Steers => message.chars().any(steers),
            Asks => battle.platform.asked(attack.name) > REQUESTS_MAX,
            Exceeds(query, most) => number(url, query).await > most,
            // The first call may last for almost half of the batch's time.
            Lasts => took > ANSWER * 2,
            Granted => false,
        };
        let shown: String = format!("{:?}", outcome.map(|named| &named.outcome)).chars().take(300).collect();
        faults.expect(succeeds, || format!("{} does not show {shows:?}, and it is {shown}", attack.name));
    }
}
