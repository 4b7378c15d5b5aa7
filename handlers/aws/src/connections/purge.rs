//! Taking a connection that the gateway does not know out of every listing.
//!
//! Invariants: its record stays for its `$disconnect`, which tells others that the user left; should that never come, the
//! record goes with its TTL. And a connection that is about to open is not taken out. `$connect` records it before the client gets its `101`,
//! and until then posts to it are answered 410, as those to one that has ended ("410 Gone", re:Post knowledge centre); so
//! only what is older than a handshake can take is gone for good. A younger one is met again by the next message, or ended
//! by its `$disconnect`.

use std::time::Duration;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure};
use handlers::channel::Channel;
use handlers::id::ConnectionId;
use handlers::ports::{StoreError, Timestamp};

use super::DynamoConnections;
use super::record::{self, CONNECTED_AT, VERSION};
use crate::dynamo::{DynamoError, classify_sdk_error, number_value, with_timeout};
use crate::tables::{ROLE_ID, USER_KEY};

/// Longer than a handshake can take: API Gateway gives the authorizer 10 s and `$connect` 29 s (quotas of WebSocket APIs).
const MAX_HANDSHAKE_DURATION: Duration = Duration::from_secs(60);

/// What became of a connection that the gateway does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PurgeOutcome {
    /// Nobody meets it any more.
    Unlisted,
    /// It may be about to open.
    HandshakePending,
}

impl DynamoConnections {
    /// Takes a connection that was listed, in `found_in` or by its record, out of every listing.
    pub(crate) async fn purge_stale(
        &self,
        id: &ConnectionId,
        found_in: Option<&Channel>,
    ) -> Result<PurgeOutcome, StoreError> {
        Ok(with_timeout("UpdateItem", &self.table, self.unlist_opened(id, found_in)).await?)
    }

    async fn unlist_opened(&self, id: &ConnectionId, found_in: Option<&Channel>) -> Result<PurgeOutcome, DynamoError> {
        let update = self.client.update_item().table_name(&self.table).set_key(Some(record::record_key(id)));
        let update = update.condition_expression("#at <= :settled").expression_attribute_names("#at", CONNECTED_AT);
        let update = update.expression_attribute_values(":settled", number_value(self.handshake_cutoff()));
        // A change that read the record before is overtaken, looks again, and finds the connection gone.
        let update = update.update_expression("SET #changes = #changes + :one REMOVE #user_key, #role_id");
        let update =
            update.expression_attribute_names("#changes", VERSION).expression_attribute_values(":one", number_value(1));
        let update = update.expression_attribute_names("#user_key", USER_KEY);
        let update = update.expression_attribute_names("#role_id", ROLE_ID);
        let update = update.return_values_on_condition_check_failure(OnFailure::AllOld);
        match update.return_values(ReturnValue::AllOld).send().await {
            Ok(answer) => {
                let stored = answer.attributes.map(|item| record::parse_record(&self.table, &item)).transpose()?;
                let mut channels = stored.map(|stored| stored.connection.channels).unwrap_or_default();
                channels.extend(found_in.cloned());
                self.delete_memberships(id, channels.iter()).await;
                Ok(PurgeOutcome::Unlisted)
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) if refused.item.is_some() => {
                    Ok(PurgeOutcome::HandshakePending)
                }
                // Its record went before; the channel's list is what is left.
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => {
                    self.delete_memberships(id, found_in.into_iter()).await;
                    Ok(PurgeOutcome::Unlisted)
                }
                _ => Err(classify_sdk_error("UpdateItem", &self.table, error)),
            },
        }
    }

    /// Connections that began at this moment or before have opened, or never will.
    fn handshake_cutoff(&self) -> Timestamp {
        Timestamp(self.clock.now().0 - i64::try_from(MAX_HANDSHAKE_DURATION.as_millis()).unwrap_or(i64::MAX))
    }
}
