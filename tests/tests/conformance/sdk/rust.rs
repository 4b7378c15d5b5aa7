//! The calls with the AWS SDK for Rust.

use anyhow::Context as _;
use aws_sdk_apigatewaymanagement::config::retry::RetryConfig;
use aws_sdk_apigatewaymanagement::config::{Config, Credentials, Region};
use aws_sdk_apigatewaymanagement::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_apigatewaymanagement::operation::delete_connection::DeleteConnectionError;
use aws_sdk_apigatewaymanagement::operation::get_connection::GetConnectionError;
use aws_sdk_apigatewaymanagement::operation::post_to_connection::PostToConnectionError;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use aws_sdk_apigatewaymanagement::{Client, config::http::HttpResponse};
use serde_json::{Value, json};

/// An error that may be part of the service model.
trait Modelled: ProvideErrorMetadata {
    fn is_modelled(&self) -> bool;
}

impl Modelled for PostToConnectionError {
    fn is_modelled(&self) -> bool {
        self.is_gone_exception()
            || self.is_forbidden_exception()
            || self.is_limit_exceeded_exception()
            || self.is_payload_too_large_exception()
    }
}

impl Modelled for GetConnectionError {
    fn is_modelled(&self) -> bool {
        self.is_gone_exception() || self.is_forbidden_exception() || self.is_limit_exceeded_exception()
    }
}

impl Modelled for DeleteConnectionError {
    fn is_modelled(&self) -> bool {
        self.is_gone_exception() || self.is_forbidden_exception() || self.is_limit_exceeded_exception()
    }
}

/// Returns the result of one call as JSON.
fn outcome<T, E: Modelled>(result: Result<T, SdkError<E, HttpResponse>>) -> Value {
    match result {
        Ok(_) => json!("ok"),
        Err(SdkError::ServiceError(error)) => {
            let status = error.raw().status().as_u16();
            json!({"code": error.err().code(), "status": status, "typed": error.err().is_modelled()})
        }
        Err(_) => json!("not a service response"),
    }
}

/// Makes every call of `task` and returns their results.
pub async fn drive(task: &Value) -> anyhow::Result<Value> {
    let text = |role: &str| task[role].as_str().map(str::to_owned).with_context(|| format!("no {role}"));
    let at = |endpoint: &str| anyhow::Ok(connect(&text(endpoint)?, "example"));
    let (standard, other_stage, signed, limited) =
        (at("endpoint")?, at("otherStage")?, at("signedEndpoint")?, at("limitedEndpoint")?);
    let wrong = connect(&text("signedEndpoint")?, "another");
    let post = async |client: &Client, id: String, data: Vec<u8>| {
        outcome(client.post_to_connection().connection_id(id).data(Blob::new(data)).send().await)
    };
    let hello = || b"from Rust".to_vec();
    Ok(json!({
        "connecting": post(&standard, text("connecting")?, hello()).await,
        "post": post(&standard, text("open")?, hello()).await,
        "get": describe(&standard, text("open")?).await,
        "gone": post(&standard, text("gone")?, hello()).await,
        "getGone": describe(&standard, text("gone")?).await,
        "deleteGone": outcome(standard.delete_connection().connection_id(text("gone")?).send().await),
        "malformed": post(&standard, text("malformed")?, hello()).await,
        "tooLarge": post(&standard, text("open")?, vec![b'x'; 128 * 1024 + 1]).await,
        "otherStage": post(&other_stage, text("open")?, hello()).await,
        "slow": fill(&standard, text("slow")?).await,
        "signed": post(&signed, text("signed")?, hello()).await,
        "wrongSecret": post(&wrong, text("signed")?, hello()).await,
        "denied": outcome(signed.delete_connection().connection_id(text("signed")?).send().await),
        "limited": fill(&limited, text("limited")?).await,
        "delete": outcome(standard.delete_connection().connection_id(text("open")?).send().await),
    }))
}

fn connect(endpoint: &str, secret: &str) -> Client {
    let keys = Credentials::builder().access_key_id("AKIDEXAMPLE").secret_access_key(secret).provider_name("tests");
    let config = Config::builder()
        .behavior_version_latest()
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(keys.build())
        .retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}

async fn describe(client: &Client, id: String) -> Value {
    let response = client.get_connection().connection_id(id).send().await;
    let complete = response.as_ref().is_ok_and(|response| {
        let address = response.identity().and_then(|identity| identity.source_ip());
        response.connected_at().is_some() && response.last_active_at().is_some() && address == Some("127.0.0.1")
    });
    if response.is_ok() && !complete { json!("something is missing") } else { outcome(response) }
}

/// Posts until the gateway rejects a post to a client that does not read.
async fn fill(client: &Client, id: String) -> Value {
    for _ in 0..400 {
        let data = Blob::new(vec![b'x'; 100_000]);
        let response = client.post_to_connection().connection_id(&id).data(data).send().await;
        if response.is_err() {
            return outcome(response);
        }
    }
    json!("ok")
}
