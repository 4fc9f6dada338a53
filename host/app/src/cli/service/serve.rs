//! `backline serve`: start-up, signals and shutdown. What a running service does is in [`crate::pipeline::service`].
//!
//! All checks run before the address accepts connections, and all problems are reported together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Tls;
use crate::cli::arguments::ids::{self, Given};
use crate::cli::context::{Context, Global};
use crate::cli::terminal::exit::{CommandResult, Exit, Failure, sentence};
use crate::cli::terminal::log::{self, Log};
use crate::cli::terminal::print;
use crate::config::{self, Override};
use crate::pipeline::service::Service;
use crate::pipeline::{self, Host};
use backline_model::{ArtistId, zone};

/// Most connections that wait to be accepted.
pub(super) const BACKLOG: u32 = 128;

/// How long open requests may take once the service has stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Log filter unless one is configured: a service should log what it does.
const DEFAULT_FILTER: &str = "warn,sqlx=error,backline=info";

/// Arguments of `backline serve`.
#[derive(Args)]
pub(in crate::cli) struct ServeArguments {
    /// Address of dashboard, API, /healthz, /readyz and /metrics, such as 127.0.0.1:8321; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// For development: activate every component that appears or changes in this folder, with all it asks for
    #[arg(long, value_name = "FOLDER")]
    watch: Option<PathBuf>,
    /// Collect this artist at once with each component that --watch activates; may be repeated
    #[arg(long, value_name = "ARTIST", requires = "watch")]
    collect: Vec<Given<ArtistId>>,
}

impl ServeArguments {
    /// Reads the configuration, with this command's flags and its default log filter.
    pub(in crate::cli) fn context(&self, global: &Global) -> Result<Context, Failure> {
        let listen = self.listen.as_ref().map(|value| Override {
            key: "service.listen".to_owned(),
            value: value.clone(),
            flag: "--listen".to_owned(),
        });
        let mut context = Context::load(global, listen.as_slice())?;
        if !context.loaded.sources.contains_key("log.filter") {
            DEFAULT_FILTER.clone_into(&mut context.loaded.config.log.filter);
        }
        Ok(context)
    }
}

/// Serves until a signal stops it.
pub(in crate::cli) async fn run(
    context: &Context,
    arguments: &ServeArguments,
    global: &Global,
    log: Result<&Log, Failure>,
) -> CommandResult {
    let mut signals = Signals::catch()?;
    let mut problems = Vec::new();
    if let Some(folder) = arguments.watch.as_ref().filter(|folder| !folder.is_dir()) {
        problems.push(format!("--watch {} is not a folder; name the one your builds are written to", folder.display()));
    }
    let log = log.map_err(|failure| problems.push(failure.message)).ok();
    let tls = context.config().service.tls().map(|(certificate, key)| Tls::read(certificate, key)).transpose();
    let tls = tls.map_err(|error| problems.push(sentence(&error))).ok().flatten();
    let (host, socket) = tokio::select! {
        ready = prepare(context, &mut problems) => ready,
        // A connector may be compiling, and a signal must not wait for that.
        signal = signals.ending.come() => {
            tracing::info!(signal, "stopped before it was ready");
            return Ok(Exit::Done);
        }
    };
    let (Some(host), Some(socket), Some(log), []) = (host, socket, log, problems.as_slice()) else {
        return Err(Failure::usage(listed(&problems)));
    };
    let listener =
        socket.listen(BACKLOG).map_err(|error| Failure::usage(not_bound(context.config().service.listen, &error)))?;
    let address = listener.local_addr()?;
    if host.is_simulated() {
        context.say_simulated();
    }
    let name = host.name().to_owned();
    let artists = ids::find_all(host.store(), &arguments.collect).await?;
    let mut service = Service::start(host).await?;
    if let Some(folder) = &arguments.watch {
        tracing::warn!(folder = %folder.display(), "components in this folder are granted everything they ask for");
        service.develop(folder.clone(), artists);
    }
    let mut api = Api::start(listener, tls.clone(), &service);
    tracing::info!(name, %address, version = env!("CARGO_PKG_VERSION"), "listening");
    let scheme = if tls.is_some() { "https" } else { "http" };
    print::line(&format!("backline {name} listens on {scheme}://{address}"))?;
    config::tell_supervisor("READY=1");

    let signal = loop {
        tokio::select! {
            signal = signals.ending.come() => break signal,
            () = received(&mut signals.reload) => {
                // Apart from the configuration: a certificate is renewed without a change of it.
                if let Some(tls) = &tls {
                    tls.tell(tls.read_again());
                }
                reload(&service, log, context, arguments, global).await;
            }
        }
    };
    config::tell_supervisor("STOPPING=1");
    tracing::info!(signal, deadline_ms = service.host().config().service.stop_deadline_ms, "stopping");
    let clean = tokio::select! {
        clean = service.stop() => clean,
        signal = signals.ending.come() => {
            tracing::warn!(signal, "second signal: ending at once");
            return Ok(Exit::Failed);
        }
    };
    api.stop().await;
    tracing::info!(clean, "stopped");
    Ok(if clean { Exit::Done } else { Exit::Failed })
}

