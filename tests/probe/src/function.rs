//! The probe handlers as a Lambda function on `lambda_runtime`: one for all routes.
//!
//! The event is taken as raw JSON, so that the very bytes are recorded that came over the Runtime API. Who decides is in
//! the environment: a [desk](crate::desk) elsewhere, or this process with a [table](crate::stage).

use std::sync::Arc;

use anyhow::Context as _;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::desk::{DESK, Desk, Instruction};
use crate::probe::Probe;
use crate::stage::{Stage, TABLE};

/// The SDKs' variable for another endpoint of `@connections` than the event's own (AWS SDKs and tools reference guide,
/// "Service-specific endpoints"), stage included.
pub const MANAGEMENT: &str = "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI";

/// Runs until the platform ends the process.
///
/// # Errors
/// The environment names neither a desk nor a table, or the Runtime API is away.
pub async fn run() -> Result<(), Error> {
    if let Some(address) = variable(DESK) {
        let desk = Desk::at(&address);
        return serve(|event| {
            let desk = desk.clone();
            async move { desk.ask(event).await }
        })
        .await;
    }
    let table = variable(TABLE).with_context(|| format!("{DESK} names no desk and {TABLE} names no table"))?;
    lambda_runtime::tracing::init_default_subscriber();
    let probe = Arc::new(Probe::new(Arc::new(Stage::on_aws(table, variable(MANAGEMENT)).await?)));
    serve(|event| {
        let probe = probe.clone();
        async move { Ok(probe.invoke(event.into_bytes()).await.into()) }
    })
    .await
}

async fn serve<F: Future<Output = Result<Instruction, Error>>>(decide: impl Fn(String) -> F) -> Result<(), Error> {
    let handle = |event: LambdaEvent<Box<RawValue>>| follow(decide(event.payload.get().to_owned()));
    lambda_runtime::run(service_fn(handle)).await
}

async fn follow(decision: impl Future<Output = Result<Instruction, Error>>) -> Result<Value, Error> {
    match decision.await? {
        Instruction::Return(value) => Ok(value),
        Instruction::Throw(message) => Err(message.into()),
        Instruction::Crash => std::process::exit(1),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}
