//! The probe handlers as a Lambda function to deploy.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    probes::function::run().await
}
