//! The logs of one schema as whoever moves them sees them: without the task that drops old messages.

use async_trait::async_trait;
use handlers::archive::{ImportError, LogArchive, Most, Stretch};
use handlers::channel::{Channel, Offset};
use handlers::ports::{Entry, LogError, Slice};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;

use super::link::{Postgres, Statement};
use super::log::{Reading, arguments, column, place};
use super::trouble::PostgresTrouble;

const CHANNELS: &str = "SELECT name FROM {schema}.channels WHERE head > 0 AND name > $1 ORDER BY name LIMIT $2";
const IMPORT: &str = "SELECT {schema}.import($1, $2, $3, $4, $5, $6, $7, $8, $9)";
/// How many channels one statement lists.
const STEP: i64 = 10_000;

/// The logs of one schema, to be moved.
pub struct PostgresArchive {
    postgres: Postgres,
    reading: Reading,
    channels: Statement,
    import: Statement,
}

impl PostgresArchive {
    /// The logs that are behind this link.
    #[must_use]
    pub fn new(postgres: Postgres) -> Self {
        Self {
            reading: Reading::new(&postgres),
            channels: postgres.statement(CHANNELS),
            import: postgres.statement(IMPORT),
            postgres,
        }
    }

    async fn list(&self) -> Result<Vec<Channel>, PostgresTrouble> {
        let mut found: Vec<Channel> = Vec::new();
        loop {
            let last = found.last().map(ToString::to_string).unwrap_or_default();
            let rows = self.postgres.fetch(&self.channels, arguments![last, STEP]).await?;
            for row in &rows {
                let name = column(row, 0)?;
                found.push(Channel::from_key(name).map_err(|_| PostgresTrouble::Row("it names no channel"))?);
            }
            if rows.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn write(&self, stretch: &Stretch) -> Result<String, PostgresTrouble> {
        let entries = &stretch.entries;
        let texts = |of: fn(&Entry) -> &str| entries.iter().map(|entry| of(entry).to_owned()).collect::<Vec<String>>();
        let arguments = arguments![
            stretch.channel.to_string(),
            &*stretch.epoch.0,
            place(stretch.from),
            entries.iter().map(|entry| place(entry.offset)).collect::<Vec<i64>>(),
            entries.iter().map(|entry| entry.sent_at.0).collect::<Vec<i64>>(),
            texts(|entry| entry.sender.user.as_str()),
            texts(|entry| entry.sender.role.as_str()),
            texts(|entry| entry.id.as_str()),
            texts(|entry| entry.body.get()),
        ];
        let rows = self.postgres.fetch(&self.import, arguments).await?;
        column(rows.first().ok_or(PostgresTrouble::Row("an import answers with a row"))?, 0)
    }
}

#[async_trait]
impl LogArchive for PostgresArchive {
    async fn channels(&self) -> Result<Vec<Channel>, LogError> {
        Ok(self.list().await?)
    }

    async fn export(&self, channel: &Channel, after: Offset, most: Most) -> Result<Slice, LogError> {
        Ok(self.reading.after(&self.postgres, channel, after, most.entries, most.bytes).await?)
    }

    async fn import(&self, stretch: &Stretch) -> Result<(), ImportError> {
        // The function sees to the rest; this is for what no log could begin with.
        stretch.rest(&stretch.epoch, Offset::START)?;
        match self.write(stretch).await.map_err(LogError::from)?.as_str() {
            "epoch" => Err(ImportError::Epoch),
            "hole" => Err(ImportError::Hole),
            _ => Ok(()),
        }
    }
}
