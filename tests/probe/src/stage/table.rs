//! DynamoDB table of directives, one item per connection: `{connection, directive, expires}`.
//!
//! The first directive of a connection is kept until its `$disconnect`, which takes it exactly once, in any process.
//! Reads are strongly consistent. DynamoDB deletes expired items late, so expired ones are ignored (DynamoDB developer
//! guide, "Using time to live").

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};

use crate::names::CONNECTION_KEY;

/// Attribute with the directive as in the query.
const DIRECTIVE_ATTRIBUTE: &str = "directive";
/// TTL attribute of the table: expiry in seconds since 1970.
const EXPIRY_ATTRIBUTE: &str = "expires";

/// Retention of an item: longer than the maximum lifetime of a connection, two hours (API Gateway quotas).
const DIRECTIVE_RETENTION: Duration = Duration::from_secs(3 * 60 * 60);

/// Client of the table.
#[derive(Debug, Clone)]
pub struct DirectiveTable {
    client: Client,
    name: String,
}

impl DirectiveTable {
    /// Creates a client of the table `name`.
    #[must_use]
    pub const fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Stores the directive of a connection, unless it has one already.
    ///
    /// # Errors
    /// The table is unavailable or the write is not allowed.
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

    /// Returns the directive of a connection.
    ///
    /// # Errors
    /// The table is unavailable or the read is not allowed.
    pub async fn get(&self, connection: &str, now: SystemTime) -> anyhow::Result<Option<String>> {
        let get =
            self.client.get_item().table_name(&self.name).key(CONNECTION_KEY, text(connection)).consistent_read(true);
        let output = Box::pin(get.send()).await.context("GetItem")?;
        Ok(output.item.and_then(|item| directive(item, now)))
    }

    /// Deletes and returns the directive of a connection.
    ///
    /// # Errors
    /// The table is unavailable or the write is not allowed.
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
    // A clock before 1970 counts as 0.
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
