//! World of the local AWS deployment: the five real functions as processes, a DynamoDB emulator, and the server as
//! API Gateway, to which the functions post through the real SDK.
//!
//! Differences that come from AWS: concurrent posts of several functions are not ordered, so clients reorder them; a
//! close has no application-defined code; retention is by age, so this world backdates messages. API Gateway does not
//! crash: after a crash of this one no `$disconnect` runs, and the records are deleted at the next post to them.

use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use handlers_aws::tables::{PARTITION_KEY, SORT_KEY};
use serde_json::json;

use super::exit_checks::{assert_clean, assert_private};
use super::{DeliveryOrder, Needs, TokenClaims, World, WorldClients, sign_token};
use crate::aws_local::Deployment;
use crate::client::ObservedClose;
use crate::dynamodb::DynamoDb;
use crate::eventually;
use crate::ports::free_address;
use crate::server::{SECRET, TwinwayServer};

/// Longer than the retention of messages.
const BEYOND_RETENTION: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// Longer than a connection may take between its record and its first post.
const BEYOND_HANDSHAKE: Duration = Duration::from_secs(60 * 60);
/// Processes per function: two cores run no more concurrently, and a burst of clients must not starve other
/// functions.
const PROCESSES: u32 = 6;

/// Deployment with its API Gateway.
pub struct AwsLocal {
    deployment: Deployment,
    server: TwinwayServer,
    crashed: bool,
}

impl World for AwsLocal {
    async fn is_available() -> bool {
        DynamoDb::shared().await.is_some()
    }

    async fn start(_: Needs) -> Self {
        let database = DynamoDb::shared().await.expect("callers check is_available first");
        let deployment = Deployment::create(database).await.expect("the emulator creates tables");
        let settings = deployment.settings(free_address(), SECRET).await.expect("cargo builds binaries before tests");
        let launch =
            settings.iter().fold(TwinwayServer::launch(), |launch, (name, value)| launch.with_env(name, value));
        let launch = launch.with_env("TWINWAY_FUNCTIONS_MAX_PROCESSES", PROCESSES);
        Self { server: launch.start().await, deployment, crashed: false }
    }

    fn socket_url(&self) -> String {
        self.server.socket_url()
    }

    fn http_url(&self) -> String {
        format!("http://{}", self.server.traffic)
    }

    fn token(&self, grant: &TokenClaims) -> String {
        sign_token(SECRET, grant)
    }

    fn delivery_order(&self) -> DeliveryOrder {
        DeliveryOrder::Unordered
    }

    fn observed_close(&self, _: ObservedClose) -> ObservedClose {
        ObservedClose { code: 1000, reason: "Connection Closed Normally".to_owned() }
    }

    async fn keep_newest(&mut self, channel: &str, keep: u64) {
        let partition = format!("default/{channel}");
        let head = self.attribute(&partition, 0, "head").await;
        let (table, number) = (&self.deployment.messages, |number: u64| AttributeValue::N(number.to_string()));
        for offset in 1..=head.saturating_sub(keep) {
            assert!(self.backdate_item(table, &partition, number(offset), "at", BEYOND_RETENTION).await);
        }
        // The head item stores the time of the oldest message.
        assert!(self.backdate_item(table, &partition, number(0), "first_at", BEYOND_RETENTION).await);
    }

    async fn restart(&mut self) {
        assert_clean(&self.server.stop().await);
        self.server.restart().await;
    }

    async fn crash(&mut self) {
        self.crashed = true;
        assert_private(&self.server.kill().await.stderr);
        self.server.restart().await;
    }

    async fn finish(mut self) {
        self.server.assert_healthy().await;
        self.server.wait_for_metric("twinway_session_open_connections", 0.0).await;
        if self.crashed {
            self.purge_gone_connections().await;
        }
        let backend = self.backend();
        eventually!("all connection records to be deleted", {
            let status = backend.get("/v1/status").await.expect_ok();
            (status["connections"] == 0 && status["occupiedChannels"] == 0).then_some(())
        });
        assert_clean(&self.server.stop().await);
    }
}

impl AwsLocal {
    /// Backdates the records of the connections that the crash ended, and sends a message to everyone, which deletes
    /// them.
    async fn purge_gone_connections(&self) {
        let records = self.deployment.client.scan().table_name(&self.deployment.connections).send().await;
        for record in records.expect("the emulator lists items").items() {
            let partition = record[PARTITION_KEY].as_s().expect("keys are text");
            let (table, sort) = (&self.deployment.connections, record[SORT_KEY].clone());
            // A `$disconnect` that still runs may have deleted the record.
            let _existed = self.backdate_item(table, partition, sort, "at", BEYOND_HANDSHAKE).await;
        }
        let push = json!({"audience": "everyone", "body": "check"});
        self.backend().post("/v1/messages", &push).await.expect_ok();
    }

    /// Returns whether the item exists.
    async fn backdate_item(
        &self,
        table: &str,
        partition: &str,
        sort: AttributeValue,
        attribute: &str,
        age: Duration,
    ) -> bool {
        let age = AttributeValue::N(age.as_millis().to_string());
        let update = self.deployment.client.update_item().table_name(table);
        let update = update.key(PARTITION_KEY, AttributeValue::S(partition.to_owned())).key(SORT_KEY, sort);
        let update = update.update_expression("SET #at = #at - :age").expression_attribute_names("#at", attribute);
        let update = update.condition_expression("attribute_exists(#at)").expression_attribute_values(":age", age);
        match update.send().await.map_err(SdkError::into_service_error) {
            Ok(_) => true,
            Err(UpdateItemError::ConditionalCheckFailedException(_)) => false,
            Err(error) => panic!("updating an item in the emulator failed: {error:?}"),
        }
    }

    async fn attribute(&self, partition: &str, sort: u64, attribute: &str) -> u64 {
        let read = self.deployment.client.get_item().table_name(&self.deployment.messages).consistent_read(true);
        let read = read.key(PARTITION_KEY, AttributeValue::S(partition.to_owned()));
        let output =
            read.key(SORT_KEY, AttributeValue::N(sort.to_string())).send().await.expect("the emulator reads items");
        let item = output.item.expect("the channel was written to");
        item[attribute].as_n().ok().and_then(|digits| digits.parse().ok()).expect("the attribute is a number")
    }
}
