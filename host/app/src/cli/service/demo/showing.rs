//! Shows a demo: collects the history that is missing, serves dashboard and API, and says where to look.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use futures::FutureExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::DemoArguments;
use crate::cli::context::{Context, Global, SIMULATED};
use crate::cli::service::serve::{Api, BACKLOG, Signals, bind, listed, not_bound};
use crate::cli::terminal::exit::{CommandResult, Exit, Failure, sentence};
use crate::cli::terminal::log::Log;
use crate::cli::terminal::print;
use crate::cli::work::run;
use crate::config::ServiceConfig;
use crate::pipeline::collection::report::RunReport;
use crate::pipeline::demo::{Demo, DemoDay, DemoFolder, Wanted, components};
use crate::pipeline::service::{Service, due};
use crate::pipeline::{self, Host};
use backline_model::clock::Clock;

/// Prepares, collects and serves.
pub(super) async fn run(global: &Global, arguments: &DemoArguments) -> CommandResult {
    let mut signals = Signals::catch()?;
    let clock = Clock::system();
    let components = components(arguments.connectors.as_deref())?;
    let listener = listening(arguments.listen)?;
    let wanted = Wanted { artists: arguments.artists, days: arguments.days, fresh: arguments.fresh };
    let folder = DemoFolder::open(&arguments.folder, wanted, clock.now().date_naive())?;
    print::line(SIMULATED)?;
    let demo = Demo::start(folder, clock).await?;
    let file = demo.configure(listener.local_addr()?)?;
    let context = Context::of_file(&file, global)?;
    let log = Log::start(context.config())?;
    let tell = |step: String| print::note(&step);
    let prepared = tokio::select! {
        prepared = demo.prepare(context.config(), &components, &tell) => prepared.map_err(Failure::from),
        _ = signals.any() => return Ok(Exit::Done),
    };
    let outcome = match prepared {
        Ok(()) => match collect(&context, &demo, &mut signals).await {
            Ok(true) => serve(&context, &file, &demo, listener, &mut signals).await,
            Ok(false) => Ok(Exit::Done),
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    log.end().await;
    outcome
}

/// Listens on the address that is given, or else the usual one; where that is taken, on one with a free port. It
/// listens before the history is collected: an address that is bound alone could be taken by another process meanwhile.
/// Who connects early waits for the answer.
fn listening(given: Option<SocketAddr>) -> Result<TcpListener, Failure> {
    let usual = ServiceConfig::default().listen;
    let address = given.unwrap_or(usual);
    if !address.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "a demo is shown on this machine alone, and {address} may be reached from others; give an address such as \
             {usual}"
        )));
    }
    let listen = |address| bind(address)?.listen(BACKLOG);
    let listener = match listen(address) {
        Err(error) if given.is_none() && error.kind() == ErrorKind::AddrInUse => {
            listen(SocketAddr::new(address.ip(), 0))
        }
        listener => listener,
    };
    listener.map_err(|error| Failure::usage(not_bound(address, &error)))
}

/// Collects the days of the history that are missing. Says whether all are there: a signal breaks it off in order, and
/// the next start goes on.
async fn collect(context: &Context, demo: &Demo, signals: &mut Signals) -> Result<bool, Failure> {
    let host = demo.host(context.config().clone()).await?;
    let days = demo.open_days(host.store()).await?;
    if !days.is_empty() {
        print::note(&format!("collecting {}", print::count(days.len() as u64, "day")));
    }
    let stop = CancellationToken::new();
    for day in days {
        if signals.any().now_or_never().is_some() {
            return Ok(false);
        }
        let request = demo.turn_to(day);
        let report = run::collect(&host, &request, &stop).await?;
        if stop.is_cancelled() {
            return Ok(false);
        }
        print::line(&collected(day, &report))?;
    }
    // No schedule collected it: asked how fresh its numbers are, the demo would answer that none was due yet.
    if let Some(today) = demo.run_of_today(&host).await? {
        due::record(host.store(), host.config(), &today, Clock::system().now()).await?;
    }
    host.store().close().await;
    Ok(true)
}

/// What became of a day, in one line.
fn collected(day: DemoDay, report: &RunReport) -> String {
    let counts = report.run.counts;
    let mut said = format!("{day:10}  {} collected", print::count(counts.collected, "account"));
    for (number, what) in [(counts.failed, "failed"), (counts.deferred, "deferred"), (counts.excluded, "left out")] {
        if number > 0 {
            said.push_str(&format!(", {number} {what}"));
        }
    }
    said
}

/// Serves until a signal.
async fn serve(
    context: &Context,
    file: &Path,
    demo: &Demo,
    listener: TcpListener,
    signals: &mut Signals,
) -> CommandResult {
    let store = context.open_any().await?;
    let token = demo.token(&store).await?;
    let examined = tokio::select! {
        examined = pipeline::examine(context.config(), &context.clock, Some(store)) => examined,
        _ = signals.any() => return Ok(Exit::Done),
    };
    let host: Host = examined.map_err(|obstacles| {
        let problems: Vec<String> = obstacles.iter().map(|obstacle| sentence(obstacle)).collect();
        Failure::usage(listed(&problems))
    })?;
    let address = listener.local_addr()?;
    let service = Service::start(host).await?;
    let mut api = Api::start(listener, None, &service);
    say_where(file, address, token.expose())?;
    tokio::select! {
        _ = signals.any() => {}
        never = demo.follow() => match never {},
    }
    let clean = tokio::select! {
        clean = service.stop() => clean,
        _ = signals.any() => return Ok(Exit::Failed),
    };
    api.stop().await;
    Ok(if clean { Exit::Done } else { Exit::Failed })
}

/// Says where to look. The token is shown here and nowhere else.
fn say_where(file: &Path, address: SocketAddr, token: &str) -> Result<(), Failure> {
    print::line(&format!("backline demo listens on http://{address}"))?;
    print::line("")?;
    print::line(&format!("  dashboard  http://{address}/login"))?;
    print::line(&format!("  token      {token}"))?;
    print::line(&format!("  API        curl -H 'Authorization: Bearer TOKEN' http://{address}/v1/metrics"))?;
    // Not every installation has it on the path.
    let program = std::env::current_exe().map_or_else(|_| "backline".into(), |path| path.display().to_string());
    print::line(&format!("  commands   '{program}' --config '{}' health", file.display()))?;
    print::line("\nThe token is new with each start. Ctrl-C ends the demo; the next start goes on with its data.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_others_reach_is_refused_and_a_taken_one_is_named() {
        for address in ["0.0.0.0:0", "192.0.2.1:8321", "[::]:0"] {
            let refused = listening(Some(address.parse().expect("an address"))).expect_err("refused");
            assert!(refused.message.contains("on this machine alone"), "{}", refused.message);
        }
        let first = listening(Some("127.0.0.1:0".parse().expect("an address"))).expect("a free port");
        let taken = first.local_addr().expect("bound");
        let refused = listening(Some(taken)).expect_err("taken");
        assert!(refused.message.contains(&taken.to_string()) && refused.message.contains("--listen"));
    }
}
