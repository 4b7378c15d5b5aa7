//! `@connections` calls of functions: stock SDKs sign them with the keys that the server gives to its functions.

use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::config::retry::RetryConfig;
use aws_sdk_apigatewaymanagement::config::{Config, Credentials, Region};
use aws_sdk_apigatewaymanagement::error::ProvideErrorMetadata as _;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use http::Method;
use serde_json::Value;
use tests::client::http::HttpCaller;
use tests::conformance::client::ConformanceClient;
use tests::ports::free_address;

use super::{ask, connect, launch};

/// Variables that an SDK reads.
const VARIABLES: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI",
];

/// Returns the variables as a function process sees them.
async fn function_variables(client: &mut ConformanceClient) -> [String; 5] {
    let mut values = Vec::new();
    for name in VARIABLES {
        values.push(ask(client, &format!("env {name}")).await);
    }
    values.try_into().unwrap()
}

/// Returns the id of the client's connection, which an error frame contains.
async fn connection_id(client: &mut ConformanceClient) -> String {
    let error: Value = serde_json::from_str(&ask(client, "throw x").await).unwrap();
    error["connectionId"].as_str().unwrap().to_owned()
}

/// Posts as an SDK with these variables does, and returns the error code.
async fn post([access, secret, token, region, endpoint]: [String; 5], id: &str) -> Result<(), Option<String>> {
    let keys = Credentials::builder().access_key_id(access).secret_access_key(secret).provider_name("tests");
    let keys = if token == "absent" { keys } else { keys.session_token(token) };
    let config = Config::builder().behavior_version_latest().region(Region::new(region)).endpoint_url(endpoint);
    let config = config.credentials_provider(keys.build()).retry_config(RetryConfig::disabled());
    let sending = Client::from_conf(config.build()).post_to_connection().connection_id(id).data(Blob::new("posted"));
    sending.send().await.map(drop).map_err(|error| error.code().map(str::to_owned))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_post_with_the_keys_of_the_server_and_others_cannot() {
    let listen = free_address();
    let server = launch().with_env("TWINWAY_LISTEN", listen).with_env("TWINWAY_MANAGEMENT_LISTEN", "off");
    // More invalid signatures than the budget of an address.
    let server = server.with_env("TWINWAY_THROTTLE_ADDRESS_RATE", "off");
    let mut server = server.start().await;
    let mut client = connect(&server).await;
    let variables = function_variables(&mut client).await;
    assert_eq!(variables[4], format!("http://{listen}/prod"));
    let id = connection_id(&mut client).await;
    assert_eq!(post(variables.clone(), &id).await, Ok(()));
    assert_eq!(client.text().await.unwrap(), "posted");

    let with = |index: usize, value: &str| {
        let mut changed = variables.clone();
        changed[index] = value.to_owned();
        changed
    };
    let code = |code: &str| Err(Some(code.to_owned()));
    assert_eq!(post(with(0, "AKIDEXAMPLE"), &id).await, code("UnrecognizedClientException"));
    assert_eq!(post(with(1, "example"), &id).await, code("InvalidSignatureException"));
    assert_eq!(post(with(2, "absent"), &id).await, code("UnrecognizedClientException"));
    assert_eq!(post(with(2, "another"), &id).await, code("UnrecognizedClientException"));
    let http = HttpCaller::with_base_url(&format!("http://{listen}"));
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let reply = http.call(method, &format!("/prod/@connections/{id}"), &[], "x".into()).await;
        assert_eq!((reply.status, reply.header("x-amzn-errortype")), (403, "MissingAuthenticationTokenException"));
    }
    assert_eq!(ask(&mut client, "still open").await, "received still open");
    let exit = server.stop().await;
    for secret in &variables[1..3] {
        assert!(!exit.stderr.contains(secret.as_str()) && !exit.stdout.contains(secret.as_str()), "a key was printed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_with_credentials_of_their_own_post_through_the_listener_of_unsigned_calls() {
    let local = free_address();
    let server = launch().with_env("TWINWAY_MANAGEMENT_LISTEN", local).with_env("AWS_ACCESS_KEY_ID", "test");
    let mut server = server.with_env("AWS_SECRET_ACCESS_KEY", "test").start().await;
    let mut client = connect(&server).await;
    let variables = function_variables(&mut client).await;
    assert_eq!(variables[..3], ["test", "test", "absent"]);
    assert_eq!(variables[4], format!("http://{local}/prod"));
    let id = connection_id(&mut client).await;
    assert_eq!(post(variables.clone(), &id).await, Ok(()));
    assert_eq!(client.text().await.unwrap(), "posted");
    let mut remote = variables.clone();
    remote[4] = format!("http://{}/prod", server.traffic);
    assert_eq!(post(remote, &id).await, Err(Some("UnrecognizedClientException".to_owned())));
    server.stop().await;
}
