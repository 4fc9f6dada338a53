//! Sends mail by SMTP: with the address check of every other request, and never without TLS.

mod bounded;

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use lettre::Message;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::TcpStream;
use url::Url;
use uuid::Uuid;

use self::bounded::Bounded;
use super::Gateway;
use super::address::{AddressError, Destination, is_public};
use super::secret_matcher::SecretMatcher;
use super::secrets::SecretText;
use backline_model::MailTarget;
use backline_model::origin::Origin;
use backline_model::text::one_line;

/// The port on which TLS comes before SMTP (RFC 8314).
const TLS_FIRST_PORT: u16 = 465;

/// Longest answer of a mail server that is told, in characters.
const ANSWER_MAX: usize = 300;

/// Why a mail was not sent. No text holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// It was refused for good, or can't be sent at all.
    #[error("{0}")]
    Refused(String),
    /// It was not handed over, for a reason that may pass.
    #[error("{0}")]
    NotSent(String),
    /// The connection broke while it was handed over, so that it may have arrived.
    #[error("{0}")]
    Unknown(String),
}

/// A mail to send.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// The server, and the people.
    pub target: &'a MailTarget,
    /// The password, for a target with a user.
    pub password: &'a SecretText,
    /// Id of the message: in its header, so that two with the same id are one.
    pub id: Uuid,
    /// The subject, without line breaks.
    pub subject: &'a str,
    /// The text.
    pub text: &'a str,
    /// The same as HTML, for programs that show it; none where the text alone is sent.
    pub html: Option<&'a str>,
    /// When it is sent.
    pub at: DateTime<Utc>,
}

impl Gateway {
    /// Refuses a target that no mail may be sent to, as far as this is known now: addresses that are none, a
    /// certificate that can't be read, or a server at an address that is not public. A name that can't be resolved
    /// passes; it is checked again whenever a mail is sent.
    ///
    /// # Errors
    /// [`MailError::Refused`] with what would allow it.
    pub async fn check_mail(&self, target: &MailTarget) -> Result<(), MailError> {
        if target.to.is_empty() {
            return Err(MailError::Refused("a mail needs a receiver".to_owned()));
        }
        let password = SecretText::new("");
        let at = self.core.clock.now();
        message(&Mail { target, password: &password, id: Uuid::nil(), subject: "", text: "", html: None, at })?;
        tls(target, &origin_of(target)?)?;
        match self.mail_addresses(target).await {
            Err(MailError::NotSent(_)) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Sends a mail once.
    ///
    /// # Errors
    /// [`MailError`] says whether it may have arrived.
    pub async fn send_mail(&self, mail: &Mail<'_>, timeout: Duration) -> Result<(), MailError> {
        let handed_over = AtomicBool::new(false);
        match tokio::time::timeout(timeout, self.hand_over(mail, timeout, &handed_over)).await {
            Ok(done) => done,
            Err(_) => {
                let text = format!("the mail server did not answer within {} ms", timeout.as_millis());
                let may_have_arrived = handed_over.load(Ordering::Relaxed);
                Err(if may_have_arrived { MailError::Unknown(text) } else { MailError::NotSent(text) })
            }
        }
    }

    async fn hand_over(&self, mail: &Mail<'_>, timeout: Duration, handed_over: &AtomicBool) -> Result<(), MailError> {
        let target = mail.target;
        let message = message(mail)?;
        let tls = tls(target, &origin_of(target)?)?;
        let addresses = self.mail_addresses(target).await?;
        let hello = ClientId::Domain(mailbox(&target.from)?.email.domain().to_owned());
        let secrets = SecretMatcher::new([mail.password.expose()]);
        let not_sent = |error: smtp::Error| MailError::NotSent(told(&error, &secrets));
        let (addresses, first) = (addresses.as_slice(), tls.clone());
        let connected = if target.port == TLS_FIRST_PORT {
            AsyncSmtpConnection::connect_tokio1(addresses, Some(timeout), &hello, Some(first), None).await
        } else {
            let stream = TcpStream::connect(addresses).await;
            let stream = stream.map_err(|error| MailError::NotSent(format!("there is no connection: {error}")))?;
            let bounded = Bounded::new(stream);
            AsyncSmtpConnection::connect_with_transport(Box::new(bounded), &hello).await
        };
        let mut connection = connected.map_err(not_sent)?;
        if !connection.is_encrypted() {
            // Where the server does not offer it, neither password nor message is sent: someone may have taken it out.
            let encrypted = connection.starttls(tls, &hello).await;
            encrypted.map_err(|error| MailError::NotSent(format!("TLS is required: {}", told(&error, &secrets))))?;
        }
        if let Some(user) = &target.user {
            let credentials = Credentials::new(user.clone(), mail.password.expose().to_owned());
            if let Err(error) = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await {
                connection.abort().await;
                // The server's own text may repeat what it was sent.
                let code = error.status().map_or_else(String::new, |code| format!(" ({code})"));
                let text = format!("the mail server does not take user and password{code}");
                return Err(if error.is_permanent() { MailError::Refused(text) } else { MailError::NotSent(text) });
            }
        }
        handed_over.store(true, Ordering::Relaxed);
        let sent = connection.send(message.envelope(), &message.formatted()).await;
        match sent {
            Ok(_) => {
                // It has arrived, however the connection ends.
                let _ = connection.quit().await;
                Ok(())
            }
            // An answer says that the server did not take it.
            Err(error) if error.is_transient() => Err(MailError::NotSent(told(&error, &secrets))),
            Err(error) if error.is_permanent() || error.is_client() => Err(MailError::Refused(told(&error, &secrets))),
            Err(error) => Err(MailError::Unknown(told(&error, &secrets))),
        }
    }

    /// The addresses of a mail server that was looked up once: exactly these are connected to.
    async fn mail_addresses(&self, target: &MailTarget) -> Result<Vec<SocketAddr>, MailError> {
        let origin = origin_of(target)?;
        let refused = |error: AddressError| MailError::Refused(error.to_string());
        let destination = self.core.addresses.destination(&origin).map_err(refused)?;
        let host = origin.host().trim_matches(['[', ']']);
        let found = tokio::net::lookup_host((host, target.port)).await;
        let found: Vec<SocketAddr> =
            found.map_err(|error| MailError::NotSent(format!("{host} can't be looked up: {error}")))?.collect();
        match destination {
            Destination::Exempt => Ok(found),
            Destination::Public => match found.iter().find(|address| !is_public(address.ip())) {
                Some(address) => Err(refused(AddressError::of(host, target.port, address.ip()))),
                None => Ok(found),
            },
            Destination::Route(_) => Err(MailError::Refused(format!(
                "routes under [gateway] are for HTTP; name \"{origin}\" under exempt instead"
            ))),
        }
    }
}

/// The origin that exemptions name a mail server by.
fn origin_of(target: &MailTarget) -> Result<Origin, MailError> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let wrong = |problem: String| MailError::Refused(format!("the mail server can't be used: {problem}"));
    if !target.server.chars().all(is_name) {
        return Err(wrong(format!("'{}' is not the name of a host", one_line(&target.server))));
    }
    let url = Url::parse(&format!("https://{}:{}", target.server, target.port));
    let url = url.map_err(|error| wrong(error.to_string()))?;
    Origin::of(&url).map_err(|error| wrong(error.to_string()))
}

/// What verifies the server: its certificate bears the name that was given, whatever address it is at.
fn tls(target: &MailTarget, origin: &Origin) -> Result<TlsParameters, MailError> {
    let refused = |error: smtp::Error| MailError::Refused(format!("TLS can't be set up: {error}"));
    let mut builder = TlsParameters::builder(origin.host().trim_matches(['[', ']']).to_owned());
    if let Some(pem) = &target.ca {
        builder = builder.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(refused)?);
    }
    builder.build_rustls().map_err(refused)
}

