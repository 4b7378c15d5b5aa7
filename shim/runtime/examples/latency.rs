//! Benchmark of the latency of an invocation through the Runtime API:
//! `cargo run --release -p runtime-api --example latency`.
//!
//! With a Runtime API in its environment, the same executable is the function: an echo on `lambda_runtime`. For
//! comparison, the same echo is called in this process, from bytes to bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use runtime_api::{DEFAULT_SEARCH_PATH, FunctionDefinition, FunctionLimits, LambdaFunction, Program};
use serde_json::{Value, json};

const EVENTS: usize = 20_000;
const CALLERS: usize = 16;

#[tokio::main]
async fn main() -> Result<(), Error> {
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        return lambda_runtime::run_concurrent(service_fn(echo)).await;
    }
    measure_in_process();
    for (name, max_processes, concurrency) in [("one at a time", 4, 1), ("16 per process", 1, CALLERS)] {
        let function = Arc::new(start_function(max_processes, concurrency)?);
        measure_latency(&format!("{name}, 1 caller"), &function, 1).await;
        measure_latency(&format!("{name}, {CALLERS} callers"), &function, CALLERS).await;
        function.stop().await;
    }
    Ok(())
}

async fn echo(event: LambdaEvent<Value>) -> Result<Value, Error> {
    Ok(echo_reply(&event.payload))
}

fn echo_reply(event: &Value) -> Value {
    json!({"statusCode": 200, "body": event["body"]})
}

fn sample_event() -> Bytes {
    let context = json!({"routeKey": "$default", "connectionId": "L0SM9cOFvHcCIhw=", "padding": "x".repeat(600)});
    Bytes::from(json!({"requestContext": context, "body": "hello", "isBase64Encoded": false}).to_string())
}

fn measure_in_process() {
    let event = sample_event();
    let times = (0..EVENTS).map(|_| {
        let started = Instant::now();
        let value = serde_json::from_slice(&event).expect("the event is JSON");
        std::hint::black_box(echo_reply(&value).to_string());
        started.elapsed()
    });
    report_latencies("in-process through JSON, 1 caller", times.collect(), None);
}

fn start_function(max_processes: usize, concurrency: usize) -> Result<LambdaFunction, Error> {
    let limits = FunctionLimits {
        timeout: Duration::from_secs(10),
        init_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        min_processes: 1,
        max_processes,
        concurrency,
        queue_capacity: 256,
    };
    let definition = FunctionDefinition {
        name: "echo".to_owned(),
        program: Program::from_bootstrap(&std::env::current_exe()?, DEFAULT_SEARCH_PATH)?,
        partition: "aws".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "000000000000".to_owned(),
        memory_mib: 128,
        environment: [].into(),
        availability_zone_id: None,
        library_path: None,
        user: None,
        supervisor: None,
        limits,
    };
    // The echo does not read its deadline, so the clock is constant.
    Ok(LambdaFunction::start(definition, Arc::new(|| 0)))
}

async fn measure_latency(name: &str, function: &Arc<LambdaFunction>, callers: usize) {
    let event = sample_event();
    function.invoke(event.clone()).await.expect("the echo responds");
    let tasks = tokio_util::task::TaskTracker::new();
    let started = Instant::now();
    let calls: Vec<_> = (0..callers)
        .map(|_| {
            let (function, event) = (function.clone(), event.clone());
            tasks.spawn(async move {
                let mut times = Vec::with_capacity(EVENTS / callers);
                for _ in 0..EVENTS / callers {
                    let started = Instant::now();
                    function.invoke(event.clone()).await.expect("the echo responds");
                    times.push(started.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::with_capacity(EVENTS);
    for call in calls {
        times.extend(call.await.expect("no caller panics"));
    }
    report_latencies(name, times, Some(started.elapsed()));
}

fn report_latencies(name: &str, mut times: Vec<Duration>, whole: Option<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let rate = whole.map(|whole| format!(", {:.0} events/s", times.len() as f64 / whole.as_secs_f64()));
    println!("{name}: p50 {:?}, p99 {:?}{}", at(0.5), at(0.99), rate.unwrap_or_default());
}
