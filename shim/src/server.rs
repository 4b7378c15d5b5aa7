//! The traffic port: WebSockets, `@connections`, the HTTP API and the start page.
//!
//! ```text
//! GET  /{stage} or a base path       upgrade → handshake; plain → 426
//! POST | GET | DELETE  …/@connections/{id}   management
//! *    /v1/…                         the messaging application's HTTP API, or the routes of the functions' HTTP APIs
//! GET  /                             start page
//! ```
//! Every other request gets API Gateway's 403.

mod body;
mod context;

mod proxy_protocol;

pub mod descriptors;
pub mod endpoint_proxy;
pub mod handshake;
pub mod http_api;
pub mod listener;
pub mod management;
pub mod ops;
pub mod request_policy;
pub mod start_page;

use std::convert::Infallible;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};
use hyper::upgrade::OnUpgrade;
use warp::Filter;
use warp::path::FullPath;

pub use self::context::{ApiServer, ApiServerParts, HandshakeContext, HandshakeSettings, ManagementContext};

use self::handshake::UpgradeRequest;
use self::http_api::{HttpApi, HttpApiContext};
use self::listener::{BoxedRoutes, ConnectionPermit};
use self::management::CallerCheck;
use self::start_page::StartPage;
use crate::access::client_address::ClientAddress;

/// Returns the routes of the traffic port; without `http_api`, no HTTP API is served. `management` decides who may call
/// `@connections`.
pub fn traffic_routes(
    server: &ApiServer,
    management: impl Into<CallerCheck>,
    http_api: Option<Arc<HttpApi>>,
) -> BoxedRoutes {
    let stage = server.management.api.stage.name.clone();
    let start = StartPage::of(http_api.as_deref());
    let page = get_or_head().and(warp::path::end()).map(move || start_page::render_start_page(&stage, start));
    let api = http_api::http_api_routes(http_api.map(|api| HttpApiContext::new(api, &server.management)));
    let connections = management::management_routes(server.management.clone(), management.into());
    let handshakes = server.handshakes.clone();
    // Boxed here, so that the combinators below move a pointer instead of the whole future.
    let upgrade = move |request: UpgradeRequest| Box::pin(handshake::handle_upgrade(handshakes.clone(), request));
    // Handshakes are matched first: during a reconnect storm they are nearly all requests.
    let handshake = is_websocket_request().and(upgrade_request()).then(upgrade.clone());
    let other = upgrade_request().then(upgrade);
    handshake.or(connections).unify().or(api).unify().or(page).unify().or(other).unify().boxed()
}

/// Extracts the parts of a request that the handshake needs.
fn upgrade_request() -> impl Filter<Extract = (UpgradeRequest,), Error = warp::Rejection> + Clone {
    warp::path::full()
        .and(raw_query())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<ClientAddress>())
        .and(warp::ext::get::<ConnectionPermit>())
        .and(warp::ext::optional::<OnUpgrade>())
        .map(|path: FullPath, query, method, headers: HeaderMap, client, permit, upgrade: Option<OnUpgrade>| {
            let upgrade = upgrade.filter(|_| method == Method::GET && has_websocket_upgrade(&headers));
            UpgradeRequest { path: path.as_str().to_owned(), query, headers, client, permit, upgrade }
        })
}

/// Matches WebSocket upgrades on every path. A handshake at `/` is rejected as one for an unknown stage.
fn is_websocket_request() -> impl Filter<Extract = (), Error = warp::Rejection> + Clone {
    let names_websocket = |upgrade: HeaderValue| async move {
        if list_contains(&upgrade, "websocket") { Ok(()) } else { Err(warp::reject::not_found()) }
    };
    warp::get().and(warp::header::value("upgrade")).and_then(names_websocket).untuple_one()
}

/// Matches `GET` and `HEAD`; hyper omits the body of a response to `HEAD`.
pub(crate) fn get_or_head() -> impl Filter<Extract = (), Error = warp::Rejection> + Clone {
    warp::get().or(warp::head()).unify()
}

/// Extracts the query as sent, if the request has one.
pub(crate) fn raw_query() -> impl Filter<Extract = (Option<String>,), Error = Infallible> + Clone {
    warp::query::raw().map(Some).or(warp::any().map(|| None)).unify()
}

fn has_websocket_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(http::header::UPGRADE).iter().any(|upgrade| list_contains(upgrade, "websocket"))
}

/// Returns whether a comma-separated list contains `token`, ignoring case.
fn list_contains(list: &HeaderValue, token: &str) -> bool {
    list.as_bytes().split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}
