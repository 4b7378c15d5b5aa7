//! The HTTP API for backends (`/v1`): push messages, see who is connected, read history.
//!
//! Pure: an `http::Request` in, an `http::Response` out, whatever serves it. [`MessagingApi::handle_request`] never fails; every error
//! is an RFC 9457 problem document. Everything is scoped to the caller's tenant. `docs/openapi.yaml` is its description.

mod caller;
mod endpoint;
mod history;
mod listing;
mod problem;
mod push;
mod query;
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

/// The HTTP API over the application's ports.
pub struct MessagingApi {
    app: Arc<MessagingApp>,
    callers: ApiAuthenticator,
}

impl MessagingApi {
    /// The API over the ports of `app`, for bearers of tokens that `verifier` takes and holders of `keys`.
    #[must_use]
    pub const fn new(app: Arc<MessagingApp>, verifier: Arc<TokenVerifier>, keys: ApiKeys) -> Self {
        Self { app, callers: ApiAuthenticator { verifier, keys } }
    }

    /// Answers one request whose path begins with `/v1/`. Bodies up to [`MAX_PUSH_BYTES`] are taken; whoever reads them
    /// from the network should stop there.
    pub async fn handle_request(&self, request: Request<Bytes>) -> Response<Bytes> {
        let mut response = self.route_request(&request).await.unwrap_or_else(ProblemDetails::into_response);
        // Answers differ from caller to caller and from moment to moment.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn route_request(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, ProblemDetails> {
        let app = &*self.app;
        let caller = &self.callers.authenticate_request(request.headers(), app.clock.now()).await?;
        let uri = request.uri();
        match ApiEndpoint::from_request(request.method(), uri.path())? {
            ApiEndpoint::Push => push::handle_push(app, caller, request.headers(), request.body()).await,
            ApiEndpoint::Connections => listing::list_connections(app, caller, uri).await,
            ApiEndpoint::Kick(id) => listing::kick_connection(app, caller, &id).await,
            ApiEndpoint::Rooms => listing::list_rooms(app, caller, uri).await,
            ApiEndpoint::Members(room) => listing::list_room_members(app, caller, room, uri).await,
            ApiEndpoint::History(channel) => history::channel_history(app, caller, channel, uri).await,
            ApiEndpoint::Status => status::tenant_status(app, caller).await,
        }
    }
}

fn json_response(value: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(value).expect("answers have string keys and bodies that were parsed");
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
