//! Prometheus metrics of the shim, one struct per component, in one registry.
//!
//! Label values come from closed sets only, never from clients, so that the number of time series is bounded. Hot
//! counters are plain fields: an increment is one atomic addition.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Metrics of every component, and the registry that renders them.
pub struct ShimMetrics {
    registry: Registry,
    /// Handshakes and their outcomes.
    pub handshakes: Arc<HandshakeMetrics>,
    /// Open connections and their traffic.
    pub sessions: Arc<SessionMetrics>,
    /// Fan-out of frames to connections.
    pub delivery: Arc<DeliveryMetrics>,
    /// The `@connections` API.
    pub management: Arc<ManagementMetrics>,
}

/// Outcome of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum HandshakeOutcome {
    /// `101`.
    Accepted,
    /// `401` or `403`, from the authorizer or the API's settings.
    Denied,
    /// Another status that the `$connect` handler returned.
    Rejected,
    /// Not a valid WebSocket upgrade request.
    Malformed,
    /// `429` or `503`.
    Overloaded,
    /// `5xx`, because a handler failed.
    Failed,
}

/// Label of [`HandshakeMetrics::outcomes`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    pub outcome: HandshakeOutcome,
}

/// Metrics of WebSocket handshakes.
#[derive(Default)]
pub struct HandshakeMetrics {
    pub outcomes: Family<OutcomeLabel, Counter>,
}

/// Metrics of WebSocket connections and their messages.
pub struct SessionMetrics {
    pub open_connections: Gauge,
    /// Messages received from clients.
    pub received_messages: Counter,
    /// Frames written to clients.
    pub sent_frames: Counter,
    /// Messages whose handler failed, timed out or returned no valid proxy response.
    pub failed_messages: Counter,
    /// Messages that matched no route.
    pub unrouted_messages: Counter,
    /// Messages rejected by a rate limit.
    pub throttled_messages: Counter,
    /// Run time of message handlers that did not complete at the first poll.
    pub handler_duration_seconds: Histogram,
    /// Closed connections, by cause.
    pub closed_connections: Family<CloseLabel, Counter>,
}

/// Label of [`SessionMetrics::closed_connections`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CloseLabel {
    /// Close code that the server sent, or `client` if the client chose the code.
    pub cause: &'static str,
}

/// Metrics of the fan-out to connections.
#[derive(Default)]
pub struct DeliveryMetrics {
    /// Frames enqueued in a connection's outbox.
    pub enqueued_frames: Counter,
    /// Frames of broadcasts written to clients; the same counter as [`SessionMetrics::sent_frames`].
    pub sent_frames: Counter,
    /// Frames dropped because a connection's outbox was full.
    pub dropped_frames: Counter,
    /// Missing ranges of channels read from the log.
    pub backfilled_ranges: Counter,
    /// Actions of clients rejected because the budget of their connection or user was used up.
    pub limited_actions: Counter,
}

/// Metrics of the `@connections` API.
#[derive(Default)]
pub struct ManagementMetrics {
    /// Requests whose connection was found.
    pub served_requests: Counter,
    /// Requests answered with 410.
    pub gone_requests: Counter,
    /// Requests rejected for another reason.
    pub rejected_requests: Counter,
}

/// Bucket bounds in seconds, from an immediate reply (50 µs) to API Gateway's integration timeout (29 s).
const HANDLER_DURATION_BUCKETS: [f64; 12] =
    [0.000_05, 0.000_2, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 29.0];

impl ShimMetrics {
    /// Creates the registry with all metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("twinway");
        let handshakes = HandshakeMetrics::register_new(registry.sub_registry_with_prefix("handshake"));
        let sessions = SessionMetrics::register_new(registry.sub_registry_with_prefix("session"));
        let delivery = DeliveryMetrics::register_new(registry.sub_registry_with_prefix("delivery"), &sessions);
        let management = ManagementMetrics::register_new(registry.sub_registry_with_prefix("management"));
        Self { registry, handshakes, sessions, delivery, management }
    }

    /// Returns the registry, so that other components can register their metrics.
    pub const fn registry_mut(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Renders all metrics in the text format of OpenMetrics 1.0.
    ///
    /// # Errors
    /// Returns an error only if a collector fails to encode itself.
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
        registry.register(
            "throttled_messages",
            "Messages rejected by a rate limit",
            metrics.throttled_messages.clone(),
        );
        registry.register_with_unit(
            "handler_duration",
            "Run time of message handlers that did not complete at the first poll",
            Unit::Seconds,
            metrics.handler_duration_seconds.clone(),
        );
        registry.register("closed_connections", "Closed connections, by cause", metrics.closed_connections.clone());
        Arc::new(metrics)
    }

    /// Counts one closed connection.
    pub fn count_closed(&self, cause: &'static str) {
        self.closed_connections.get_or_create(&CloseLabel { cause }).inc();
    }
}

impl DeliveryMetrics {
    fn register_new(registry: &mut Registry, sessions: &SessionMetrics) -> Arc<Self> {
        let metrics = Self { sent_frames: sessions.sent_frames.clone(), ..Self::default() };
        registry.register("enqueued_frames", "Frames enqueued for connections", metrics.enqueued_frames.clone());
        registry.register(
            "dropped_frames",
            "Frames dropped because a connection's outbox was full",
            metrics.dropped_frames.clone(),
        );
        registry.register(
            "backfilled_ranges",
            "Missing ranges of channels read from the log",
            metrics.backfilled_ranges.clone(),
        );
        registry.register(
            "limited_actions",
            "Actions of clients rejected because the budget of their connection or user was used up (throttle.action_rate, throttle.user_action_rate)",
            metrics.limited_actions.clone(),
        );
        Arc::new(metrics)
    }
}

impl ManagementMetrics {
    fn register_new(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        registry.register(
            "served_requests",
            "@connections requests whose connection was found",
            metrics.served_requests.clone(),
        );
        registry.register("gone_requests", "@connections requests answered with 410", metrics.gone_requests.clone());
        registry.register(
            "rejected_requests",
            "@connections requests rejected for another reason",
            metrics.rejected_requests.clone(),
        );
        Arc::new(metrics)
    }
}
