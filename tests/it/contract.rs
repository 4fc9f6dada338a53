//! The OpenAPI document as a contract: schemathesis makes requests of it with tokens of every role and of two tenants,
//! and holds each answer against it. `contract/checks.py` adds what the document can't say.
//!
//! Only with `cargo xtask test --suite contract --long`. What it said of each token is written below the build folder.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use backline_gateway::secrets::SecretText;
use backline_model::Role;
use serde_json::json;
use tokio::process::Command;

use crate::support::companions::{companion, run, shown_in};
use crate::support::components::workspace;
use crate::support::database::each_empty_database;
use crate::support::scene::{ARTISTS, Scene, TENANTS};

/// Longest time for the requests of one token, of a host that is not optimised.
const WAIT_MAX: Duration = Duration::from_secs(1_800);

/// The seed from which requests are drawn.
const SEED: &str = "20261130";

/// Most requests that are drawn for an operation, besides those at the edges of its parameters.
const EXAMPLES: &str = "12";

/// Fewer than a token may send, so that no answer is 429.
const RATE: &str = "45/s";

/// What answers must hold. The checks of `checks.py` come last.
///
/// Left out are `ignored_auth`, which sends wrong tokens until the address has to wait with every token, and
/// `positive_data_acceptance`: which of several parameters go together, and what a cursor looks like, is not told by a
/// schema.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,negative_data_rejection,unsupported_method,\
    keeps_to_its_role,tells_nothing_of_others";

/// Who asks, in this order: those that change most come last. On SQLite, which differs in what it takes and not in who
/// may ask, two are enough.
fn callers(is_sqlite: bool) -> Vec<(Role, Option<&'static str>)> {
    let [north, south] = TENANTS;
    if is_sqlite {
        return vec![(Role::Admin, Some(north)), (Role::Admin, None)];
    }
    let of_one = Role::ALL.map(|role| (role, Some(north)));
    let of_all = Role::ALL.map(|role| (role, None));
    [&of_one[..], &[(Role::Admin, Some(south))], &of_all[..]].concat()
}

/// Texts that only rows of other tenants hold.
fn foreign(scene: &Scene, tenant: Option<&str>) -> BTreeSet<String> {
    let world = scene.stage.simulator.world();
    let is_own = |index: u32| tenant.is_none_or(|tenant| TENANTS[index as usize % TENANTS.len()] == tenant);
    let own: Vec<String> = (0..ARTISTS).filter(|index| is_own(*index)).map(|index| world.artist(index).name).collect();
    let mut marks = BTreeSet::new();
    for artist in (0..ARTISTS).filter(|index| !is_own(*index)).map(|index| world.artist(index)) {
        marks.extend([artist.id.to_string(), artist.youtube_channel_id, artist.spotify_artist_id]);
        if !own.iter().any(|name| name.contains(&artist.name)) {
            marks.insert(artist.name);
        }
    }
    marks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_breaks_a_host_or_the_word_of_its_document() {
    let Some(program) = companion("TESTS_SCHEMATHESIS") else { return };
    let shown = shown_in("contract");
    each_empty_database(async |url| {
        let scene = Scene::new(url).await;
        let host = scene.fleet.start("host");
        let is_sqlite = url.starts_with("sqlite");
        let kind = if is_sqlite { "sqlite" } else { "postgresql" };
        let all = scene.token("fills the pool", Role::Admin, None).await;
        let mut broken = String::new();
        for (role, tenant) in callers(is_sqlite) {
            let name = format!("{kind}-{}-{}", role.as_str(), tenant.unwrap_or("all"));
            let token = scene.token(&name, role, tenant).await;
            let marks = foreign(&scene, tenant);
            let asked = [host.address.clone(), scene.receiver.base()];
            let said = checked(&program, &asked, (role, tenant), &token, &all, &marks).await;
            let file = shown.join(format!("{name}.txt"));
            let (Ok(told) | Err(told)) = &said;
            std::fs::write(&file, told).expect("written");
            if said.is_err() {
                writeln!(broken, "{name}, also in {}:\n{told}", file.display()).expect("a text");
            }
        }
        assert!(broken.is_empty(), "{broken}\n{}", host.log());
    })
    .await;
}

/// What schemathesis says of a host that is asked with a token: that nothing is broken, or what is.
async fn checked(
    program: &Path,
    [base, receiver]: &[String; 2],
    (role, tenant): (Role, Option<&str>),
    token: &SecretText,
    all: &SecretText,
    marks: &BTreeSet<String>,
) -> Result<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    // The system shows arguments to others, and no environment.
    let settings = "headers = { Authorization = \"Bearer ${CONTRACT_TOKEN}\" }\n";
    std::fs::write(folder.path().join("schemathesis.toml"), settings).expect("written");
    let asks = json!({ "role": role.as_str(), "tenant": tenant, "foreign": marks });
    std::fs::write(folder.path().join("asks.json"), asks.to_string()).expect("written");
    let mut command = Command::new(program);
    command.args(["--config-file", "schemathesis.toml", "run", &format!("{base}/openapi.json")]);
    command.args(["--phases", "examples,coverage,fuzzing", "--checks", CHECKS]);
    command.args(["--seed", SEED, "--max-examples", EXAMPLES, "--rate-limit", RATE, "--workers", "1"]);
    command.args(["--generation-database", "none", "--suppress-health-check", "all", "--request-timeout", "60"]);
    // A stream of events has no end.
    command.args(["--exclude-operation-id", "events_stream", "--continue-on-failure", "--no-color"]);
    command.env("SCHEMATHESIS_HOOKS", workspace().join("tests/it/contract/checks.py"));
    command.env("CONTRACT_BASE", base).env("CONTRACT_RECEIVER", receiver).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("CONTRACT_TOKEN", token.expose()).env("CONTRACT_POOL_TOKEN", all.expose());
    let ended = run(&mut command, folder.path(), WAIT_MAX).await;
    if ended.code == Some(0) { Ok(ended.said) } else { Err(ended.said) }
}
