//! Adapters of the messaging application for AWS (DynamoDB and the `@connections` API), and the five Lambda functions.
//!
//! The application's rules are in `handlers`; this crate implements its ports. Clients of the SDK are created once per
//! process and shared by all invocations. Only this crate depends on the AWS SDK.
//!
//! A function builds the application from its environment variables ([`config`]) and handles events with it:
//!
//! ```no_run
//! use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
//! use handlers_aws::config::EnvironmentVariables;
//! use handlers_aws::function::{InvocationError, start_logging};
//! use handlers_aws::wiring;
//! use lambda_runtime::{LambdaEvent, service_fn};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), lambda_runtime::Error> {
//!     let environment = EnvironmentVariables::of_process();
//!     start_logging(&environment);
//!     let app = &wiring::app_from_environment(&environment).await?;
//!     lambda_runtime::run(service_fn(async |event: LambdaEvent<ApiGatewayWebsocketProxyRequest>| {
//!         app.handle_message(event.payload).await.map_err(|error| InvocationError::new("HandlerError", &error))
//!     }))
//!     .await
//! }
//! ```

pub mod backend_api;
pub mod config;
pub mod connections;
pub mod delivery;
mod dynamo;
pub mod function;
pub mod log;
pub mod retries;
pub mod revocations;
pub mod secrets;
pub mod tables;
pub mod wiring;
