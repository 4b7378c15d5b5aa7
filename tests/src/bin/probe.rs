//! The probe handlers as a Lambda function on `lambda_runtime`, for gateways that the suite starts.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    probes::function::run().await
}
