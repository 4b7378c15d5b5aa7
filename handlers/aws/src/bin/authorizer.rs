//! The REQUEST authorizer as a Lambda function: verifies a token and returns a policy with the caller's identity.

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerRequestTypeRequest;
use handlers::authorizer::AuthorizerError;
use handlers_aws::function::{InvocationError, start_logging};
use handlers_aws::{config, wiring};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    start_logging(&config::environment_variable);
    let (authorizer, clock) = &wiring::authorizer_from_environment(&config::environment_variable).await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayCustomAuthorizerRequestTypeRequest>| {
        authorizer.authorize(event.payload, clock.now()).await.map_err(|error| match error {
            // API Gateway answers 401 only if the text is exactly "Unauthorized".
            AuthorizerError::Unauthorized => InvocationError::with_exact_text("Unauthorized", error.to_string()),
            error => InvocationError::new("AuthorizerError", &error),
        })
    }))
    .await
}