/// Checks everything that a host needs, and collects the problems.
async fn prepare(context: &Context, problems: &mut Vec<String>) -> (Option<Host>, Option<TcpSocket>) {
    let config = context.config();
    let store = async {
        context.expect_database_file()?;
        context.open_any().await
    };
    let store = store.await.map_err(|failure| problems.push(failure.message)).ok();
    let host = match pipeline::examine(config, &context.clock, store).await {
        Ok(host) => Some(host),
        Err(obstacles) => {
            problems.extend(obstacles.iter().map(|obstacle| sentence(obstacle)));
            None
        }
    };
    let listen = config.service.listen;
    let socket = bind(listen).map_err(|error| problems.push(not_bound(listen, &error))).ok();
    (host, socket)
}

/// Binds the address without listening, so that nothing can connect yet.
pub(super) fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

pub(super) fn not_bound(address: SocketAddr, error: &std::io::Error) -> String {
    format!("can't listen on {address} ({error}); give another address as service.listen or --listen")
}

/// One problem as a sentence, several as a list.
pub(super) fn listed(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        several => {
            let lines: Vec<String> = several.iter().map(|problem| format!("\n  - {problem}")).collect();
            format!("{} problems keep this host from serving:{}", several.len(), lines.concat())
        }
    }
}

/// Reads the configuration again and applies it; if anything is wrong, logs why and changes nothing.
async fn reload(service: &Service, log: &Log, context: &Context, arguments: &ServeArguments, global: &Global) {
    // Before the configuration names zones.
    let zones = zone::read_again();
    tracing::info!(%zones, "time zones are read again");
    let mut problems = Vec::new();
    match arguments.context(global) {
        Ok(read) => {
            let config = read.loaded.config;
            if let Err(failure) = log::filter(&config.log) {
                problems.push(failure.message);
            }
            let running = context.config();
            for (key, same) in [
                ("log.format", config.log.format == running.log.format),
                ("telemetry", config.telemetry == running.telemetry),
            ] {
                if !same {
                    problems.push(format!(
                        "{key} has changed, which needs a restart to take effect; restart, or undo the change"
                    ));
                }
            }
            if problems.is_empty() {
                let filter = config.log.clone();
                match service.reload(config).await {
                    Ok(()) => {
                        if let Err(failure) = log.refilter(&filter) {
                            tracing::error!(problem = failure.message, "the log filter was not changed");
                        }
                    }
                    Err(obstacles) => problems.extend(obstacles.iter().map(|obstacle| sentence(obstacle))),
                }
            }
        }
        Err(failure) => problems.push(failure.message),
    }
    for problem in &problems {
        tracing::error!(problem, "the configuration was not reloaded; the old one stays in force");
    }
    if problems.is_empty() {
        tracing::info!("the configuration was reloaded");
    }
}

/// The task that answers over HTTP.
pub(super) struct Api {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Api {
    pub(super) fn start(listener: TcpListener, tls: Option<Tls>, service: &Service) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        let serving = crate::api::serve_over(listener, tls, service.status(), stop.clone().cancelled_owned());
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the HTTP server failed; requests are no longer answered");
            }
        });
        Self { tasks, stop }
    }

    /// Finishes open requests and stops. Called after the service has stopped, so that probes see it stopping.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(LAST_ANSWERS, self.tasks.join_next()).await;
        self.tasks.shutdown().await;
    }
}

/// The signals that a service handles, caught from its start on.
pub(super) struct Signals {
    pub(super) ending: StopCause,
    reload: Signal,
}

/// The signals that stop the service.
pub(super) struct StopCause {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn catch() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::failed(format!("failed to catch signals: {error}")));
        Ok(Self {
            ending: StopCause {
                terminate: catch(SignalKind::terminate())?,
                interrupt: catch(SignalKind::interrupt())?,
            },
            reload: catch(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them; returns its name. What has nothing to reload ends with its terminal too.
    #[cfg(feature = "demo")]
    pub(super) async fn any(&mut self) -> &'static str {
        tokio::select! {
            signal = self.ending.come() => signal,
            () = received(&mut self.reload) => "SIGHUP",
        }
    }
}

impl StopCause {
    /// Waits for one of them; returns its name.
    pub(super) async fn come(&mut self) -> &'static str {
        tokio::select! {
            () = received(&mut self.terminate) => "SIGTERM",
            () = received(&mut self.interrupt) => "SIGINT",
        }
    }
}

/// Waits for a signal; forever if the system no longer delivers any.
async fn received(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_problem_is_a_sentence_and_several_are_a_list() {
        assert_eq!(listed(&["a".into()]), "a");
        assert_eq!(listed(&["a".into(), "b".into()]), "2 problems keep this host from serving:\n  - a\n  - b");
    }
}
