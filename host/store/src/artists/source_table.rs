//! Reading a table that is not Backline's: the artist platform's own, through a query of the operator's. Nothing is
//! ever written there.
//!
//! Each row comes as one JSON object, which the database itself makes, so that columns of any type can be read.

use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value as Json};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Executor as _, Postgres, Row as _,
    SqlSafeStr as _, Statement as _,
};

use crate::database::error::{During as _, StoreError};
use crate::database::limits::{self, StoreLimits, answer_within};
use crate::database::place::DatabasePlace;

/// What a wait for the other database is for.
const READ: &str = "read the table to sync";

/// Reads the next rows of a query on a server. Each page is a statement of its own, so that the server's limit counts
/// the time that it takes for them, and not the time that is spent on rows that were read.
const NEXT_PAGE: &str = "FETCH FORWARD 500 FROM backline_rows";

/// PostgreSQL's code of a statement that it ended: it took longer than the limit that is set here, or an operator
/// cancelled it.
const CANCELLED: &str = "57014";

/// The columns of Backline's own table of artists.
const OWN_COLUMNS: [&str; 9] = [
    "id",
    "name",
    "tenant",
    "subscription_status",
    "data_collection_enabled",
    "timezone",
    "origin",
    "created_at",
    "updated_at",
];

/// Whether a table with these columns is Backline's own table of artists.
#[must_use]
pub fn is_own_table(columns: &[String]) -> bool {
    columns.len() == OWN_COLUMNS.len() && columns.iter().all(|name| OWN_COLUMNS.contains(&name.as_str()))
}

/// A row of the source.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignRow {
    /// The columns with their values.
    pub fields: Map<String, Json>,
    /// A column whose text is not UTF-8; the characters that it lacks are replaced in its value.
    pub not_text: Option<String>,
}

/// A database that is only read, in one transaction. Each wait for it has a limit: it may be away, silent, or locked by
/// its own platform's migration.
pub struct ForeignSource {
    connection: Connection,
    limits: StoreLimits,
}

enum Connection {
    File(SqliteConnection),
    Server(PgConnection),
}

impl ForeignSource {
    /// Opens a database for reading.
    ///
    /// # Errors
    /// When the URL names none, or it can't be opened within [`StoreLimits::connect`]. No error holds the password.
    pub async fn open(url: &str, limits: StoreLimits) -> Result<Self, StoreError> {
        let place = DatabasePlace::parse(url)?;
        let limit = limits.opening(place.kind());
        let opened = match (&place, place.server()?) {
            (DatabasePlace::File(path), _) => {
                limits::within(limit, open_file(path, limits)).await.map(Connection::File)
            }
            (DatabasePlace::Server(_), Some(options)) => {
                limits::within(limit, open_server(&options, limits)).await.map(Connection::Server)
            }
            (DatabasePlace::Server(_), None) => {
                return Err(StoreError::UnknownScheme { given: "postgres".to_owned() });
            }
        };
        let connection = opened.map_err(|source| place.refused(source))?;
        Ok(Self { connection, limits })
    }

    /// The columns of a table as its name is understood there; empty where there is none.
    ///
    /// # Errors
    /// When the database fails, or does not answer within [`StoreLimits::statement`].
    pub async fn table_columns(&mut self, table: &'static str) -> Result<Vec<String>, StoreError> {
        let limit = self.limits.statement;
        match &mut self.connection {
            Connection::File(connection) => {
                let query = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(table);
                answer_within(limit, READ, query.fetch_all(connection)).await
            }
            Connection::Server(connection) => {
                let query = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0
                             AND NOT attisdropped ORDER BY attnum";
                let query = sqlx::query_scalar(query).bind(table);
                let names = answer_within(limit, READ, query.fetch_all(connection)).await;
                names.map_err(|error| in_time(error, limit))
            }
        }
    }

    /// The names of the columns a query returns with.
    ///
    /// # Errors
    /// [`StoreError::ForeignQuery`] when the database refuses the query, [`StoreError::Query`] when it is away,
    /// [`StoreError::NoAnswer`] when it does not answer within [`StoreLimits::statement`].
    pub async fn query_columns(&mut self, query: &str) -> Result<Vec<String>, StoreError> {
        // The operator's own configuration: its author has the database's password too. The transaction only
        // reads.
        let text = AssertSqlSafe(format!("SELECT * FROM ({}\n) AS q", trimmed(query))).into_sql_str();
        let limit = self.limits.statement;
        let names = match &mut self.connection {
            Connection::File(connection) => answer_within(limit, READ, connection.prepare(text))
                .await
                .map(|statement| statement.columns().iter().map(|column| column.name().to_owned()).collect()),
            Connection::Server(connection) => answer_within(limit, READ, connection.prepare(text))
                .await
                .map(|statement| statement.columns().iter().map(|column| column.name().to_owned()).collect()),
        };
        names.map_err(|error| foreign(error, limit))
    }

