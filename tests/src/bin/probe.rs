//! `probe`: the probe handlers as a Lambda function for gateways that the suite starts; the suite's directive server
//! supplies the directives.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    probes::function::run_with_directive_server().await
}
