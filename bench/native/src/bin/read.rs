//! `backline-bench-read`: runs statements on either database and prints what the last one answers. `cargo xtask bench`
//! has no database driver of its own.

use anyhow::{Context as _, Result};
use clap::Parser;
use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};

/// Runs statements, and prints the first column of each row that the last one answers.
#[derive(Parser)]
struct Arguments {
    /// sqlite://file or postgres://user@host/name
    #[arg(long)]
    database: String,
    /// Statements, one an argument. The last one answers text.
    #[arg(required = true)]
    statements: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { database, mut statements } = Arguments::parse();
    sqlx::any::install_default_drivers();
    let mut connection =
        AnyConnection::connect(&database).await.context("failed to connect to the measured database")?;
    if database.starts_with("postgres") {
        // Where Backline's tables are, and the native program's.
        connection.execute("SET search_path = backline, public").await?;
    }
    let last = statements.pop().context("there is no statement")?;
    for statement in statements {
        connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement))).await?;
    }
    let rows = sqlx::query(sqlx::AssertSqlSafe(last)).fetch_all(&mut connection).await?;
    for row in rows {
        let text: Option<String> = row.try_get(0).context("the statement does not answer text")?;
        #[expect(clippy::print_stdout, reason = "the answer is what the program is for")]
        {
            println!("{}", text.unwrap_or_default());
        }
    }
    connection.close().await?;
    Ok(())
}
