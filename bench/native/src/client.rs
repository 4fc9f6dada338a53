//! The HTTP client of the plain program.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use reqwest::header::HOST;
use serde::de::DeserializeOwned;

/// A client of the simulator, which tells the platforms by the header `Host`.
pub(crate) struct Client {
    http: reqwest::Client,
    simulator: SocketAddr,
}

impl Client {
    /// # Errors
    /// If the client can't be set up.
    pub(crate) fn new(simulator: SocketAddr) -> Result<Self> {
        // reqwest asks for a provider although no request uses TLS. A second installation is refused, which changes
        // nothing.
        #[expect(clippy::disallowed_methods, reason = "a process of its own, without the gateway")]
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "this is not the host: it is what the host is compared with")]
        let http = reqwest::Client::builder().no_proxy().build().context("failed to set up the HTTP client")?;
        Ok(Self { http, simulator })
    }

    /// A POST request with a form.
    ///
    /// # Errors
    /// If there is no response, or not the expected one.
    pub(crate) async fn post<T: DeserializeOwned>(&self, host: &str, path: &str, form: String) -> Result<T> {
        let request = self.http.post(format!("http://{}{path}", self.simulator)).header(HOST, host).body(form);
        self.answer(request.header("content-type", "application/x-www-form-urlencoded"), path).await
    }

    /// A GET request, with a token unless it is empty.
    ///
    /// # Errors
    /// If there is no response, or not the expected one.
    pub(crate) async fn get<T: DeserializeOwned>(&self, host: &str, path: &str, bearer: &str) -> Result<T> {
        let mut request = self.http.get(format!("http://{}{path}", self.simulator)).header(HOST, host);
        if !bearer.is_empty() {
            request = request.bearer_auth(bearer);
        }
        self.answer(request, path).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder, path: &str) -> Result<T> {
        // Without the query, which may hold a token.
        let path = path.split('?').next().unwrap_or(path);
        let response = request.send().await.map_err(reqwest::Error::without_url).with_context(|| path.to_owned())?;
        let status = response.status();
        let body = response.bytes().await.map_err(reqwest::Error::without_url).with_context(|| path.to_owned())?;
        if !status.is_success() {
            bail!("{path} answered {status}");
        }
        serde_json::from_slice(&body).with_context(|| format!("{path} did not answer as expected"))
    }
}
