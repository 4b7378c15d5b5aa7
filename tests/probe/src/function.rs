//! The probe handlers as a Lambda function on `lambda_runtime`: one for all routes.
//!
//! The event is taken as raw JSON, so that the very bytes are recorded that came over the Runtime API. Who decides is in
//! the environment: a [desk](crate::desk) elsewhere, or else this process with a table (`stage`).

use anyhow::Context as _;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::directive_client::{DIRECTIVE_SERVER_VARIABLE, DirectiveClient, Instruction};

/// Runs until the platform ends the process, and asks the desk that the environment names what to do.
///
/// # Errors
/// The environment names no desk, or the Runtime API is away.
pub async fn run_with_directive_server() -> Result<(), Error> {
    let desk = DirectiveClient::new(
        &variable(DIRECTIVE_SERVER_VARIABLE).with_context(|| format!("{DIRECTIVE_SERVER_VARIABLE} names no desk"))?,
    );
    serve(|event| {
        let desk = desk.clone();
        async move { desk.request_instruction(event).await }
    })
    .await
}

/// Runs until the platform ends the process: with a desk where the environment names one, else by itself.
///
/// # Errors
/// The environment names neither a desk nor a table, or the Runtime API is away.
#[cfg(feature = "stage")]
pub async fn run() -> Result<(), Error> {
    use std::sync::Arc;

    use crate::names::{MANAGEMENT_ENDPOINT_VARIABLE, TABLE_VARIABLE};
    use crate::stage::AwsEnvironment;

    if variable(DIRECTIVE_SERVER_VARIABLE).is_some() {
        return run_with_directive_server().await;
    }
    let table = variable(TABLE_VARIABLE)
        .with_context(|| format!("{DIRECTIVE_SERVER_VARIABLE} names no desk and {TABLE_VARIABLE} names no table"))?;
    lambda_runtime::tracing::init_default_subscriber();
    let probe = Arc::new(crate::Probe::new(Arc::new(
        AwsEnvironment::from_sdk_config(table, variable(MANAGEMENT_ENDPOINT_VARIABLE)).await?,
    )));
    serve(|event| {
        let probe = probe.clone();
        async move { Ok(probe.invoke(event.into_bytes()).await.into()) }
    })
    .await
}

async fn serve<F: Future<Output = Result<Instruction, Error>>>(decide: impl Fn(String) -> F) -> Result<(), Error> {
    let handle = |event: LambdaEvent<Box<RawValue>>| execute_instruction(decide(event.payload.get().to_owned()));
    lambda_runtime::run(service_fn(handle)).await
}

async fn execute_instruction(decision: impl Future<Output = Result<Instruction, Error>>) -> Result<Value, Error> {
    match decision.await? {
        Instruction::Return(value) => Ok(value),
        Instruction::Throw(message) => Err(message.into()),
        Instruction::Crash => std::process::exit(1),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}
