//! What happened to one connector, as the API, the dashboard and the command line show it. What happened to an account
//! the store says by itself, which knows whether there is one.

use backline_store::{PlacedEntry, Store, StoreError, TimelineFilter};

/// What happened to the connector of a name and to its platform, the latest first; none where no release has the name.
///
/// # Errors
/// When the database fails.
pub async fn connector_timeline(
    store: &Store,
    name: &str,
    filter: &TimelineFilter,
) -> Result<Option<Vec<PlacedEntry>>, StoreError> {
    let releases = store.releases_list().await?;
    if !releases.iter().any(|release| release.manifest.connector.name == name) {
        return Ok(None);
    }
    Ok(Some(store.connector_timeline_list(name, filter).await?))
}
