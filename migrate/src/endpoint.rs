//! Which store: a scheme, and an address or a name unless the configuration has it.
//!
//! Invariant: no `Debug` and no `Display` shows an address, which may carry a password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use shim::secret::Secret;

/// One of the stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEndpoint {
    /// Redis at an address, or at the configured one.
    Redis(Option<Secret>),
    /// PostgreSQL at an address, or at the configured one.
    Postgres(Option<Secret>),
    /// A table of DynamoDB, in the account and region of the SDK's environment.
    DynamoDb(String),
    /// The log in a data directory, or in the configured one.
    Embedded(Option<PathBuf>),
}

/// Why a text names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a store is redis://…, postgres://…, dynamodb:TABLE, embedded:DIRECTORY, or redis, postgres, embedded as configured"
)]
pub struct ParseEndpointError;

impl FromStr for StoreEndpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let address = || Some(Secret::new(text));
        match text.split_once(':') {
            None if text == "redis" => Ok(Self::Redis(None)),
            None if text == "postgres" => Ok(Self::Postgres(None)),
            None if text == "embedded" => Ok(Self::Embedded(None)),
            Some(("redis" | "rediss", rest)) if rest.starts_with("//") => Ok(Self::Redis(address())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres(address())),
            Some(("dynamodb", table)) if !table.is_empty() => Ok(Self::DynamoDb(table.to_owned())),
            Some(("embedded", path)) if !path.is_empty() => Ok(Self::Embedded(Some(path.into()))),
            _ => Err(ParseEndpointError),
        }
    }
}

impl fmt::Display for StoreEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(_) => f.write_str("Redis"),
            Self::Postgres(_) => f.write_str("PostgreSQL"),
            Self::DynamoDb(table) => write!(f, "the DynamoDB table {table}"),
            Self::Embedded(Some(path)) => write!(f, "the log in {}", path.display()),
            Self::Embedded(None) => f.write_str("the configured data directory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_named_by_scheme() {
        assert_eq!("redis".parse(), Ok(StoreEndpoint::Redis(None)));
        assert!(matches!("rediss://a:6379".parse(), Ok(StoreEndpoint::Redis(Some(_)))));
        assert!(matches!("postgresql://u:p@h/d".parse(), Ok(StoreEndpoint::Postgres(Some(_)))));
        assert_eq!("dynamodb:chat-messages".parse(), Ok(StoreEndpoint::DynamoDb("chat-messages".to_owned())));
        assert_eq!("embedded:./data".parse(), Ok(StoreEndpoint::Embedded(Some("./data".into()))));
        for wrong in ["", "redis:", "mysql://x", "dynamodb", "dynamodb:", "embedded:", "file:x"] {
            assert_eq!(wrong.parse::<StoreEndpoint>(), Err(ParseEndpointError), "{wrong}");
        }
    }

    #[test]
    fn no_address_is_shown() {
        let endpoint: StoreEndpoint = "postgres://me:hunter2@db/chat".parse().unwrap();
        assert!(!format!("{endpoint:?} {endpoint}").contains("hunter2"));
    }
}
