//! The probe handlers as a Lambda function to deploy; `probe` of the package `tests` is the same for the suite's own use.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    probes::function::run().await
}
