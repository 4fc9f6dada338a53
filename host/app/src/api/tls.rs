//! HTTPS: the certificate and its key are two files, which are read again when they change.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor, TlsConnector, client};

use crate::pipeline::{Classified, ErrorClass};

/// What is spoken over TLS, by the names of ALPN.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How often the files are looked at.
const LOOKED_EVERY: Duration = Duration::from_secs(10);

/// Why the files can't be used. No text holds anything of the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{set}: {} can't be read", path.display())]
    Read {
        /// The configuration key that names it.
        set: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        #[source]
        source: io::Error,
    },
    /// The key is no secret.
    #[error("service.tls_key: {} can be read by every user of this machine; run `chmod o=` on it", path.display())]
    Open {
        /// Path of the file.
        path: PathBuf,
    },
    /// A file holds something else.
    #[error("{set}: {} holds no {what} in PEM", path.display())]
    Content {
        /// The configuration key that names it.
        set: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error(
        "{} and {} can't be used together; service.tls_key names the key of the first certificate in \
         service.tls_certificate",
        certificate.display(),
        key.display()
    )]
    Pair {
        /// Path of the certificate.
        certificate: PathBuf,
        /// Path of its key.
        key: PathBuf,
        /// What is wrong with them.
        #[source]
        source: rustls::Error,
    },
}

impl Classified for TlsError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Refused
    }
}

/// Certificate and key, as they were read last. Cloning shares them.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    acceptor: RwLock<TlsAcceptor>,
    /// What the files looked like when they were read, also if what they held could not be used.
    seen: Mutex<[Option<Stamp>; 2]>,
}

/// What changes about a file when it is written or replaced.
type Stamp = (u64, u64, Option<SystemTime>);

impl Tls {
    /// Reads a certificate, with those that it was signed with, and its key.
    ///
    /// # Errors
    /// When the files can't be read, every user can read the key, or the two do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let seen = Mutex::new([stamp(certificate), stamp(key)]);
        let acceptor = RwLock::new(acceptor(certificate, key)?);
        Ok(Self(Arc::new(Shared { certificate: certificate.to_owned(), key: key.to_owned(), acceptor, seen })))
    }

    /// Reads the files again. New connections get what they hold now; those that are open keep what they have.
    ///
    /// # Errors
    /// As [`read`](Self::read); what was read before stays in force then.
    pub fn read_again(&self) -> Result<(), TlsError> {
        let Shared { certificate, key, .. } = &*self.0;
        // Before the files: what is written meanwhile is found the next time.
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = [stamp(certificate), stamp(key)];
        let read = acceptor(certificate, key)?;
        *self.0.acceptor.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// Reads the files again when they have changed, for as long as this is polled.
    pub(super) async fn follow(&self) {
        let mut looks = tokio::time::interval(LOOKED_EVERY);
        loop {
            looks.tick().await;
            if self.has_changed() {
                self.tell(self.read_again());
            }
        }
    }

    /// Logs how reading the files again ended.
    pub fn tell(&self, read: Result<(), TlsError>) {
        let certificate = self.0.certificate.display();
        match read {
            Ok(()) => tracing::info!(%certificate, "the certificate was read again"),
            Err(error) => {
                let problem = crate::pipeline::with_causes(&error);
                tracing::error!(problem, "the certificate was not read again; the old one stays in force");
            }
        }
    }

    fn has_changed(&self) -> bool {
        let now = [stamp(&self.0.certificate), stamp(&self.0.key)];
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) != now
    }

    fn accept(&self, stream: TcpStream) -> Accept<TcpStream> {
        self.0.acceptor.read().unwrap_or_else(PoisonError::into_inner).accept(stream)
    }
}

