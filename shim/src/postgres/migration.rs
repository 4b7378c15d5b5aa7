//! Migration of the schema to the tables and functions of this version.
//!
//! If the schema is up to date, it is only read, so the user of a server needs no privilege to create tables.
//! Migrations of a newer version are ignored, because migrations only add objects.

use std::collections::BTreeMap;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, PgConnection};

static MIGRATOR: Migrator = sqlx::migrate!("src/postgres/migrations");

/// Runs the missing migrations in `schema`, and creates the schema if it does not exist.
pub(super) async fn migrate_schema(connection: &mut PgConnection, schema: &str) -> Result<(), MigrateError> {
    if is_migrated(connection, schema).await? {
        return Ok(());
    }
    // The migrations create their objects in the first schema of the path. `pg_temp` is last, so that a temporary table
    // cannot shadow a table of the log.
    let search_path = format!("\"{schema}\", pg_temp");
    sqlx::query("SELECT set_config('search_path', $1, false)").bind(search_path).execute(&mut *connection).await?;
    let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
    migrator.dangerous_set_table_name(migrations_table(schema));
    migrator.create_schema(format!("\"{schema}\""));
    migrator.set_ignore_missing(true);
    migrator.run_direct(None, connection, false).await
}

/// Returns the name of the table of completed migrations.
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
