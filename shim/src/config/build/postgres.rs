//! The section of PostgreSQL, and whether messages are kept where the mode can keep them.

use std::path::PathBuf;

use super::super::values::{self, Parsed};
use super::super::{LogStorage, Mode, StorageConfig, Value};
use super::Reader;
use crate::postgres::PostgresSettings;
use crate::secret::Secret;

impl Reader<'_> {
    /// `Some(None)` when no address is given.
    pub(super) fn postgres(&mut self) -> Option<Option<PostgresSettings>> {
        let url = self.optional("postgres.url", url);
        let password = self.optional("postgres.password", |value| values::text(value).map(|text| Secret::new(&text)));
        let ca_file = self.optional("postgres.ca_file", |value| values::text(value).map(PathBuf::from));
        let schema = self.read("postgres.schema", |value| {
            let rule = "1 to 63 small letters, digits and '_', not beginning with a digit or pg_";
            values::text_where(value, PostgresSettings::is_schema, rule)
        });
        let pool_size = self.read("postgres.pool_size", values::count);
        let connect_timeout = self.read("postgres.connect_timeout", values::duration);
        let response_timeout = self.read("postgres.response_timeout", values::duration);
        let (url, password, ca_file) = (url?, password?, ca_file?);
        let (schema, pool_size) = (schema?, pool_size?);
        let (connect_timeout, response_timeout) = (connect_timeout?, response_timeout?);
        Some(url.map(|url| PostgresSettings {
            url,
            password,
            ca_file,
            schema,
            pool_size,
            connect_timeout,
            response_timeout,
        }))
    }

    /// Reports a log that the mode does not have, or that has no address.
    pub(super) fn check_storage(
        &mut self,
        mode: Mode,
        storage: Option<&StorageConfig>,
        postgres: Option<&Option<PostgresSettings>>,
    ) {
        match (storage.map(|storage| storage.log), mode) {
            (Some(LogStorage::Postgres), _) if matches!(postgres, Some(None)) => self.mistake(
                "storage.log is postgres, and no address of one is given; set DATABASE_URL (or DATABASE_URL_FILE)",
            ),
            (Some(LogStorage::File | LogStorage::Memory), Mode::Kubernetes) => self.mistake(
                "storage.log: pods share their messages, in redis or in postgres; a file or memory is for embedded mode",
            ),
            (Some(LogStorage::Redis), Mode::Embedded) => self.mistake(
                "storage.log: redis keeps the messages of kubernetes mode; embedded mode has file, memory and postgres",
            ),
            _ => {}
        }
    }
}

fn url(value: &Value) -> Parsed<Secret> {
    let is_address = |text: &str| text.starts_with("postgres://") || text.starts_with("postgresql://");
    let rule = "an address such as postgres://user:password@host:5432/database";
    values::text_where(value, is_address, rule).map(|text| Secret::new(&text))
}
