//! The message log of one schema.
//!
//! Invariant: a channel's messages are dense between `first` and `head`, and the remembered ids are exactly theirs, because
//! each append and each expiry is one transaction that holds the channel's row. An epoch names the log until a replica that may
//! lack messages takes over, or a backup is restored to a point in time; then readers are told another one.

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

/// How much of a channel is kept, more or less: what is too much goes within seconds, not with the append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresRetention {
    /// Most messages.
    pub max_messages: u64,
    /// How long a message is kept.
    pub max_age: Duration,
}

const APPEND_SQL: &str = "SELECT epoch, place, sent_at, duplicate FROM {schema}.append($1, $2, $3, $4, $5, $6)";

/// One row for each message that was found, or one without a message; ends and messages of one snapshot. The running sum of
/// lengths ends a page; it reads no body that is not returned.
const READ_SQL: &str = "
    SELECT {schema}.incarnation(coalesce(c.epoch, l.epoch), coalesce(c.born, l.born)), coalesce(c.head, 0), coalesce(c.first, 1),
        m.place, m.sent_at, m.author, m.role, m.id, m.body
    FROM {schema}.log AS l
    LEFT JOIN {schema}.channels AS c ON c.name = $1
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT found.*, row_number() OVER w AS number, sum(octet_length(found.body)) OVER w AS bytes
            FROM (
                SELECT * FROM {schema}.messages AS stored
                WHERE stored.channel = c.id AND stored.place {side} $2 ORDER BY stored.place {order} LIMIT $3
            ) AS found
            WINDOW w AS (ORDER BY found.place {order})
        ) AS summed WHERE summed.number = 1 OR summed.bytes <= $4
    ) AS m ON true
    ORDER BY m.place";

const HEADS_SQL: &str = "
    SELECT {schema}.incarnation(coalesce(c.epoch, l.epoch), coalesce(c.born, l.born)), coalesce(c.head, 0)
    FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, number)
    CROSS JOIN {schema}.log AS l
    LEFT JOIN {schema}.channels AS c ON c.name = asked.name
    ORDER BY asked.number";

/// Arguments in order; an argument that cannot be encoded is refused as a statement is.
macro_rules! arguments {
    ($($argument:expr),+ $(,)?) => {{
        let mut arguments = PgArguments::default();
        $(arguments.add($argument).map_err(|error| PostgresClientError::from(sqlx::Error::Encode(error)))?;)+
        arguments
    }};
}
pub(super) use arguments;

/// The message logs of one schema.
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

/// How stretches are read.
pub(super) struct SliceReader {
    after: SqlStatement,
    before: SqlStatement,
}

impl SliceReader {
    pub(super) fn new(postgres: &PostgresClient) -> Self {
        let reading =
            |side, order| postgres.schema_statement(&READ_SQL.replace("{side}", side).replace("{order}", order));
        Self { after: reading(">", "ASC"), before: reading("<", "DESC") }
    }

    /// A stretch upwards.
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
    /// Logs that are kept by `retention`, measured by `clock`; a task of their own drops what is too much or too old. It must
    /// be called within a tokio runtime.
    #[must_use]
    pub fn open_log(postgres: PostgresClient, clock: Arc<dyn Clock>, retention: PostgresRetention) -> Self {
        let reading = SliceReader::new(&postgres);
        let statements = LogStatements {
            append: postgres.schema_statement(APPEND_SQL),
            heads: postgres.schema_statement(HEADS_SQL),
        };
        let sweeper = RetentionSweeper::new(postgres.clone(), clock, retention);
        let task = TaskTracker::new().spawn(sweeper.run());
        Self { postgres, slice_reader: reading, statements, _sweeper: AbortOnDropHandle::new(task) }
    }
}

/// An offset as PostgreSQL's largest integer has it; none is beyond it.
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
