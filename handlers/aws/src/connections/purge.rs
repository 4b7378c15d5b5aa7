//! Forgetting a connection that the gateway does not know.
//!
//! Invariant: a connection that is about to open is not forgotten. `$connect` records it before the client gets its `101`,
//! and until then posts to it are answered 410, as those to one that has ended ("410 Gone", re:Post knowledge centre); so
//! only what is older than a handshake can take is gone for good. A younger one is met again by the next message, or ended
//! by its `$disconnect`.

use std::time::Duration;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure};
use handlers::channel::Channel;
use handlers::id::ConnectionId;
use handlers::ports::{StoreError, Timestamp};

use super::DynamoConnections;
use super::record::{self, AT};
use crate::dynamo::{DynamoError, failed, in_time, number};

/// Longer than a handshake can take: API Gateway gives the authorizer 10 s and `$connect` 29 s (quotas of WebSocket APIs).
const HANDSHAKE: Duration = Duration::from_secs(60);

/// What became of a connection that the gateway does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purged {
    /// Nothing of it is left.
    Forgotten,
    /// It may be about to open.
    Kept,
}

impl DynamoConnections {
    /// Forgets a connection that was listed, in `found_in` or by its record.
    pub(crate) async fn purge(&self, id: &ConnectionId, found_in: Option<&Channel>) -> Result<Purged, StoreError> {
        Ok(in_time("DeleteItem", &self.table, self.delete_settled(id, found_in)).await?)
    }

    async fn delete_settled(&self, id: &ConnectionId, found_in: Option<&Channel>) -> Result<Purged, DynamoError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(record::key(id)));
        let delete = delete.condition_expression("#at <= :settled").expression_attribute_names("#at", AT);
        let delete = delete.expression_attribute_values(":settled", number(self.settled_since()));
        let delete = delete.return_values_on_condition_check_failure(OnFailure::AllOld);
        match delete.return_values(ReturnValue::AllOld).send().await {
            Ok(answer) => {
                let stored = answer.attributes.map(|item| record::read(&self.table, &item)).transpose()?;
                let channels = stored.map(|stored| stored.connection.channels).unwrap_or_default();
                self.unlist(id, channels.iter()).await;
                Ok(Purged::Forgotten)
            }
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(refused)) if refused.item.is_some() => {
                    Ok(Purged::Kept)
                }
                // Its record went before; the channel's list is what is left.
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => {
                    self.unlist(id, found_in.into_iter()).await;
                    Ok(Purged::Forgotten)
                }
                _ => Err(failed("DeleteItem", &self.table, error)),
            },
        }
    }

    /// Connections that began at this moment or before have opened, or never will.
    fn settled_since(&self) -> Timestamp {
        Timestamp(self.clock.now().0 - i64::try_from(HANDSHAKE.as_millis()).unwrap_or(i64::MAX))
    }
}
