//! The sandbox with real components: what misbehaves is stopped, and stopped alone.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backline::clock::Clock;
use backline::domain::fetch::{DocumentInput, FetchAccount, FetchContext};
use backline::domain::ids::{AccountId, Digest};
use backline::domain::metric::Value;
use backline::domain::release::Grant;
use backline::domain::snapshot::Window;
use backline::gateway::{Gateway, GatewayConfig, Route, Session, SessionSetup};
use backline::sandbox::{
    CallError, CompileLimits, CompiledRecord, Connector, LoadError, LogLevel, Sandbox, SandboxConfig, SandboxError,
};
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::support::components::{guest, workspace};

/// The bounds the tests run under, far below the defaults so that running into one takes no time.
fn config() -> SandboxConfig {
    SandboxConfig {
        calls_at_once: 4,
        memory_bytes_max: 32 << 20,
        cpu_ms_max: 20_000,
        deadline_ms: 60_000,
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
    FetchContext { window: window(), lost_metrics: Vec::new() }
}

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

/// Fetches without any way out, and answers with the bodies.
async fn fetch(connector: &Connector, platform_ids: &[&str]) -> Result<Vec<String>, CallError> {
    let deadline = within(Duration::from_secs(60));
    let call = connector.fetch(Session::without_capabilities(), accounts(platform_ids), context(), deadline).await?;
    Ok(call.value.accounts.into_iter().map(|fetched| fetched.expect("a document").body).collect())
}

/// A session whose `https://api.example.com` is a server on a loopback port.
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
        grant: Arc::new(Grant::all_of(connector.manifest())),
        credentials: Vec::new(),
        accounts: Vec::new(),
        deadline: within(Duration::from_secs(60)),
    });
    (gateway, session)
}

