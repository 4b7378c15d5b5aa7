//! Lambda function of the probe handlers on `lambda_runtime`; one function serves all routes.
//!
//! Events are received as raw JSON, so that the bytes of the Runtime API are recorded unchanged. The environment
//! selects the source of the instructions: a [directive server](crate::directive_client), or this process with a table
//! (`stage`).

use anyhow::Context as _;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::directive_client::{DIRECTIVE_SERVER_VARIABLE, DirectiveClient, Instruction};

/// Runs the function with the directive server of the environment, until the platform terminates the process.
///
/// # Errors
/// The environment variable of the directive server is not set, or the Runtime API is unavailable.
pub async fn run_with_directive_server() -> Result<(), Error> {
    let client = DirectiveClient::new(
        &variable(DIRECTIVE_SERVER_VARIABLE).with_context(|| format!("{DIRECTIVE_SERVER_VARIABLE} is not set"))?,
    );
    serve(|event| {
        let client = client.clone();
        async move { client.request_instruction(event).await }
    })
    .await
}

/// Runs the function until the platform terminates the process: with a directive server if the environment has one,
/// otherwise with a table.
///
/// # Errors
/// The environment has neither a directive server nor a table, or the Runtime API is unavailable.
#[cfg(feature = "stage")]
pub async fn run() -> Result<(), Error> {
    use std::sync::Arc;

    use crate::names::{MANAGEMENT_ENDPOINT_VARIABLE, TABLE_VARIABLE};
    use crate::stage::AwsEnvironment;

    if variable(DIRECTIVE_SERVER_VARIABLE).is_some() {
        return run_with_directive_server().await;
    }
    let table = variable(TABLE_VARIABLE)
        .with_context(|| format!("neither {DIRECTIVE_SERVER_VARIABLE} nor {TABLE_VARIABLE} is set"))?;
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
