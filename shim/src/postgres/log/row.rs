//! Rows as the port has them, with identifiers and bodies checked once more: the tables are not ours alone.

use std::sync::Arc;

use handlers::channel::{Epoch, Offset, Position};
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{Appended, Entry, Sender, Slice, Timestamp};
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row as _, Type};

use super::super::trouble::PostgresTrouble;

/// The column at `index`.
pub(in crate::postgres) fn column<'r, T>(row: &'r PgRow, index: usize) -> Result<T, PostgresTrouble>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    Ok(row.try_get(index)?)
}

fn offset(row: &PgRow, index: usize) -> Result<Offset, PostgresTrouble> {
    u64::try_from(column::<i64>(row, index)?).map(Offset).map_err(|_| PostgresTrouble::Row("an offset is negative"))
}

fn only(rows: &[PgRow]) -> Result<&PgRow, PostgresTrouble> {
    rows.first().ok_or(PostgresTrouble::Row("the log's own row is missing"))
}

/// What `append` answers: epoch, place, time, whether it was there before.
pub(super) fn appended(rows: &[PgRow]) -> Result<Appended, PostgresTrouble> {
    let row = only(rows)?;
    Ok(Appended { position: position(row)?, sent_at: Timestamp(column(row, 2)?), duplicate: column(row, 3)? })
}

/// An epoch and an offset, the first columns of every answer.
pub(super) fn position(row: &PgRow) -> Result<Position, PostgresTrouble> {
    let epoch: &str = column(row, 0)?;
    Ok(Position { epoch: Epoch(epoch.into()), offset: offset(row, 1)? })
}

/// What a reading statement answers: epoch, head, first in every row, and behind them a message, or nulls in the only row.
pub(super) fn slice(rows: &[PgRow]) -> Result<Slice, PostgresTrouble> {
    let row = only(rows)?;
    let (head, first) = (position(row)?, offset(row, 2)?);
    let found = rows.iter().filter(|row| !matches!(column::<Option<i64>>(row, 3), Ok(None)));
    let entries = found.map(entry).collect::<Result<_, _>>()?;
    Ok(Slice { head, first, entries })
}

fn entry(row: &PgRow) -> Result<Entry, PostgresTrouble> {
    let user = UserId::parse(column(row, 5)?).map_err(|_| PostgresTrouble::Row("it names no user"))?;
    let role = Role::parse(column(row, 6)?).ok_or(PostgresTrouble::Row("it names an unknown role"))?;
    let body = RawValue::from_string(column(row, 8)?).map_err(|_| PostgresTrouble::Row("its body is not JSON"))?;
    Ok(Entry {
        offset: offset(row, 3)?,
        sender: Sender { user, role },
        id: MessageId::parse(column(row, 7)?).map_err(|_| PostgresTrouble::Row("it has no id"))?,
        sent_at: Timestamp(column(row, 4)?),
        body: Arc::from(body),
    })
}
