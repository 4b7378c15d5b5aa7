//! Removal of a gone connection (410 from `@connections`) from all listings.
//!
//! The record itself remains for the connection's `$disconnect`, which announces that the user left; without a
//! `$disconnect`, TTL deletes it.
//!
//! A connection that may still be opening is kept: `$connect` registers it before the client gets its `101`, and until
//! then `@connections` answers 410, the same as for a closed connection ("410 Gone", re:Post knowledge centre). Only a
//! connection older than [`MAX_HANDSHAKE_DURATION`] is removed. A younger one is removed by a later delivery or by its
//! `$disconnect`.

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

/// Upper bound of a handshake: API Gateway permits 10 s for the authorizer and 29 s for `$connect` (quotas of WebSocket
/// APIs).
const MAX_HANDSHAKE_DURATION: Duration = Duration::from_secs(60);

/// Result of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PurgeOutcome {
    /// The connection is in no listing.
    Unlisted,
    /// The connection may still be opening and was kept.
    HandshakePending,
}

impl DynamoConnections {
    /// Removes a gone connection from the listing of `found_in` and from all listings of its record.
    pub(crate) async fn purge_stale(
        &self,
        id: &ConnectionId,
        found_in: Option<&Channel>,
    ) -> Result<PurgeOutcome, StoreError> {
        Ok(with_timeout("UpdateItem", &self.table, self.unlist_opened(id, found_in)).await?)
    }

    async fn unlist_opened(&self, id: &ConnectionId, found_in: Option<&Channel>) -> Result<PurgeOutcome, DynamoError> {
        let update = self.client.update_item().table_name(&self.table).set_key(Some(record::record_key(id)));
        let update =
            update.condition_expression("#at <= :handshake_cutoff").expression_attribute_names("#at", CONNECTED_AT);
        let update = update.expression_attribute_values(":handshake_cutoff", number_value(self.handshake_cutoff()));
        // The new version makes a concurrent change of channels fail, retry and find the connection gone.
        let update = update.update_expression("SET #version = #version + :one REMOVE #user_key, #role_id");
        let update =
            update.expression_attribute_names("#version", VERSION).expression_attribute_values(":one", number_value(1));
        let update = update.expression_attribute_names("#user_key", USER_KEY);
        let update = update.expression_attribute_names("#role_id", ROLE_ID);
        let update = update.return_values_on_condition_check_failure(OnFailure::AllOld);
        match update.return_values(ReturnValue::AllOld).send().await {
            Ok(output) => {
                let stored = output.attributes.map(|item| record::parse_record(&self.table, &item)).transpose()?;
                let mut channels = stored.map(|stored| stored.connection.channels).unwrap_or_default();
                channels.extend(found_in.cloned());
                self.delete_memberships(id, channels.iter()).await;
                Ok(PurgeOutcome::Unlisted)
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failure)) if failure.item.is_some() => {
                    Ok(PurgeOutcome::HandshakePending)
                }
                // The record is already deleted; only the channel's membership is left.
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => {
                    self.delete_memberships(id, found_in.into_iter()).await;
                    Ok(PurgeOutcome::Unlisted)
                }
                _ => Err(classify_sdk_error("UpdateItem", &self.table, error)),
            },
        }
    }

    /// Returns the latest `connected_at` of connections whose handshake is over.
    fn handshake_cutoff(&self) -> Timestamp {
        Timestamp(self.clock.now().0 - i64::try_from(MAX_HANDSHAKE_DURATION.as_millis()).unwrap_or(i64::MAX))
    }
}
