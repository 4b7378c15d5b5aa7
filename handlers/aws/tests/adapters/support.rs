//! Test support: the shared emulator, new tables per test, and SDK clients configured as in the functions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;
use handlers::memory::ManualClock;
use handlers::ports::Timestamp;
use handlers_aws::config::AppConfig;
use handlers_aws::connections::DynamoConnections;
use handlers_aws::log::DynamoLog;
use handlers_aws::retries::dynamo_client;
use handlers_aws::{tables, wiring};
use tests::dynamodb::DynamoDb;

pub const NOW: Timestamp = Timestamp(1_795_000_000_000);
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

static NEXT_TABLE: AtomicU32 = AtomicU32::new(0);

/// Client and SDK configuration for the emulator.
pub struct Database {
    pub client: Client,
    pub sdk: SdkConfig,
}

/// Returns the emulator, or `None` if it cannot be installed.
pub async fn database() -> Option<Database> {
    let sdk = sdk(&DynamoDb::shared().await?.endpoint()).await;
    Some(Database { client: dynamo_client(&sdk), sdk })
}

/// Returns the functions' SDK configuration with example credentials and the given endpoint.
pub async fn sdk(endpoint: &str) -> SdkConfig {
    let credentials = Credentials::new("AKIDEXAMPLE", "example", None, None, "tests");
    let loader = wiring::sdk_loader().region(Region::new("us-east-1")).endpoint_url(endpoint);
    loader.credentials_provider(credentials).load().await
}

pub fn lambda_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(NOW))
}

impl Database {
    pub async fn connections_table(&self) -> String {
        self.create_table("connections", tables::connections_table().unwrap()).await
    }

    pub async fn messages_table(&self) -> String {
        self.create_table("messages", tables::messages_table().unwrap()).await
    }

    /// Creates both tables and returns the configuration for them.
    pub async fn app_config(&self, management_endpoint: String) -> AppConfig {
        AppConfig {
            connections_table: self.connections_table().await,
            messages_table: self.messages_table().await,
            management_endpoint,
            retention: RETENTION,
            limits: handlers::limits::Limits::default(),
            presence_names: handlers::channel_policy::PresenceNames::default(),
        }
    }

    async fn create_table(&self, kind: &str, definition: tables::TableDefinition) -> String {
        let name = format!("{kind}-{}", NEXT_TABLE.fetch_add(1, Ordering::Relaxed));
        tables::create_table(&self.client, &name, definition).await.unwrap();
        name
    }

    pub async fn connections(&self, clock: Arc<ManualClock>) -> DynamoConnections {
        DynamoConnections::new(self.client.clone(), &self.connections_table().await, clock)
    }

    pub async fn log(&self, clock: Arc<ManualClock>) -> DynamoLog {
        DynamoLog::new(self.client.clone(), &self.messages_table().await, RETENTION, clock)
    }
}
