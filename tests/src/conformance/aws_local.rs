//! The catalogue against the local AWS deployment: the deployed probe as an executable on the Runtime API, its table
//! in a DynamoDB emulator, and the gateway, which accepts only signed `@connections` calls.
//!
//! The suite uses it over the network alone, like a real stage. Both callers have their permissions on AWS; the
//! function has no more than `cdk/lib/probe-stack.ts` grants it.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context as _;
use aws_credential_types::Credentials as Keys;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use probes::names::{CONNECTION_KEY, MANAGEMENT_ENDPOINT_VARIABLE, TABLE_VARIABLE};
use serde_json::{Value, json};
use shim::access::IamCredentials;
use shim::config::ManagementAccess;
use shim::functions::LambdaFunctions;

use super::client::ManagementCaller;
use super::probe::executable;
use super::runner::RunTarget;
use super::spec::ApiSpec;
use super::wire::endpoint_address::EndpointAddress;
use super::world::LocalGateway;
use crate::dynamodb::DynamoDb;

/// Name of the table.
pub const DIRECTIVES: &str = "directives";
/// Temporary credentials of the function, as for an IAM role.
const FUNCTION: [&str; 3] = ["ASIAFUNCTION", "secret-of-the-function", "token/of+the=function"];
/// Credentials of the suite, as for an IAM user.
const SUITE: [&str; 2] = ["AKIASUITE", "secret-of-the-suite"];

/// Returns both callers with their policies, for the gateway.
fn callers() -> anyhow::Result<IamCredentials> {
    let connections =
        |verb| format!("arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/{verb}/@connections/*");
    let policy = |action: &str, resource: Value| {
        let statement = json!({"Effect": "Allow", "Action": action, "Resource": resource});
        json!({"Version": "2012-10-17", "Statement": [statement]})
    };
    let [key, secret, token] = FUNCTION;
    let function = json!({
        "AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": token,
        "Arn": "arn:aws:sts::123456789012:assumed-role/probe/function",
        "PolicyDocument": policy("execute-api:ManageConnections", json!(["POST", "GET", "DELETE"].map(connections))),
    });
    let suite = json!({
        "AccessKeyId": SUITE[0], "SecretAccessKey": SUITE[1], "Arn": "arn:aws:iam::123456789012:user/suite",
        "PolicyDocument": policy("execute-api:*", json!("*")),
    });
    IamCredentials::parse(&json!([function, suite]).to_string()).map_err(anyhow::Error::msg)
}

/// Returns the standard API with signed management.
fn spec() -> anyhow::Result<ApiSpec> {
    Ok(ApiSpec { management: ManagementAccess::Iam, callers: callers()?, ..ApiSpec::standard() })
}

/// Starts an emulator with the table of `probe-stack.ts`; `None`, with a message, if the emulator cannot be
/// installed.
///
/// # Errors
/// The emulator rejects the table.
pub async fn directives() -> anyhow::Result<Option<(DynamoDb, Client)>> {
    let Some(database) = DynamoDb::start().await else { return Ok(None) };
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Keys::new("test", "test", None, None, "test"))
        .endpoint_url(database.endpoint())
        .build();
    let client = Client::from_conf(config);
    let create = client.create_table().table_name(DIRECTIVES).billing_mode(BillingMode::PayPerRequest);
    let attribute =
        AttributeDefinition::builder().attribute_name(CONNECTION_KEY).attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name(CONNECTION_KEY).key_type(KeyType::Hash);
    let create = create.attribute_definitions(attribute.build()?).key_schema(key.build()?);
    Box::pin(create.send()).await?;
    Ok(Some((database, client)))
}

/// Returns the function with the environment of Lambda and the stack, except that the `@connections` endpoint is not
/// `https://`.
fn function(database: &DynamoDb, endpoint: &EndpointAddress) -> anyhow::Result<LambdaFunctions> {
    let [key, secret, token] = FUNCTION.map(str::to_owned);
    let program = executable::binary("stage-probe").context("cargo build -p probes --bin stage-probe")?;
    let environment = [
        (TABLE_VARIABLE, DIRECTIVES.to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", database.endpoint()),
        (MANAGEMENT_ENDPOINT_VARIABLE, format!("http://{}{}", endpoint.authority, endpoint.path())),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_SESSION_TOKEN", token),
    ];
    executable::lambda(&program, environment)
}

/// Returns an unused address: the function needs it before the gateway starts.
fn free_endpoint() -> anyhow::Result<EndpointAddress> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    EndpointAddress::parse(&format!("ws://{address}/prod"))
}

/// Running stage.
pub struct AwsLocalStage {
    endpoint: EndpointAddress,
    caller: ManagementCaller,
    gateway: LocalGateway,
    lambda: LambdaFunctions,
    _database: DynamoDb,
}

impl AwsLocalStage {
    /// Starts all parts; `None`, with a message, if the emulator cannot be installed.
    ///
    /// # Errors
    /// The probe is not built, or a part does not start.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some((database, _)) = directives().await? else { return Ok(None) };
        let endpoint = free_endpoint()?;
        let lambda = function(&database, &endpoint)?;
        let gateway = LocalGateway::start(spec()?, Arc::new(lambda.clone()), &endpoint.authority)?;
        let caller = ManagementCaller::new(Keys::new(SUITE[0], SUITE[1], None, None, "suite"), &endpoint);
        Ok(Some(Self { endpoint, caller, gateway, lambda, _database: database }))
    }

    /// Returns the target that rows run against.
    #[must_use]
    pub fn target(&self) -> RunTarget {
        RunTarget::Remote(self.endpoint.clone(), Some(self.caller.clone()))
    }

    /// Stops all parts.
    pub async fn stop(self) {
        self.gateway.stop().await;
        self.lambda.stop().await;
    }
}