fn message(mail: &Mail<'_>) -> Result<Message, MailError> {
    let from = mailbox(&mail.target.from)?;
    let id = format!("<{}@{}>", mail.id, from.email.domain());
    let mut builder = Message::builder()
        .from(from)
        .subject(one_line(mail.subject))
        .date(SystemTime::from(mail.at))
        .message_id(Some(id));
    for to in &mail.target.to {
        builder = builder.to(mailbox(to)?);
    }
    let text = mail.text.to_owned();
    let whole = match mail.html {
        None => builder.header(ContentType::TEXT_PLAIN).body(text),
        Some(html) => builder.multipart(MultiPart::alternative_plain_html(text, html.to_owned())),
    };
    whole.map_err(|error| MailError::Refused(format!("the mail can't be written: {error}")))
}

fn mailbox(text: &str) -> Result<Mailbox, MailError> {
    text.parse().map_err(|_| MailError::Refused(format!("'{}' is not a mail address", one_line(text))))
}

/// What a mail server said, as one line. It may repeat the password that it was sent, in any form, so its text is
/// searched before it is cut.
fn told(error: &impl Display, secrets: &SecretMatcher) -> String {
    one_line(&secrets.blank_text(&error.to_string())).chars().take(ANSWER_MAX).collect()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn what_a_server_repeats_of_the_password_is_not_told() {
        let password = "canary-mail-password";
        let secrets = SecretMatcher::new([password]);
        let sent = STANDARD.encode(format!("\0someone\0{password}"));
        for repeated in [password.to_owned(), sent] {
            // Across the end of what is told, too.
            for before in [0, ANSWER_MAX - 10] {
                let told = told(&format!("550 {} {repeated}\n no", "-".repeat(before)), &secrets);
                assert!(told.starts_with("550 ") && told.chars().count() <= ANSWER_MAX, "{told}");
                let part = &repeated[repeated.len() - 12..repeated.len() - 4];
                assert!(!told.contains("canar") && !told.contains(part), "{told}");
            }
        }
        assert_eq!(told(&"550 no\r\nsuch user", &SecretMatcher::new([""])), one_line("550 no\r\nsuch user"));
    }
}
