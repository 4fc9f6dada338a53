//! TLS: one cryptography for the whole process, which libraries without one of their own ask for, and what clients of
//! platforms trust.

use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;

/// Has every TLS connection of the process encrypted by ring. The HTTP libraries are built with no provider, and panic
/// without this one.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub(super) fn provide_cryptography() {
    // Fails if a provider is already installed, which is equally good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// How connections for HTTP/1.1 are secured: as the HTTP library does it by itself, by the certificates that the system
/// trusts. It would read all of them, hundreds of files, once for each client.
///
/// # Errors
/// If the system has no certificate.
pub(super) fn client_tls() -> Result<ClientConfig, rustls::Error> {
    provide_cryptography();
    let mut config = ClientConfig::builder().with_platform_verifier()?.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_for_http_1_alone_and_name_their_host() {
        let config = client_tls().expect("the system has certificates");
        assert_eq!(config.alpn_protocols, [b"http/1.1"]);
        assert!(config.enable_sni);
    }
}
