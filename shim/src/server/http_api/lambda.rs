//! Lambda integration of HTTP APIs: requests become events of the route's function.
//!
//! An invalid response of the function becomes an error with API Gateway's message; no part of the response reaches the
//! client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway::time::EventTime;
use handlers::ports::Clock;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use runtime_api::InvokeError;
use serde_json::json;

use super::event::{EventContext, event_v1, event_v2};
use super::response::{ResponseFormatError, parse_response};
use super::route_table::{PayloadFormat, RouteMatch, RouteTable};
use crate::access::client_address::ClientAddress;
use crate::functions::invocation_log::InvocationLog;
use crate::functions::lambda::{invoke_function, log_malformed};

/// Timeout of an HTTP API's integration (developer guide, `http-api-quotas`).
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Lambda functions as the integrations of HTTP APIs.
pub struct LambdaApi {
    pub routes: RouteTable,
    /// Whether requests without a route get API Gateway's 404, because an API has the whole path space.
    pub owns_all_paths: bool,
    /// Source of event times and request ids.
    pub clock: Arc<dyn Clock>,
    /// `requestContext.accountId`.
    pub account_id: String,
    /// `requestContext.apiId`.
    pub api_id: String,
}

/// Target of a request.
pub(super) enum HttpTarget {
    /// A function.
    Route(RouteMatch),
    /// No route of an API that has the whole path space: 404.
    NotFound,
}

impl LambdaApi {
    /// Returns the target of a request; `None` if another part of the server handles its path.
    pub(super) fn find_target(&self, method: &Method, path: &str) -> Option<HttpTarget> {
        match self.routes.find_route(method, path) {
            Some(found) => Some(HttpTarget::Route(found)),
            // `/` is the start page.
            None => (self.owns_all_paths && path != "/").then_some(HttpTarget::NotFound),
        }
    }

    /// Invokes the function of the route for one request of `client` and returns its response.
    pub(super) async fn handle_request(
        &self,
        matched: &RouteMatch,
        request: Request<Bytes>,
        client: &ClientAddress,
    ) -> Response<Bytes> {
        let route = &matched.route;
        let event = self.request_event(matched, &request, client);
        let (payload, function) = (route.payload, &route.function);
        let log = InvocationLog::start(function, &route.key);
        let outcome = tokio::time::timeout(INTEGRATION_TIMEOUT, invoke_function(function, event)).await;
        let response = match outcome {
            Ok(Ok(result)) => parse_response(&result, payload).unwrap_or_else(|| {
                log_malformed(function.name(), &ResponseFormatError::of(&result));
                failure_response(payload)
            }),
            Ok(Err(InvokeError::Throttled | InvokeError::Stopped)) | Err(_) => {
                message_response(StatusCode::SERVICE_UNAVAILABLE)
            }
            Ok(Err(_)) => failure_response(payload),
        };
        log.finish(function, response.status().as_u16().to_string());
        response
    }

    fn request_event(&self, matched: &RouteMatch, request: &Request<Bytes>, client: &ClientAddress) -> Bytes {
        let context = EventContext {
            account_id: &self.account_id,
            api_id: &self.api_id,
            request_id: self.clock.fresh_id(),
            time: EventTime::from_epoch_ms(self.clock.now().0),
            client,
            matched,
        };
        let event = match matched.route.payload {
            PayloadFormat::V1 => event_v1(request, &context),
            PayloadFormat::V2 => event_v2(request, &context),
        };
        Bytes::from(event.to_string())
    }
}

/// Returns the response for a failed function: 500 of HTTP APIs, 502 of REST APIs.
fn failure_response(payload: PayloadFormat) -> Response<Bytes> {
    match payload {
        PayloadFormat::V1 => json_response(StatusCode::BAD_GATEWAY, "Internal server error"),
        PayloadFormat::V2 => message_response(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// Returns API Gateway's JSON message for `status`.
pub(super) fn message_response(status: StatusCode) -> Response<Bytes> {
    json_response(status, status.canonical_reason().unwrap_or_default())
}

fn json_response(status: StatusCode, message: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(json!({"message": message}).to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
