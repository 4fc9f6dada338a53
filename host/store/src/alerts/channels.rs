//! Channels that alerts are sent to, their secrets as sealed bytes.

use sqlx::any::AnyRow;

use crate::database::connection::Store;
use crate::database::dialect::{Columns as _, clean, json, time_text};
use crate::database::error::StoreError;
use crate::database::readable::Extent;
use crate::scope::Scope;
use backline_model::{AlertChannel, ChannelId};

impl Store {
    /// Adds a channel.
    ///
    /// # Errors
    /// [`StoreError::AlertExists`] when the name is taken.
    pub async fn alert_channel_add(
        &self,
        scope: &Scope,
        channel: &AlertChannel,
        sealed: Vec<u8>,
    ) -> Result<(), StoreError> {
        scope.require_all("add a channel of alerts")?;
        let statement = self.query(
            "INSERT INTO alert_channels (id, name, target, sealed, free_at, created_at)
             VALUES ($1::uuid, $2, $3::jsonb, $4, $5::timestamptz, $5::timestamptz) ON CONFLICT (name) DO NOTHING",
        );
        let statement = statement
            .bind(channel.id.to_string())
            .bind(clean(&channel.name))
            .bind(json("a channel's target", &channel.target)?)
            .bind(sealed)
            .bind(time_text(channel.created_at));
        match self.write("add a channel of alerts", statement).await? {
            0 => Err(StoreError::AlertExists { what: "channel", name: channel.name.clone() }),
            _ => Ok(()),
        }
    }

    /// Every channel that can be read, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_channels_list(&self, scope: &Scope) -> Result<Vec<AlertChannel>, StoreError> {
        scope.require_all("list the channels of alerts")?;
        let statement = self.query(
            "SELECT id::text AS id, name, target::text AS target, created_at::text AS created_at
             FROM alert_channels ORDER BY name",
        );
        let rows = self.rows("list channels of alerts", statement).await?;
        self.unreadable.read("alert_channels", "name", Extent::Whole, &rows, channel_of)
    }

    /// The sealed secret of a channel; none where it is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn alert_channel_secret_get(&self, scope: &Scope, id: ChannelId) -> Result<Option<Vec<u8>>, StoreError> {
        scope.require_all("read a channel's secret")?;
        let statement = self.query("SELECT sealed FROM alert_channels WHERE id = $1::uuid").bind(id.to_string());
        let row = self.row("read a channel's secret", statement).await?;
        row.map(|row| row.bytes("sealed")).transpose()
    }

    /// Removes a channel with all its messages.
    ///
    /// # Errors
    /// [`StoreError::ChannelInUse`] while a route or a digest leads to it; [`StoreError::NotFound`] when there is none
    /// of the name.
    pub async fn alert_channel_remove(&self, scope: &Scope, name: &str) -> Result<(), StoreError> {
        scope.require_all("remove a channel of alerts")?;
        let mut work = self.begin().await?;
        let statement = work.query(
            "SELECT r.name, 'route' AS kind FROM alert_routes r JOIN alert_receivers x ON x.route_id = r.id
                 JOIN alert_channels c ON c.id = x.channel_id WHERE c.name = $1
             UNION ALL
             SELECT d.name, 'digest' FROM alert_digests d JOIN alert_channels c ON c.id = d.channel_id
             WHERE c.name = $1 ORDER BY 1 LIMIT 1",
        );
        // What is added at this moment keeps the channel by its foreign key.
        if let Some(row) = work.row("find what leads to a channel", statement.bind(clean(name))).await? {
            let by = if row.text("kind")? == "route" { "route" } else { "digest" };
            return Err(StoreError::ChannelInUse { name: name.to_owned(), what: by, by: row.told("name")? });
        }
        let statement = work.query("DELETE FROM alert_channels WHERE name = $1").bind(clean(name));
        if work.execute("remove a channel of alerts", statement).await? == 0 {
            return Err(channel_not_found(name));
        }
        work.commit().await
    }
}

pub(super) fn channel_not_found(name: &str) -> StoreError {
    StoreError::NotFound {
        what: "channel of alerts",
        id: format!("named '{name}'; `backline alerts channels list` shows them"),
    }
}

fn channel_of(row: &AnyRow) -> Result<AlertChannel, StoreError> {
    Ok(AlertChannel {
        id: row.parsed("id")?,
        name: row.text("name")?,
        target: row.json("target")?,
        created_at: row.time("created_at")?,
    })
}