    /// The rows of a query with these columns, one after the other: no more than one page is held. A row of a file, and
    /// a page of a server's rows, may take [`StoreLimits::source_page`], since the first one may come only after the
    /// whole table was sorted or grouped; nothing follows what did not come in time.
    pub fn rows<'a>(&'a mut self, query: &str, columns: &[String]) -> BoxStream<'a, Result<ForeignRow, StoreError>> {
        let (short, limit) = (self.limits.statement, self.limits.source_page());
        // As above: the operator's own query.
        match &mut self.connection {
            Connection::File(connection) => {
                let pairs: Vec<String> = columns.iter().map(|name| sqlite_pair(name)).collect();
                let text = format!("SELECT json_object({}) AS row FROM ({}\n) AS q", pairs.join(", "), trimmed(query));
                let rows = sqlx::query(AssertSqlSafe(text)).fetch(connection);
                // A file may hold any bytes as text.
                let bytes = |row: SqliteRow| row.try_get::<Vec<u8>, _>(0).during(READ);
                let rows = limits::rows_within(limit, READ, rows);
                rows.map(move |row| object(row.and_then(bytes).map_err(|error| foreign(error, limit))?)).boxed()
            }
            Connection::Server(connection) => {
                let query = trimmed(query);
                let text = format!(
                    "DECLARE backline_rows NO SCROLL CURSOR FOR SELECT to_jsonb(q)::text AS row FROM ({query}\n) AS q"
                );
                let pages = stream::try_unfold((connection, Some(text)), move |(connection, text)| async move {
                    if let Some(text) = text {
                        // A statement that is prepared is one statement, whatever the query holds.
                        let declare = sqlx::query::<Postgres>(AssertSqlSafe(text)).persistent(false);
                        let declare = declare.execute(&mut *connection);
                        answer_within(short, READ, declare).await.map_err(|error| foreign(error, short))?;
                        let statement = server_ms(limit);
                        let pages = AssertSqlSafe(format!("SET LOCAL statement_timeout = {statement}"));
                        let set = answer_within(short, READ, connection.execute(pages)).await;
                        set.map_err(|error| foreign(error, short))?;
                    }
                    let page = answer_within(limit, READ, connection.fetch_all(NEXT_PAGE)).await;
                    let page = page.map_err(|error| foreign(error, limit))?;
                    Ok::<_, StoreError>((!page.is_empty()).then_some((page, (connection, None))))
                });
                let text = move |row: PgRow| {
                    let text = row.try_get::<String, _>(0).during(READ);
                    text.map_err(|error| foreign(error, limit))
                };
                let read = move |row| object(text(row)?.into_bytes());
                pages.map_ok(move |page| stream::iter(page.into_iter().map(read))).try_flatten().boxed()
            }
        }
    }

    /// Ends the transaction and closes the connection.
    ///
    /// # Errors
    /// When the database fails, or does not answer within [`StoreLimits::connect`].
    pub async fn close(self) -> Result<(), StoreError> {
        let limit = self.limits.connect;
        let closed = match self.connection {
            Connection::File(connection) => limits::within(limit, connection.close()).await,
            Connection::Server(connection) => limits::within(limit, connection.close()).await,
        };
        closed.during("close the database to sync from")
    }
}

async fn open_file(path: &str, limits: StoreLimits) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(limits.lock);
    let mut connection = options.connect().await?;
    connection.execute("BEGIN").await?;
    Ok(connection)
}

/// The server's own limit of a statement, in milliseconds. The server ends a statement a little before it is given up
/// here: it tells why then, and does not go on with it.
fn server_ms(limit: Duration) -> u128 {
    limit.mul_f64(0.9).as_millis()
}

async fn open_server(options: &PgConnectOptions, limits: StoreLimits) -> Result<PgConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    let (statement, lock) = (server_ms(limits.statement), limits.lock.as_millis());
    // Between two pages the transaction stands still while the rows are compared.
    let still = limits.long_statement.as_millis();
    // For this transaction, so that a pooler hands none of it to others. Those that the server has: it is not
    // Backline's, and need not be a recent PostgreSQL. All rows are wanted, and not the first ones soon.
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
         SELECT set_config(s.name, w.value, true)
         FROM (VALUES ('statement_timeout', '{statement}'), ('lock_timeout', '{lock}'),
                 ('idle_in_transaction_session_timeout', '{still}'),
                 ('tcp_keepalives_idle', '15'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'),
                 ('tcp_user_timeout', '45000'), ('cursor_tuple_fraction', '1')) AS w (name, value)
             JOIN pg_settings s ON s.name = w.name"
    );
    connection.execute(AssertSqlSafe(begin)).await?;
    Ok(connection)
}

