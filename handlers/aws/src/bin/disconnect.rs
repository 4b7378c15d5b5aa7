//! `$disconnect` as a Lambda function: forgets the connection. Safe to be called twice.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use handlers_aws::function::{Failed, start_logging};
use handlers_aws::{config, wiring};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    start_logging(&config::environment);
    let app = &wiring::app(&config::environment).await?;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayWebsocketProxyRequest>| {
        app.disconnect(event.payload).await.map_err(|error| Failed::new("HandlerError", &error))
    }))
    .await
}
