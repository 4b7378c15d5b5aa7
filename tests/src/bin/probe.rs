//! The probe handlers as a Lambda function, for gateways that the suite starts: it asks the suite's desk what to do.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    probes::function::run_with_directive_server().await
}
