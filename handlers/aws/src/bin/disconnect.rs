//! `$disconnect` as a Lambda function: deletes the connection. Idempotent.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use handlers_aws::function::{InvocationError, start_logging};
use handlers_aws::{config, wiring};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    start_logging(&config::environment_variable);
    let app = &wiring::app_from_environment(&config::environment_variable).await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayWebsocketProxyRequest>| {
        app.handle_disconnect(event.payload).await.map_err(|error| InvocationError::new("HandlerError", &error))
    }))
    .await
}
