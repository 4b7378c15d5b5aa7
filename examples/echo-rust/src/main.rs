//! A Lambda function for the route `$default` of a WebSocket API: sends each message back to its sender.

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use aws_lambda_events::encodings::Body;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(message)).await
}

async fn message(event: LambdaEvent<ApiGatewayWebsocketProxyRequest>) -> Result<ApiGatewayProxyResponse, Error> {
    let sender = event.payload.request_context.connection_id.unwrap_or_default();
    let text = event.payload.body.unwrap_or_default();

    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = 200;
    response.body = Some(Body::Text(format!("{sender} sent: {text}")));
    Ok(response)
}
