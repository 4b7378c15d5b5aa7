//! `function`: a Lambda function on `lambda_runtime` for tests; it executes the command in the body of a WebSocket or
//! HTTP API event.
//!
//! Commands: `pid`, `env NAME`, `wait MS`, `gather COUNT DIRECTORY`, `crash`, `hang`, `throw TEXT`, `log LEVEL TEXT`.
//! Any other text is returned. With `FUNCTION_START=crash` the process exits before it requests an event.

use std::path::Path;
use std::time::Duration;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    if variable("FUNCTION_START").as_deref() == Some("crash") {
        std::process::exit(3);
    }
    lambda_runtime::run_concurrent(service_fn(answer)).await
}

async fn answer(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let text = event.payload["body"].as_str().unwrap_or_default();
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let body = match word {
        "pid" => std::process::id().to_string(),
        "env" => variable(rest).unwrap_or_else(|| "absent".to_owned()),
        "wait" => {
            tokio::time::sleep(Duration::from_millis(rest.parse()?)).await;
            std::process::id().to_string()
        }
        "gather" => {
            gather(rest, &event.context.request_id).await?;
            std::process::id().to_string()
        }
        "crash" => std::process::exit(7),
        "hang" => std::future::pending().await,
        "throw" => return Err(rest.into()),
        "log" => {
            let (level, message) = rest.split_once(' ').unwrap_or((rest, ""));
            println!("{}", json!({"level": level, "message": message}));
            event.context.request_id
        }
        _ => format!("received {text}"),
    };
    Ok(
        json!({"statusCode": 200, "headers": {"x-path": event.payload["rawPath"].as_str().unwrap_or("none")}, "body": body}),
    )
}

/// Waits until COUNT requests run at the same time, in any number of processes. `arguments` is `COUNT DIRECTORY`.
async fn gather(arguments: &str, request: &str) -> Result<(), Error> {
    let (count, directory) = arguments.split_once(' ').ok_or("usage: gather COUNT DIRECTORY")?;
    let (count, directory) = (count.parse()?, Path::new(directory));
    std::fs::write(directory.join(request), "")?;
    while directory.read_dir()?.count() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}
