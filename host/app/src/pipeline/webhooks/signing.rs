//! Signs messages to webhooks with the secrets that hold at the time.

use std::sync::Arc;

use uuid::Uuid;

use crate::pipeline::credentials::installation::is_simulated;
use crate::pipeline::credentials::manager::CredentialError;
use crate::pipeline::error::{Classified, ErrorClass};
use backline_gateway::secrets::{Keyring, SecretError, WebhookSecret};
use backline_model::WebhookId;
use backline_model::clock::Clock;
use backline_store::{Scope, Store, StoreError};

/// The header of a message about simulated artists and numbers; its value is `true`.
const SIMULATED: &str = "backline-simulated";

/// Why a message was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No key is configured.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The webhook's secret can't be opened.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Classified for SignError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Store(error) => error.class(),
            Self::Credential(error) => error.class(),
            Self::Secret(_) => ErrorClass::Refused,
        }
    }
}

/// Signs messages. Cloning shares it.
#[derive(Clone)]
pub(in crate::pipeline) struct Signer {
    clock: Clock,
    store: Store,
    keyring: Option<Arc<Keyring>>,
}

impl Signer {
    pub(in crate::pipeline) fn new(clock: Clock, store: Store, keyring: Option<Arc<Keyring>>) -> Self {
        Self { clock, store, keyring }
    }

    /// The keys that seal and open webhooks' secrets.
    pub(super) fn keyring(&self) -> Result<&Keyring, CredentialError> {
        self.keyring.as_deref().ok_or(CredentialError::NoKey)
    }

    /// The headers of a message: its id, the time of this attempt, one signature for each valid secret, and whether all
    /// that it tells is simulated.
    pub(super) async fn headers(
        &self,
        webhook: WebhookId,
        id: Uuid,
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>, SignError> {
        let keyring = self.keyring()?;
        let gone = || StoreError::NotFound { what: "webhook", id: webhook.to_string() };
        let sealed = self.store.webhook_secrets_get(&Scope::all_tenants(), webhook).await?.ok_or_else(gone)?;
        let now = self.clock.now();
        let (id, timestamp) = (id.to_string(), now.timestamp());
        let mut signatures = vec![WebhookSecret::open(keyring, &sealed.secret, webhook)?.sign(&id, timestamp, body)];
        if let Some((previous, until)) = sealed.previous
            && now < until
        {
            signatures.push(WebhookSecret::open(keyring, &previous, webhook)?.sign(&id, timestamp, body));
        }
        let mut headers = vec![
            ("webhook-id", id),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", signatures.join(" ")),
        ];
        if is_simulated(&self.store).await? {
            headers.push((SIMULATED, "true".to_owned()));
        }
        Ok(headers)
    }
}
