//! What clients said at connect, one item a connection: `{connection, directive, expires}`.
//!
//! Invariant: the first saying of a connection stays until its end, and its end gets it once, whichever process asks. A read
//! sees every write before it. DynamoDB may delete an item late, so one that has expired is as good as none
//! (DynamoDB developer guide, "Using time to live").

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use crate::names::CONNECTION_KEY;

/// What was said, as it came in the query.
const DIRECTIVE_ATTRIBUTE: &str = "directive";
/// When DynamoDB may delete the item, in seconds since 1970: the table's TTL attribute.
const EXPIRY_ATTRIBUTE: &str = "expires";

/// How long an item is kept: a connection lives two hours at most (API Gateway quotas), and its `$disconnect` comes after.
const DIRECTIVE_RETENTION: Duration = Duration::from_secs(3 * 60 * 60);

/// The table.
#[derive(Debug, Clone)]
pub struct DirectiveTable {
    client: Client,
    name: String,
}

impl DirectiveTable {
    /// The table called `name`.
    #[must_use]
    pub const fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Keeps what a connection's client said, unless something is kept of it already.
    ///
    /// # Errors
    /// The table is away or may not be written.
    pub async fn put(&self, connection: &str, directive: &str, now: SystemTime) -> anyhow::Result<()> {
        let expires = AttributeValue::N((seconds(now) + DIRECTIVE_RETENTION.as_secs()).to_string());
        let put = self.client.put_item().table_name(&self.name).item(CONNECTION_KEY, text(connection));
        let put = put.item(DIRECTIVE_ATTRIBUTE, text(directive)).item(EXPIRY_ATTRIBUTE, expires);
        let put =
            put.condition_expression("attribute_not_exists(#key)").expression_attribute_names("#key", CONNECTION_KEY);
        match Box::pin(put.send()).await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => {
                Ok(())
            }
            Err(error) => Err(error).context("PutItem"),
        }
    }

    /// What is kept of a connection.
    ///
    /// # Errors
    /// The table is away or may not be read.
    pub async fn get(&self, connection: &str, now: SystemTime) -> anyhow::Result<Option<String>> {
        let get =
            self.client.get_item().table_name(&self.name).key(CONNECTION_KEY, text(connection)).consistent_read(true);
        let output = Box::pin(get.send()).await.context("GetItem")?;
        Ok(output.item.and_then(|item| directive(item, now)))
    }

    /// The same, and keeps it no longer.
    ///
    /// # Errors
    /// The table is away or may not be written.
    pub async fn take(&self, connection: &str, now: SystemTime) -> anyhow::Result<Option<String>> {
        let delete = self.client.delete_item().table_name(&self.name).key(CONNECTION_KEY, text(connection));
        let output = Box::pin(delete.return_values(ReturnValue::AllOld).send()).await.context("DeleteItem")?;
        Ok(output.attributes.and_then(|item| directive(item, now)))
    }
}

fn directive(mut item: HashMap<String, AttributeValue>, now: SystemTime) -> Option<String> {
    let expires: u64 = item.get(EXPIRY_ATTRIBUTE)?.as_n().ok()?.parse().ok()?;
    match item.remove(DIRECTIVE_ATTRIBUTE)? {
        AttributeValue::S(text) if expires > seconds(now) => Some(text),
        _ => None,
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn seconds(time: SystemTime) -> u64 {
    // A clock set before 1970 is as good as none.
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
