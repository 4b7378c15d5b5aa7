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
use http::{HeaderValue, Request, Response};
use serde::Serialize;

use self::caller::ApiAuthenticator;
pub use self::caller::{API_KEY_HEADER, ApiKeys, MIN_API_KEY_BYTES, ShortApiKeyError};
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
        let mut response = self.route_request(&request).await.unwrap_or_else(ProblemDetails::into_response);
        // Responses depend on the caller and change over time.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn route_request(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, ProblemDetails> {
        let app = &*self.app;
        let caller = &self.callers.authenticate_request(request.headers(), app).await?;
        let uri = request.uri();
        match ApiEndpoint::from_request(request.method(), uri.path())? {
            ApiEndpoint::Push => push::handle_push(app, caller, request.headers(), request.body()).await,
            ApiEndpoint::Connections => listing::list_connections(app, caller, uri).await,
            ApiEndpoint::KickUser => kick::kick_user(app, caller, uri).await,
            ApiEndpoint::Kick(id) => kick::kick_connection(app, caller, &id).await,
            ApiEndpoint::Revoke => revocation::revoke(app, caller, request.body()).await,
            ApiEndpoint::Withdraw => revocation::withdraw(app, caller, uri).await,
            ApiEndpoint::Rooms => listing::list_rooms(app, caller, uri).await,
            ApiEndpoint::Members(room) => listing::list_room_members(app, caller, room, uri).await,
            ApiEndpoint::History(channel) => history::channel_history(app, caller, channel, uri).await,
            ApiEndpoint::Status => status::tenant_status(app, caller).await,
        }
    }
}

fn json_response(value: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(value).expect("responses have string keys and valid JSON bodies");
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
