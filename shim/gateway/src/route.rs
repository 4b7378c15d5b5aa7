//! Routes of an API and the selection of a message's route.
//!
//! The lifecycle routes `$connect` and `$disconnect` are never selected for a message (RT-12). A value matches a key
//! exactly or not at all; a message that matches no key is routed to `$default` if there is one (RT-4).

mod integration;
mod scan;
mod selection;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::RequestModel;
use crate::quotas::RateLimit;

pub use integration::{MIN_INTEGRATION_TIMEOUT, RouteIntegration};
pub use selection::{SelectionExpression, SelectionExpressionError, SelectionValue};

/// Whether the integration's reply is sent to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteResponse {
    /// No route response: the client receives only error frames (the default).
    #[default]
    OneWay,
    /// A `$default` route response: the body becomes a text frame.
    TwoWay,
}

/// Order of a connection's messages on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteOrdering {
    /// One at a time, in the order of arrival; not available on API Gateway.
    #[default]
    Connection,
    /// Concurrently, as on API Gateway (CC-1).
    Concurrent,
}

/// A validated route key. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RouteKey(Arc<str>);

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Key as in events; `$default` for the fallback (RT-7).
    pub key: RouteKey,
    /// Destination of the route's events.
    pub integration: RouteIntegration,
    /// Timeout of the integration.
    pub timeout: Duration,
    /// Whether the reply of the integration is sent to the client.
    pub response: RouteResponse,
    /// Whether messages of a connection are handled one at a time.
    pub ordering: RouteOrdering,
    /// Index among the definition's routes, for per-route state such as rate limiters.
    pub index: usize,
    /// Rate limit of the route, in addition to the quotas.
    pub rate: Option<RateLimit>,
    /// Request model of its messages (MSG-9).
    pub model: Option<Arc<RequestModel>>,
}

/// All routes of an API.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    custom_routes: HashMap<Arc<str>, Route>,
    default_route: Option<Route>,
    /// The route `$connect`; without one the upgrade succeeds (CON-3).
    pub connect: Option<Route>,
    /// The route `$disconnect`.
    pub disconnect: Option<Route>,
}

impl RouteKey {
    /// Key of the route that runs before the `101`.
    pub const CONNECT: &'static str = "$connect";
    /// Key of the route that runs after the connection has closed.
    pub const DISCONNECT: &'static str = "$disconnect";
    /// Key of the route for messages that match no other.
    pub const DEFAULT: &'static str = "$default";

    /// Parses a key; returns `None` when it is empty or begins with `$` without being one of the three above (RT-12).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let reserved = matches!(text, Self::CONNECT | Self::DISCONNECT | Self::DEFAULT);
        (reserved || !(text.is_empty() || text.starts_with('$'))).then(|| Self(text.into()))
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RouteTable {
    /// Adds `route`; returns `false` without a change when its key exists already.
    pub fn insert(&mut self, route: Route) -> bool {
        match route.key.as_str() {
            RouteKey::CONNECT => fill_route(&mut self.connect, route),
            RouteKey::DISCONNECT => fill_route(&mut self.disconnect, route),
            RouteKey::DEFAULT => fill_route(&mut self.default_route, route),
            key if self.custom_routes.contains_key(key) => false,
            _ => {
                self.custom_routes.insert(route.key.0.clone(), route);
                true
            }
        }
    }

    /// Returns the route of an evaluated selection value: the exact match, else `$default`, else `None` (RT-4, RT-8).
    #[must_use]
    pub fn resolve_key(&self, value: &str) -> Option<&Route> {
        self.custom_routes.get(value).or(self.default_route.as_ref())
    }

    /// Returns the route of a selection value; text that is not JSON is routed to `$default` (RT-5).
    #[must_use]
    pub fn resolve_selection(&self, selected: &SelectionValue<'_>) -> Option<&Route> {
        match selected {
            SelectionValue::Text(value) => self.resolve_key(value),
            SelectionValue::NotJson => self.default_route.as_ref(),
        }
    }

    /// Returns the `$default` route, if there is one.
    #[must_use]
    pub fn default_route(&self) -> Option<&Route> {
        self.default_route.as_ref()
    }

    /// Returns whether the API has no route at all: it is no WebSocket API.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connect.is_none() && self.disconnect.is_none() && self.message_routes().next().is_none()
    }

    /// Returns all message routes, in no particular order.
    pub fn message_routes(&self) -> impl Iterator<Item = &Route> {
        self.custom_routes.values().chain(self.default_route.as_ref())
    }
}

/// Stores `route` unless there is one; returns whether it was stored.
fn fill_route(place: &mut Option<Route>, route: Route) -> bool {
    let is_free = place.is_none();
    if is_free {
        *place = Some(route);
    }
    is_free
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests;
