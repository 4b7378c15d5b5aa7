//! Start page at `/`: shows the version and the endpoints, with a form that connects and sends frames.

use http::header::CONTENT_TYPE;
use warp::reply::{Reply, Response};

/// Returns the page for an API with this stage.
pub fn render_start_page(stage: &str) -> Response {
    let html = include_str!("page.html").replace("{stage}", stage).replace("{version}", env!("CARGO_PKG_VERSION"));
    let reply = warp::reply::with_header(html, CONTENT_TYPE, "text/html; charset=utf-8");
    let reply = warp::reply::with_header(
        reply,
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self' ws: wss:",
    );
    warp::reply::with_header(reply, "x-content-type-options", "nosniff").into_response()
}
