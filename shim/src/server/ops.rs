//! Routes of the ops port: health, readiness and metrics. The port is internal and separate from the clients' port.

use std::sync::{Arc, OnceLock};

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::json;
use warp::Filter;
use warp::reply::{Reply, Response};

use super::get_or_head;
use super::listener::BoxedRoutes;
use crate::connection::ConnectionIndex;
use crate::metrics::ShimMetrics;
use crate::readiness::{Readiness, ReadinessState};

/// Content type of OpenMetrics 1.0, which Prometheus accepts.
const OPEN_METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// State that the ops port reports.
#[derive(Default)]
pub struct OpsStatus {
    /// Readiness of the process.
    pub readiness: Arc<Readiness>,
    server: OnceLock<(ConnectionIndex, Arc<ShimMetrics>)>,
}

impl OpsStatus {
    /// Adds the server, once it is assembled. Until then there are no connections and no metrics.
    pub fn attach_server(&self, connections: ConnectionIndex, metrics: Arc<ShimMetrics>) {
        let _ = self.server.set((connections, metrics));
    }

    fn open_connections(&self) -> usize {
        self.server.get().map_or(0, |(connections, _)| connections.len())
    }
}

/// Returns the routes: `GET /health` (liveness), `GET /ready` (200, or 503 with the reason) and `GET /metrics`.
pub fn ops_routes(status: Arc<OpsStatus>) -> BoxedRoutes {
    let ready_status = status.clone();
    let health = warp::path!("health").map(|| json_reply(StatusCode::OK, &json!({"status": "ok"})));
    let ready = warp::path!("ready").map(move || readiness_response(&ready_status));
    let scrape = warp::path!("metrics").map(move || metrics_response(&status));
    let unknown = warp::any().map(|| {
        json_reply(StatusCode::NOT_FOUND, &json!({"message": "the ops port has /health, /ready and /metrics"}))
    });
    get_or_head().and(health.or(ready).unify().or(scrape).unify()).or(unknown).unify().boxed()
}

fn readiness_response(ops: &OpsStatus) -> Response {
    let readiness = &ops.readiness;
    let (state, unavailable) = (readiness.state(), readiness.unavailable_dependencies());
    let status_name =
        if state == ReadinessState::Ready && !unavailable.is_empty() { "degraded" } else { state.as_str() };
    let ready = state == ReadinessState::Ready && unavailable.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({"status": status_name, "connections": ops.open_connections()});
    if !unavailable.is_empty() {
        body["unavailable"] = unavailable.into();
    }
    if let Some(reason) = readiness.wait_reason() {
        body["reason"] = reason.into();
    }
    json_reply(status, &body)
}

fn metrics_response(ops: &OpsStatus) -> Response {
    let Some((_, metrics)) = ops.server.get() else {
        return json_reply(StatusCode::SERVICE_UNAVAILABLE, &json!({"message": "starting: there are no metrics yet"}));
    };
    match metrics.render() {
        Ok(text) => warp::reply::with_header(text, CONTENT_TYPE, OPEN_METRICS_CONTENT_TYPE).into_response(),
        Err(error) => {
            tracing::error!(error = %errors::chain(&error), "metrics rendering failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn json_reply(status: StatusCode, body: &serde_json::Value) -> Response {
    let reply = warp::reply::with_status(body.to_string(), status);
    let reply = warp::reply::with_header(reply, CONTENT_TYPE, "application/json");
    warp::reply::with_header(reply, CACHE_CONTROL, "no-store").into_response()
}
