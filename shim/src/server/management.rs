//! HTTP routes of `@connections`, API Gateway's management API: post to, describe or delete one connection.
//!
//! Calls on the traffic port are authorized by a signature (`docs/adr/0008-signed-management.md`). The address of a
//! caller means nothing, because proxies of this machine connect from loopback addresses.

mod local;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use gateway::close::CloseCause;
use gateway::iam::{IamAction, SignatureError, SignedRequest};
use gateway::id::GatewayId;
use gateway::management::{
    ConnectionDescription, ManagementError, ManagementOperation, is_management_path, parse_management_path,
};
use handlers::ports::Priority;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Method};
use warp::Filter;
use warp::path::FullPath;
use warp::reply::{Reply, Response};

pub use self::local::local_management_routes;

use super::body::{BodyError, check_announced_length, read_body};
use super::listener::BoxedRoutes;
use super::{ManagementContext, raw_query};
use crate::access::client_address::ClientAddress;
use crate::access::{RejectionCost, SigningCaller};
use crate::config::ManagementAccess;
use crate::connection::{Connection, EnqueueOutcome, OutboundFrame, RemoteConnections};

/// Maximum time that a caller may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Check of the callers of `@connections` on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerCheck {
    /// Every call is rejected.
    RejectAll,
    /// Calls must be signed by a known caller whose policy allows them.
    Signature,
    /// As [`Self::Signature`], but signatures with unknown keys are accepted: the listener has identified the caller as a
    /// function of this server, which may have credentials of its own.
    FunctionSignature,
    /// Every call is accepted.
    None,
}

impl From<ManagementAccess> for CallerCheck {
    fn from(access: ManagementAccess) -> Self {
        match access {
            ManagementAccess::Iam => Self::Signature,
            ManagementAccess::Open => Self::None,
            ManagementAccess::Off => Self::RejectAll,
        }
    }
}

/// Returns the routes of `@connections`; every other path falls through to the next filter.
pub fn management_routes(context: Arc<ManagementContext>, check: CallerCheck) -> BoxedRoutes {
    warp::path::full()
        .and_then(|path: FullPath| async move {
            if is_management_path(path.as_str()) { Ok(path) } else { Err(warp::reject::not_found()) }
        })
        .and(raw_query())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<ClientAddress>())
        .and(warp::body::stream())
        .then(
            move |path: FullPath,
                  query: Option<String>,
                  method: Method,
                  headers: HeaderMap,
                  client: ClientAddress,
                  body| {
                let context = context.clone();
                async move {
                    let (path, query) = (path.as_str(), query.as_deref());
                    let request = SignedRequest { method: method.as_str(), path, query, headers: &headers };
                    let outcome = match check_headers(&context, check, request) {
                        Ok(()) => serve_call(&context, check, request, &method, body).await,
                        Err(error) => Err(error),
                    };
                    let outcome = outcome.map_err(|error| charge_rejection(&context, client.ip, error));
                    finish_response(&context, outcome)
                }
            },
        )
        .boxed()
}

/// Rejects a call that is not authorized according to its headers, before its body is read.
fn check_headers(
    context: &ManagementContext,
    check: CallerCheck,
    request: SignedRequest<'_>,
) -> Result<(), ManagementError> {
    let verify = || context.access.credentials.verify_claim(request, &context.api.region, context.clock.now().0);
    let verified = match check {
        CallerCheck::None => Ok(()),
        CallerCheck::RejectAll => return Err(ManagementError::MissingAuthenticationToken),
        CallerCheck::Signature => verify(),
        CallerCheck::FunctionSignature => accept_unknown_key(verify()).map(drop),
    };
    verified.map_err(ManagementError::Signature)
}

