//! The simulator of the five platforms, as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::dates::Date;
use crate::http;
use crate::process::{self, say};

/// The simulator's process; dropping it ends it.
pub(crate) struct Simulator {
    process: Child,
    pub(crate) addr: SocketAddr,
}

impl Simulator {
    /// Starts the simulator by this command, which runs its binary, and waits until it listens.
    ///
    /// # Errors
    /// When it can't be started.
    pub(crate) fn start(mut command: Command, artists: u32, date: Date) -> Result<Self> {
        #[derive(Deserialize)]
        struct Ready {
            addr: SocketAddr,
        }
        command.args(["--port", "0", "--seed", "7", "--artists", &artists.to_string(), "--date", &date.to_string()]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start `{}`", process::shown(&command)))?;
        let mut line = String::new();
        let read = BufReader::new(child.stdout.take().expect("standard output was piped")).read_line(&mut line);
        let ready = read.map_err(anyhow::Error::from).and_then(|_| Ok(serde_json::from_str::<Ready>(&line)?));
        match ready {
            Ok(Ready { addr }) => {
                say(format!("the simulator of the five platforms listens on {addr}"));
                Ok(Self { process: child, addr })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.context("the simulator did not say where it listens"))
            }
        }
    }

    /// Asks a control of the simulator.
    ///
    /// # Errors
    /// When it refuses.
    pub(crate) fn control(&self, method: &str, what: &str, body: &str) -> Result<String> {
        http::request(self.addr, method, &format!("/_control/{what}"), body)
    }

    /// The routes that lead the platforms' hosts to the simulator, as a list of `origin` and `connect`.
    ///
    /// # Errors
    /// When it does not answer as expected.
    pub(crate) fn routes(&self) -> Result<Json> {
        serde_json::from_str(&self.control("GET", "routes.json", "")?).context("the simulator's routes are no JSON")
    }

    /// The credentials of operator and artists, as JSON.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn credentials(&self) -> Result<String> {
        self.control("GET", "credentials.json", "")
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
