//! The traffic port: WebSockets, `@connections`, the HTTP API and the start page.
//!
//! ```text
//! GET  /{stage}                      upgrade → handshake; plain → 426
//! POST | GET | DELETE  …/@connections/{id}   management
//! *    /v1/…                         the messaging application's HTTP API
//! GET  /                             a page that says what runs here
//! ```
//! Everything else is API Gateway's 403.

mod body;
mod context;

pub mod handshake;
pub mod http_api;
pub mod listener;
pub mod management;
pub mod ops;
pub mod page;

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderMap, Method};
use hyper::upgrade::OnUpgrade;
use warp::Filter;
use warp::path::FullPath;

pub use self::context::{ApiServer, ApiServerParts, HandshakeContext, HandshakeSettings, ManagementContext};

use self::handshake::UpgradeRequest;
use self::http_api::HttpApi;
use self::listener::{Peer, Place, Routes};
use crate::config::Management;

/// The routes of the traffic port. `http_api` is absent where another application's functions answer.
pub fn routes(server: &ApiServer, management: Management, http_api: Option<Arc<HttpApi>>) -> Routes {
    let stage = server.management.api.stage.name.clone();
    let page = warp::get().and(warp::path::end()).map(move || page::page(&stage));
    let api = http_api::routes(http_api);
    let connections = management::routes(server.management.clone(), management);
    let handshakes = server.handshakes.clone();
    // Boxed at once: the combinators below would move the whole of it several times.
    let answer = move |request: UpgradeRequest| Box::pin(handshake::handshake(handshakes.clone(), request));
    // Handshakes come first: they are what comes by the thousand when clients return.
    let socket = asks_for_websocket().and(request()).then(answer.clone());
    let rest = request().then(answer);
    socket.or(page).unify().or(api).unify().or(connections).unify().or(rest).unify().boxed()
}

/// Everything a handshake looks at.
fn request() -> impl Filter<Extract = (UpgradeRequest,), Error = warp::Rejection> + Clone {
    warp::path::full()
        .and(raw_query())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .and(warp::ext::get::<Place>())
        .and(warp::ext::optional::<OnUpgrade>())
        .map(|path: FullPath, query, method, headers: HeaderMap, peer, place, upgrade: Option<OnUpgrade>| {
            let upgrade = upgrade.filter(|_| method == Method::GET && names_websocket(&headers));
            UpgradeRequest { path: path.as_str().to_owned(), query, headers, peer, place, upgrade }
        })
}

/// Lets requests for a WebSocket pass, whatever their path: `/` is no stage, so a handshake there is refused as one.
fn asks_for_websocket() -> impl Filter<Extract = (), Error = warp::Rejection> + Clone {
    warp::get().and(warp::header::exact_ignore_case("upgrade", "websocket"))
}

/// The query as sent, if there is one.
pub(crate) fn raw_query() -> impl Filter<Extract = (Option<String>,), Error = Infallible> + Clone {
    warp::query::raw().map(Some).or(warp::any().map(|| None)).unify()
}

fn names_websocket(headers: &HeaderMap) -> bool {
    headers.get(http::header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
