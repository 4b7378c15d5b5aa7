//! Conversion of rows into the port's types. Identifiers and bodies are validated again, because other programs can
//! change the tables.

use std::sync::Arc;

use handlers::channel::{Epoch, Offset, Position};
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{AppendOutcome, LogEntry, LogSlice, MessageSender, Timestamp};
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _, Type};

use super::super::error::PostgresClientError;

/// Decodes the column at `index`.
pub(in crate::postgres) fn read_column<'r, T>(row: &'r PgRow, index: usize) -> Result<T, PostgresClientError>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    Ok(row.try_get(index)?)
}

fn read_offset(row: &PgRow, index: usize) -> Result<Offset, PostgresClientError> {
    u64::try_from(read_column::<i64>(row, index)?)
        .map(Offset)
        .map_err(|_| PostgresClientError::InvalidRow("negative offset"))
}

fn first_row(rows: &[PgRow]) -> Result<&PgRow, PostgresClientError> {
    rows.first().ok_or(PostgresClientError::InvalidRow("the log table has no row"))
}

/// Parses the row of `append`: epoch, offset, time, duplicate flag.
pub(super) fn parse_appended(rows: &[PgRow]) -> Result<AppendOutcome, PostgresClientError> {
    let row = first_row(rows)?;
    Ok(AppendOutcome {
        position: parse_position(row)?,
        sent_at: Timestamp(read_column(row, 2)?),
        duplicate: read_column(row, 3)?,
    })
}

/// Parses epoch and offset, the first two columns of every row.
pub(super) fn parse_position(row: &PgRow) -> Result<Position, PostgresClientError> {
    let epoch: &str = read_column(row, 0)?;
    Ok(Position { epoch: Epoch(epoch.into()), offset: read_offset(row, 1)? })
}

/// Parses the rows of a read: each has epoch, head and first offset, followed by a message; a single row with nulls in
/// place of the message means that there is none.
pub(super) fn parse_slice(rows: &[PgRow]) -> Result<LogSlice, PostgresClientError> {
    let row = first_row(rows)?;
    let (head, first) = (parse_position(row)?, read_offset(row, 2)?);
    let found = rows.iter().filter(|row| !matches!(read_column::<Option<i64>>(row, 3), Ok(None)));
    let entries = found.map(parse_entry).collect::<Result<_, _>>()?;
    Ok(LogSlice { head, first, entries })
}

fn parse_entry(row: &PgRow) -> Result<LogEntry, PostgresClientError> {
    let user = UserId::parse(read_column(row, 5)?).map_err(|_| PostgresClientError::InvalidRow("invalid user id"))?;
    let role = Role::parse(read_column(row, 6)?).ok_or(PostgresClientError::InvalidRow("unknown role"))?;
    let body = RawValue::from_string(read_column(row, 8)?)
        .map_err(|_| PostgresClientError::InvalidRow("the body is not JSON"))?;
    Ok(LogEntry {
        offset: read_offset(row, 3)?,
        sender: MessageSender { user, role },
        id: MessageId::parse(read_column(row, 7)?)
            .map_err(|_| PostgresClientError::InvalidRow("invalid message id"))?,
        sent_at: Timestamp(read_column(row, 4)?),
        body: Arc::from(body),
    })
}
