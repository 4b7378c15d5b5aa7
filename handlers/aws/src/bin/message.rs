//! `$default` as a Lambda function on a two-way route: one frame in, its answer as the response.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use handlers_aws::function::{Failed, start_logging};
use handlers_aws::{config, wiring};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    start_logging(&config::environment);
    let app = &wiring::app(&config::environment).await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayWebsocketProxyRequest>| {
        app.message(event.payload).await.map_err(|error| Failed::new("HandlerError", &error))
    }))
    .await
}
