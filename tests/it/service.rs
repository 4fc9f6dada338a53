//! Tests of Backline as a service: several hosts on one database, and their work when they die, pause or stop.

mod activation;
mod allowance;
mod api;
mod audit;
mod beside;
mod costs;
mod dashboard;
mod endpoints;
mod equality;
mod failover;
mod fairness;
mod installation;
mod people;
mod rates;
mod rotation;
mod scale;
mod schedules;
mod signals;
mod simulated;
mod startup;
pub mod support;
mod tokens;
mod traces;
mod working;

use backline_store::Scope;
use std::time::Duration;

use backline::pipeline::service::Service;
use backline_model::Run;
use backline_model::RunStatus;

use crate::support::fleet::until;
use crate::support::stage::Stage;

/// Starts a service.
async fn serve(host: backline::pipeline::Host) -> Service {
    Service::start(host).await.expect("the service starts")
}

/// The only run, once no batch of it is planned or leased.
async fn settled(stage: &Stage, within: Duration) -> Run {
    until(within, "a run that has come to rest", async || {
        let runs = stage.host.store().runs_list(&Scope::all_tenants(), 10, None).await.expect("runs are read");
        assert!(runs.len() <= 1, "{runs:?}");
        runs.into_iter().next().filter(|run| run.status != RunStatus::Running)
    })
    .await
}
