//! Export and import of the message logs of one schema, without retention.

use async_trait::async_trait;
use handlers::archive::{ExportLimits, ImportError, LogArchive, LogSegment};
use handlers::channel::{Channel, Offset};
use handlers::ports::{LogEntry, LogError, LogSlice};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;

use super::client::{PostgresClient, SqlStatement};
use super::error::PostgresClientError;
use super::log::{SliceReader, arguments, offset_to_i64, read_column};

const LIST_CHANNELS_SQL: &str =
    "SELECT name FROM {schema}.channels WHERE head > 0 AND name > $1 ORDER BY name LIMIT $2";
const IMPORT_SQL: &str = "SELECT {schema}.import($1, $2, $3, $4, $5, $6, $7, $8, $9)";
/// Number of channels that one statement lists.
const CHANNELS_PER_QUERY: i64 = 10_000;

/// Message logs of one schema, for export and import.
pub struct PostgresArchive {
    postgres: PostgresClient,
    slice_reader: SliceReader,
    list_channels_statement: SqlStatement,
    import_statement: SqlStatement,
}

impl PostgresArchive {
    /// Returns the logs in the schema of this client.
    #[must_use]
    pub fn new(postgres: PostgresClient) -> Self {
        Self {
            slice_reader: SliceReader::new(&postgres),
            list_channels_statement: postgres.schema_statement(LIST_CHANNELS_SQL),
            import_statement: postgres.schema_statement(IMPORT_SQL),
            postgres,
        }
    }

    async fn list_channels(&self) -> Result<Vec<Channel>, PostgresClientError> {
        let mut found: Vec<Channel> = Vec::new();
        loop {
            let last = found.last().map(ToString::to_string).unwrap_or_default();
            let rows =
                self.postgres.fetch_rows(&self.list_channels_statement, arguments![last, CHANNELS_PER_QUERY]).await?;
            for row in &rows {
                let name = read_column(row, 0)?;
                let channel = Channel::from_key(name);
                found.push(channel.map_err(|_| PostgresClientError::InvalidRow("invalid channel name"))?);
            }
            if rows.is_empty() {
                return Ok(found);
            }
        }
    }

    async fn import_entries(&self, segment: &LogSegment) -> Result<String, PostgresClientError> {
        let entries = &segment.entries;
        let texts =
            |of: fn(&LogEntry) -> &str| entries.iter().map(|entry| of(entry).to_owned()).collect::<Vec<String>>();
        let arguments = arguments![
            segment.channel.to_string(),
            &*segment.epoch.0,
            offset_to_i64(segment.after),
            entries.iter().map(|entry| offset_to_i64(entry.offset)).collect::<Vec<i64>>(),
            entries.iter().map(|entry| entry.sent_at.0).collect::<Vec<i64>>(),
            texts(|entry| entry.sender.user.as_str()),
            texts(|entry| entry.sender.role.as_str()),
            texts(|entry| entry.id.as_str()),
            texts(|entry| entry.body.get()),
        ];
        let rows = self.postgres.fetch_rows(&self.import_statement, arguments).await?;
        read_column(rows.first().ok_or(PostgresClientError::InvalidRow("import returned no row"))?, 0)
    }
}

#[async_trait]
impl LogArchive for PostgresArchive {
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError> {
        Ok(self.list_channels().await?)
    }

    async fn export(&self, channel: &Channel, after: Offset, limits: ExportLimits) -> Result<LogSlice, LogError> {
        Ok(self.slice_reader.read_after(&self.postgres, channel, after, limits.max_entries, limits.max_bytes).await?)
    }

    async fn import(&self, segment: &LogSegment) -> Result<(), ImportError> {
        // Rejects a segment that is invalid for an empty log; the SQL function checks it against the existing messages.
        segment.remaining_entries(&segment.epoch, Offset::START)?;
        match self.import_entries(segment).await.map_err(LogError::from)?.as_str() {
            "epoch" => Err(ImportError::EpochMismatch),
            "missing_range" => Err(ImportError::MissingRange),
            _ => Ok(()),
        }
    }
}
