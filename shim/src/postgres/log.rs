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
use handlers::ports::{Append, Appended, Clock, LogError, MessageLog, Range, Slice};
use sqlx::Arguments as _;
use sqlx::postgres::PgArguments;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::retention::Sweeper;
pub(super) use self::row::column;
use super::link::{Postgres, Statement};
use super::trouble::PostgresTrouble;

/// How much of a channel is kept, more or less: what is too much goes within seconds, not with the append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresRetention {
    /// Most messages.
    pub entries: u64,
    /// How long a message is kept.
    pub age: Duration,
}

const APPEND: &str = "SELECT epoch, place, sent_at, duplicate FROM {schema}.append($1, $2, $3, $4, $5, $6)";

/// One row for each message that was found, or one without a message; ends and messages of one snapshot. The running sum of
/// lengths ends a page; it reads no body that is not returned.
const READ: &str = "
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

const HEADS: &str = "
    SELECT {schema}.incarnation(coalesce(c.epoch, l.epoch), coalesce(c.born, l.born)), coalesce(c.head, 0)
    FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, number)
    CROSS JOIN {schema}.log AS l
    LEFT JOIN {schema}.channels AS c ON c.name = asked.name
    ORDER BY asked.number";

/// Arguments in order; an argument that cannot be encoded is refused as a statement is.
macro_rules! arguments {
    ($($argument:expr),+ $(,)?) => {{
        let mut arguments = PgArguments::default();
        $(arguments.add($argument).map_err(|error| PostgresTrouble::from(sqlx::Error::Encode(error)))?;)+
        arguments
    }};
}
pub(super) use arguments;

/// The message logs of one schema.
pub struct PostgresLog {
    postgres: Postgres,
    reading: Reading,
    statements: Statements,
    _sweeper: AbortOnDropHandle<()>,
}

struct Statements {
    append: Statement,
    heads: Statement,
}

/// How stretches are read.
pub(super) struct Reading {
    after: Statement,
    before: Statement,
}

impl Reading {
    pub(super) fn new(postgres: &Postgres) -> Self {
        let reading = |side, order| postgres.statement(&READ.replace("{side}", side).replace("{order}", order));
        Self { after: reading(">", "ASC"), before: reading("<", "DESC") }
    }

    /// A stretch upwards.
    pub(super) async fn after(
        &self,
        postgres: &Postgres,
        channel: &Channel,
        after: Offset,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Slice, PostgresTrouble> {
        self.read(postgres, channel, Range::After(after), limit, max_bytes).await
    }

    async fn read(
        &self,
        postgres: &Postgres,
        channel: &Channel,
        range: Range,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Slice, PostgresTrouble> {
        let (statement, from) = match range {
            Range::After(offset) => (&self.after, place(offset)),
            Range::Before(None) => (&self.before, i64::MAX),
            Range::Before(Some(offset)) => (&self.before, place(offset)),
        };
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
        let bytes = i64::try_from(max_bytes).unwrap_or(i64::MAX);
        let rows = postgres.fetch(statement, arguments![channel.to_string(), from, limit, bytes]).await?;
        row::slice(&rows)
    }
}

impl PostgresLog {
    /// Logs that are kept by `retention`, measured by `clock`; a task of their own drops what is too much or too old. It must
    /// be called within a tokio runtime.
    #[must_use]
    pub fn open(postgres: Postgres, clock: Arc<dyn Clock>, retention: PostgresRetention) -> Self {
        let reading = Reading::new(&postgres);
        let statements = Statements { append: postgres.statement(APPEND), heads: postgres.statement(HEADS) };
        let sweeper = Sweeper::new(postgres.clone(), clock, retention);
        let task = TaskTracker::new().spawn(sweeper.run());
        Self { postgres, reading, statements, _sweeper: AbortOnDropHandle::new(task) }
    }
}

/// An offset as PostgreSQL's largest integer has it; none is beyond it.
pub(super) fn place(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

#[async_trait]
impl MessageLog for PostgresLog {
    async fn append(&self, append: Append) -> Result<Appended, LogError> {
        let arguments = arguments![
            append.channel.to_string(),
            append.sender.user.as_str(),
            append.sender.role.as_str(),
            append.id.as_str(),
            append.sent_at.0,
            append.body.get(),
        ];
        let rows = self.postgres.fetch(&self.statements.append, arguments).await?;
        let appended = row::appended(&rows)?;
        let metrics = self.postgres.metrics();
        if appended.duplicate { &metrics.duplicates } else { &metrics.appended }.inc();
        Ok(appended)
    }

    async fn read(&self, channel: &Channel, range: Range, limit: usize, max_bytes: usize) -> Result<Slice, LogError> {
        Ok(self.reading.read(&self.postgres, channel, range, limit, max_bytes).await?)
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        if channels.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = channels.iter().map(ToString::to_string).collect();
        let rows = self.postgres.fetch(&self.statements.heads, arguments![names]).await?;
        Ok(rows.iter().map(row::position).collect::<Result<_, _>>()?)
    }
}
