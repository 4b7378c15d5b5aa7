//! Message log of one schema.
//!
//! Invariant: the offsets of a channel's messages are dense between `first` and `head`, and a retained message is
//! deduplicated, because each append and each expiry is one transaction that locks the channel's row. The epoch changes
//! when a replica is promoted, which may lack messages, or when a backup is restored to a point in time.

mod retention;
mod row;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use handlers::channel::{Channel, Offset, Position};
use handlers::ports::{AppendOutcome, AppendRequest, Clock, LogError, LogRange, LogSlice, MessageLog};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::retention::RetentionSweeper;
pub(super) use self::row::read_column;
use super::client::{PostgresClient, SqlStatement};
use super::error::PostgresClientError;

/// Retention limits of a channel. They are approximate: a sweep deletes excess messages within seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresRetention {
    /// Maximum number of messages per channel.
    pub max_messages: u64,
    /// Maximum age of a message.
    pub max_age: Duration,
}

const APPEND_SQL: &str = "SELECT epoch, log_offset, sent_at, duplicate FROM {schema}.append($1, $2, $3, $4, $5, $6)";

/// Returns one row per message, or one row with nulls if there is none; head and messages are from one snapshot. The
/// running sum of body lengths limits the page, without reading bodies that are not returned.
const READ_SQL: &str = "
    SELECT {schema}.effective_epoch(coalesce(c.epoch, l.epoch), coalesce(c.server_timeline, l.server_timeline)),
        coalesce(c.head, 0), coalesce(c.first, 1), m.log_offset, m.sent_at, m.sender, m.role, m.id, m.body
    FROM {schema}.log AS l
    LEFT JOIN {schema}.channels AS c ON c.name = $1
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT found.*, row_number() OVER w AS number, sum(octet_length(found.body)) OVER w AS bytes
            FROM (
                SELECT * FROM {schema}.messages AS stored
                WHERE stored.channel = c.id AND stored.log_offset {side} $2 ORDER BY stored.log_offset {order} LIMIT $3
            ) AS found
            WINDOW w AS (ORDER BY found.log_offset {order})
        ) AS summed WHERE summed.number = 1 OR summed.bytes <= $4
    ) AS m ON true
    ORDER BY m.log_offset";

const HEADS_SQL: &str = "
    SELECT {schema}.effective_epoch(coalesce(c.epoch, l.epoch), coalesce(c.server_timeline, l.server_timeline)),
        coalesce(c.head, 0)
    FROM unnest($1::text[]) WITH ORDINALITY AS requested (name, number)
    CROSS JOIN {schema}.log AS l
    LEFT JOIN {schema}.channels AS c ON c.name = requested.name
    ORDER BY requested.number";

/// Encodes the arguments of a statement in order. Returns [`PostgresClientError`] from the caller if one cannot be
/// encoded.
macro_rules! arguments {
    ($($argument:expr),+ $(,)?) => {{
        let mut arguments = PgArguments::default();
        $(arguments.add($argument).map_err(|error| PostgresClientError::from(sqlx::Error::Encode(error)))?;)+
        arguments
    }};
}
pub(super) use arguments;

/// [`MessageLog`] in one schema of PostgreSQL.
pub struct PostgresLog {
    postgres: PostgresClient,
    slice_reader: SliceReader,
    statements: LogStatements,
    _sweeper: AbortOnDropHandle<()>,
}

struct LogStatements {
    append: SqlStatement,
    heads: SqlStatement,
}

/// Prepared statements for reads of a range.
pub(super) struct SliceReader {
    after: SqlStatement,
    before: SqlStatement,
}

impl SliceReader {
    pub(super) fn new(postgres: &PostgresClient) -> Self {
        let statement =
            |side, order| postgres.schema_statement(&READ_SQL.replace("{side}", side).replace("{order}", order));
        Self { after: statement(">", "ASC"), before: statement("<", "DESC") }
    }

    /// Reads messages with offsets above `after`, in ascending order.
    pub(super) async fn read_after(
        &self,
        postgres: &PostgresClient,
        channel: &Channel,
        after: Offset,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, PostgresClientError> {
        self.read_range(postgres, channel, LogRange::After(after), limit, max_bytes).await
    }

    async fn read_range(
        &self,
        postgres: &PostgresClient,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, PostgresClientError> {
        let (statement, from) = match range {
            LogRange::After(offset) => (&self.after, offset_to_i64(offset)),
            LogRange::Before(None) => (&self.before, i64::MAX),
            LogRange::Before(Some(offset)) => (&self.before, offset_to_i64(offset)),
        };
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
        let bytes = i64::try_from(max_bytes).unwrap_or(i64::MAX);
        let rows = postgres.fetch_rows(statement, arguments![channel.to_string(), from, limit, bytes]).await?;
        row::parse_slice(&rows)
    }
}

impl PostgresLog {
    /// Opens the log and starts a task that deletes messages beyond `retention`. `clock` determines their age. Must be
    /// called within a tokio runtime.
    #[must_use]
    pub fn open_log(postgres: PostgresClient, clock: Arc<dyn Clock>, retention: PostgresRetention) -> Self {
        let slice_reader = SliceReader::new(&postgres);
        let statements = LogStatements {
            append: postgres.schema_statement(APPEND_SQL),
            heads: postgres.schema_statement(HEADS_SQL),
        };
        let sweeper = RetentionSweeper::new(postgres.clone(), clock, retention);
        let task = TaskTracker::new().spawn(sweeper.run());
        Self { postgres, slice_reader, statements, _sweeper: AbortOnDropHandle::new(task) }
    }
}

/// Converts an offset to `bigint`. Offsets above its range do not occur and are clamped.
pub(super) fn offset_to_i64(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

#[async_trait]
impl MessageLog for PostgresLog {
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError> {
        let arguments = arguments![
            append.channel.to_string(),
            append.sender.user.as_str(),
            append.sender.role.as_str(),
            append.id.as_str(),
            append.sent_at.0,
            append.body.get(),
        ];
        let rows = self.postgres.fetch_rows(&self.statements.append, arguments).await?;
        let appended = row::parse_appended(&rows)?;
        let metrics = self.postgres.metrics();
        if appended.duplicate { &metrics.duplicate_appends } else { &metrics.appended_messages }.inc();
        Ok(appended)
    }

    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError> {
        Ok(self.slice_reader.read_range(&self.postgres, channel, range, limit, max_bytes).await?)
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        if channels.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = channels.iter().map(ToString::to_string).collect();
        let rows = self.postgres.fetch_rows(&self.statements.heads, arguments![names]).await?;
        Ok(rows.iter().map(row::parse_position).collect::<Result<_, _>>()?)
    }
}
