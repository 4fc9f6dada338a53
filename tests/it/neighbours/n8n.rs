//! A real n8n with the workflow of `deploy/n8n`: it starts a run, and takes the signed event of its end.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use backline::pipeline::{NewToken, NewWebhook, Tokens};
use backline_model::clock::Clock;
use backline_model::event::types;
use backline_model::{DeliveryState, Role, WebhookKind};
use backline_simulator::SimulatorConfig;
use backline_store::{DeliveryFilter, Scope};
use chrono::Days;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::service::support::ask;
use crate::support::companions::{companion, run};
use crate::support::components::workspace;
use crate::support::database::server;
use crate::support::fleet::{Fleet, until};
use crate::support::stage::Stage;

/// Longest wait for a command of n8n: the first one makes its tables.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Id of the workflow, as its file says.
const WORKFLOW: &str = "backline";

/// An n8n with a database of its own.
struct Engine {
    program: PathBuf,
    folder: TempDir,
    database: String,
    variables: Vec<(&'static str, String)>,
}

impl Engine {
    /// Makes the database. `variables` are those that the workflow reads.
    async fn new(modules: PathBuf, port: u16, variables: Vec<(&'static str, String)>) -> Self {
        let database = format!("n8n_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&server()).await.expect("the server answers");
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {database}"))).await.expect("a database");
        let at = url::Url::parse(&server()).expect("a URL");
        let folder = tempfile::tempdir().expect("a folder");
        let mut own = vec![
            ("DB_TYPE", "postgresdb".to_owned()),
            ("DB_POSTGRESDB_HOST", at.host_str().unwrap_or("127.0.0.1").to_owned()),
            ("DB_POSTGRESDB_PORT", at.port().unwrap_or(5432).to_string()),
            ("DB_POSTGRESDB_USER", at.username().to_owned()),
            ("DB_POSTGRESDB_PASSWORD", at.password().unwrap_or_default().to_owned()),
            ("DB_POSTGRESDB_DATABASE", database.clone()),
            ("N8N_USER_FOLDER", folder.path().display().to_string()),
            ("N8N_ENCRYPTION_KEY", "of this test alone".to_owned()),
            ("N8N_LISTEN_ADDRESS", "127.0.0.1".to_owned()),
            ("N8N_PORT", port.to_string()),
            ("N8N_RUNNERS_BROKER_PORT", free_port().to_string()),
            // Nothing outside of this machine is asked.
            ("N8N_DIAGNOSTICS_ENABLED", "false".to_owned()),
            ("N8N_VERSION_NOTIFICATIONS_ENABLED", "false".to_owned()),
            ("N8N_TEMPLATES_ENABLED", "false".to_owned()),
            ("N8N_COMMUNITY_PACKAGES_ENABLED", "false".to_owned()),
            // What the workflow needs, as docs/n8n.md says.
            ("N8N_BLOCK_ENV_ACCESS_IN_NODE", "false".to_owned()),
            ("NODE_FUNCTION_ALLOW_BUILTIN", "crypto".to_owned()),
        ];
        own.extend(variables);
        Self { program: modules.join(".bin/n8n"), folder, database, variables: own }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end.
    async fn done(&self, arguments: &[&str]) {
        let ended = run(&mut self.command(arguments), self.folder.path(), WAIT_MAX).await;
        assert_eq!(ended.code, Some(0), "n8n {arguments:?}: {}", ended.said);
    }

    /// Starts it, and writes what it says into a file of its folder.
    fn start(&self) -> Child {
        let log = std::fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut command = self.command(&["start"]);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("it starts")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Removes the database.
    async fn remove(self) {
        let mut connection = PgConnection::connect(&server()).await.expect("the server answers");
        let removed = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        connection.execute(AssertSqlSafe(removed)).await.expect("the database is dropped");
    }
}

/// A port that nothing listens at.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_starts_a_run_and_takes_its_signed_end() {
    let Some(modules) = companion("TESTS_N8N") else { return };
    let (port, place) = (free_port(), tempfile::tempdir().expect("a folder"));
    let today = Clock::system().now().date_naive();
    let yesterday = today - Days::new(1);
    let simulator = SimulatorConfig {
        artists: 2,
        date: yesterday,
        tiktok_rotates: false,
        tokens_expire: false,
        ..Default::default()
    };
    let url = format!("sqlite://{}", place.path().join("backline.db").display());
    let stage = Stage::set(&url, simulator, |config| {
        config.schedules.clear();
        config.gateway.exempt = vec![format!("https://127.0.0.1:{port}").parse().expect("an origin")];
    })
    .await;
    // So that the host that starts has nobody to collect for the first time.
    stage.run(yesterday).await;
    stage.simulator.set_date(today);
    let hook = NewWebhook {
        name: "n8n".to_owned(),
        url: format!("http://127.0.0.1:{port}/webhook/backline"),
        kind: WebhookKind::Webhook,
        events: vec![types::RUN_COMPLETED.to_owned()],
        tenant: None,
        from_start: false,
    };
    let (_, secret) = stage.host.webhooks().add(hook).await.expect("a webhook");
    let new = NewToken { name: "n8n".to_owned(), role: Role::Operator, tenant: None, expires_at: None };
    let tokens = Tokens::new(stage.host.store().clone(), Clock::system());
    let (_, token) = tokens.create(new).await.expect("a token");
    let fleet = Fleet::of(&stage, |_| {});
    let host = fleet.start("host");

    let variables = vec![
        ("N8N_BACKLINE_URL", host.address.clone()),
        ("N8N_BACKLINE_TOKEN", token.expose().to_owned()),
        ("N8N_BACKLINE_SECRET", secret.expose().to_owned()),
    ];
    let engine = Engine::new(modules, port, variables).await;
    let file = workspace().join("deploy/n8n/backline.json");
    engine.done(&["import:workflow", &format!("--input={}", file.display())]).await;
    engine.done(&["update:workflow", &format!("--id={WORKFLOW}"), "--active=true"]).await;

    let (store, all) = (stage.host.store(), Scope::all_tenants());
    let runs = async || store.runs_list(&all, 100, None).await.expect("runs are read");
    let before: BTreeSet<_> = runs().await.iter().map(|run| run.id.0).collect();
    engine.done(&["execute", &format!("--id={WORKFLOW}")]).await;
    let started: Vec<_> = runs().await.into_iter().filter(|run| !before.contains(&run.id.0)).collect();
    assert_eq!(started.len(), 1, "one run is started: {started:?}");
    let id = started[0].id;

    let serving = engine.start();
    let address = format!("127.0.0.1:{port}");
    let delivered = until(WAIT_MAX, "the event of its end is delivered", async || {
        let events = stage.events().await;
        let ended =
            |event: &&backline_model::Event| event.kind == types::RUN_COMPLETED && event.data["run_id"] == json!(id);
        let event = events.iter().find(ended)?.id;
        let filter = DeliveryFilter { event: Some(event), ..DeliveryFilter::default() };
        let found = store.deliveries_list(&all, &filter).await.expect("deliveries are read");
        found.into_iter().find(|delivery| delivery.state == DeliveryState::Delivered)
    })
    .await;
    assert_eq!(delivered.status, Some(204), "{delivered:?}: {}", engine.log());

    // The same way, without a signature that fits.
    assert!(TcpStream::connect(&address).await.is_ok(), "{}", engine.log());
    let body = "{}";
    let forged = format!(
        "POST /webhook/backline HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nwebhook-id: x\r\nwebhook-timestamp: {}\r\nwebhook-signature: v1,AAAA\r\n\r\n{body}",
        body.len(),
        Clock::system().now().timestamp(),
    );
    let (status, _, answer) = ask(&address, &forged).await;
    assert_eq!(status, 401, "{answer}: {}", engine.log());
    drop(serving);
    engine.remove().await;
}
