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
pub struct Metrics {
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
pub enum Outcome {
    /// `101`.
    Accepted,
    /// `401` or `403`, by the authorizer or the API's settings.
    Denied,
    /// Another status, chosen by the `$connect` handler.
    Refused,
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
    pub outcome: Outcome,
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
    pub open: Gauge,
    /// Messages from clients.
    pub received: Counter,
    /// Frames written to clients.
    pub sent: Counter,
    /// Messages whose handler failed, timed out or answered with something that is no proxy response.
    pub failed: Counter,
    /// Messages that no route took.
    pub unrouted: Counter,
    /// Messages beyond a rate.
    pub throttled: Counter,
    /// How long message handlers ran.
    pub handler_seconds: Histogram,
    /// Endings by the code this side chose or saw.
    pub closed: Family<CloseLabel, Counter>,
}

/// The label of [`SessionMetrics::closed`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CloseLabel {
    /// The server's code, or `client` where the client chose it.
    pub cause: &'static str,
}

/// Delivery.
#[derive(Default)]
pub struct DeliveryMetrics {
    /// Frames put in line for a connection.
    pub frames: Counter,
    /// Frames of broadcasts that were written to clients: the same count as [`SessionMetrics::sent`].
    pub sent: Counter,
    /// Frames dropped because a connection did not keep up.
    pub shed: Counter,
    /// Holes in a channel's order that were filled from the log.
    pub holes: Counter,
}

/// The `@connections` API.
#[derive(Default)]
pub struct ManagementMetrics {
    /// Requests that found their connection.
    pub served: Counter,
    /// Requests answered 410.
    pub gone: Counter,
    /// Requests refused for another reason.
    pub refused: Counter,
}

/// From a reply without waiting (50 µs) to API Gateway's longest (29 s).
const HANDLER_BUCKETS: [f64; 12] = [0.000_05, 0.000_2, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 29.0];

impl Metrics {
    /// Fresh metrics, all zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("twinway");
        let handshakes = HandshakeMetrics::registered(registry.sub_registry_with_prefix("handshake"));
        let sessions = SessionMetrics::registered(registry.sub_registry_with_prefix("session"));
        let delivery = DeliveryMetrics::registered(registry.sub_registry_with_prefix("delivery"), &sessions);
        let management = ManagementMetrics::registered(registry.sub_registry_with_prefix("management"));
        Self { registry, handshakes, sessions, delivery, management }
    }

    /// The registry, for components that live elsewhere.
    pub const fn registry(&mut self) -> &mut Registry {
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

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl HandshakeMetrics {
    fn registered(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        registry.register("outcomes", "WebSocket handshakes by outcome", metrics.outcomes.clone());
        Arc::new(metrics)
    }

    /// Counts one handshake.
    pub fn count(&self, outcome: Outcome) {
        self.outcomes.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

impl SessionMetrics {
    fn registered(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self {
            open: Gauge::default(),
            received: Counter::default(),
            sent: Counter::default(),
            failed: Counter::default(),
            unrouted: Counter::default(),
            throttled: Counter::default(),
            handler_seconds: Histogram::new(HANDLER_BUCKETS),
            closed: Family::default(),
        };
        registry.register("open", "Open WebSocket connections", metrics.open.clone());
        registry.register("received_messages", "Messages received from clients", metrics.received.clone());
        registry.register("sent_frames", "Frames written to clients", metrics.sent.clone());
        registry.register("failed_messages", "Messages whose handler failed", metrics.failed.clone());
        registry.register("unrouted_messages", "Messages that no route took", metrics.unrouted.clone());
        registry.register("throttled_messages", "Messages beyond a rate", metrics.throttled.clone());
        registry.register_with_unit(
            "handler",
            "How long message handlers that had to wait ran",
            Unit::Seconds,
            metrics.handler_seconds.clone(),
        );
        registry.register("closed", "Connections ended, by cause", metrics.closed.clone());
        Arc::new(metrics)
    }

    /// Counts one ending.
    pub fn count_closed(&self, cause: &'static str) {
        self.closed.get_or_create(&CloseLabel { cause }).inc();
    }
}

impl DeliveryMetrics {
    fn registered(registry: &mut Registry, sessions: &SessionMetrics) -> Arc<Self> {
        let metrics = Self { sent: sessions.sent.clone(), ..Self::default() };
        registry.register("frames", "Frames put in line for connections", metrics.frames.clone());
        registry.register("shed_frames", "Frames dropped for connections that did not keep up", metrics.shed.clone());
        registry.register("filled_holes", "Holes in a channel's order filled from the log", metrics.holes.clone());
        Arc::new(metrics)
    }
}

impl ManagementMetrics {
    fn registered(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self::default();
        registry.register("served", "@connections requests that found their connection", metrics.served.clone());
        registry.register("gone", "@connections requests answered 410", metrics.gone.clone());
        registry.register("refused", "@connections requests refused", metrics.refused.clone());
        Arc::new(metrics)
    }
}
