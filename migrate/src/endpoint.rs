//! Store endpoint of the command line: a scheme with a URL, a table or a directory, or a scheme alone for the
//! configured store.
//!
//! Neither `Debug` nor `Display` shows a URL, which may contain a password.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use shim::secret::Secret;

/// Endpoint of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreEndpoint {
    /// Redis at a URL, or at the configured one.
    Redis(Option<Secret>),
    /// PostgreSQL at a URL, or at the configured one.
    Postgres(Option<Secret>),
    /// DynamoDB table, in the account and region of the SDK's environment.
    DynamoDb(String),
    /// Log in a data directory, or in the configured one.
    Embedded(Option<PathBuf>),
}

/// Error of parsing a store endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected redis://…, postgres://…, dynamodb:TABLE, embedded:DIRECTORY, or redis, postgres, embedded for the configured \
     store"
)]
pub struct ParseEndpointError;

impl FromStr for StoreEndpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let url = || Some(Secret::new(text));
        match text.split_once(':') {
            None if text == "redis" => Ok(Self::Redis(None)),
            None if text == "postgres" => Ok(Self::Postgres(None)),
            None if text == "embedded" => Ok(Self::Embedded(None)),
            Some(("redis" | "rediss", rest)) if rest.starts_with("//") => Ok(Self::Redis(url())),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => Ok(Self::Postgres(url())),
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
        for invalid in ["", "redis:", "mysql://x", "dynamodb", "dynamodb:", "embedded:", "file:x"] {
            assert_eq!(invalid.parse::<StoreEndpoint>(), Err(ParseEndpointError), "{invalid}");
        }
    }

    #[test]
    fn no_url_is_shown() {
        let endpoint: StoreEndpoint = "postgres://me:hunter2@db/chat".parse().unwrap();
        assert!(!format!("{endpoint:?} {endpoint}").contains("hunter2"));
    }
}
