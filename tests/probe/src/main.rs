//! The probe handlers as a deployable Lambda function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    probes::function::run().await
}
