//! The HTTP API for backends as a Lambda function behind an HTTP API of API Gateway (payload format 2.0).

use handlers_aws::config::EnvironmentVariables;
use handlers_aws::function::{InvocationError, http_request, http_response, start_logging};
use handlers_aws::wiring;
use lambda_http::service_fn;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    let environment = EnvironmentVariables::of_process();
    start_logging(&environment);
    let api = &wiring::api_from_environment(&environment).await?;
    lambda_http::run(service_fn(async |request: lambda_http::Request| {
        let response = api.handle_request(http_request(request)).await;
        response.map(http_response).map_err(|error| InvocationError::new("SecretError", &error))
    }))
    .await
}
