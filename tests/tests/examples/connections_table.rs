//! The table of an example in the emulator, which `twinway dev` creates.

use std::path::Path;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::Select;
use templates::{ApplicationContext, read_application};
use tests::dynamodb::DynamoDb;
use tests::eventually;

/// Region of the emulator's tables.
pub const REGION: &str = "us-east-1";

/// The only table of an example.
pub struct ConnectionsTable {
    database: Arc<DynamoDb>,
    client: Client,
    name: String,
}

impl ConnectionsTable {
    /// Returns the table that the template in `directory` describes, before it exists. `None` if the emulator cannot be
    /// installed.
    pub async fn of_template(directory: &Path) -> Option<Self> {
        let database = DynamoDb::shared().await?;
        let application = read_application(directory, &ApplicationContext::default()).expect("the template is valid");
        let table = application.tables.into_values().next().expect("the example has a table");
        let client = client_of(&database).await;
        Some(Self { database, client, name: table.name })
    }

    /// Returns the endpoint of the emulator.
    pub fn endpoint(&self) -> String {
        self.database.endpoint()
    }

    /// Waits until the table has this number of records.
    pub async fn wait_for_records(&self, number: i32) {
        let count = async || {
            let scan = self.client.scan().table_name(&self.name).select(Select::Count).consistent_read(true);
            scan.send().await.expect("the emulator responds").count
        };
        eventually!(&format!("{number} records of connections"), (count().await == number).then_some(()));
    }
}

async fn client_of(database: &DynamoDb) -> Client {
    let loader = aws_config::defaults(BehaviorVersion::latest()).region(Region::new(REGION));
    let loader = loader.credentials_provider(Credentials::new("AKIDEXAMPLE", "example", None, None, "tests"));
    Client::new(&Box::pin(loader.endpoint_url(database.endpoint()).load()).await)
}