/// None where the file is not there.
fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;

    let data = std::fs::metadata(path).ok()?;
    Some((data.ino(), data.len(), data.modified().ok()))
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let set = "service.tls_certificate";
    let no_content = |set, path: &Path, what| TlsError::Content { set, path: path.to_owned(), what };
    let (text, _) = content(set, certificate)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| no_content(set, certificate, "certificate"))?;
    let set = "service.tls_key";
    let (text, data) = content(set, key)?;
    let text = zeroize::Zeroizing::new(text);
    if is_open_to_all(&data) {
        return Err(TlsError::Open { path: key.to_owned() });
    }
    // What is wrong with it is not said: the words would be of the key.
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|_| no_content(set, key, "private key"))?;
    let mismatch = |source| TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(mismatch)?.with_no_client_auth().with_single_cert(chain, private);
    let mut config = config.map_err(mismatch)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn content(set: &'static str, path: &Path) -> Result<(Vec<u8>, Metadata), TlsError> {
    let failed = |source| TlsError::Read { set, path: path.to_owned(), source };
    let data = std::fs::metadata(path).map_err(failed)?;
    if data.len() > FILE_BYTES_MAX {
        return Err(failed(io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"))));
    }
    Ok((std::fs::read(path).map_err(failed)?, data))
}

/// Whether every user of the machine can read or write the file. A group may: certificates are often kept for one.
fn is_open_to_all(data: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    data.mode() & 0o006 != 0
}

/// TLS on a connection to a host at the address that it is configured to listen on, for a health check. Any certificate
/// does: nothing secret is sent, and a host that keeps its old one because the new one is wrong is still ready.
///
/// # Errors
/// When what listens there does not speak TLS.
pub async fn to_own_host(stream: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.signature_verification_algorithms));
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(io::Error::other)?.dangerous().with_custom_certificate_verifier(verifier);
    let name = ServerName::from(stream.peer_addr()?.ip());
    TlsConnector::from(Arc::new(config.with_no_client_auth())).connect(name, stream).await
}

/// Takes every certificate whose key the other side has.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The bytes of a connection, as they are or over TLS. The handshake is a part of reading, so that no other connection
/// waits for it to be accepted.
pub(super) enum Wire {
    /// As they are.
    Plain(TcpStream),
    /// The handshake is under way.
    Shaking(Box<Accept<TcpStream>>),
    /// Over TLS.
    Secured(Box<TlsStream<TcpStream>>),
    /// The handshake failed.
    Failed,
}

impl Wire {
    /// The bytes of an accepted connection.
    pub(super) fn new(stream: TcpStream, tls: Option<&Tls>) -> Self {
        match tls {
            Some(tls) => Self::Shaking(Box::new(tls.accept(stream))),
            None => Self::Plain(stream),
        }
    }

    /// Goes on with the handshake until it is over.
    fn shake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self::Shaking(shaking) = self else { return Poll::Ready(Ok(())) };
        match ready!(Pin::new(&mut **shaking).poll(context)) {
            Ok(stream) => {
                *self = Self::Secured(Box::new(stream));
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                *self = Self::Failed;
                tracing::debug!(%error, "a client and this host did not agree on TLS");
                Poll::Ready(Err(error))
            }
        }
    }
}

/// An error of a connection whose handshake has not come to an end.
fn not_secured() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.shake(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secured(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
            Self::Shaking(_) | Self::Failed => Poll::Ready(Err(not_secured())),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.shake(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secured(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
            Self::Shaking(_) | Self::Failed => Poll::Ready(Err(not_secured())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.shake(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Secured(stream) => Pin::new(&mut **stream).poll_write_vectored(context, slices),
            Self::Shaking(_) | Self::Failed => Poll::Ready(Err(not_secured())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secured(stream) => stream.is_write_vectored(),
            Self::Shaking(_) | Self::Failed => false,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secured(stream) => Pin::new(&mut **stream).poll_flush(context),
            // Nothing was written yet.
            Self::Shaking(_) | Self::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secured(stream) => Pin::new(&mut **stream).poll_shutdown(context),
            Self::Shaking(_) | Self::Failed => Poll::Ready(Ok(())),
        }
    }
}
