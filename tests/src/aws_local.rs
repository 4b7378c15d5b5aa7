//! AWS on the laptop: an emulator with the application's tables and its secret, and the five real functions behind a server that
//! stands for API Gateway.
//!
//! Invariant: what runs are the executables that are deployed, and they are told where they are by their environment
//! alone; `@connections` takes signed calls only, as on AWS. The server is the caller's to start and to stop. Keys and
//! secrets are nobody's.

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

/// The stage of the WebSocket API.
pub const STAGE: &str = "prod";

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "123456789012";
const ACCESS_KEY: &str = "AKIDEXAMPLE";
const SECRET_KEY: &str = "nobodys-secret-access-key";
/// The variables that name the functions' executables.
const FUNCTIONS: [(&str, &str); 5] = [
    ("TWINWAY_FUNCTIONS_AUTHORIZER", "authorizer"),
    ("TWINWAY_FUNCTIONS_CONNECT", "connect"),
    ("TWINWAY_FUNCTIONS_MESSAGE", "message"),
    ("TWINWAY_FUNCTIONS_DISCONNECT", "disconnect"),
    ("TWINWAY_FUNCTIONS_API", "api"),
];

/// One deployment's state: two tables of their own in an emulator that others may share.
pub struct Deployment {
    database: Arc<DynamoDb>,
    /// A client of the emulator, as the functions have it.
    pub client: Client,
    /// The table of connections.
    pub connections: String,
    /// The table of messages.
    pub messages: String,
    /// A client of Secrets Manager, for the secret that tokens are signed with.
    secrets: aws_sdk_secretsmanager::Client,
}

impl Deployment {
    /// Makes the tables.
    ///
    /// # Errors
    /// The emulator refuses them.
    pub async fn create(database: Arc<DynamoDb>) -> anyhow::Result<Self> {
        static DRAWN: AtomicU32 = AtomicU32::new(0);
        let number = DRAWN.fetch_add(1, Ordering::Relaxed);
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
        let loader = wiring::sdk_loader().region(Region::new(REGION)).endpoint_url(database.endpoint());
        let sdk = Box::pin(loader.credentials_provider(credentials).load()).await;
        let (client, secrets) = (Client::new(&sdk), aws_sdk_secretsmanager::Client::new(&sdk));
        let (connections, messages) = (format!("connections-of-{number}"), format!("messages-of-{number}"));
        tables::create_table(&client, &connections, tables::connections_table()?).await?;
        tables::create_table(&client, &messages, tables::messages_table()?).await?;
        Ok(Self { database, client, connections, messages, secrets })
    }

    /// What the server has to be told in its environment so that it is this deployment's API Gateway at `listen`. Tokens
    /// are signed with `secret`, which the functions read where it is kept on AWS.
    ///
    /// # Errors
    /// An executable is not built, or the emulator does not take the secret.
    pub async fn settings(&self, listen: SocketAddr, secret: &str) -> anyhow::Result<Vec<(&'static str, String)>> {
        let kept = self.secrets.create_secret().name(format!("signing-of-{}", self.connections)).secret_string(secret);
        let kept = Box::pin(kept.send()).await?.arn.context("a secret has an ARN")?;
        let mut settings = vec![
            ("TWINWAY_LISTEN", listen.to_string()),
            ("TWINWAY_STAGE", STAGE.to_owned()),
            ("TWINWAY_AUTH_SECRET", secret.to_owned()),
            ("TWINWAY_PROFILE", "aws".to_owned()),
            ("TWINWAY_ORDERING", "concurrent".to_owned()),
            ("TWINWAY_MANAGEMENT", "iam".to_owned()),
            ("TWINWAY_IAM_CREDENTIALS", callers()),
            ("TWINWAY_FUNCTIONS_ENVIRONMENT", self.environment(listen, &kept)),
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

    /// What the functions are told, as the CDK app and the SAM template tell them.
    fn environment(&self, listen: SocketAddr, secret_arn: &str) -> String {
        let variables = [
            (config::CONNECTIONS_TABLE, self.connections.clone()),
            (config::MESSAGES_TABLE, self.messages.clone()),
            (config::MANAGEMENT_ENDPOINT, format!("http://{listen}/{STAGE}")),
            (config::AUTH_SECRET_ARN, secret_arn.to_owned()),
            // Whoever waits for a token to run out need not wait long.
            (config::AUTH_LEEWAY, "0s".to_owned()),
        ];
        variables.map(|(name, value)| format!("{name}={value}")).join(",")
    }
}

/// A new secret for tokens: 32 bytes of the system's randomness in hexadecimal.
///
/// # Errors
/// The system has none.
pub fn random_secret() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The functions' role: the one caller of `@connections`, with the one permission that it has on AWS.
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
