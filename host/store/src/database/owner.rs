//! Whose a database file is: found out before anything of it is written, migrated or claimed.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use sqlx::{AnyConnection, ConnectOptions as _, Connection as _, Executor as _, Row as _};

use crate::database::connection::Store;
use crate::database::dialect::DatabaseKind;
use crate::database::error::StoreError;
use crate::database::limits::{self, StoreLimits};
use crate::database::place::DatabasePlace;
use backline_model::InstallationId;

/// Table in which the applied migrations stand.
const MIGRATED: &str = "_sqlx_migrations";

/// Whose a database file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOwner {
    /// No one's: there is no file yet, or it has no table of others and no artist.
    NoOne,
    /// An installation's, which has claimed it.
    Installation(InstallationId),
    /// Another program's, or that of a Backline which has artists in it and claimed it for no installation.
    Unknown,
}

impl Store {
    /// Whose the database file at a URL is. The file is only read, whatever its schema, and not made where it is
    /// missing. A server's database is not looked at, and is [`FileOwner::Unknown`].
    ///
    /// # Errors
    /// When the URL names no database, or the file can't be read or is no database.
    pub async fn file_owner_get(url: &str) -> Result<FileOwner, StoreError> {
        sqlx::any::install_default_drivers();
        let place = DatabasePlace::parse(url)?;
        let DatabasePlace::File(path) = &place else { return Ok(FileOwner::Unknown) };
        match std::fs::metadata(path) {
            Ok(file) if file.len() > 0 => {}
            Ok(_) => return Ok(FileOwner::NoOne),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(FileOwner::NoOne),
            Err(error) => return Err(place.refused(sqlx::Error::Io(error))),
        }
        let options = place.reading_options()?;
        let found = async {
            let mut connection = options.connect().await?;
            let found = owner_in(&mut connection).await;
            let closed = connection.close().await;
            found.and_then(|owner| closed.map(|()| owner))
        };
        let limit = StoreLimits::default().opening(DatabaseKind::Sqlite);
        limits::within(limit, found).await.map_err(|source| place.refused(source))
    }
}

async fn owner_in(connection: &mut AnyConnection) -> Result<FileOwner, sqlx::Error> {
    let rows = connection
        .fetch_all("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite^_%' ESCAPE '^'")
        .await?;
    let tables = rows.iter().map(|row| row.try_get::<String, _>("name")).collect::<Result<BTreeSet<String>, _>>()?;
    // A first migration that was broken off leaves the list of migrations alone.
    if tables.iter().all(|name| name == MIGRATED) {
        return Ok(FileOwner::NoOne);
    }
    if !tables.contains(MIGRATED) || !tables.contains("artists") {
        return Ok(FileOwner::Unknown);
    }
    if tables.contains("installation")
        && let Some(row) = connection.fetch_optional("SELECT id FROM installation WHERE number = 1").await?
    {
        let id: String = row.try_get("id")?;
        return Ok(id.parse().map_or(FileOwner::Unknown, FileOwner::Installation));
    }
    let artist = connection.fetch_optional("SELECT 1 AS one FROM artists LIMIT 1").await?;
    Ok(if artist.is_none() { FileOwner::NoOne } else { FileOwner::Unknown })
}
