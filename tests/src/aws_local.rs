//! Local AWS deployment: an emulator with the application's tables and its secret, and the five real functions
//! invoked by a server that acts as API Gateway.
//!
//! The functions are the deployed executables, configured by their environment alone; `@connections` accepts only
//! signed calls, as on AWS. The caller starts and stops the server. Access keys and secrets are invented.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context as _;
use aws_config::Region;
use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use handlers_aws::{config, tables, wiring};
use serde_json::json;

use crate::conformance::probe::executable::binary;
use crate::dynamodb::DynamoDb;

/// Stage of the WebSocket API.
pub const STAGE: &str = "prod";

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "123456789012";
const ACCESS_KEY: &str = "AKIDEXAMPLE";
const SECRET_KEY: &str = "example-secret-access-key";
/// Variables that name the functions' executables.
const FUNCTIONS: [(&str, &str); 5] = [
    ("TWINWAY_FUNCTIONS_AUTHORIZER", "authorizer"),
    ("TWINWAY_FUNCTIONS_CONNECT", "connect"),
    ("TWINWAY_FUNCTIONS_MESSAGE", "message"),
    ("TWINWAY_FUNCTIONS_DISCONNECT", "disconnect"),
    ("TWINWAY_FUNCTIONS_API", "api"),
];

/// State of one deployment: two tables in an emulator that tests may share.
pub struct Deployment {
    database: Arc<DynamoDb>,
    /// Client of the emulator, configured as in the functions.
    pub client: Client,
    /// Name of the connections table.
    pub connections: String,
    /// Name of the messages table.
    pub messages: String,
    /// Client of Secrets Manager, for the signing secret of tokens.
    secrets: aws_sdk_secretsmanager::Client,
}

impl Deployment {
    /// Creates the tables.
    ///
    /// # Errors
    /// The emulator rejects them.
    pub async fn create(database: Arc<DynamoDb>) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
        let loader = wiring::sdk_loader().region(Region::new(REGION)).endpoint_url(database.endpoint());
        let sdk = Box::pin(loader.credentials_provider(credentials).load()).await;
        let (client, secrets) = (Client::new(&sdk), aws_sdk_secretsmanager::Client::new(&sdk));
        let (connections, messages) = (format!("connections-of-{number}"), format!("messages-of-{number}"));
        tables::create_table(&client, &connections, tables::connections_table()?).await?;
        tables::create_table(&client, &messages, tables::messages_table()?).await?;
        Ok(Self { database, client, connections, messages, secrets })
    }

    /// Returns the environment of a server that acts as this deployment's API Gateway at `listen`. Tokens are signed
    /// with `secret`, which the functions read from Secrets Manager.
    ///
    /// # Errors
    /// An executable is not built, or the emulator rejects the secret.
    pub async fn settings(&self, listen: SocketAddr, secret: &str) -> anyhow::Result<Vec<(&'static str, String)>> {
        let stored_secret =
            self.secrets.create_secret().name(format!("signing-of-{}", self.connections)).secret_string(secret);
        let stored_secret = Box::pin(stored_secret.send()).await?.arn.context("a secret has an ARN")?;
        let mut settings = vec![
            ("TWINWAY_LISTEN", listen.to_string()),
            ("TWINWAY_STAGE", STAGE.to_owned()),
            ("TWINWAY_AUTH_SECRET", secret.to_owned()),
            ("TWINWAY_PROFILE", "aws".to_owned()),
            ("TWINWAY_FUNCTIONS_MESSAGE_RESPONSE", "two-way".to_owned()),
            ("TWINWAY_MANAGEMENT_LISTEN", "off".to_owned()),
            ("TWINWAY_IAM_CREDENTIALS", callers()),
            ("TWINWAY_FUNCTIONS_ENVIRONMENT", self.environment(listen, &stored_secret)),
            ("TWINWAY_ACCOUNT_ID", ACCOUNT.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.database.endpoint()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", self.database.endpoint()),
        ];
        for (variable, name) in FUNCTIONS {
            let path = binary(name).context("the functions are not built: cargo build --workspace --bins")?;
            settings.push((variable, path.display().to_string()));
        }
        Ok(settings)
    }

    /// Returns the functions' environment variables, as set by the CDK app and the SAM template.
    fn environment(&self, listen: SocketAddr, secret_arn: &str) -> String {
        let variables = [
            (config::CONNECTIONS_TABLE, self.connections.clone()),
            (config::MESSAGES_TABLE, self.messages.clone()),
            (config::MANAGEMENT_ENDPOINT, format!("http://{listen}/{STAGE}")),
            (config::AUTH_SECRET_ARN, secret_arn.to_owned()),
            // No leeway, so that tests of token expiry are short.
            (config::AUTH_LEEWAY, "0s".to_owned()),
        ];
        variables.map(|(name, value)| format!("{name}={value}")).join(",")
    }
}

/// Returns a new token secret: 32 random bytes of the operating system in hexadecimal.
///
/// # Errors
/// `/dev/urandom` cannot be read.
pub fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns the callers of `@connections`: the functions' role, with its only permission on AWS.
fn callers() -> String {
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": "execute-api:ManageConnections",
        "Resource": format!("arn:aws:execute-api:{REGION}:{ACCOUNT}:*/{STAGE}/*"),
    }]});
    json!([{
        "AccessKeyId": ACCESS_KEY,
        "SecretAccessKey": SECRET_KEY,
        "Arn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/functions/functions"),
        "PolicyDocument": policy,
    }])
    .to_string()
}
