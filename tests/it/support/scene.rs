//! Nine days of two tenants, for tests that look at Backline from outside: with a gap, a break, values that failed
//! validation, accounts that need someone, and two releases of a connector.

use backline::pipeline::{NewToken, NewWebhook, Tokens};
use backline_gateway::secrets::SecretText;
use backline_model::clock::Clock;
use backline_model::{Role, Tenant, WebhookKind};
use backline_simulator::{Fault, FaultKind, RetryAfter, SimulatorConfig};
use chrono::Days;

use super::fleet::Fleet;
use super::host::HostExt as _;
use super::http::{Server, answer};
use super::stage::{PLATFORMS, Stage};
use super::variants::variant;

/// The tenants. Every second artist is of the second one.
pub const TENANTS: [&str; 2] = ["north", "south"];

/// Artists: as many as have a trait or a trouble of their own.
pub const ARTISTS: u32 = 20;

/// Days that are collected; the last one is yesterday.
const DAYS: u64 = 9;

/// What the newer release says of the break.
pub const BREAK_NOTE: &str = "subscribers of closed channels are left out";

/// The day on which YouTube answers nothing, from the first one on.
const OUTAGE: u64 = 3;

/// The day on which followers jump and fall.
const EVENT: u64 = 5;

/// The day from which YouTube counts something else, and from which its newer release collects.
const BREAK: u64 = 6;

/// A stage with a history, and the hosts that serve it.
pub struct Scene {
    pub stage: Stage,
    pub fleet: Fleet,
    /// Accepts every event, and whatever else it is sent.
    pub receiver: Server,
}

impl Scene {
    /// Collects the days. Its clock is at noon of the last one; hosts of the fleet have the machine's.
    pub async fn new(url: &str) -> Self {
        let today = Clock::system().now().date_naive();
        let first = today - Days::new(DAYS);
        let simulator = SimulatorConfig {
            artists: ARTISTS,
            date: first,
            event: Some(first + Days::new(EVENT)),
            troubles: true,
            tiktok_rotates: false,
            tokens_expire: false,
            ..SimulatorConfig::default()
        };
        let receiver = Server::start(|_| answer(204, &[], "")).await;
        let stage = Stage::installed(url, simulator, |config| {
            // Runs are the tests' own.
            config.schedules.clear();
            // Plain http is allowed to what is exempt.
            let origin = receiver.base().replacen("http:", "https:", 1);
            config.gateway.exempt = vec![origin.parse().expect("an origin")];
        })
        .await;
        let tenant = |index: usize| Tenant::new(TENANTS[index % 2]).expect("a tenant");
        stage.import_some(&PLATFORMS, tenant).await;
        let webhook = NewWebhook {
            name: "app".to_owned(),
            url: format!("{}/hooks", receiver.base()),
            kind: WebhookKind::Webhook,
            events: Vec::new(),
            tenant: None,
            from_start: false,
        };
        stage.host.webhooks().add(webhook).await.expect("a webhook");
        for day in 0..DAYS {
            let date = first + Days::new(day);
            stage.set_date(date);
            let silent = FaultKind::Status { status: 503, retry_after: RetryAfter::Absent };
            let outage = (day == OUTAGE).then(|| Fault::always(silent).on_host("youtube.googleapis.com"));
            stage.simulator.set_faults(outage.into_iter().collect());
            if day == BREAK {
                let newer = variant("youtube", "1.1.0", |manifest| {
                    manifest.push_str(&format!(
                        "\n[[break]]\nmetric = \"followers\"\ndate = \"{date}\"\nnote = \"{BREAK_NOTE}\"\n"
                    ));
                });
                stage.host.install(&newer).await.expect("the newer release is installed");
            }
            stage.run(date).await;
        }
        // What hosts collect from now on is of the machine's today.
        stage.simulator.set_date(today);
        let fleet = Fleet::of(&stage, |_| {});
        Self { stage, fleet, receiver }
    }

    /// A token that is made now: its text.
    pub async fn token(&self, name: &str, role: Role, tenant: Option<&str>) -> SecretText {
        let tenant = tenant.map(|name| Tenant::new(name).expect("a tenant"));
        let new = NewToken { name: name.to_owned(), role, tenant, expires_at: None };
        let tokens = Tokens::new(self.stage.host.store().clone(), Clock::system());
        tokens.create(new).await.expect("a token").1
    }

    /// Lets every platform answer after so many milliseconds, so that a run can be watched.
    pub fn slow_down(&self, ms: u64) {
        self.stage.simulator.set_faults(vec![Fault::always(FaultKind::Latency { ms })]);
    }
}