#[tokio::test]
async fn a_well_behaved_connector_is_heard_in_full() {
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

#[tokio::test(flavor = "current_thread")]
async fn an_endless_loop_ends_with_its_cpu_budget_while_its_neighbour_on_the_same_thread_goes_on() {
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
async fn waiting_for_ever_ends_at_the_deadline_and_frees_the_slot() {
    let sandbox = sandbox(|config| config.calls_at_once = 1);
    let (waiting, neighbour) = (load(&sandbox, "waits_for_ever").await, load(&sandbox, "well_behaved").await);
    let deadline = within(Duration::from_millis(100));
    let ended = waiting.fetch(Session::without_capabilities(), accounts(&["a"]), context(), deadline).await;
    assert!(matches!(ended, Err(CallError::TimedOut { deadline_ms }) if deadline_ms <= 100), "{ended:?}");
    assert_eq!(sandbox.calls_running(), 0);
    assert!(fetch(&neighbour, &["a"]).await.is_ok());
}

#[tokio::test]
async fn a_later_deadline_than_the_configured_one_is_cut_short() {
    let connector = load(&sandbox(|config| config.deadline_ms = 100), "waits_for_ever").await;
    assert_eq!(fetch(&connector, &["a"]).await, Err(CallError::TimedOut { deadline_ms: 100 }));
}

#[tokio::test]
async fn a_memory_bomb_ends_at_its_bound_and_its_pool_slot_is_usable_again() {
    let sandbox = sandbox(|config| config.calls_at_once = 1);
    let (bomb, neighbour) = (load(&sandbox, "memory_bomb").await, load(&sandbox, "well_behaved").await);
    for _ in 0..5 {
        let ended = fetch(&bomb, &["a"]).await;
        assert_eq!(ended, Err(CallError::LimitExceeded { what: "memory_bytes_max", limit: 32 << 20 }));
        assert!(fetch(&neighbour, &["a"]).await.is_ok());
    }
}

#[tokio::test]
async fn a_panic_traps_and_its_pool_slot_is_usable_again() {
    let connector = load(&sandbox(|config| config.calls_at_once = 1), "panics_on_account").await;
    for _ in 0..5 {
        let ended = fetch(&connector, &["a", "poison"]).await;
        assert!(matches!(&ended, Err(CallError::Trapped(why)) if why.contains("unreachable")), "{ended:?}");
        assert!(ended.expect_err("a trap").may_be_an_items_fault());
        assert_eq!(fetch(&connector, &["a", "b"]).await.map(|bodies| bodies.len()), Ok(2));
        let ended = connector.normalize(vec![document(r#"{"x":"venom"}"#)]).await;
        assert!(matches!(ended, Err(CallError::Trapped(_))), "{ended:?}");
    }
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
async fn a_call_that_gets_no_slot_in_time_is_not_the_connectors_fault() {
    let sandbox = sandbox(|config| config.calls_at_once = 1);
    let (waiting, neighbour) = (load(&sandbox, "waits_for_ever").await, load(&sandbox, "well_behaved").await);
    let call = |connector: Arc<Connector>, milliseconds| async move {
        let deadline = within(Duration::from_millis(milliseconds));
        connector.fetch(Session::without_capabilities(), accounts(&["a"]), context(), deadline).await
    };
    let (first, second) = tokio::join!(call(waiting, 400), call(neighbour, 50));
    assert!(matches!(first, Err(CallError::TimedOut { .. })), "{first:?}");
    let error = second.expect_err("no slot");
    assert!(matches!(&error, CallError::Internal(why) if why.contains("calls_at_once")), "{error}");
    assert!(!error.may_be_an_items_fault());
}

#[tokio::test]
async fn an_answer_may_not_be_larger_than_its_bound() {
    let connector = load(
        &sandbox(|config| (config.output_bytes_max, config.memory_bytes_max) = (1 << 20, 128 << 20)),
        "output_too_large",
    )
    .await;
    let too_large = Err(CallError::LimitExceeded { what: "output_bytes_max", limit: 1 << 20 });
    assert_eq!(fetch(&connector, &["500000", "500000"]).await.map(|bodies| bodies.len()), Ok(2));
    assert_eq!(fetch(&connector, &["600000", "600000"]).await, too_large, "the sum counts");
    assert_eq!(fetch(&connector, &["9000000"]).await, too_large, "and is refused before the host holds it");
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
async fn a_wrong_number_of_answers_breaks_the_contract() {
    let connector = load(&sandbox(|_| {}), "wrong_number_of_answers").await;
    let said = fetch(&connector, &["a", "b"]).await.expect_err("a contract");
    assert_eq!(said, CallError::Contract("fetch was asked for 2 accounts and answered for 1".to_owned()));
    let said = connector.normalize(vec![document("{}"), document("{}"), document("{}")]).await.expect_err("a contract");
    assert_eq!(said, CallError::Contract("normalize was asked for 3 documents and answered for 2".to_owned()));
}

#[tokio::test]
async fn what_is_not_json_breaks_the_contract() {
    let connector = load(&sandbox(|_| {}), "invalid_json").await;
    let said = fetch(&connector, &["state", "body"]).await.expect_err("a contract").to_string();
    assert!(said.contains("the state of account 1 is not JSON"), "{said}");
    let said = fetch(&connector, &["body"]).await.expect_err("a contract").to_string();
    assert!(said.contains("the body of account 1 is not JSON"), "{said}");
}

#[tokio::test]
async fn normalize_has_no_way_out() {
    let connector = load(&sandbox(|_| {}), "sends_in_normalize").await;
    let snapshots = connector.normalize(vec![document(r#"{"followers":7}"#)]).await.expect("an answer").value;
    let note = &snapshots[0].as_ref().expect("a snapshot").notes[0];
    assert!(note.contains("Denied(\"nothing can be sent from here"), "{note}");
}

mod sends {
    //! What a connector has under way, seen from a server.

    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{Semaphore, watch};
    use tokio::task::JoinSet;

    use super::*;

    /// Holds every request for `/hold` until its client hangs up, and answers `/go` once `go_after` are held.
    struct Holding {
        base: String,
        held: watch::Receiver<usize>,
        hung_up: Arc<Semaphore>,
        _tasks: JoinSet<()>,
    }

    impl Holding {
        async fn start(go_after: usize) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let base = format!("http://{}", listener.local_addr().expect("an address"));
            let (count, held) = watch::channel(0);
            let hung_up = Arc::new(Semaphore::new(0));
            let mut tasks = JoinSet::new();
            tasks.spawn({
                let hung_up = Arc::clone(&hung_up);
                async move {
                    let mut connections = JoinSet::new();
                    loop {
                        let (stream, _) = listener.accept().await.expect("a connection");
                        connections.spawn(serve(stream, count.clone(), go_after, Arc::clone(&hung_up)));
                    }
                }
            });
            Self { base, held, hung_up, _tasks: tasks }
        }

        /// Waits until so many clients have hung up.
        async fn all_hung_up(&self, clients: u32) {
            let waited = tokio::time::timeout(Duration::from_secs(30), self.hung_up.acquire_many(clients)).await;
            waited.expect("every request is given up").expect("never closed").forget();
        }
    }

    async fn serve(mut stream: TcpStream, held: watch::Sender<usize>, go_after: usize, hung_up: Arc<Semaphore>) {
        let mut head = [0; 4096];
        let read = stream.read(&mut head).await.expect("a request");
        if head[..read].starts_with(b"GET /hold") {
            held.send_modify(|held| *held += 1);
            while stream.read(&mut head).await.is_ok_and(|read| read > 0) {}
            hung_up.add_permits(1);
        } else {
            held.subscribe().wait_for(|held| *held >= go_after).await.expect("a sender");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.expect("an answer");
        }
    }

    #[tokio::test]
    async fn what_is_under_way_when_a_call_answers_is_given_up() {
        let server = Holding::start(4).await;
        let connector = load(&sandbox(|_| {}), "drops_sends").await;
        let (_gateway, session) = session(&connector, &server.base, |_| {});
        let deadline = within(Duration::from_secs(60));
        let call = connector.fetch(session, accounts(&["a"]), context(), deadline).await.expect("an answer");
        assert_eq!(call.value.accounts.len(), 1);
        server.all_hung_up(4).await;
    }

    #[tokio::test]
    async fn what_is_under_way_at_the_deadline_is_given_up() {
        let server = Holding::start(usize::MAX).await;
        let connector = load(&sandbox(|_| {}), "drops_sends").await;
        let (_gateway, session) = session(&connector, &server.base, |_| {});
        let deadline = within(Duration::from_secs(2));
        let ended = connector.fetch(session, accounts(&["a"]), context(), deadline).await;
        assert!(matches!(ended, Err(CallError::TimedOut { .. })), "{ended:?}");
        assert_eq!(*server.held.borrow(), 4);
        server.all_hung_up(4).await;
    }

    /// Answers everything, and remembers how many requests it was asked at once.
    async fn counting() -> (String, Arc<AtomicUsize>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let router = Router::new().fallback({
            let most = Arc::clone(&most);
            move || async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                "{}"
            }
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.expect("serving") });
        (base, most, tasks)
    }

    async fn five_thousand(sandbox: &Sandbox) -> (Result<serde_json::Value, CallError>, usize) {
        let (base, most, _tasks) = counting().await;
        let connector = load(sandbox, "many_sends").await;
        let (_gateway, session) = session(&connector, &base, |config| config.sends_in_flight_max = 8);
        let deadline = within(Duration::from_secs(60));
        let call = connector.fetch(session, accounts(&["a"]), context(), deadline).await;
        let body = call.map(|call| {
            let body = &call.value.accounts[0].as_ref().expect("a document").body;
            serde_json::from_str(body).expect("JSON")
        });
        (body, most.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn five_thousand_sends_at_once_are_answered_a_few_at_a_time() {
        let (body, most) = five_thousand(&sandbox(|_| {})).await;
        assert_eq!(body, Ok(serde_json::json!({ "answered": 5_000, "denied": 0 })));
        assert!((1..=8).contains(&most), "{most}");
    }

    #[tokio::test]
    async fn sends_that_wait_may_not_fill_the_hosts_memory() {
        // "https://api.example.com/" has 24 bytes: a hundred requests fit.
        let (body, _) = five_thousand(&sandbox(|config| config.requests_bytes_max = 2_400)).await;
        assert_eq!(body, Ok(serde_json::json!({ "answered": 100, "denied": 4_900 })));
    }

    #[tokio::test]
    async fn sends_that_wait_may_not_fill_the_hosts_tables() {
        let (body, _) = five_thousand(&sandbox(|config| config.resources_max = 1_000)).await;
        assert_eq!(body, Err(CallError::LimitExceeded { what: "resources_max", limit: 1_000 }));
    }
}

mod loading {
    //! What is refused before it runs, and how compiled code is kept.

    use std::path::Path;

    use super::*;

    async fn refused(sandbox: &Sandbox, component: &[u8]) -> LoadError {
        sandbox.load(component, Digest::of(component), None).await.err().expect("a refusal")
    }

    #[tokio::test]
    async fn an_import_that_is_not_given_is_refused_by_its_name() {
        let error = refused(&sandbox(|_| {}), &guest("imports_unknown")).await;
        assert!(
            matches!(&error, LoadError::UnknownImport { import, .. } if import == "evil:kit/shell@1.0.0"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn what_is_no_connector_is_refused() {
        let sandbox = sandbox(|config| config.component_bytes_max = 1 << 20);
        let error = refused(&sandbox, b"\0asm\x01\0\0\0").await;
        assert!(matches!(error, LoadError::Inspect(_)) && error.to_string().contains("core module"), "{error}");
        let error = refused(&sandbox, b"MZ\x90\0").await;
        assert!(matches!(error, LoadError::Inspect(_)), "{error}");
        let error = refused(&sandbox, &vec![0; (1 << 20) + 1]).await;
        assert!(matches!(error, LoadError::TooLarge { bytes: 1_048_577, limit: 1_048_576 }), "{error}");
    }

    #[tokio::test]
    async fn another_component_than_the_one_asked_for_is_refused() {
        let (asked, given) = (guest("well_behaved"), guest("panics_on_account"));
        let error = sandbox(|_| {}).load(&given, Digest::of(&asked), None).await.err().expect("a refusal");
        assert!(matches!(error, LoadError::Digest { actual, .. } if actual == Digest::of(&given)), "{error}");
    }

    #[tokio::test]
    async fn a_component_that_needs_more_memory_than_its_bound_is_found_out_at_loading() {
        let error = refused(&sandbox(|config| config.memory_bytes_max = 64 << 10), &guest("well_behaved")).await;
        assert!(matches!(error, LoadError::Start(_) | LoadError::Link(_)), "{error}");
    }

    #[tokio::test]
    async fn wasi_works_with_nothing_behind_its_doors() {
        let connector = load(&sandbox(|config| config.log_bytes_max = 20_000), "imports_wasi").await;
        let deadline = within(Duration::from_secs(60));
        let call = connector.fetch(Session::without_capabilities(), accounts(&["a"]), context(), deadline).await;
        let call = call.expect("an answer");
        let found: serde_json::Value =
            serde_json::from_str(&call.value.accounts[0].as_ref().expect("a document").body).expect("JSON");
        let expected = serde_json::json!({
            "printed": true, "environment": 0, "arguments": 0, "directory": null, "directories": 0,
            "socket": "access-denied", "clock_works": true, "random_bytes": 16,
        });
        assert_eq!(found, expected);
        let lines = call.usage.log_lines;
        let first: Vec<_> = lines.iter().take(2).map(|line| (line.level, line.message.as_str())).collect();
        assert_eq!(first, [(LogLevel::Info, "first"), (LogLevel::Info, "second")]);
        assert!(lines.last().expect("a note").message.contains("log_bytes_max"), "{:?}", lines.last());
    }

    #[test]
    fn a_bound_of_nothing_is_refused() {
        let refused = Sandbox::new(SandboxConfig { calls_at_once: 0, ..config() }).err().expect("a refusal");
        assert!(matches!(refused, SandboxError::Config { field: "calls_at_once", .. }), "{refused}");
    }

    /// A sandbox that keeps what it compiled.
    struct Cache {
        folder: tempfile::TempDir,
        sandbox: Sandbox,
    }

    impl Cache {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let sandbox = sandbox(|config| config.cache_dir = Some(folder.path().join("cache")));
            Self { folder, sandbox }
        }

        fn path(&self, record: &CompiledRecord) -> PathBuf {
            self.folder.path().join("cache").join(format!("{}.cwasm", record.key))
        }

        async fn load(&self, component: &[u8], known: Option<&CompiledRecord>) -> (Arc<Connector>, CompiledRecord) {
            self.sandbox.load(component, Digest::of(component), known).await.expect("a connector")
        }
    }

    /// Which of the two guests it is that answers: one of them panics.
    async fn is_well_behaved(connector: &Connector) -> bool {
        fetch(connector, &["poison"]).await.is_ok()
    }

    fn digest_of_file(path: &Path) -> Digest {
        Digest::of(&std::fs::read(path).expect("a file"))
    }

    #[tokio::test]
    async fn compiled_code_is_kept_for_this_user_alone_and_used_again() {
        let cache = Cache::new();
        let component = guest("well_behaved");
        let (_, record) = cache.load(&component, None).await;
        assert_eq!(record.key, cache.sandbox.cache_key(&Digest::of(&component)));
        assert_eq!(digest_of_file(&cache.path(&record)), record.compiled);
        let mode = std::fs::metadata(cache.path(&record)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(cache.load(&component, Some(&record)).await.1, record);

        // That it is used shows only when it is other code: here another guest's, with a record that vouches for it.
        let other = guest("panics_on_account");
        let (_, record_of_other) = cache.load(&other, None).await;
        std::fs::copy(cache.path(&record_of_other), cache.path(&record)).expect("copied");
        let vouching = CompiledRecord { key: record.key.clone(), compiled: record_of_other.compiled };
        assert!(!is_well_behaved(&cache.load(&component, Some(&vouching)).await.0).await);
    }

    #[tokio::test]
    async fn compiled_code_that_was_tampered_with_is_compiled_anew() {
        let cache = Cache::new();
        let (component, other) = (guest("well_behaved"), guest("panics_on_account"));
        let (_, record) = cache.load(&component, None).await;
        let (_, record_of_other) = cache.load(&other, None).await;
        std::fs::copy(cache.path(&record_of_other), cache.path(&record)).expect("copied");

        let (connector, renewed) = cache.load(&component, Some(&record)).await;
        assert!(is_well_behaved(&connector).await);
        assert_eq!(digest_of_file(&cache.path(&renewed)), renewed.compiled);
        assert_ne!(renewed.compiled, record_of_other.compiled);
    }

    #[tokio::test]
    async fn compiled_code_that_no_record_vouches_for_is_never_loaded() {
        let cache = Cache::new();
        let (component, other) = (guest("well_behaved"), guest("panics_on_account"));
        let (_, record_of_other) = cache.load(&other, None).await;
        let planted = cache.sandbox.cache_key(&Digest::of(&component));
        let path = cache.folder.path().join("cache").join(format!("{planted}.cwasm"));
        for known in [None, Some(&record_of_other)] {
            std::fs::copy(cache.path(&record_of_other), &path).expect("copied");
            assert!(is_well_behaved(&cache.load(&component, known).await.0).await);
        }
    }

    fn compiling(compile: CompileLimits) -> Sandbox {
        sandbox(|config| {
            config.compiler = Some(PathBuf::from(env!("CARGO_BIN_EXE_backline")));
            config.compile = compile;
        })
    }

    #[tokio::test]
    async fn a_child_process_compiles() {
        let connector = load(&compiling(CompileLimits::default()), "well_behaved").await;
        assert!(is_well_behaved(&connector).await);
    }

    #[tokio::test]
    async fn a_child_that_takes_too_much_memory_is_stopped() {
        let limits = CompileLimits { memory_bytes_max: 96 << 20, ..CompileLimits::default() };
        let error = refused(&compiling(limits), &laborious_component()).await;
        assert!(matches!(&error, LoadError::CompileLimit { what } if what.starts_with("memory_bytes_max")), "{error}");
    }

    #[tokio::test]
    async fn a_child_that_takes_too_much_time_is_stopped() {
        let limits = CompileLimits { cpu_s_max: 1, ..CompileLimits::default() };
        let error = refused(&compiling(limits), &laborious_component()).await;
        assert!(matches!(&error, LoadError::CompileLimit { what } if what.starts_with("cpu_s_max")), "{error}");
    }

    #[tokio::test]
    async fn a_compiler_that_is_not_there_is_named() {
        let sandbox = sandbox(|config| config.compiler = Some(PathBuf::from("/nowhere/backline")));
        let error = refused(&sandbox, &guest("well_behaved")).await;
        assert!(error.to_string().contains("/nowhere/backline"), "{error}");
    }

    /// A connector that carries a module of many megabytes which takes a compiler many seconds.
    fn laborious_component() -> Vec<u8> {
        use wasm_encoder::{
            CodeSection, ComponentSection as _, Function, FunctionSection, Module, TypeSection, ValType,
        };

        let mut types = TypeSection::new();
        types.ty().function([ValType::I64, ValType::I64], [ValType::I64]);
        let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
        for function_index in 0..64_i64 {
            let mut function = Function::new([]);
            let mut body = function.instructions();
            body.local_get(0);
            for step in 0..40_000 {
                body.local_get(1)
                    .i64_const(function_index * 40_000 + step)
                    .i64_xor()
                    .i64_add()
                    .local_tee(0)
                    .local_get(0)
                    .i64_rotl();
            }
            body.end();
            functions.function(0);
            code.function(&function);
        }
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&code);

        // Appended to a component that is whole without it.
        let mut component = guest("well_behaved");
        wasm_encoder::ModuleSection(&module).append_to_component(&mut component);
        component
    }
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
    for example in examples {
        let quoted = format!("\"{example}\"");
        assert!(include_str!("sandbox.rs").contains(&quoted), "no test runs the guest {example}");
        assert!(cargo.contains(&format!("name = {quoted}\n")), "tests/guests/Cargo.toml does not list {example}");
    }
}
