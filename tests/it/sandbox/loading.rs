//! Tests of loading: components that are refused before they run, and the cache of compiled code.

use std::path::Path;

use backline_component::inspect;

use super::*;
use crate::support::components::plugin;

async fn refused(sandbox: &Sandbox, component: &[u8]) -> LoadError {
    sandbox.load(component, Digest::of(component), None).await.err().expect("a refusal")
}

#[tokio::test]
async fn an_unknown_import_is_refused_by_name() {
    let error = refused(&sandbox(|_| {}), &guest("imports_unknown")).await;
    assert!(matches!(&error, LoadError::UnknownImport { import, .. } if import == "evil:kit/shell@1.0.0"), "{error}");
}

#[test]
fn first_party_connectors_import_only_backlines_interfaces() {
    for name in ["youtube", "spotify", "instagram", "tiktok", "apple-music"] {
        let inspection = inspect(&plugin(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            inspection.imports.contains(&"backline:connector/http@1.0.0".to_owned()),
            "{name} reaches its platform"
        );
        let foreign: Vec<_> =
            inspection.imports.iter().filter(|import| !import.starts_with("backline:connector/")).collect();
        assert!(foreign.is_empty(), "{name} imports {foreign:?}");
    }
    let with_wasi = inspect(&guest("imports_wasi")).expect("a connector");
    assert!(with_wasi.imports.iter().any(|import| import.starts_with("wasi:")), "the list shows other imports");
}

#[tokio::test]
async fn a_file_that_is_not_a_connector_is_refused() {
    let sandbox = sandbox(|config| config.component_bytes_max = 1 << 20);
    let error = refused(&sandbox, b"\0asm\x01\0\0\0").await;
    assert!(matches!(error, LoadError::Inspect(_)) && error.to_string().contains("core module"), "{error}");
    let error = refused(&sandbox, b"MZ\x90\0").await;
    assert!(matches!(error, LoadError::Inspect(_)), "{error}");
    let error = refused(&sandbox, &vec![0; (1 << 20) + 1]).await;
    assert!(matches!(error, LoadError::TooLarge { bytes: 1_048_577, limit: 1_048_576 }), "{error}");
}

#[tokio::test]
async fn a_component_with_another_digest_is_refused() {
    let (asked, given) = (guest("well_behaved"), guest("panics_on_account"));
    let error = sandbox(|_| {}).load(&given, Digest::of(&asked), None).await.err().expect("a refusal");
    assert!(matches!(error, LoadError::Digest { actual, .. } if actual == Digest::of(&given)), "{error}");
}

#[tokio::test]
async fn a_component_that_needs_more_memory_than_its_bound_is_refused_at_loading() {
    let error = refused(&sandbox(|config| config.memory_bytes_max = 64 << 10), &guest("well_behaved")).await;
    assert!(matches!(error, LoadError::Start(_) | LoadError::Link(_)), "{error}");
}

#[tokio::test]
async fn wasi_works_without_access_to_anything() {
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

/// One guest writes a secret on each line of its log, the other one long line of it to standard error.
#[tokio::test]
async fn a_secret_across_the_border_of_a_log_is_not_stored_in_parts() {
    let (gateway, _) = Gateway::new(GatewayConfig::default(), Clock::fixed(noon())).expect("a gateway");
    for (name, length, log_bytes_max) in
        [("log_flood", 1_000, 10_000), ("imports_wasi", 10_000, 20_000), ("imports_wasi", 10_000, 1 << 20)]
    {
        let connector = load(&sandbox(|config| config.log_bytes_max = log_bytes_max), name).await;
        let session = gateway.session(SessionSetup {
            manifest: Arc::new(connector.manifest().clone()),
            grant: Arc::new(Grant::all_of(connector.manifest(), &[])),
            credentials: vec![SessionCredential {
                id: CredentialId::generate(),
                slot: "app".to_owned(),
                account: None,
                value: "x".repeat(length).into(),
            }],
            accounts: Vec::new(),
            deadline: within(Duration::from_secs(60)),
        });
        let deadline = within(Duration::from_secs(60));
        let call = connector.fetch(session, accounts(&["a"]), context(), deadline).await;
        let lines = call.expect("an answer").usage.log_lines;
        assert!(lines.len() >= 3, "{lines:?}");
        let kept = lines.iter().filter(|line| !line.message.contains("log_bytes_max"));
        let left: Vec<_> = kept.filter(|line| line.message.contains('x')).collect();
        assert!(left.is_empty(), "{name}, {log_bytes_max}: {left:?}");
    }
}

#[tokio::test]
async fn clocks_and_random_numbers_follow_from_the_document_in_normalize() {
    let connector = load(&sandbox(|_| {}), "imports_wasi").await;
    let notes = async |bodies: &[&str]| -> Vec<String> {
        let documents = bodies.iter().map(|body| document(body)).collect();
        let snapshots = connector.normalize(documents).await.expect("an answer").value;
        snapshots.into_iter().map(|snapshot| snapshot.expect("a snapshot").notes.concat()).collect()
    };
    let (first, second) = (r#"{"followers":1}"#, r#"{"followers":2}"#);
    let together = notes(&[first, second, first]).await;
    assert!(together[0].starts_with(&noon().timestamp().to_string()), "the clock stands: {}", together[0]);
    assert_eq!(together[0], together[2], "whatever was normalised before it");
    assert_ne!(together[0], together[1]);
    assert_eq!(notes(&[second]).await, together[1..2]);
}

/// A component that imports WASI has a call for each document, which its caller does not see: one that fails leaves
/// what it shares as it was, and its halves fit.
#[tokio::test]
async fn documents_of_a_call_that_fails_use_nothing_of_the_output_that_calls_share() {
    let connector = load(&sandbox(|_| {}), "imports_wasi").await;
    let normalize = async |documents: usize, allowance: &mut Allowance| {
        let documents = vec![document(r#"{"followers":1}"#); documents];
        connector.normalize_within(&[], documents, allowance).await
    };
    let mut allowance = connector.allowance(None);
    let whole = allowance.output_bytes;
    let one = normalize(1, &mut allowance).await.expect("an answer").usage.output_bytes;
    assert_eq!((one > 1, allowance.output_bytes), (true, whole - one));
    let left = one + one / 2;
    allowance.output_bytes = left;
    let error = normalize(2, &mut allowance).await.expect_err("too much for both");
    assert_eq!(error, CallError::LimitExceeded { what: "output_bytes_max", limit: left });
    assert_eq!(allowance.output_bytes, left);
    normalize(1, &mut allowance).await.expect("one fits");
    assert_eq!(allowance.output_bytes, left - one);
}

#[test]
fn a_bound_of_zero_is_refused() {
    let refused = Sandbox::new(SandboxConfig { calls_at_once: 0, ..config() }).err().expect("a refusal");
    assert!(matches!(refused, SandboxError::Config { field: "calls_at_once", .. }), "{refused}");
}

/// A sandbox that caches compiled code.
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

/// Whether the connector is `well_behaved`. The other guest panics.
async fn is_well_behaved(connector: &Connector) -> bool {
    fetch(connector, &["poison"]).await.is_ok()
}

fn digest_of_file(path: &Path) -> Digest {
    Digest::of(&std::fs::read(path).expect("a file"))
}

#[tokio::test]
async fn compiled_code_is_private_to_the_user_and_reused() {
    let cache = Cache::new();
    let component = guest("well_behaved");
    let (_, record) = cache.load(&component, None).await;
    assert_eq!(record.key, cache.sandbox.cache_key(&Digest::of(&component)));
    assert_eq!(digest_of_file(&cache.path(&record)), record.compiled);
    let mode = std::fs::metadata(cache.path(&record)).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(cache.load(&component, Some(&record)).await.1, record);

    // To show the reuse, the cached code is replaced with another guest's, with a matching record.
    let other = guest("panics_on_account");
    let (_, record_of_other) = cache.load(&other, None).await;
    std::fs::copy(cache.path(&record_of_other), cache.path(&record)).expect("copied");
    let vouching = CompiledRecord { key: record.key.clone(), compiled: record_of_other.compiled };
    assert!(!is_well_behaved(&cache.load(&component, Some(&vouching)).await.0).await);
}

#[tokio::test]
async fn compiled_code_that_was_tampered_with_is_compiled_again() {
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
async fn compiled_code_without_a_matching_record_is_never_loaded() {
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
async fn the_child_gets_the_configured_limits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (script, told) = (folder.path().join("compiler"), folder.path().join("told"));
    std::fs::write(&script, format!("#!/bin/sh\necho \"$1 $4 $5 $6\" > '{}'\nexit 1\n", told.display()))
        .expect("written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).expect("executable");
    let limits = CompileLimits { memory_bytes_max: 20 << 30, cpu_s_max: 1_000, wall_s_max: 2_000 };
    let sandbox = sandbox(|config| (config.compiler, config.compile) = (Some(script), limits));
    refused(&sandbox, &guest("well_behaved")).await;
    let told = std::fs::read_to_string(told).expect("the compiler ran");
    assert_eq!(told.trim(), format!("compile-component {} 1000 2000", 20_u64 << 30));
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

/// A compiler of this script, in a folder in which it may leave files.
fn scripted(script: &str) -> (tempfile::TempDir, Sandbox) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("compiler");
    let script = script.replace("FOLDER", &folder.path().display().to_string());
    std::fs::write(&path, format!("#!/bin/sh\n{script}")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).expect("executable");
    (folder, sandbox(|config| config.compiler = Some(path)))
}

#[tokio::test]
async fn what_takes_too_much_memory_on_several_threads_is_compiled_on_one() {
    let script = "echo \"$RAYON_NUM_THREADS $4\" >> 'FOLDER/told'\n\
                  echo 'memory allocation of 1 bytes failed' >&2\nexit 1\n";
    let (folder, sandbox) = scripted(script);
    let error = refused(&sandbox, &guest("well_behaved")).await;
    let limit = 2_u64 << 30;
    assert!(error.to_string().contains(&format!("memory_bytes_max = {limit} bytes")), "{error}");
    assert!(error.to_string().contains("[sandbox.compile]"), "{error}");
    let told = std::fs::read_to_string(folder.path().join("told")).expect("the compiler ran");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.last().copied(), Some(format!("1 {limit}").as_str()), "{told}");
    assert!(lines.len() <= 2, "{told}");
}

#[tokio::test]
async fn a_compiler_that_says_things_without_end_is_not_listened_to() {
    let (_folder, sandbox) = scripted("while :; do echo 'not confined: spam, spam and spam' >&2 || exit 1; done\n");
    let error = refused(&sandbox, &guest("well_behaved")).await;
    assert!(error.to_string().len() < 4_096, "{error}");
}

#[tokio::test]
async fn a_missing_compiler_is_named() {
    let sandbox = sandbox(|config| config.compiler = Some(PathBuf::from("/nowhere/backline")));
    let error = refused(&sandbox, &guest("well_behaved")).await;
    assert!(error.to_string().contains("/nowhere/backline"), "{error}");
}

/// A connector with a module of many megabytes that takes many seconds to compile.
fn laborious_component() -> Vec<u8> {
    use wasm_encoder::{CodeSection, ComponentSection as _, Function, FunctionSection, Module, TypeSection, ValType};

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

    // The module is appended to a component that is complete without it.
    let mut component = guest("well_behaved");
    wasm_encoder::ModuleSection(&module).append_to_component(&mut component);
    component
}