/// Accepts a signature with a key that this server does not know, and returns `None` as its caller.
fn accept_unknown_key<C>(verified: Result<C, SignatureError>) -> Result<Option<C>, SignatureError> {
    match verified {
        Ok(caller) => Ok(Some(caller)),
        Err(SignatureError::UnknownKey) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Counts a rejection against the budget of the client's address, and returns the error to answer with.
fn charge_rejection(context: &ManagementContext, address: IpAddr, error: ManagementError) -> ManagementError {
    let cost = match &error {
        ManagementError::MissingAuthenticationToken => RejectionCost::Request,
        ManagementError::Signature(_) => RejectionCost::Credential,
        _ => return error,
    };
    match context.access.rejections.charge_rejection(address, cost) {
        Ok(()) => error,
        Err(_) => ManagementError::LimitExceeded,
    }
}

/// Reads the body of a call, authorizes the call and executes it.
async fn serve_call<B: Buf>(
    context: &ManagementContext,
    check: CallerCheck,
    request: SignedRequest<'_>,
    method: &Method,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, ManagementError> {
    let limit = context.api.quotas.management_payload_bytes;
    let received = match check_announced_length(request.headers, limit) {
        Ok(()) => read_body(body, limit, BODY_TIMEOUT, &context.bodies).await,
        Err(error) => Err(error),
    };
    // The reservation of `received` ends with the call.
    let body = received.as_ref().map(|body| body.bytes.clone()).map_err(|error| *error);
    let caller = authorize_caller(context, check, request, body.as_deref())?;
    execute_call(context, request.path, method, caller, body).await
}

/// Authorizes a call and returns its caller where calls are signed. Calls rejected before the rate check do not count
/// against the rate limit.
fn authorize_caller<'e>(
    context: &'e ManagementContext,
    check: CallerCheck,
    request: SignedRequest<'_>,
    body: Result<&[u8], &BodyError>,
) -> Result<Option<&'e SigningCaller>, ManagementError> {
    // A signature covers the whole body, so one over an incomplete body cannot be verified.
    let verify = || -> Result<_, ManagementError> {
        let body = body.map_err(|error| management_error_of(*error))?;
        Ok(verify_signature(context, request, body))
    };
    let caller = match check {
        CallerCheck::None | CallerCheck::RejectAll => Ok(None),
        CallerCheck::Signature => verify()?.map(Some),
        CallerCheck::FunctionSignature => accept_unknown_key(verify()?),
    };
    let caller = caller.map_err(ManagementError::Signature)?;
    if context.access.throttle.admits_request() { Ok(caller) } else { Err(ManagementError::LimitExceeded) }
}

fn verify_signature<'e>(
    context: &'e ManagementContext,
    request: SignedRequest<'_>,
    body: &[u8],
) -> Result<&'e SigningCaller, SignatureError> {
    context.access.credentials.verify(request, body, &context.api.region, context.clock.now().0)
}

/// Checks that the caller's policy allows the call (SG-1). The error shows only the last digits of the account id, as
/// API Gateway's does.
fn check_policy(
    context: &ManagementContext,
    caller: &SigningCaller,
    method: &Method,
    id: &str,
) -> Result<(), ManagementError> {
    let resource = context.api.management_arn(method.as_str(), id);
    if caller.policy.allows(IamAction::ManageConnections, &resource) {
        return Ok(());
    }
    let account = &*context.api.account_id;
    let masked = account.get(8..).map(|end| format!("********{end}"));
    let resource = resource.replacen(account, masked.as_deref().unwrap_or_default(), 1);
    Err(ManagementError::AccessDenied { caller: caller.identity.user_arn.to_string(), resource })
}

async fn execute_call(
    context: &ManagementContext,
    path: &str,
    method: &Method,
    caller: Option<&SigningCaller>,
    body: Result<Bytes, BodyError>,
) -> Result<Response, ManagementError> {
    let target = parse_management_path(path, &context.api.stage.name, &context.api.base_paths)?;
    let operation = ManagementOperation::from_method(method)?;
    let id = target.connection_id;
    if let Some(caller) = caller {
        check_policy(context, caller, method, &id)?;
    }
    match context.directory.local.find(id) {
        Some(connection) if !connection.is_closing() => call_local(&connection, operation, body),
        Some(_) => Err(ManagementError::Gone),
        None => {
            let remote = context.directory.remote.as_ref().ok_or(ManagementError::Gone)?;
            call_remote(&**remote, id, operation, body).await
        }
    }
}

