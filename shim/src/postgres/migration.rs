//! The tables and functions, brought to this version's state at the start.
//!
//! A database that has everything is only looked at, so the user that serves needs no right to make tables. A newer version's
//! migrations are left alone: they only ever add.

use std::collections::BTreeMap;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, PgConnection};

/// What a schema has to go through.
static MIGRATOR: Migrator = sqlx::migrate!("src/postgres/migrations");

/// Does what is missing in `schema`, which is made if need be.
pub(super) async fn migrate_schema(connection: &mut PgConnection, schema: &str) -> Result<(), MigrateError> {
    if is_migrated(connection, schema).await? {
        return Ok(());
    }
    // What the migrations make goes into the first schema of the path. Temporary tables come last, so that nobody can put
    // one in a table's place.
    let path = format!("\"{schema}\", pg_temp");
    sqlx::query("SELECT set_config('search_path', $1, false)").bind(path).execute(&mut *connection).await?;
    let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
    migrator.dangerous_set_table_name(migrations_table(schema));
    migrator.create_schema(format!("\"{schema}\""));
    migrator.set_ignore_missing(true);
    migrator.run_direct(None, connection, false).await
}

/// Where the migrations that were done are written down.
fn migrations_table(schema: &str) -> String {
    format!("\"{schema}\".migrations")
}

async fn is_migrated(connection: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(migrations_table(schema))
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(false);
    }
    let statement = format!("SELECT version, checksum FROM {} WHERE success", migrations_table(schema));
    let done: Vec<(i64, Vec<u8>)> = sqlx::query_as(AssertSqlSafe(statement)).fetch_all(connection).await?;
    let done: BTreeMap<_, _> = done.into_iter().collect();
    Ok(MIGRATOR.iter().all(|migration| done.get(&migration.version).is_some_and(|sum| **sum == *migration.checksum)))
}
