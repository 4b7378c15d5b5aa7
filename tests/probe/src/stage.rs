//! Environment of a probe on AWS: a DynamoDB table for the directives, and calls of the stage's `@connections`.
//!
//! The process keeps no state between events, because Lambda runs several processes and terminates them at any time.
//! Events are not recorded in the process; a directive can name an observer that receives them.

mod management;
mod table;

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;

pub use self::table::DirectiveTable;

use self::management::ManagementClient;
use crate::event::Event;
use crate::probe::{ManagementCall, ManagementResponse, ProbeEnvironment};

/// Timeout of one attempt of a DynamoDB call.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of a DynamoDB call over all attempts.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// Environment of a deployed probe.
pub struct AwsEnvironment {
    table: DirectiveTable,
    management: ManagementClient,
}

impl AwsEnvironment {
    /// Creates the environment with the table `table`; region, credentials and endpoints are those of the SDK's
    /// standard configuration. `management` is the endpoint of `@connections` if it differs from that of the events.
    /// Makes no network requests.
    ///
    /// # Errors
    /// The configuration has no region or no credentials provider.
    pub async fn from_sdk_config(table: String, management: Option<String>) -> anyhow::Result<Self> {
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
        let loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
        let sdk = Box::pin(loader.load()).await;
        let region = sdk.region().context("AWS_REGION is not set")?.to_string();
        let credentials = sdk.credentials_provider().context("no AWS credentials provider is configured")?;
        Ok(Self {
            table: DirectiveTable::new(aws_sdk_dynamodb::Client::new(&sdk), table),
            management: ManagementClient::new(credentials, region, management),
        })
    }
}

#[async_trait]
impl ProbeEnvironment for AwsEnvironment {
    fn record_event(&self, _: &Event) {}

    async fn store_directive(&self, connection: &str, directive: &str) -> anyhow::Result<()> {
        self.table.put(connection, directive, now()).await
    }

    async fn load_directive(&self, connection: &str) -> anyhow::Result<Option<String>> {
        self.table.get(connection, now()).await
    }

    async fn take_directive(&self, connection: &str) -> anyhow::Result<Option<String>> {
        self.table.take(connection, now()).await
    }

    async fn call_management(&self, event: &Event, call: ManagementCall<'_>) -> anyhow::Result<ManagementResponse> {
        self.management.call(event, call, now()).await
    }
}

#[expect(clippy::disallowed_methods, reason = "the standalone function has no injected clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
