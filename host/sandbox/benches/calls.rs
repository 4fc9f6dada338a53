//! Micro-benchmarks of calls into a component: a fresh store and instance for each, with the guest `passes_on`, which
//! returns documents unparsed. `cargo xtask bench` builds the guest, names it in `BACKLINE_BENCH_COMPONENT`, and runs
//! this.

use backline_gateway::Session;
use backline_model::fetch::{DocumentInput, FetchAccount, FetchContext};
use backline_model::snapshot::Window;
use backline_model::{AccountId, Digest};
use backline_sandbox::{Connector, Sandbox, SandboxConfig};
use chrono::{DateTime, TimeDelta, Utc};
use criterion::{BatchSize, Criterion};
use tokio::time::{Duration, Instant};

/// Bytes of a document.
const DOCUMENT_BYTES: usize = 2_000;

/// Calls into the host that the benchmark of them makes.
const SENDS: u32 = 100;

fn window() -> Window {
    let until = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_000);
    Window { since: until - TimeDelta::days(28), until }
}

fn document() -> String {
    format!("{{\"text\":\"{}\"}}", "x".repeat(DOCUMENT_BYTES - 11))
}

fn accounts(count: usize, platform_id: &str) -> Vec<FetchAccount> {
    let account = |_| FetchAccount {
        id: AccountId::generate(),
        platform_id: platform_id.to_owned(),
        settings: "{}".to_owned(),
        state: Some(document()),
    };
    (0..count).map(account).collect()
}

async fn fetch(connector: &Connector, accounts: Vec<FetchAccount>) -> usize {
    let context = FetchContext { window: window(), lost_metrics: Vec::new(), history: Vec::new() };
    let deadline = Instant::now() + Duration::from_secs(60);
    let call = connector.fetch(Session::without_capabilities(), accounts, context, deadline).await;
    call.expect("the guest answers").value.accounts.len()
}

async fn normalize(connector: &Connector, documents: Vec<DocumentInput>) -> usize {
    connector.normalize(documents).await.expect("the guest answers").value.len()
}

#[expect(clippy::disallowed_methods, reason = "this is not the host, whose environment is read in its config")]
fn component() -> Vec<u8> {
    let path = std::env::var("BACKLINE_BENCH_COMPONENT");
    let path = path.expect("BACKLINE_BENCH_COMPONENT names a component; `cargo xtask bench --only sandbox` sets it");
    std::fs::read(path).expect("the component can be read")
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let component = component();
    let sandbox = Sandbox::new(SandboxConfig::default()).expect("a sandbox");
    let loaded = runtime.block_on(sandbox.load(&component, Digest::of(&component), None));
    let (connector, _) = loaded.expect("the component loads");

    let mut group = criterion.benchmark_group("sandbox");
    for count in [0, 1, 50] {
        group.bench_function(format!("fetch-{count}"), |bencher| {
            bencher.to_async(&runtime).iter_batched(
                || accounts(count, "id"),
                |accounts| fetch(&connector, accounts),
                BatchSize::SmallInput,
            );
        });
        let document = DocumentInput { body: document(), window: window(), observed_at: window().until };
        group.bench_function(format!("normalize-{count}"), |bencher| {
            bencher.to_async(&runtime).iter_batched(
                || vec![document.clone(); count],
                |documents| normalize(&connector, documents),
                BatchSize::SmallInput,
            );
        });
    }
    group.bench_function(format!("fetch-with-{SENDS}-refused-sends"), |bencher| {
        bencher.to_async(&runtime).iter_batched(
            || accounts(1, &format!("sends:{SENDS}")),
            |accounts| fetch(&connector, accounts),
            BatchSize::SmallInput,
        );
    });
    group.finish();
    criterion.final_summary();
}
