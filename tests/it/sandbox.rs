//! Tests of the sandbox with real components: a misbehaving component is stopped without affecting others.

mod bare;
mod loading;
mod next;
mod python;
mod sends;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backline_gateway::{Gateway, GatewayConfig, Route, Session, SessionCredential, SessionSetup};
use backline_model::clock::Clock;
use backline_model::fetch::{DocumentInput, FetchAccount, FetchContext, Fetched, PastDocument};
use backline_model::grant::Grant;
use backline_model::ids::{AccountId, CredentialId, Digest};
use backline_model::metric::Value;
use backline_model::snapshot::Window;
use backline_sandbox::{
    Allowance, CallError, CompileLimits, CompiledRecord, Connector, LoadError, LogLevel, Sandbox, SandboxConfig,
    SandboxError,
};
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::support::components::{guest, workspace};

/// Bounds far below the defaults, so that the tests reach them quickly.
fn config() -> SandboxConfig {
    SandboxConfig {
        calls_at_once: 4,
        memory_bytes_max: 32 << 20,
        cpu_ms_max: 20_000,
        deadline_ms: 300_000,
        ..SandboxConfig::default()
    }
}

fn sandbox(change: impl FnOnce(&mut SandboxConfig)) -> Sandbox {
    let mut config = config();
    change(&mut config);
    Sandbox::new(config).expect("a sandbox")
}

async fn load(sandbox: &Sandbox, name: &str) -> Arc<Connector> {
    let component = guest(name);
    let loaded = sandbox.load(&component, Digest::of(&component), None).await;
    loaded.unwrap_or_else(|error| panic!("{name}: {error}")).0
}

fn noon() -> DateTime<Utc> {
    "2026-11-22T12:00:00Z".parse().expect("a time")
}

fn window() -> Window {
    Window { since: noon() - chrono::Duration::days(28), until: noon() }
}

fn account(platform_id: &str) -> FetchAccount {
    FetchAccount {
        id: AccountId::generate(),
        platform_id: platform_id.to_owned(),
        settings: r#"{"colour":"blue"}"#.to_owned(),
        state: Some("[1]".to_owned()),
    }
}

fn accounts(platform_ids: &[&str]) -> Vec<FetchAccount> {
    platform_ids.iter().map(|platform_id| account(platform_id)).collect()
}

fn document(body: &str) -> DocumentInput {
    DocumentInput { body: body.to_owned(), window: window(), observed_at: noon() }
}

fn context() -> FetchContext {
    FetchContext { window: window(), lost_metrics: Vec::new(), history: Vec::new() }
}

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

/// Fetches without network access, and returns the bodies.
async fn fetch(connector: &Connector, platform_ids: &[&str]) -> Result<Vec<String>, CallError> {
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(Session::without_capabilities(), accounts(platform_ids), context(), deadline).await?;
    Ok(call.value.accounts.into_iter().map(|fetched| fetched.expect("a document").body).collect())
}

/// A session that routes `https://api.example.com` to a server on a loopback port.
fn session(connector: &Connector, server: &str, change: impl FnOnce(&mut GatewayConfig)) -> (Gateway, Session) {
    let mut config = GatewayConfig {
        routes: vec![Route {
            origin: "https://api.example.com".parse().expect("an origin"),
            connect: server.parse().expect("a URL"),
        }],
        requests_max: 10_000,
        ..GatewayConfig::default()
    };
    change(&mut config);
    let (gateway, _) = Gateway::new(config, Clock::fixed(noon())).expect("a gateway");
    let session = gateway.session(SessionSetup {
        manifest: Arc::new(connector.manifest().clone()),
        grant: Arc::new(Grant::all_of(connector.manifest(), &[])),
        credentials: Vec::new(),
        accounts: Vec::new(),
        deadline: within(Duration::from_secs(60)),
    });
    (gateway, session)
}

