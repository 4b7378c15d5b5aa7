//! Rows as the port has them, with identifiers and bodies checked once more: the tables are not ours alone.

use std::sync::Arc;

use handlers::channel::{Epoch, Offset, Position};
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{AppendOutcome, LogEntry, LogSlice, MessageSender, Timestamp};
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _, Type};

use super::super::error::PostgresClientError;

/// The column at `index`.
pub(in crate::postgres) fn read_column<'r, T>(row: &'r PgRow, index: usize) -> Result<T, PostgresClientError>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    Ok(row.try_get(index)?)
}

fn read_offset(row: &PgRow, index: usize) -> Result<Offset, PostgresClientError> {
    u64::try_from(read_column::<i64>(row, index)?)
        .map(Offset)
        .map_err(|_| PostgresClientError::InvalidRow("an offset is negative"))
}

fn first_row(rows: &[PgRow]) -> Result<&PgRow, PostgresClientError> {
    rows.first().ok_or(PostgresClientError::InvalidRow("the log's own row is missing"))
}

/// What `append` answers: epoch, place, time, whether it was there before.
pub(super) fn parse_appended(rows: &[PgRow]) -> Result<AppendOutcome, PostgresClientError> {
    let row = first_row(rows)?;
    Ok(AppendOutcome {
        position: parse_position(row)?,
        sent_at: Timestamp(read_column(row, 2)?),
        duplicate: read_column(row, 3)?,
    })
}

/// An epoch and an offset, the first columns of every answer.
pub(super) fn parse_position(row: &PgRow) -> Result<Position, PostgresClientError> {
    let epoch: &str = read_column(row, 0)?;
    Ok(Position { epoch: Epoch(epoch.into()), offset: read_offset(row, 1)? })
}

/// What a reading statement answers: epoch, head, first in every row, and behind them a message, or nulls in the only row.
pub(super) fn parse_slice(rows: &[PgRow]) -> Result<LogSlice, PostgresClientError> {
    let row = first_row(rows)?;
    let (head, first) = (parse_position(row)?, read_offset(row, 2)?);
    let found = rows.iter().filter(|row| !matches!(read_column::<Option<i64>>(row, 3), Ok(None)));
    let entries = found.map(parse_entry).collect::<Result<_, _>>()?;
    Ok(LogSlice { head, first, entries })
}

fn parse_entry(row: &PgRow) -> Result<LogEntry, PostgresClientError> {
    let user = UserId::parse(read_column(row, 5)?).map_err(|_| PostgresClientError::InvalidRow("it names no user"))?;
    let role = Role::parse(read_column(row, 6)?).ok_or(PostgresClientError::InvalidRow("it names an unknown role"))?;
    let body = RawValue::from_string(read_column(row, 8)?)
        .map_err(|_| PostgresClientError::InvalidRow("its body is not JSON"))?;
    Ok(LogEntry {
        offset: read_offset(row, 3)?,
        sender: MessageSender { user, role },
        id: MessageId::parse(read_column(row, 7)?).map_err(|_| PostgresClientError::InvalidRow("it has no id"))?,
        sent_at: Timestamp(read_column(row, 4)?),
        body: Arc::from(body),
    })
}
