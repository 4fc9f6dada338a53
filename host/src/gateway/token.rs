//! Making secrets fresh: token exchange, refresh, and developer tokens the host signs itself.

use super::Core;
use super::error::TokenError;
use crate::domain::manifest::CredentialSlot;
use crate::secrets::Secret;

/// Makes a secret fresh, by its kind.
pub(super) async fn refresh(_core: &Core, slot: &CredentialSlot, _client: Option<&Secret>, _secret: &Secret) -> Result<Secret, TokenError> {
    Err(TokenError::NotRefreshable(slot.kind))
}
