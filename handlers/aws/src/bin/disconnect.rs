//! `$disconnect` as a Lambda function: deletes the connection. Idempotent.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use handlers_aws::config::EnvironmentVariables;
use handlers_aws::function::{InvocationError, start_logging};
use handlers_aws::wiring;
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let environment = EnvironmentVariables::of_process();
    start_logging(&environment);
    let app = &wiring::app_from_environment(&environment).await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayWebsocketProxyRequest>| {
        app.handle_disconnect(event.payload).await.map_err(|error| InvocationError::new("HandlerError", &error))
    }))
    .await
}
