//! Routes of HTTP APIs: that of the messaging application under `/v1`, or those of Lambda functions.

mod event;
mod lambda;
mod response;
pub mod route_table;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use gateway::api::WebSocketApi;
use handlers::api::{API_KEY_HEADER, ApiKeys, MAX_PUSH_BYTES, MessagingApi};
use handlers::app::MessagingApp;
use handlers::authorizer::TokenVerifier;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response as HttpResponse, StatusCode};
use warp::Filter;
use warp::path::FullPath;
use warp::reply::{Reply, Response};

use super::body::{BodyBudget, BodyError, ReceivedBody, check_announced_length, read_body};
use super::listener::BoxedRoutes;
use super::{ManagementContext, raw_query};
use crate::access::client_address::ClientAddress;
use crate::access::{AddressBudgets, BudgetExceededError, RejectionCost};

pub use self::lambda::LambdaApi;

use self::lambda::{HttpTarget, message_response};

/// Maximum time that a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Handler of the HTTP API's requests.
pub enum HttpApi {
    /// The messaging application.
    Embedded(MessagingApi),
    /// Lambda functions.
    Lambda(LambdaApi),
}

impl HttpApi {
    /// Returns the HTTP API of the messaging application; see [`MessagingApi::new`].
    #[must_use]
    pub const fn new(app: Arc<MessagingApp>, verifier: Arc<TokenVerifier>, keys: ApiKeys) -> Self {
        Self::Embedded(MessagingApi::new(app, verifier, keys))
    }
}

/// The HTTP API with the limits of its requests.
#[derive(Clone)]
pub struct HttpApiContext {
    api: Arc<HttpApi>,
    /// The WebSocket API, whose paths are not those of HTTP APIs.
    websocket: Arc<WebSocketApi>,
    rejections: Arc<AddressBudgets>,
    bodies: BodyBudget,
}

/// A request whose body is not read yet.
struct RequestHead {
    path: FullPath,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
    client: ClientAddress,
}

/// Returns the routes; without an API every request falls through to the next filter.
pub fn http_api_routes(context: Option<HttpApiContext>) -> BoxedRoutes {
    let Some(context) = context else {
        return warp::any().and_then(|| async { Err(warp::reject::not_found()) }).boxed();
    };
    let selection = context.clone();
    warp::path::full()
        .and(warp::method())
        .and_then(move |path: FullPath, method: Method| {
            let target = selection.find_target(&method, path.as_str());
            async move { target.map(|target| (path, method, target)).ok_or_else(warp::reject::not_found) }
        })
        .untuple_one()
        .and(raw_query())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<ClientAddress>())
        .and(warp::body::stream())
        .then(move |path, method, target, query, headers, client, body| {
            let (context, head) = (context.clone(), RequestHead { path, query, method, headers, client });
            async move { context.serve_request(target, head, body).await.unwrap_or_else(|rejection| rejection) }
        })
        .boxed()
}

impl HttpApiContext {
    pub(super) fn new(api: Arc<HttpApi>, management: &ManagementContext) -> Self {
        let ManagementContext { api: websocket, access, bodies, .. } = management;
        let (websocket, rejections, bodies) = (websocket.clone(), access.rejections.clone(), bodies.clone());
        Self { api, websocket, rejections, bodies }
    }

    /// Returns the target of a request: none for paths of other parts of the server.
    fn find_target(&self, method: &Method, path: &str) -> Option<Option<HttpTarget>> {
        match &*self.api {
            HttpApi::Embedded(_) => (path == "/v1" || path.starts_with("/v1/")).then_some(None),
            // Plain requests of the WebSocket API's paths are answered by the handshake.
            HttpApi::Lambda(api) => match api.find_target(method, path)? {
                HttpTarget::NotFound if self.websocket.match_path(path).is_some() => None,
                target => Some(Some(target)),
            },
        }
    }

