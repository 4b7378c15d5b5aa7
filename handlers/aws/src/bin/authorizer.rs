//! The REQUEST authorizer as a Lambda function: verifies a token and returns a policy with the caller's identity.

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerRequestTypeRequest;
use handlers::authorizer::AuthorizerError;
use handlers_aws::config::EnvironmentVariables;
use handlers_aws::function::{InvocationError, start_logging};
use handlers_aws::wiring;
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = EnvironmentVariables::of_process();
    start_logging(&environment);
    let (authorizer, clock) = &wiring::authorizer_from_environment(&environment).await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayCustomAuthorizerRequestTypeRequest>| {
        authorizer.authorize(event.payload, clock.now()).await.map_err(|error| match error {
            // API Gateway answers 401 only if the text is exactly "Unauthorized".
            AuthorizerError::Unauthorized => InvocationError::with_exact_text("Unauthorized", error.to_string()),
            error => InvocationError::new("AuthorizerError", &error),
        })
    }))
    .await
}
