//! Where a database is: a file, or a server.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::str::FromStr as _;

use sqlx::ConnectOptions as _;
use sqlx::any::AnyConnectOptions;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use crate::database::dialect::DatabaseKind;
use crate::database::error::StoreError;

/// Where a database is.
pub(crate) enum DatabasePlace {
    File(String),
    Server(Url),
}

/// Checks that a URL names a database that could be opened. Nothing is opened.
///
/// # Errors
/// When it names none. No error holds the password.
pub fn url_check(url: &str) -> Result<(), StoreError> {
    DatabasePlace::parse(url).map(drop)
}

impl DatabasePlace {
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        let url = url.trim();
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return match Url::parse(url) {
                Ok(url) => Ok(Self::Server(url)),
                // `url`'s errors name the kind of mistake, never the text.
                Err(error) => Err(StoreError::Url { problem: error.to_string() }),
            };
        }
        let path = match url.strip_prefix("sqlite:") {
            Some(rest) => {
                let rest = rest.strip_prefix("//").unwrap_or(rest);
                rest.split_once('?').map_or(rest, |(path, _)| path)
            }
            None => match url.split_once("://") {
                Some((scheme, _)) => return Err(StoreError::UnknownScheme { given: format!("{scheme}://") }),
                None => url,
            },
        };
        if path == ":memory:" || url.contains("mode=memory") {
            return Err(StoreError::InMemory);
        }
        if path.is_empty() {
            return Err(StoreError::UnknownScheme { given: url.to_owned() });
        }
        Ok(Self::File(path.to_owned()))
    }

    pub(crate) fn kind(&self) -> DatabaseKind {
        match self {
            Self::File(_) => DatabaseKind::Sqlite,
            Self::Server(_) => DatabaseKind::Postgres,
        }
    }

    /// What a connection takes; it makes a file that is missing.
    pub(crate) fn options(&self) -> Result<AnyConnectOptions, StoreError> {
        self.options_in_mode("rwc")
    }

    /// What a connection takes that writes nothing to a file and makes none.
    pub(crate) fn reading_options(&self) -> Result<AnyConnectOptions, StoreError> {
        self.options_in_mode("ro")
    }

    fn options_in_mode(&self, mode: &str) -> Result<AnyConnectOptions, StoreError> {
        match self {
            Self::File(path) => {
                let absolute = std::path::absolute(Path::new(path))
                    .map_err(|source| StoreError::File { path: path.clone(), source: sqlx::Error::Io(source) })?;
                // Only what would end the path or be decoded needs escaping.
                let escaped = absolute
                    .to_string_lossy()
                    .replace('%', "%25")
                    .replace('?', "%3F")
                    .replace('#', "%23")
                    .replace(' ', "%20");
                AnyConnectOptions::from_str(&format!("sqlite://{escaped}?mode={mode}"))
                    .map_err(|source| StoreError::File { path: path.clone(), source })
            }
            Self::Server(url) => AnyConnectOptions::from_url(url).map_err(|source| self.refused(source)),
        }
    }

    /// Makes a file that is missing, for its owner alone whatever the umask: SQLite gives the files beside it the same
    /// mode.
    pub(crate) fn make_private(&self) -> Result<(), StoreError> {
        let Self::File(path) = self else { return Ok(()) };
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(StoreError::File { path: path.clone(), source: sqlx::Error::Io(error) })
            }
            _ => Ok(()),
        }
    }

    /// What a connection of PostgreSQL's own kind takes; none for a file.
    pub(crate) fn server(&self) -> Result<Option<PgConnectOptions>, StoreError> {
        match self {
            Self::File(_) => Ok(None),
            Self::Server(url) => PgConnectOptions::from_url(url).map(Some).map_err(|source| self.refused(source)),
        }
    }

    /// What to say when the first connection fails.
    pub(crate) fn refused(&self, source: sqlx::Error) -> StoreError {
        match self {
            Self::File(path) => StoreError::File { path: path.clone(), source },
            Self::Server(_) => StoreError::Unreachable { place: self.shown(), source },
        }
    }

    /// The place without user and password.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::File(path) => path.clone(),
            Self::Server(url) => {
                let host = url.host_str().filter(|host| !host.is_empty()).unwrap_or("localhost");
                format!("{host}:{}{}", url.port().unwrap_or(5432), url.path())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_its_owners_alone_and_an_old_one_stays() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("backline.db");
        let place = DatabasePlace::File(path.to_string_lossy().into_owned());
        place.make_private().expect("made");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "kept").expect("written");
        place.make_private().expect("it is there");
        assert_eq!(std::fs::read(&path).expect("read"), b"kept");
    }

    #[test]
    fn places_are_told_apart_and_wrong_ones_refused() {
        let file = |url: &str| match DatabasePlace::parse(url) {
            Ok(DatabasePlace::File(path)) => path,
            _ => panic!("{url} should be a file"),
        };
        assert_eq!(file("backline.db"), "backline.db");
        assert_eq!(file("sqlite://backline.db?mode=rwc"), "backline.db");
        assert_eq!(file("sqlite:///var/lib/backline.db"), "/var/lib/backline.db");
        assert_eq!(file("sqlite:data/backline.db"), "data/backline.db");
        assert!(matches!(DatabasePlace::parse("postgresql://x@h/db"), Ok(DatabasePlace::Server(_))));

        for (url, is_one) in [("backline.db", true), ("postgres://x@h/db", true), ("mysql://h/db", false), ("", false)]
        {
            assert_eq!(url_check(url).is_ok(), is_one, "{url}");
        }
        for memory in [":memory:", "sqlite::memory:", "sqlite://:memory:", "sqlite://x?mode=memory"] {
            assert!(matches!(DatabasePlace::parse(memory), Err(StoreError::InMemory)), "{memory}");
        }
        let Err(error) = DatabasePlace::parse("mysql://root:canary@localhost/x") else {
            panic!("mysql is not supported")
        };
        assert!(error.to_string().contains("mysql://") && !error.to_string().contains("canary"), "{error}");
        let Err(error) = DatabasePlace::parse("postgres://u:canary@[nonsense/x") else { panic!("not a URL") };
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}
