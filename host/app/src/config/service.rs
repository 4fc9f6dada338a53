//! Settings of `backline serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use super::Network;
use backline_model::ReconnectUrl;

/// Settings of `backline serve`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceConfig {
    /// Address of dashboard, HTTP API, `/healthz`, `/readyz` and `/metrics`. By default only this machine can reach it.
    pub listen: SocketAddr,
    /// Whether a host may listen where other machines can reach it although no token is in force.
    pub without_token: bool,
    /// Where people open the dashboard, such as `https://backline.example.com`: digests link to its pages. Without it
    /// they have no links.
    pub url: Option<String>,
    /// File with the certificate of the HTTP API in PEM, followed by those that it was signed with. With it and
    /// `tls_key` the API speaks HTTPS alone.
    pub tls_certificate: Option<PathBuf>,
    /// File with the certificate's key in PEM.
    pub tls_key: Option<PathBuf>,
    /// Networks of the proxies before this host, such as `10.0.0.0/8`: what they say in `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Whether the HTTP API and the dashboard refuse everything that would change something.
    pub read_only: bool,
    /// Link by which an artist connects an account again, such as `https://example.com/connect?artist={artist}`, with
    /// `{artist}`, `{account}` and `{platform}` for what it is about. Shown with accounts that need it.
    pub reconnect_url: Option<ReconnectUrl>,
    /// This host's name, unique on its database; made of the machine, the process and a random part unless given.
    pub name: Option<String>,
    /// Folder that outlives the process: a new token is written there before it is used. Unless given, the folder that
    /// systemd provides, or otherwise the user's folder for state.
    pub state_dir: Option<PathBuf>,
    /// Most batches of all platforms that this host runs at the same time.
    pub batches_max: u16,
    /// How long a stopping host waits for its batches before it hands them back, in milliseconds.
    pub stop_deadline_ms: u64,
    /// Lease time of the scheduler role, in milliseconds: another host takes it over from a dead one after it.
    pub leader_ttl_ms: u64,
    /// How often this host asks the database for work without a notification, in milliseconds.
    pub poll_ms: u64,
    /// How long the turn of a loop of the service may be overdue before the host is not ready, in milliseconds.
    pub stuck_after_ms: u64,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8321)),
            without_token: false,
            url: None,
            tls_certificate: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            read_only: false,
            reconnect_url: None,
            name: None,
            state_dir: None,
            batches_max: 16,
            stop_deadline_ms: 25_000,
            leader_ttl_ms: 15_000,
            poll_ms: 1_000,
            stuck_after_ms: 120_000,
        }
    }
}

impl ServiceConfig {
    /// The files of certificate and key, where the API speaks HTTPS.
    #[must_use]
    pub fn tls(&self) -> Option<(&Path, &Path)> {
        self.tls_certificate.as_deref().zip(self.tls_key.as_deref())
    }

    /// Where the dashboard is, without a slash at the end.
    #[must_use]
    pub fn dashboard(&self) -> Option<&str> {
        self.url.as_deref().map(|url| url.trim_end_matches('/'))
    }

    /// Refuses values out of range, and half of what belongs together.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.batches_max == 0 {
            return Err(("service.batches_max", "0 would never collect; write 1 or more".to_owned()));
        }
        if self.poll_ms == 0 {
            return Err(("service.poll_ms", "0 would ask the database without a pause; write 1 or more".to_owned()));
        }
        if self.stuck_after_ms < 1000 {
            let text = format!("{} is under a second, which a busy machine takes", self.stuck_after_ms);
            return Err(("service.stuck_after_ms", text));
        }
        if self.leader_ttl_ms < 1000 {
            let text =
                format!("{} is under a second; two hosts would take the role from each other", self.leader_ttl_ms);
            return Err(("service.leader_ttl_ms", text));
        }
        if let Some(url) = &self.url
            && !is_address(url)
        {
            let text = "it is not the address of a dashboard; write one such as https://backline.example.com, without \
                        parameters, user or password";
            return Err(("service.url", text.to_owned()));
        }
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => {
                Err(("service.tls_certificate", "there is no key to it; set service.tls_key too".to_owned()))
            }
            (None, Some(_)) => {
                Err(("service.tls_key", "there is no certificate to it; set service.tls_certificate too".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a text is the address of a place that pages are below.
fn is_address(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_plain = text.chars().all(|c| c.is_ascii_graphic() && !"\"'<>\\`".contains(c));
    let names_nobody = url.username().is_empty() && url.password().is_none();
    is_plain
        && names_nobody
        && matches!(url.scheme(), "https" | "http")
        && url.host().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_is_at_an_address_that_holds_nothing_else() {
        for good in ["https://backline.example.com", "http://10.0.0.7:8321/", "https://example.com/backline"] {
            assert!(is_address(good), "{good}");
        }
        for wrong in [
            "",
            "backline.example.com",
            "ftp://example.com",
            "javascript:alert(1)",
            "https://eve:secret@example.com",
            "https://example.com/?a=1",
            "https://example.com/#a",
            "https://example.com/\"><b>",
            "https://example.com/ a",
        ] {
            let config = ServiceConfig { url: Some(wrong.to_owned()), ..ServiceConfig::default() };
            assert_eq!(config.check().expect_err(wrong).0, "service.url");
        }
        let config =
            ServiceConfig { url: Some("https://example.com/backline/".to_owned()), ..ServiceConfig::default() };
        assert_eq!(config.dashboard(), Some("https://example.com/backline"));
    }
}
