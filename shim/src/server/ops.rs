//! The ops port: health, readiness, metrics. Internal only: it is never bound to the port that clients reach.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;
use warp::Filter;
use warp::reply::{Reply, Response};

use super::listener::BoxedRoutes;
use crate::connection::ConnectionIndex;
use crate::metrics::ShimMetrics;
use crate::readiness::{Readiness, ReadinessState};

/// The content type that Prometheus asks for.
const OPEN_METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /health` (alive), `GET /ready` (200 or 503 with the reason), `GET /metrics`.
pub fn ops_routes(readiness: Arc<Readiness>, connections: ConnectionIndex, metrics: Arc<ShimMetrics>) -> BoxedRoutes {
    let health = warp::path!("health").map(|| json_reply(StatusCode::OK, &json!({"status": "ok"})));
    let ready = warp::path!("ready").map(move || try_next(&readiness, &connections));
    let scrape = warp::path!("metrics").map(move || metrics_response(&metrics));
    let unknown = warp::any().map(|| {
        json_reply(StatusCode::NOT_FOUND, &json!({"message": "the ops port has /health, /ready and /metrics"}))
    });
    warp::get().and(health.or(ready).unify().or(scrape).unify()).or(unknown).unify().boxed()
}

fn try_next(readiness: &Readiness, connections: &ConnectionIndex) -> Response {
    let (state, away) = (readiness.state(), readiness.unavailable_dependencies());
    let word = if state == ReadinessState::Ready && !away.is_empty() { "degraded" } else { state.as_str() };
    let ready = state == ReadinessState::Ready && away.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({"status": word, "connections": connections.len()});
    if !away.is_empty() {
        body["away"] = away.into();
    }
    json_reply(status, &body)
}

fn metrics_response(metrics: &ShimMetrics) -> Response {
    match metrics.render() {
        Ok(text) => warp::reply::with_header(text, CONTENT_TYPE, OPEN_METRICS_CONTENT_TYPE).into_response(),
        Err(error) => {
            tracing::error!(error = %errors::chain(&error), "rendering the metrics failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn json_reply(status: StatusCode, body: &serde_json::Value) -> Response {
    let reply = warp::reply::with_status(body.to_string(), status);
    let reply = warp::reply::with_header(reply, CONTENT_TYPE, "application/json");
    warp::reply::with_header(reply, CACHE_CONTROL, "no-store").into_response()
}