/// A statement that the server ended by its limit has the error of one that is given up here: it names the limit.
fn in_time(error: StoreError, limit: Duration) -> StoreError {
    match error {
        StoreError::Query { what, source: sqlx::Error::Database(told) }
            if told.code().as_deref() == Some(CANCELLED) =>
        {
            StoreError::no_answer(what, limit)
        }
        other => other,
    }
}

/// The error of the operator's query, or of a database that is away while it is run: that says nothing about the query.
fn foreign(error: StoreError, limit: Duration) -> StoreError {
    match in_time(error, limit) {
        away if away.is_transient() => away,
        StoreError::Query { source, .. } => StoreError::ForeignQuery { source },
        other => other,
    }
}

/// A row from the JSON of its columns. A column whose bytes are not UTF-8 loses its row, and no other one.
fn object(bytes: Vec<u8>) -> Result<ForeignRow, StoreError> {
    let (text, is_text) = match String::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), false),
    };
    let fields: Map<String, Json> =
        serde_json::from_str(&text).map_err(|error| crate::database::dialect::unreadable("row", error.to_string()))?;
    let is_odd = |value: &Json| value.as_str().is_some_and(|text| text.contains(char::REPLACEMENT_CHARACTER));
    let odd = || fields.iter().find(|(_, value)| is_odd(value)).map_or("row", |(name, _)| name.as_str()).to_owned();
    let not_text = (!is_text).then(odd);
    Ok(ForeignRow { fields, not_text })
}

/// A name and its value for `json_object`. Bytes are no JSON; ids are kept as such at times. Neither is an infinite
/// number, which SQLite writes as one that is too large to be read.
fn sqlite_pair(name: &str) -> String {
    let (text, identifier) = (name.replace('\'', "''"), name.replace('"', "\"\""));
    let column = format!("q.\"{identifier}\"");
    format!(
        "'{text}', CASE WHEN typeof({column}) = 'blob' THEN lower(hex({column})) \
         WHEN typeof({column}) = 'real' AND abs({column}) > 1.7976931348623157e308 THEN CAST({column} AS TEXT) \
         ELSE {column} END"
    )
}

/// A query as it can stand inside another one.
fn trimmed(query: &str) -> &str {
    query.trim_end_matches(|c: char| c.is_whitespace() || c == ';')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_may_end_with_semicolons_and_a_name_may_hold_quotes() {
        assert_eq!(trimmed("SELECT 1; \n;"), "SELECT 1");
        let pair = sqlite_pair("a'\"b");
        assert!(pair.starts_with("'a''\"b', ") && pair.contains("q.\"a'\"\"b\""), "{pair}");
    }

    #[test]
    fn a_database_that_is_away_is_no_fault_of_the_query() {
        let limit = Duration::from_secs(60);
        let of = |source| foreign(StoreError::Query { what: READ, source }, limit);
        let away = of(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()));
        assert!(matches!(&away, StoreError::Query { .. }) && away.is_transient(), "{away}");
        assert!(matches!(foreign(StoreError::no_answer(READ, limit), limit), StoreError::NoAnswer { seconds: 60, .. }));
        assert!(matches!(of(sqlx::Error::ColumnNotFound("x".into())), StoreError::ForeignQuery { .. }));
    }

    #[test]
    fn a_column_that_is_no_text_is_named_and_the_others_are_read() {
        let row = object(b"{\"id\":\"7\",\"name\":\"J\xfcrgen\"}".to_vec()).expect("a row");
        assert_eq!((row.not_text.as_deref(), row.fields["id"].as_str()), (Some("name"), Some("7")));
        let row = object("{\"name\":\"J\u{fffd}rgen\"}".as_bytes().to_vec()).expect("a row");
        assert_eq!(row.not_text, None, "it is stored so");
        assert!(object(b"[]".to_vec()).is_err());
    }

    #[test]
    fn backlines_own_table_is_known_by_its_columns() {
        let own: Vec<String> = OWN_COLUMNS.map(str::to_owned).to_vec();
        assert!(is_own_table(&own));
        assert!(!is_own_table(&own[..8]));
        let foreign: Vec<String> = own[..8].iter().cloned().chain(["spotify_artist_id".to_owned()]).collect();
        assert!(!is_own_table(&foreign));
    }
}
