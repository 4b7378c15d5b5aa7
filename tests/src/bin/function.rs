//! `function`: a Lambda function on `lambda_runtime` for tests; it executes the command in the body of a WebSocket or
//! HTTP API event.
//!
//! Commands: `pid`, `env NAME`, `wait MS`, `gather COUNT DIRECTORY`, `crash`, `abort`, `hang`, `throw TEXT`, `log LEVEL
//! TEXT`, `post ENDPOINT` (posts to its client), `reply JSON` (the whole response), `files` (its soft and hard limit of
//! open files), `descend` (starts two processes that it does not wait for, the second in a session of its own, and
//! returns their ids), `orphan` (kills its parent), `spy PID FILE` (returns what it can read: environment and memory of
//! the processes up to PID, and the file). Any other text is returned. With `FUNCTION_START=crash` the process exits
//! before it requests an event.

use std::path::Path;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_apigatewaymanagement::primitives::Blob;
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
    if event.payload["type"] == "REQUEST" {
        return Ok(authorize(&event.payload));
    }
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
        "abort" => std::process::abort(),
        "reply" => return Ok(serde_json::from_str(rest)?),
        "descend" => shell("sleep 600 >&- 2>&- & echo $!; setsid sleep 600 >&- 2>&- & echo $!")?,
        "files" => shell("ulimit -Sn; ulimit -Hn")?,
        "orphan" => shell(&format!("kill -9 {}", parent_of(std::process::id()).ok_or("no parent")?))?,
        "spy" => spy(rest)?,
        "hang" => std::future::pending().await,
        "post" => post(rest, &event.payload["requestContext"]["connectionId"]).await?,
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

/// Posts to the connection with the settings of the environment, as a handler with this endpoint does.
async fn post(endpoint: &str, connection_id: &Value) -> Result<String, Error> {
    let settings = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let config = aws_sdk_apigatewaymanagement::config::Builder::from(&settings).endpoint_url(endpoint).build();
    let call = aws_sdk_apigatewaymanagement::Client::from_conf(config).post_to_connection();
    let call = call.connection_id(connection_id.as_str().unwrap_or_default());
    call.data(Blob::new(format!("rust {endpoint}"))).send().await?;
    Ok("posted".to_owned())
}

/// Allows a handshake. The context has as many bytes as the query parameter `bytes` says.
fn authorize(event: &Value) -> Value {
    let bytes = event["queryStringParameters"]["bytes"].as_str().and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    let statement = json!([{"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": event["methodArn"]}]);
    json!({
        "principalId": "alice",
        "policyDocument": {"Version": "2012-10-17", "Statement": statement},
        "context": {"private": "x".repeat(bytes)},
    })
}

/// Runs a command line and returns its output, in which white space is normalized.
fn shell(command: &str) -> Result<String, Error> {
    let output = std::process::Command::new("sh").args(["-c", command]).output()?;
    let words = String::from_utf8(output.stdout)?;
    Ok(words.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Returns what this process can read of its ancestors up to the process PID, and of FILE, or `nothing`. `arguments` is
/// `PID FILE`.
fn spy(arguments: &str) -> Result<String, Error> {
    let (server, file) = arguments.split_once(' ').ok_or("usage: spy PID FILE")?;
    let server: u32 = server.parse()?;
    let mut found = Vec::new();
    let mut process = std::process::id();
    while process != server {
        process = parent_of(process).ok_or("the server is no ancestor")?;
        for name in ["environ", "mem", "maps", "root/etc/hostname", "fd/0"] {
            let path = format!("/proc/{process}/{name}");
            // Opening the memory is what the kernel permits or forbids; the first page cannot be read.
            if std::fs::File::open(&path).is_ok() {
                found.push(path);
            }
        }
    }
    if std::fs::read(file).is_ok() {
        found.push(file.to_owned());
    }
    Ok(if found.is_empty() { "nothing".to_owned() } else { found.join(" ") })
}

/// Returns the parent of a process (proc(5)).
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
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