#[tokio::test]
async fn a_well_behaved_connector_works() {
    let connector = load(&sandbox(|_| {}), "well_behaved").await;
    assert_eq!(connector.wit_version(), "1.0.0");
    assert_eq!(connector.manifest().connector.name, "guest");

    let name = connector.check(Session::without_capabilities(), account("abc")).await.expect("an answer");
    assert_eq!(name, Ok("abc".to_owned()));

    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(Session::without_capabilities(), accounts(&["abc", "de"]), context(), deadline).await;
    let call = call.expect("an answer");
    let fetched = call.value.accounts[0].as_ref().expect("a document");
    assert_eq!(fetched.body, r#"{"followers":3,"platform_id":"abc"}"#);
    assert_eq!(fetched.state.as_deref(), Some(r#"{"before":[1],"settings":{"colour":"blue"}}"#));
    assert_eq!(call.value.accounts.len(), 2);
    let line = &call.usage.log_lines[0];
    assert_eq!((line.level, line.message.as_str()), (LogLevel::Info, "fetched 2 accounts"));
    assert!(call.usage.memory_bytes_peak > 64 << 10, "{:?}", call.usage);

    let documents = vec![document(&fetched.body), document("no JSON")];
    let snapshots = connector.normalize(documents).await.expect("an answer").value;
    let metric = &snapshots[0].as_ref().expect("a snapshot").metrics[0];
    assert_eq!((metric.name.as_str(), &metric.value), ("followers", &Ok(Value::Integer(3))));
    assert!(snapshots[1].as_ref().expect_err("no snapshot").contains("not JSON"));
}

/// What the connector answers is known here, so a secret with that text stands for one that was not found before.
#[tokio::test]
async fn everything_that_a_connector_answers_is_searched_for_the_secrets_of_its_session() {
    const SECRET: &str = "canary-0123456789";
    let connector = load(&sandbox(|_| {}), "well_behaved").await;
    let (gateway, _) = Gateway::new(GatewayConfig::default(), Clock::fixed(noon())).expect("a gateway");
    let session = |values: &[&str]| {
        let credential = |value: &&str| SessionCredential {
            id: CredentialId::generate(),
            slot: "app".to_owned(),
            account: None,
            value: (*value).into(),
        };
        gateway.session(SessionSetup {
            manifest: Arc::new(connector.manifest().clone()),
            grant: Arc::new(Grant::all_of(connector.manifest(), &[])),
            credentials: values.iter().map(credential).collect(),
            accounts: Vec::new(),
            deadline: within(Duration::from_secs(60)),
        })
    };
    let name = connector.check(session(&[SECRET]), account(SECRET)).await.expect("an answer");
    assert_eq!(name, Ok("[secret]".to_owned()));

    let opened = session(&[SECRET, "fetched 1 accounts", "colour"]);
    let secrets = [opened.secrets()];
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(opened, accounts(&[SECRET]), context(), deadline).await.expect("an answer");
    let fetched = call.value.accounts[0].as_ref().expect("a document");
    assert_eq!(fetched.body, r#"{"followers":17,"platform_id":"[secret]"}"#);
    assert_eq!(fetched.state.as_deref(), Some(r#"{"before":[1],"settings":{"[secret]":"blue"}}"#));
    assert_eq!(call.usage.log_lines[0].message, "[secret]");

    let said = connector.normalize_of(&secrets, vec![document(SECRET)]).await.expect("an answer").value;
    assert!(!format!("{said:?}").contains("canary"), "{said:?}");

    // A document that is no JSON without its secret is refused, not stored.
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(session(&[r#"{"colour":"blue"}"#]), accounts(&["a"]), context(), deadline).await;
    assert!(matches!(&call, Err(CallError::Contract(why)) if why.contains("state")), "{call:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn an_endless_loop_ends_with_its_cpu_budget_while_another_call_on_the_same_thread_continues() {
    let sandbox = sandbox(|config| config.cpu_ms_max = 500);
    let (looping, neighbour) = (load(&sandbox, "loop_in_fetch").await, load(&sandbox, "well_behaved").await);
    let ended = std::sync::Mutex::new(Vec::new());
    let (looped, answered) = tokio::join!(
        async {
            let result = fetch(&looping, &["a"]).await;
            ended.lock().expect("not poisoned").push("loop");
            result
        },
        async {
            let result = fetch(&neighbour, &["a"]).await;
            ended.lock().expect("not poisoned").push("neighbour");
            result
        },
    );
    assert_eq!(looped, Err(CallError::CpuExhausted { cpu_ms_max: 500 }));
    assert!(answered.is_ok(), "{answered:?}");
    assert_eq!(*ended.lock().expect("not poisoned"), ["neighbour", "loop"]);
}

#[tokio::test]
async fn a_loop_in_normalize_ends_with_its_cpu_budget_too() {
    let connector = load(&sandbox(|config| config.cpu_ms_max = 100), "loop_in_normalize").await;
    let ended = connector.normalize(vec![document("{}")]).await;
    assert_eq!(ended, Err(CallError::CpuExhausted { cpu_ms_max: 100 }));
}

#[tokio::test]
async fn waiting_for_ever_ends_at_the_deadline_and_frees_the_permit() {
    let sandbox = sandbox(|config| config.calls_at_once = 1);
    let (waiting, neighbour) = (load(&sandbox, "waits_for_ever").await, load(&sandbox, "well_behaved").await);
    let deadline = within(Duration::from_millis(100));
    let ended = waiting.fetch(Session::without_capabilities(), accounts(&["a"]), context(), deadline).await;
    assert!(matches!(ended, Err(CallError::TimedOut { deadline_ms }) if deadline_ms <= 100), "{ended:?}");
    assert!(fetch(&neighbour, &["a"]).await.is_ok());
}

#[tokio::test]
async fn a_later_deadline_than_the_configured_one_is_cut_short() {
    let connector = load(&sandbox(|config| config.deadline_ms = 100), "waits_for_ever").await;
    assert_eq!(fetch(&connector, &["a"]).await, Err(CallError::TimedOut { deadline_ms: 100 }));
}

#[tokio::test]
async fn a_memory_bomb_ends_at_its_bound_and_its_pool_place_is_usable_again() {
    let sandbox = sandbox(|config| config.calls_at_once = 1);
    let (bomb, neighbour) = (load(&sandbox, "memory_bomb").await, load(&sandbox, "well_behaved").await);
    for _ in 0..5 {
        let ended = fetch(&bomb, &["a"]).await;
        assert_eq!(ended, Err(CallError::LimitExceeded { what: "memory_bytes_max", limit: 32 << 20 }));
        assert!(fetch(&neighbour, &["a"]).await.is_ok());
    }
}

#[tokio::test]
async fn a_panic_traps_and_its_pool_place_is_usable_again() {
    let connector = load(&sandbox(|config| config.calls_at_once = 1), "panics_on_account").await;
    for _ in 0..5 {
        let ended = fetch(&connector, &["a", "poison"]).await;
        assert!(matches!(&ended, Err(CallError::Trapped(why)) if why.contains("unreachable")), "{ended:?}");
        // The name of a function of the guest: `pack` keeps them.
        assert!(matches!(&ended, Err(CallError::Trapped(why)) if why.contains("panic_fmt")), "{ended:?}");
        assert!(ended.expect_err("a trap").may_be_an_items_fault());
        assert_eq!(fetch(&connector, &["a", "b"]).await.map(|bodies| bodies.len()), Ok(2));
        let ended = connector.normalize(vec![document(r#"{"x":"venom"}"#)]).await;
        assert!(matches!(ended, Err(CallError::Trapped(_))), "{ended:?}");
    }
}

#[tokio::test]
async fn what_a_call_logged_before_it_trapped_is_kept() {
    let connector = load(&sandbox(|_| {}), "panics_on_account").await;
    let mut allowance = connector.allowance(Some(within(Duration::from_secs(60))));
    let session = Session::without_capabilities();
    let ended = connector.fetch_within(session, accounts(&["poison"]), context(), &mut allowance).await;
    assert!(matches!(ended, Err(CallError::Trapped(_))), "{ended:?}");
    let lines = std::mem::take(&mut allowance.unanswered);
    assert!(lines.len() == 1 && lines[0].message.contains("this account is poisonous"), "{lines:?}");
    let ended = connector.normalize_within(&[], vec![document(r#"{"x":"venom"}"#)], &mut allowance).await;
    assert!(matches!(ended, Err(CallError::Trapped(_))), "{ended:?}");
    assert!(allowance.unanswered[0].message.contains("this document is venomous"), "{allowance:?}");
    let session = Session::without_capabilities();
    allowance.unanswered.clear();
    connector.fetch_within(session, accounts(&["a"]), context(), &mut allowance).await.expect("an answer");
    assert!(allowance.unanswered.is_empty(), "an answer has its lines with it");
}

#[tokio::test]
async fn calls_beyond_the_pool_wait_for_their_turn() {
    let sandbox = sandbox(|config| config.calls_at_once = 2);
    let connector = load(&sandbox, "well_behaved").await;
    let calls = (0..50).map(|_| fetch(&connector, &["a"]));
    let ended = futures::future::join_all(calls).await;
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
}

#[tokio::test]
async fn a_call_that_gets_no_permit_in_time_is_not_the_connectors_fault() {
    let sandbox = sandbox(|config| config.calls_at_once = 1);
    let (waiting, neighbour) = (load(&sandbox, "waits_for_ever").await, load(&sandbox, "well_behaved").await);
    let call = |connector: Arc<Connector>, milliseconds| async move {
        let deadline = within(Duration::from_millis(milliseconds));
        connector.fetch(Session::without_capabilities(), accounts(&["a"]), context(), deadline).await
    };
    let (first, second) = tokio::join!(call(waiting, 3_000), call(neighbour, 50));
    assert!(matches!(first, Err(CallError::TimedOut { .. })), "{first:?}");
    let error = second.expect_err("no permit");
    assert!(matches!(&error, CallError::Internal(why) if why.contains("calls_at_once")), "{error}");
    assert!(!error.may_be_an_items_fault());
}

#[tokio::test]
async fn a_result_may_not_be_larger_than_its_bound() {
    let connector = load(
        &sandbox(|config| (config.output_bytes_max, config.memory_bytes_max) = (1 << 20, 128 << 20)),
        "output_too_large",
    )
    .await;
    let too_large = Err(CallError::LimitExceeded { what: "output_bytes_max", limit: 1 << 20 });
    assert_eq!(fetch(&connector, &["500000", "500000"]).await.map(|bodies| bodies.len()), Ok(2));
    assert_eq!(fetch(&connector, &["600000", "600000"]).await, too_large, "the sum counts");
    assert_eq!(fetch(&connector, &["9000000"]).await, too_large, "refused before the host copies it");
}

#[tokio::test]
async fn a_flooded_log_is_cut_off_with_a_note_and_fails_nothing() {
    let connector = load(&sandbox(|config| config.log_bytes_max = 10_000), "log_flood").await;
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(Session::without_capabilities(), accounts(&["a"]), context(), deadline).await;
    let lines = call.expect("an answer").usage.log_lines;
    let (note, kept) = lines.split_last().expect("lines");
    assert!(note.message.contains("log_bytes_max = 10000") && note.level == LogLevel::Warn, "{note:?}");
    let bytes: usize = kept.iter().map(|line| line.message.len()).sum();
    assert!((9_000..=10_000).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_wrong_number_of_results_breaks_the_contract() {
    let connector = load(&sandbox(|_| {}), "wrong_number_of_answers").await;
    let said = fetch(&connector, &["a", "b"]).await.expect_err("a contract");
    assert_eq!(said, CallError::Contract("fetch received 2 accounts and returned 1 results".to_owned()));
    let said = connector.normalize(vec![document("{}"), document("{}"), document("{}")]).await.expect_err("a contract");
    assert_eq!(said, CallError::Contract("normalize received 3 documents and returned 2 results".to_owned()));
}

#[tokio::test]
async fn invalid_json_breaks_the_contract() {
    let connector = load(&sandbox(|_| {}), "invalid_json").await;
    let said = fetch(&connector, &["state", "body"]).await.expect_err("a contract").to_string();
    assert!(said.contains("the state of account 1 is not JSON"), "{said}");
    let said = fetch(&connector, &["body"]).await.expect_err("a contract").to_string();
    assert!(said.contains("the body of account 1 is not JSON"), "{said}");
}

#[tokio::test]
async fn normalize_has_no_network_access() {
    let connector = load(&sandbox(|_| {}), "sends_in_normalize").await;
    let snapshots = connector.normalize(vec![document(r#"{"followers":7}"#)]).await.expect("an answer").value;
    let note = &snapshots[0].as_ref().expect("a snapshot").notes[0];
    assert!(note.contains("Denied(\"requests are only possible in"), "{note}");
}

#[test]
fn every_guest_has_a_test() {
    let examples: BTreeSet<String> = std::fs::read_dir(workspace().join("tests/guests/examples"))
        .expect("the guests")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert!(examples.len() >= 13, "{examples:?}");
    let cargo = std::fs::read_to_string(workspace().join("tests/guests/Cargo.toml")).expect("Cargo.toml");
    let tests = [
        include_str!("sandbox.rs"),
        include_str!("sandbox/loading.rs"),
        include_str!("sandbox/next.rs"),
        include_str!("sandbox/sends.rs"),
        include_str!("hotswap/rollback.rs"),
        include_str!("cli/checks.rs"),
        include_str!("adversaries.rs"),
    ];
    for example in examples {
        let quoted = format!("\"{example}\"");
        assert!(tests.iter().any(|test| test.contains(&quoted)), "no test runs the guest {example}");
        assert!(cargo.contains(&format!("name = {quoted}\n")), "tests/guests/Cargo.toml does not list {example}");
    }
}
