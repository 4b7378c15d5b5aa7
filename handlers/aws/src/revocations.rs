//! Revocations in DynamoDB: one item per subject in the table of connections, deleted by TTL.
//!
//! ```text
//! revocation  pk r#{tenant}   sk user/{user} or token/{jti}   before until expires
//! ```

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::ReturnValue;
use handlers::id::TenantId;
use handlers::ports::{Revocation, RevocationStore, RevokedSubject, StoreError, Timestamp};

use crate::dynamo::{
    AttributeMap, AttributeReader, DynamoError, classify_sdk_error, number_value, text_value, with_timeout,
};
use crate::tables::{EXPIRES, PARTITION_KEY, SORT_KEY};

/// [`Revocation::issued_before`].
const ISSUED_BEFORE: &str = "before";
/// [`Revocation::expires_at`].
const REVOKED_UNTIL: &str = "until";

/// Revocations of a deployment on AWS.
pub struct DynamoRevocations {
    client: Client,
    table: String,
}

impl DynamoRevocations {
    /// Creates a store over the table of connections.
    #[must_use]
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned() }
    }

    async fn put_item(&self, revocation: &Revocation) -> Result<(), DynamoError> {
        let mut item = item_key(&revocation.tenant, &revocation.subject);
        item.extend(
            [
                (ISSUED_BEFORE, number_value(revocation.issued_before)),
                (REVOKED_UNTIL, number_value(revocation.expires_at)),
                // Rounded up: TTL has a resolution of one second.
                (EXPIRES, number_value(revocation.expires_at.unix_seconds() + 1)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        put.send().await.map(drop).map_err(|error| classify_sdk_error("PutItem", &self.table, error))
    }

    async fn get_item(&self, tenant: &TenantId, subject: &RevokedSubject) -> Result<Option<Revocation>, DynamoError> {
        let read = self.client.get_item().table_name(&self.table).set_key(Some(item_key(tenant, subject)));
        let output = read.consistent_read(true).send().await;
        let item = output.map_err(|error| classify_sdk_error("GetItem", &self.table, error))?.item;
        let parse = |item: AttributeMap| {
            let reader = AttributeReader { table: &self.table, item: &item };
            let (issued_before, expires_at) =
                (reader.read_number(ISSUED_BEFORE)?, Timestamp(reader.read_number(REVOKED_UNTIL)?));
            Ok(Revocation { tenant: tenant.clone(), subject: subject.clone(), issued_before, expires_at })
        };
        item.map(parse).transpose()
    }

    async fn delete_item(&self, tenant: &TenantId, subject: &RevokedSubject) -> Result<bool, DynamoError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(item_key(tenant, subject)));
        let output = delete.return_values(ReturnValue::AllOld).send().await;
        Ok(output.map_err(|error| classify_sdk_error("DeleteItem", &self.table, error))?.attributes.is_some())
    }
}

fn item_key(tenant: &TenantId, subject: &RevokedSubject) -> AttributeMap {
    HashMap::from([
        (PARTITION_KEY.to_owned(), text_value(format!("r#{tenant}"))),
        (SORT_KEY.to_owned(), text_value(subject.key())),
    ])
}

#[async_trait]
impl RevocationStore for DynamoRevocations {
    async fn put_revocation(&self, revocation: &Revocation) -> Result<(), StoreError> {
        Ok(with_timeout("PutItem", &self.table, self.put_item(revocation)).await?)
    }

    async fn find_revocation(
        &self,
        tenant: &TenantId,
        subject: &RevokedSubject,
    ) -> Result<Option<Revocation>, StoreError> {
        Ok(with_timeout("GetItem", &self.table, self.get_item(tenant, subject)).await?)
    }

    async fn delete_revocation(&self, tenant: &TenantId, subject: &RevokedSubject) -> Result<bool, StoreError> {
        Ok(with_timeout("DeleteItem", &self.table, self.delete_item(tenant, subject)).await?)
    }
}
