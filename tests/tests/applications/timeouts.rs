//! Timeouts: that of the integration, after which the function continues, and that of the function.

use tests::conformance::client::HandshakeBuilder;

use super::{Fixture, ask, connect};

const TEXT: &str = r#"
[routes]
patient = { function = "slow", timeout = "300ms" }
strict = "short"
[functions.short]
timeout = "1s"
command = COMMAND(short)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_integration_timeout_is_reported_and_the_function_continues() {
    let fixture = Fixture::new(TEXT, &["slow"]);
    let mut server = fixture.launch().start().await;
    let mut client = connect(&server, HandshakeBuilder::new()).await;
    let frame = ask(&mut client, r#"{"action":"patient","sleep":1}"#).await;
    assert!(frame.starts_with(r#"{"message": "Endpoint request timed out""#), "{frame}");
    fixture.wait_event("slow", "ended", |_| true).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_timeout_is_a_function_error() {
    let fixture = Fixture::new(TEXT, &["slow"]);
    let mut server = fixture.launch().start().await;
    let mut client = connect(&server, HandshakeBuilder::new()).await;
    let frame = ask(&mut client, r#"{"action":"strict","sleep":30}"#).await;
    assert!(frame.starts_with(r#"{"message": "Internal server error""#), "{frame}");
    server.stop().await;
}
