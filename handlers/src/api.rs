//! The HTTP API for backends (`/v1`): pushes messages, lists connections, reads history.
//!
//! The API maps an `http::Request` to an `http::Response`, independent of the HTTP server.
//! [`MessagingApi::handle_request`] never fails; every error is an RFC 9457 problem document. All data is scoped to the
//! tenant of the caller. `docs/openapi.yaml` describes the API.

mod caller;
mod endpoint;
mod history;
mod kick;
mod listing;
mod problem;
mod push;
mod query;
mod revocation;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response};
use serde::Serialize;

use self::caller::ApiAuthenticator;
pub use self::caller::{API_KEY_HEADER, ApiCaller, ApiKeys, MIN_API_KEY_BYTES, WeakApiKeyError, check_api_key};
use self::endpoint::ApiEndpoint;
use self::problem::ProblemDetails;
pub use self::push::MAX_PUSH_BYTES;
use crate::app::MessagingApp;
use crate::authorizer::TokenVerifier;

/// The HTTP API of one deployment.
pub struct MessagingApi {
    app: Arc<MessagingApp>,
    callers: ApiAuthenticator,
}

impl MessagingApi {
    /// Creates the API over the ports of `app`. Callers present a token that `verifier` accepts, or one of `keys`.
    #[must_use]
    pub const fn new(app: Arc<MessagingApp>, verifier: Arc<TokenVerifier>, keys: ApiKeys) -> Self {
        Self { app, callers: ApiAuthenticator { verifier, keys } }
    }

    /// Handles one request with a path below `/v1/`. Bodies may have up to [`MAX_PUSH_BYTES`]; an HTTP server should
    /// stop reading there.
    pub async fn handle_request(&self, request: Request<Bytes>) -> Response<Bytes> {
        match self.authenticate_caller(request.headers()).await {
            Ok(caller) => self.handle_authenticated(&caller, request).await,
            Err(rejection) => rejection,
        }
    }

    /// Authenticates a request by its headers, so that an HTTP server reads the bodies of callers only.
    ///
    /// # Errors
    /// The response to a request that is not authenticated: 401, 403 for a role that may not call the API, or 503 while
    /// the verification keys are unavailable.
    pub async fn authenticate_caller(&self, headers: &HeaderMap) -> Result<ApiCaller, Response<Bytes>> {
        let caller = self.callers.authenticate_request(headers, &self.app).await;
        caller.map_err(|rejection| uncached(rejection.into_response()))
    }

    /// Handles one request of an authenticated caller.
    pub async fn handle_authenticated(&self, caller: &ApiCaller, request: Request<Bytes>) -> Response<Bytes> {
        uncached(self.route_request(caller, &request).await.unwrap_or_else(ProblemDetails::into_response))
    }

    async fn route_request(
        &self,
        caller: &ApiCaller,
        request: &Request<Bytes>,
    ) -> Result<Response<Bytes>, ProblemDetails> {
        let (app, uri) = (&*self.app, request.uri());
        match ApiEndpoint::from_request(request.method(), uri.path())? {
            ApiEndpoint::Push => push::handle_push(app, caller, request.headers(), request.body()).await,
            ApiEndpoint::Connections => listing::list_connections(app, caller, uri).await,
            ApiEndpoint::KickUser => kick::kick_user(app, caller, uri).await,
            ApiEndpoint::Kick(id) => kick::kick_connection(app, caller, &id).await,
            ApiEndpoint::Revoke => revocation::revoke(app, &self.callers.verifier, caller, request.body()).await,
            ApiEndpoint::Withdraw => revocation::withdraw(app, caller, uri).await,
            ApiEndpoint::Rooms => listing::list_rooms(app, caller, uri).await,
            ApiEndpoint::Members(room) => listing::list_room_members(app, caller, room, uri).await,
            ApiEndpoint::History(channel) => history::channel_history(app, caller, channel, uri).await,
            ApiEndpoint::Status => status::tenant_status(app, caller).await,
        }
    }
}

/// Forbids caches to store a response, because responses depend on the caller and change over time.
fn uncached(mut response: Response<Bytes>) -> Response<Bytes> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn json_response(value: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(value).expect("responses have string keys and valid JSON bodies");
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