    /// Authenticates the request, then reads its body and handles it. A function authenticates its clients itself, so
    /// it is invoked only while the client's address is within its budget. The error is a response as well.
    async fn serve_request<B: Buf>(
        &self,
        target: Option<HttpTarget>,
        head: RequestHead,
        body: impl Stream<Item = Result<B, warp::Error>>,
    ) -> Result<Response, Response> {
        let address = head.client.ip;
        match &*self.api {
            HttpApi::Embedded(api) => {
                let cost = rejection_cost(&head.headers);
                let caller = api.authenticate_caller(&head.headers).await;
                let caller = caller.map_err(|rejection| self.charge_rejection(address, cost, rejection))?;
                let (request, _reserved) = self.receive_request(head, body).await?;
                Ok(warp_response(api.handle_authenticated(&caller, request).await))
            }
            HttpApi::Lambda(api) => {
                let Some(HttpTarget::Route(matched)) = target else {
                    let not_found = message_response(StatusCode::NOT_FOUND);
                    return self.refuse_unrouted(address, not_found);
                };
                let (client, cost) = (head.client.clone(), rejection_cost(&head.headers));
                self.rejections.check_budget(address, cost).map_err(too_many_rejections)?;
                let (request, _reserved) = self.receive_request(head, body).await?;
                let response = api.handle_request(&matched, request, &client).await;
                Ok(self.charge_rejection(address, cost, response))
            }
        }
    }

    /// Counts a 401 or 403 against the budget of the client's address, and returns the response to send.
    fn charge_rejection(&self, address: IpAddr, cost: RejectionCost, response: HttpResponse<Bytes>) -> Response {
        if !matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return warp_response(response);
        }
        match self.rejections.charge_rejection(address, cost) {
            Ok(()) => warp_response(response),
            Err(exceeded) => too_many_rejections(exceeded),
        }
    }

    /// Counts a request without a route against the budget of the client's address, and returns the response to send.
    fn refuse_unrouted(&self, address: IpAddr, response: HttpResponse<Bytes>) -> Result<Response, Response> {
        self.rejections.charge_rejection(address, RejectionCost::Request).map_err(too_many_rejections)?;
        Ok(warp_response(response))
    }

    async fn receive_request<B: Buf>(
        &self,
        head: RequestHead,
        body: impl Stream<Item = Result<B, warp::Error>>,
    ) -> Result<(Request<Bytes>, ReceivedBody), Response> {
        check_announced_length(&head.headers, MAX_PUSH_BYTES).map_err(body_error_response)?;
        let received =
            read_body(body, MAX_PUSH_BYTES, BODY_TIMEOUT, &self.bodies).await.map_err(body_error_response)?;
        let request = build_request(head, received.bytes.clone());
        request.map(|request| (request, received)).ok_or_else(|| StatusCode::BAD_REQUEST.into_response())
    }
}

/// Returns the cost of rejecting a request: guessing a credential costs more than presenting none.
fn rejection_cost(headers: &HeaderMap) -> RejectionCost {
    let credential = headers.contains_key(AUTHORIZATION) || headers.contains_key(API_KEY_HEADER);
    if credential { RejectionCost::Credential } else { RejectionCost::Request }
}

fn build_request(head: RequestHead, body: Bytes) -> Option<Request<Bytes>> {
    let path = head.path.as_str();
    let uri = head.query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut request = Request::builder().method(head.method).uri(uri).body(body).ok()?;
    *request.headers_mut() = head.headers;
    Some(request)
}

fn warp_response(response: HttpResponse<Bytes>) -> Response {
    let (parts, body) = response.into_parts();
    let mut response = body.to_vec().into_response();
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}

fn body_error_response(error: BodyError) -> Response {
    let (status, detail) = match error {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 MiB; send a smaller batch"),
        BodyError::TimedOut => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s"),
        BodyError::Interrupted => (StatusCode::BAD_REQUEST, "the connection closed before the whole body arrived"),
        BodyError::OverBudget => {
            let detail = "too many request bodies are being received; send the request again";
            return retry_response(StatusCode::SERVICE_UNAVAILABLE, detail, 1);
        }
    };
    problem_response(status, detail)
}

fn too_many_rejections(exceeded: BudgetExceededError) -> Response {
    let detail = "too many rejected requests from this address; check the token or API key";
    retry_response(StatusCode::TOO_MANY_REQUESTS, detail, exceeded.retry_after_seconds())
}

fn retry_response(status: StatusCode, detail: &str, seconds: u64) -> Response {
    let mut response = problem_response(status, detail);
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

fn problem_response(status: StatusCode, detail: &str) -> Response {
    let problem = serde_json::json!({"type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail});
    let reply = warp::reply::with_status(problem.to_string(), status);
    warp::reply::with_header(reply, CONTENT_TYPE, "application/problem+json").into_response()
}
