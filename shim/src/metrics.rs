//! What the shim counts, by component, in one Prometheus registry.
//!
//! Labels come from closed enums only; a code or name that a client chose is never one. Hot counters are plain fields, so
//! that counting costs one atomic addition.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Every component's metrics and the registry that renders them.
pub struct ShimMetrics {
    registry: Registry,
    /// Handshakes and their outcomes.
    pub handshakes: Arc<HandshakeMetrics>,
    /// Open connections and what goes over them.
    pub sessions: Arc<SessionMetrics>,
    /// Frames on their way to audiences.
    pub delivery: Arc<DeliveryMetrics>,
    /// The `@connections` API.
    pub management: Arc<ManagementMetrics>,
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum HandshakeOutcome {
    /// `101`.
    Accepted,
    /// `401` or `403`, by the authorizer or the API's settings.
    Denied,
    /// Another status, chosen by the `$connect` handler.
    Rejected,
    /// A request that could never become a WebSocket.
    Malformed,
    /// `429` or `503`.
    Overloaded,
    /// `5xx` because a handler failed.
    Failed,
}

/// The label of [`HandshakeMetrics::outcomes`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// How it ended.
    pub outcome: HandshakeOutcome,
}

/// Handshakes.
#[derive(Default)]
pub struct HandshakeMetrics {
    /// Handshakes by outcome.
    pub outcomes: Family<OutcomeLabel, Counter>,
}

/// Sessions.
pub struct SessionMetrics {
    /// Open connections.
    pub open_connections: Gauge,
    /// Messages from clients.
    pub received_messages: Counter,
    /// Frames written to clients.
    pub sent_frames: Counter,
    /// Messages whose handler failed, timed out or answered with something that is no proxy response.
    pub failed_messages: Counter,
    /// Messages that no route took.
    pub unrouted_messages: Counter,
    /// Messages beyond a rate.
    pub throttled_messages: Counter,
    /// How long message handlers ran.
    pub handler_duration_seconds: Histogram,
    /// Endings by the code this side chose or saw.
    pub closed_connections: Family<CloseLabel, Counter>,
}

/// The label of [`SessionMetrics::closed_connections`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CloseLabel {
    /// The server's code, or `client` where the client chose it.
    pub cause: &'static str,
}

/// Delivery.
#[derive(Default)]
pub struct DeliveryMetrics {
    /// Frames put in line for a connection.
    pub enqueued_frames: Counter,
    /// Frames of broadcasts that were written to clients: the same count as [`SessionMetrics::sent_frames`].
    pub sent_frames: Counter,
    /// Frames dropped because a connection did not keep up.
    pub dropped_frames: Counter,
    /// Holes in a channel's order that were filled from the log.
    pub backfilled_ranges: Counter,
}

/// The `@connections` API.
#[derive(Default)]
pub struct ManagementMetrics {
    /// Requests that found their connection.
    pub served_requests: Counter,
    /// Requests answered 410.
    pub gone_requests: Counter,
    /// Requests refused for another reason.
    pub rejected_requests: Counter,
}

/// From a reply without waiting (50 µs) to API Gateway's longest (29 s).
const HANDLER_DURATION_BUCKETS: [f64; 12] =
    [0.000_05, 0.000_2, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 29.0];

impl ShimMetrics {
    /// Fresh metrics, all zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("twinway");
        let handshakes = HandshakeMetrics::register_new(registry.sub_registry_with_prefix("handshake"));
        let sessions = SessionMetrics::register_new(registry.sub_registry_with_prefix("session"));
        let delivery = DeliveryMetrics::register_new(registry.sub_registry_with_prefix("delivery"), &sessions);
        let management = ManagementMetrics::register_new(registry.sub_registry_with_prefix("management"));
        Self { registry, handshakes, sessions, delivery, management }
    }

    /// The registry, for components that live elsewhere.
    pub const fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// The text that a scraper reads (OpenMetrics 1.0).
    ///
    /// # Errors
    /// Formatting failed, which only a broken collector can cause.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for ShimMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl HandshakeMetrics {
    fn register_new(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        registry.register("outcomes", "WebSocket handshakes, by outcome", metrics.outcomes.clone());
        Arc::new(metrics)
    }

    /// Counts one handshake.
    pub fn count_outcome(&self, outcome: HandshakeOutcome) {
        self.outcomes.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

impl SessionMetrics {
    fn register_new(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self {
            open_connections: Gauge::default(),
            received_messages: Counter::default(),
            sent_frames: Counter::default(),
            failed_messages: Counter::default(),
            unrouted_messages: Counter::default(),
            throttled_messages: Counter::default(),
            handler_duration_seconds: Histogram::new(HANDLER_DURATION_BUCKETS),
            closed_connections: Family::default(),
        };
        registry.register("open_connections", "Open WebSocket connections", metrics.open_connections.clone());
        registry.register("received_messages", "Messages received from clients", metrics.received_messages.clone());
        registry.register("sent_frames", "Frames written to clients", metrics.sent_frames.clone());
        registry.register("failed_messages", "Messages whose handler failed", metrics.failed_messages.clone());
        registry.register("unrouted_messages", "Messages that matched no route", metrics.unrouted_messages.clone());
        registry.register("throttled_messages", "Messages rejected by a rate limit", metrics.throttled_messages.clone());
        registry.register_with_unit(
            "handler_duration",
            "Run time of message handlers that did not complete at the first poll",
            Unit::Seconds,
            metrics.handler_duration_seconds.clone(),
        );
        registry.register("closed_connections", "Closed connections, by cause", metrics.closed_connections.clone());
        Arc::new(metrics)
    }

    /// Counts one ending.
    pub fn count_closed(&self, cause: &'static str) {
        self.closed_connections.get_or_create(&CloseLabel { cause }).inc();
    }
}

impl DeliveryMetrics {
    fn register_new(registry: &mut Registry, sessions: &SessionMetrics) -> Arc<Self> {
        let metrics = Self { sent_frames: sessions.sent_frames.clone(), ..Self::default() };
        registry.register("enqueued_frames", "Frames enqueued for connections", metrics.enqueued_frames.clone());
        registry.register(
            "shed_frames",
            "Frames dropped for connections that did not keep up",
            metrics.dropped_frames.clone(),
        );
        registry.register(
            "filled_holes",
            "Holes in a channel's order filled from the log",
            metrics.backfilled_ranges.clone(),
        );
        Arc::new(metrics)
    }
}

impl ManagementMetrics {
    fn register_new(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        registry.register(
            "served",
            "@connections requests that found their connection",
            metrics.served_requests.clone(),
        );
        registry.register("gone_requests", "@connections requests answered with 410", metrics.gone_requests.clone());
        registry.register("rejected_requests", "@connections requests rejected for another reason", metrics.rejected_requests.clone());
        Arc::new(metrics)
    }
}
