//! The probe that stands by itself, as it does on AWS: a Lambda executable with a DynamoDB table and signed calls of
//! `@connections`, driven over the network alone.
//!
//! The gateway asks for signatures and lets the function do what `cdk/lib/probe-stack.ts` lets it do.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials as Keys;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use probes::stage::{CONNECTION, MANAGEMENT, TABLE, Table};
use serde_json::{Value, json};
use shim::access::Credentials;
use shim::config::Management;
use shim::functions::Lambda;
use tests::conformance::cases;
use tests::conformance::client::Caller;
use tests::conformance::probe::executable;
use tests::conformance::report::{Outcome, Verdict};
use tests::conformance::runner::{self, Target};
use tests::conformance::spec::Spec;
use tests::conformance::wire::place::Place;
use tests::conformance::world::Gateway;
use tests::dynamodb::DynamoDb;

/// The table's name.
const DIRECTIVES: &str = "directives";
/// The function's keys are temporary, as those of a role are.
const FUNCTION: [&str; 3] = ["ASIAFUNCTION", "secret-of-the-function", "token/of+the=function"];
/// The suite's are those of a user.
const SUITE: [&str; 2] = ["AKIASUITE", "secret-of-the-suite"];

/// Both callers as the gateway knows them.
fn callers() -> anyhow::Result<Credentials> {
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
    Credentials::parse(&json!([function, suite]).to_string()).map_err(anyhow::Error::msg)
}

/// The standard API with signed management.
fn spec() -> anyhow::Result<Spec> {
    Ok(Spec { management: Management::Iam, callers: callers()?, ..Spec::standard() })
}

/// An emulator with the table of `probe-stack.ts` in it.
async fn directives() -> anyhow::Result<Option<(DynamoDb, Client)>> {
    let Some(database) = DynamoDb::start().await else { return Ok(None) };
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Keys::new("test", "test", None, None, "test"))
        .endpoint_url(database.endpoint())
        .build();
    let client = Client::from_conf(config);
    let create = client.create_table().table_name(DIRECTIVES).billing_mode(BillingMode::PayPerRequest);
    let attribute = AttributeDefinition::builder().attribute_name(CONNECTION).attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name(CONNECTION).key_type(KeyType::Hash);
    let create = create.attribute_definitions(attribute.build()?).key_schema(key.build()?);
    Box::pin(create.send()).await?;
    Ok(Some((database, client)))
}

/// The function with everything that Lambda and the stack would tell it, but for another place of `@connections` than
/// `https://`.
fn function(database: &DynamoDb, place: &Place) -> anyhow::Result<Lambda> {
    let [key, secret, token] = FUNCTION.map(str::to_owned);
    let program = Path::new(env!("CARGO_BIN_EXE_stage-probe"));
    let environment = [
        (TABLE, DIRECTIVES.to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", database.endpoint()),
        (MANAGEMENT, format!("http://{}{}", place.authority, place.path())),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_SESSION_TOKEN", token),
    ];
    executable::lambda(program, environment)
}

/// A place that was free a moment ago: the function has to know it before the gateway is there.
fn free_place() -> anyhow::Result<Place> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Place::parse(&format!("ws://{address}/prod"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_hold_through_the_probe_that_stands_by_itself() {
    let Some((database, _)) = directives().await.unwrap() else { return };
    let place = free_place().unwrap();
    let lambda = function(&database, &place).unwrap();
    let gateway = Gateway::start(spec().unwrap(), Arc::new(lambda.clone()), &place.authority).unwrap();
    let caller = Caller::new(Keys::new(SUITE[0], SUITE[1], None, None, "suite"), &place);
    let report = runner::run(&cases::rows(), &Target::Remote(place, Some(caller))).await;
    gateway.stop().await;
    lambda.stop().await;
    println!("{}", report.summary());
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{}: {failures:#?}", report.summary());
    let ran = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Holds | Verdict::Chosen);
    assert!(report.outcomes.iter().filter(ran).count() > 100, "too few rows ran: {}", report.summary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_keeps_the_first_saying_until_the_end_of_its_connection() {
    let Some((_database, client)) = directives().await.unwrap() else { return };
    let (table, other) = (Table::new(client.clone(), DIRECTIVES.to_owned()), Table::new(client, DIRECTIVES.to_owned()));
    let (now, said) = (UNIX_EPOCH + Duration::from_secs(1_795_000_000), Some("first".to_owned()));
    assert_eq!(table.get("a=", now).await.unwrap(), None);
    table.put("a=", "first", now).await.unwrap();
    other.put("a=", "second", now).await.unwrap();
    assert_eq!(other.get("a=", now).await.unwrap(), said);
    assert_eq!(other.get("b=", now).await.unwrap(), None);
    let late = now + Duration::from_secs(3 * 60 * 60);
    assert_eq!(other.get("a=", late).await.unwrap(), None, "DynamoDB may delete it late");
    assert_eq!(other.take("a=", now).await.unwrap(), said);
    assert_eq!(table.take("a=", now).await.unwrap(), None, "one end of a connection is told");
}
