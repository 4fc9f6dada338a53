//! The cryptography of TLS: one for the whole process, which libraries without one of their own ask for.

/// Has every TLS connection of the process encrypted by ring. The HTTP libraries are built with no provider, and panic
/// without this one.
#[expect(clippy::disallowed_methods, reason = "the one place that may")]
pub(super) fn provide_cryptography() {
    // Fails if a provider is already installed, which is equally good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
