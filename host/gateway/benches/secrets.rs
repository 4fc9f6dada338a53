//! Micro-benchmarks of what the gateway does with secrets: redact a response, seal and open a credential.
//! `cargo xtask bench` runs them.

use backline_gateway::benchmarks::Redaction;
use backline_gateway::secrets::{Keyring, Secret};
use backline_model::manifest::{CredentialKind, Owner};
use criterion::{BatchSize, Criterion, Throughput};

/// A token as long as Instagram's.
fn token(number: usize) -> String {
    format!("IGQWR{number:04}{}", "abcDEF123".repeat(18))
}

/// A response of about so many bytes, in JSON with links and escapes.
fn response(bytes: usize) -> Vec<u8> {
    let item = concat!(
        r#"{"id":"17841400008460056","username":"artist","followers_count":12345,"#,
        r#""profile_picture_url":"https:\/\/example.com\/p%20q?x=1"},"#
    );
    let mut body = String::from("[");
    while body.len() < bytes {
        body.push_str(item);
    }
    body.push_str("{}]");
    body.into_bytes()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut group = criterion.benchmark_group("secrets");
    for secrets in [1, 50] {
        let tokens: Vec<String> = (0..secrets).map(token).collect();
        let redaction = Redaction::of(&tokens);
        for kilobytes in [2, 64] {
            let body = response(kilobytes * 1000);
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("redact-{kilobytes}kB-{secrets}-secrets"), |bencher| {
                bencher.to_async(&runtime).iter_batched(
                    || body.clone(),
                    |body| redaction.redact(body),
                    BatchSize::SmallInput,
                );
            });
        }
        group.bench_function(format!("prepare-{secrets}-secrets"), |bencher| bencher.iter(|| Redaction::of(&tokens)));
    }

    let keyring = Keyring::from_base64(&Keyring::generate_base64()).expect("a key");
    let secret = Secret::parse(CredentialKind::ApiKey, Owner::Operator, &token(0)).expect("a secret");
    let sealed = keyring.seal(&secret, "credential 1");
    group.bench_function("seal", |bencher| bencher.iter(|| keyring.seal(&secret, "credential 1")));
    group.bench_function("open", |bencher| bencher.iter(|| keyring.open(&sealed, "credential 1")));
    group.finish();
    criterion.final_summary();
}
