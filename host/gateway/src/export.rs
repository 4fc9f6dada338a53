//! A plain HTTP client for what the host sends to the operator's own collector. No connector can use it, so it has no
//! policy.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::error::GatewayError;
use super::wire::client_builder;

/// Most bytes of an answer that are read; collectors answer with almost nothing.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// HTTP client for the operator's collector. Cloning shares it.
#[derive(Clone, Debug)]
pub struct ExportClient {
    client: Client,
}

impl ExportClient {
    /// Creates the client; no request takes longer than `timeout`.
    ///
    /// # Errors
    /// If TLS can't be set up.
    pub fn new(timeout: Duration) -> Result<Self, GatewayError> {
        let builder = client_builder().timeout(timeout).pool_max_idle_per_host(1);
        let client = builder.build().map_err(|error| GatewayError::Client(error.to_string()))?;
        Ok(Self { client })
    }

    /// Sends one POST and returns the status and the body.
    ///
    /// # Errors
    /// A message why there is no answer. It never contains the URL.
    pub async fn post<'a>(
        &self,
        url: &str,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        body: Vec<u8>,
    ) -> Result<(u16, Vec<u8>), String> {
        let headers: HeaderMap = headers
            .filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?)))
            .collect();
        let without_url = |error: reqwest::Error| error.without_url().to_string();
        let mut response = self.client.post(url).headers(headers).body(body).send().await.map_err(without_url)?;
        let status = response.status().as_u16();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(without_url)? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(format!("it answered with more than {ANSWER_BYTES_MAX} bytes"));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((status, answer))
    }
}
