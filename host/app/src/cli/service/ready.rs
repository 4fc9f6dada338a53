//! `backline ready`: asks a running host whether it is ready, for health checks in images without an HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::api::to_own_host;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit, Failure};
use crate::cli::terminal::print;

/// How long the host may take to answer; it waits up to 2 s for its database.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Most bytes of the answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Arguments of `backline ready`.
#[derive(Args)]
pub(in crate::cli) struct ReadyArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Requests `/readyz` from the configured address and prints the answer.
pub(in crate::cli) async fn run(context: &Context, arguments: &ReadyArguments) -> CommandResult {
    let address = reachable(context.config().service.listen);
    let failed = |problem: String| Failure::failed(format!("no host answers on {address}: {problem}"));
    let is_tls = context.config().service.tls_certificate.is_some();
    let answer = tokio::time::timeout(ANSWER_WITHIN, ask(address, is_tls))
        .await
        .map_err(|_| failed(format!("no answer within {} s", ANSWER_WITHIN.as_secs())))?
        .map_err(|error| failed(error.to_string()))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let is_ready = head.split(' ').nth(1) == Some("200");
    let answer = json!({ "ready": is_ready, "address": address, "answer": body.trim_end() });
    print::done(arguments.json, &answer, body.trim_end())?;
    Ok(if is_ready { Exit::Done } else { Exit::Failed })
}

async fn ask(address: SocketAddr, is_tls: bool) -> std::io::Result<String> {
    let stream = TcpStream::connect(address).await?;
    if is_tls { told(to_own_host(stream).await?, address).await } else { told(stream, address).await }
}

/// What a host answers on a connection.
async fn told(mut stream: impl AsyncRead + AsyncWrite + Unpin, address: SocketAddr) -> std::io::Result<String> {
    stream
        .write_all(format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    stream.flush().await?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The address to connect to: loopback for a host that listens on all addresses.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}
