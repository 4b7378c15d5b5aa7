//! Start page at `/`: shows the version and the endpoints, with a form that connects and sends frames.

use http::header::CONTENT_TYPE;
use warp::reply::{Reply, Response};

use super::http_api::HttpApi;

/// Service of the server, as the page shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartPage {
    /// The messaging application: tokens, its frames, its HTTP API.
    Messaging,
    /// Lambda functions, with an HTTP API.
    FunctionsWithHttpApi,
    /// Lambda functions for messages only.
    Functions,
}

impl StartPage {
    /// Returns the page of a server with this HTTP API.
    #[must_use]
    pub const fn of(http_api: Option<&HttpApi>) -> Self {
        match http_api {
            Some(HttpApi::Embedded(_)) => Self::Messaging,
            Some(HttpApi::Lambda(_)) => Self::FunctionsWithHttpApi,
            None => Self::Functions,
        }
    }
}

/// Returns the page for an API with this stage.
pub fn render_start_page(stage: &str, page: StartPage) -> Response {
    let http_api = if page == StartPage::Functions { "" } else { " · HTTP API: <code>/v1</code>" };
    let messaging = if page == StartPage::Messaging { "true" } else { "false" };
    let html = include_str!("page.html").replace("{stage}", stage).replace("{version}", env!("CARGO_PKG_VERSION"));
    let html = html.replace("{http_api}", http_api).replace("{messaging}", messaging);
    let reply = warp::reply::with_header(html, CONTENT_TYPE, "text/html; charset=utf-8");
    let reply = warp::reply::with_header(
        reply,
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:",
    );
    warp::reply::with_header(reply, "x-content-type-options", "nosniff").into_response()
}
