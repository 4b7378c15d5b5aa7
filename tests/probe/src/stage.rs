//! A probe behind a real stage: a table remembers what clients said, `@connections` reaches them, and nobody else is there.
//!
//! Invariant: the process keeps nothing from one event to the next, because Lambda runs several of it and ends them when it
//! likes. Nothing is heard here: whoever wants to hear of events names an observer.

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

/// One attempt of a call of DynamoDB.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// All attempts together.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// The surroundings of a deployed probe.
pub struct AwsEnvironment {
    table: DirectiveTable,
    management: ManagementClient,
}

impl AwsEnvironment {
    /// A stage whose table is called `table`, with region, credentials and endpoints from the SDK's standard environment.
    /// `management` is the endpoint of `@connections` where it is not the one that events name. Nothing is asked of the
    /// network here.
    ///
    /// # Errors
    /// The environment has no region or no way to credentials.
    pub async fn from_sdk_config(table: String, management: Option<String>) -> anyhow::Result<Self> {
        let timeouts =
            TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
        let loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
        let sdk = Box::pin(loader.load()).await;
        let region = sdk.region().context("AWS_REGION is not set")?.to_string();
        let credentials = sdk.credentials_provider().context("there are no credentials")?;
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

#[expect(clippy::disallowed_methods, reason = "this is the clock of a process that has no other")]
fn now() -> SystemTime {
    SystemTime::now()
}
