//! The probe handlers as a Lambda function on `lambda_runtime`: asks the desk what to do with each event, and does it.
//!
//! The event is taken as raw JSON, so that the desk sees the very bytes that came over the Runtime API.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use serde_json::value::RawValue;
use tests::conformance::probe::desk::{DESK, Instruction};

type Desk = Client<HttpConnector, Full<Bytes>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let address = std::env::var_os(DESK).ok_or("PROBE_DESK names no desk")?;
    let url = format!("http://{}/", address.to_string_lossy());
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let desk: Desk = Client::builder(TokioExecutor::new()).build(connector);
    let handle = |event: LambdaEvent<Box<RawValue>>| probe(desk.clone(), url.clone(), event.payload);
    lambda_runtime::run(service_fn(handle)).await
}

async fn probe(desk: Desk, url: String, event: Box<RawValue>) -> Result<Value, Error> {
    let request = http::Request::post(url).body(Full::from(event.get().to_owned()))?;
    let answer = desk.request(request).await?.into_body().collect().await?.to_bytes();
    match serde_json::from_slice(&answer)? {
        Instruction::Return(value) => Ok(value),
        Instruction::Throw(message) => Err(message.into()),
        Instruction::Crash => std::process::exit(1),
    }
}
