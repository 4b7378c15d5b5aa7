//! The catalogue in the world of AWS on the laptop: the probe that is deployed, as an executable behind the Runtime API, its
//! table in a DynamoDB emulator, and the gateway, which takes signed calls of `@connections` only.
//!
//! It is driven over the network alone, as a real stage would be. Invariant: both callers may do what they may on AWS; the
//! function no more than `cdk/lib/probe-stack.ts` lets it.

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

/// The table's name.
pub const DIRECTIVES: &str = "directives";
/// The function's keys are temporary, as those of a role are.
const FUNCTION: [&str; 3] = ["ASIAFUNCTION", "secret-of-the-function", "token/of+the=function"];
/// The suite's are those of a user.
const SUITE: [&str; 2] = ["AKIASUITE", "secret-of-the-suite"];

/// Both callers as the gateway knows them.
fn callers() -> anyhow::Result<IamCredentials> {
    let own = |verb| format!("arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/{verb}/@connections/*");
    let policy = |action: &str, resource: Value| {
        let statement = json!({"Effect": "Allow", "Action": action, "Resource": resource});
        json!({"Version": "2012-10-17", "Statement": [statement]})
    };
    let [key, secret, token] = FUNCTION;
    let function = json!({
        "AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": token,
        "Arn": "arn:aws:sts::123456789012:assumed-role/probe/function",
        "PolicyDocument": policy("execute-api:ManageConnections", json!(["POST", "GET", "DELETE"].map(own))),
    });
    let suite = json!({
        "AccessKeyId": SUITE[0], "SecretAccessKey": SUITE[1], "Arn": "arn:aws:iam::123456789012:user/suite",
        "PolicyDocument": policy("execute-api:*", json!("*")),
    });
    IamCredentials::parse(&json!([function, suite]).to_string()).map_err(anyhow::Error::msg)
}

/// The standard API with signed management.
fn spec() -> anyhow::Result<ApiSpec> {
    Ok(ApiSpec { management: ManagementAccess::Iam, callers: callers()?, ..ApiSpec::standard() })
}

/// An emulator with the table of `probe-stack.ts` in it; `None`, and loud, where there is no emulator.
///
/// # Errors
/// The emulator refuses the table.
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

/// The function with everything that Lambda and the stack would tell it, but for another place of `@connections` than
/// `https://`.
fn function(database: &DynamoDb, place: &EndpointAddress) -> anyhow::Result<LambdaFunctions> {
    let [key, secret, token] = FUNCTION.map(str::to_owned);
    let program = executable::binary("stage-probe").context("cargo build -p probes --bin stage-probe")?;
    let environment = [
        (TABLE_VARIABLE, DIRECTIVES.to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", database.endpoint()),
        (MANAGEMENT_ENDPOINT_VARIABLE, format!("http://{}{}", place.authority, place.path())),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_SESSION_TOKEN", token),
    ];
    executable::lambda(&program, environment)
}

/// A place that was free a moment ago: the function has to know it before the gateway is there.
fn free_place() -> anyhow::Result<EndpointAddress> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    EndpointAddress::parse(&format!("ws://{address}/prod"))
}

/// A stage that runs.
pub struct AwsLocalStage {
    place: EndpointAddress,
    caller: ManagementCaller,
    gateway: LocalGateway,
    lambda: LambdaFunctions,
    _database: DynamoDb,
}

impl AwsLocalStage {
    /// Starts everything; `None`, and loud, where there is no emulator.
    ///
    /// # Errors
    /// The probe is not built, or something does not start.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some((database, _)) = directives().await? else { return Ok(None) };
        let place = free_place()?;
        let lambda = function(&database, &place)?;
        let gateway = LocalGateway::start(spec()?, Arc::new(lambda.clone()), &place.authority)?;
        let caller = ManagementCaller::new(Keys::new(SUITE[0], SUITE[1], None, None, "suite"), &place);
        Ok(Some(Self { place, caller, gateway, lambda, _database: database }))
    }

    /// Where rows are run.
    #[must_use]
    pub fn target(&self) -> RunTarget {
        RunTarget::Remote(self.place.clone(), Some(self.caller.clone()))
    }

    /// Stops everything.
    pub async fn stop(self) {
        self.gateway.stop().await;
        self.lambda.stop().await;
    }
}
