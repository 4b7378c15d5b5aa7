//! The HTTP API for backends (`/v1`): push messages, see who is connected, read history.
//!
//! Pure: an `http::Request` in, an `http::Response` out, whatever serves it. [`Api::handle`] never fails; every error
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

use self::caller::Callers;
pub use self::caller::{API_KEY_BYTES, API_KEY_HEADER, ApiKeys, ShortApiKey};
use self::endpoint::Endpoint;
use self::problem::Problem;
pub use self::push::PUSH_BYTES;
use crate::app::App;
use crate::authorizer::TokenVerifier;

/// The HTTP API over the application's ports.
pub struct Api {
    app: Arc<App>,
    callers: Callers,
}

impl Api {
    /// The API over the ports of `app`, for bearers of tokens that `verifier` takes and holders of `keys`.
    #[must_use]
    pub const fn new(app: Arc<App>, verifier: Arc<TokenVerifier>, keys: ApiKeys) -> Self {
        Self { app, callers: Callers { verifier, keys } }
    }

    /// Answers one request whose path begins with `/v1/`. Bodies up to [`PUSH_BYTES`] are taken; whoever reads them
    /// from the network should stop there.
    pub async fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        let mut response = self.answer(&request).await.unwrap_or_else(Problem::into_response);
        // Answers differ from caller to caller and from moment to moment.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    async fn answer(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, Problem> {
        let app = &*self.app;
        let caller = &self.callers.identify(request.headers(), app.clock.now()).await?;
        let uri = request.uri();
        match Endpoint::find(request.method(), uri.path())? {
            Endpoint::Push => push::answer(app, caller, request.headers(), request.body()).await,
            Endpoint::Connections => listing::connections(app, caller, uri).await,
            Endpoint::Kick(id) => listing::kick(app, caller, &id).await,
            Endpoint::Rooms => listing::rooms(app, caller, uri).await,
            Endpoint::Members(room) => listing::members(app, caller, room, uri).await,
            Endpoint::History(channel) => history::answer(app, caller, channel, uri).await,
            Endpoint::Status => status::answer(app, caller).await,
        }
    }
}

fn json(value: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(value).expect("answers have string keys and bodies that were parsed");
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests;