fn call_local(
    connection: &Connection,
    operation: ManagementOperation,
    body: Result<Bytes, BodyError>,
) -> Result<Response, ManagementError> {
    match operation {
        ManagementOperation::Post => post_text(connection, text_body(body)?)?,
        ManagementOperation::Delete => connection.close(CloseCause::Deleted),
        ManagementOperation::Describe => {
            let identity = &connection.facts.identity;
            return Ok(description_response(&ConnectionDescription {
                connected_at: connection.facts.connected_at,
                source_ip: &identity.source_ip,
                user_agent: identity.user_agent.as_deref(),
                last_active_at: connection.last_active().0,
            }));
        }
    }
    Ok(operation.success_status().into_response())
}

async fn call_remote(
    connections: &dyn RemoteConnections,
    id: GatewayId,
    operation: ManagementOperation,
    body: Result<Bytes, BodyError>,
) -> Result<Response, ManagementError> {
    match operation {
        ManagementOperation::Post => connections.post_text(id, text_body(body)?).await?,
        ManagementOperation::Delete => connections.delete_connection(id).await?,
        ManagementOperation::Describe => {
            let remote = connections.describe_connection(id).await?;
            return Ok(description_response(&ConnectionDescription {
                connected_at: remote.connected_at,
                source_ip: &remote.source_ip,
                user_agent: remote.user_agent.as_deref(),
                last_active_at: remote.last_active_at,
            }));
        }
    }
    Ok(operation.success_status().into_response())
}

fn text_body(body: Result<Bytes, BodyError>) -> Result<Bytes, ManagementError> {
    let body = body.map_err(management_error_of)?;
    std::str::from_utf8(&body).map_err(|_| ManagementError::InvalidPayload)?;
    Ok(body)
}

const fn management_error_of(error: BodyError) -> ManagementError {
    match error {
        BodyError::TooLarge => ManagementError::PayloadTooLarge,
        BodyError::TimedOut | BodyError::Interrupted => ManagementError::Forbidden,
        BodyError::OverBudget => ManagementError::LimitExceeded,
    }
}

fn post_text(connection: &Connection, text: Bytes) -> Result<(), ManagementError> {
    if !connection.has_capacity(text.len()) {
        // API Gateway documents 429 for a client that does not read. The connection stays open.
        return Err(ManagementError::LimitExceeded);
    }
    match connection.push(Priority::Direct, OutboundFrame { text: text.into(), placement: None }) {
        EnqueueOutcome::Queued | EnqueueOutcome::Dropped(_) => Ok(()),
        EnqueueOutcome::Closed => Err(ManagementError::Gone),
    }
}

fn description_response(description: &ConnectionDescription<'_>) -> Response {
    let reply = warp::reply::with_status(description.to_json(), ManagementOperation::Describe.success_status());
    warp::reply::with_header(reply, CONTENT_TYPE, "application/json").into_response()
}

fn finish_response(context: &ManagementContext, outcome: Result<Response, ManagementError>) -> Response {
    let metrics = &context.metrics;
    let mut response = match outcome {
        Ok(response) => {
            metrics.served_requests.inc();
            response
        }
        Err(error) => {
            if matches!(error, ManagementError::Gone) {
                metrics.gone_requests.inc()
            } else {
                metrics.rejected_requests.inc()
            };
            error_response(&error)
        }
    };
    let request_id = context.ids.next_request_id(context.clock.now());
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}

fn error_response(error: &ManagementError) -> Response {
    let body = error.response_body();
    let has_body = !body.is_empty();
    let mut response = warp::reply::with_status(body, error.status()).into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(error.error_type()));
    if has_body {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
