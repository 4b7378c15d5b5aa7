//! The routes of an API and how a message finds its own.
//!
//! Invariant: the lifecycle routes `$connect` and `$disconnect` are never the answer to a message, whatever it says
//! (RT-12). A value matches a key exactly or not at all; what matches nothing goes to `$default` if there is one
//! (RT-4).

mod scan;
mod selection;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::model::RequestModel;
use crate::quotas::RateLimit;

pub use selection::{SelectionExpression, SelectionExpressionError, SelectionValue};

/// Whether the integration's answer goes back to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteResponse {
    /// No route response: the client sees nothing but errors (the default).
    #[default]
    OneWay,
    /// A `$default` route response: the body becomes a text frame.
    TwoWay,
}

/// Whether messages of one connection wait for each other on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouteOrdering {
    /// One at a time, in the order of arrival (ours).
    #[default]
    Connection,
    /// All at once, as on API Gateway (CC-1).
    Concurrent,
}

/// The key of a route, checked. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RouteKey(Arc<str>);

/// A message route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The key, as events carry it; `$default` for the fallback (RT-7).
    pub key: RouteKey,
    /// One-way or two-way.
    pub response: RouteResponse,
    /// Ordered or concurrent.
    pub ordering: RouteOrdering,
    /// Its place among the definition's routes: servers keep what they count per route under it.
    pub index: usize,
    /// How often it may run, beside the quotas.
    pub rate: Option<RateLimit>,
    /// What its messages must look like (MSG-9).
    pub model: Option<Arc<RequestModel>>,
}

/// All routes of an API.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    custom_routes: HashMap<Arc<str>, Route>,
    default_route: Option<Route>,
    /// Whether `$connect` has an integration; without one the upgrade just succeeds (CON-3).
    pub has_connect: bool,
    /// Whether `$disconnect` has an integration.
    pub has_disconnect: bool,
}

impl RouteKey {
    /// The key of the route that runs before the handshake is answered.
    pub const CONNECT: &'static str = "$connect";
    /// The key of the route that runs after the connection has ended.
    pub const DISCONNECT: &'static str = "$disconnect";
    /// The key of the route for messages that match no other.
    pub const DEFAULT: &'static str = "$default";

    /// Takes `text` as a key; `None` when it is empty or begins with `$` without being one of the three above (RT-12).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let reserved = matches!(text, Self::CONNECT | Self::DISCONNECT | Self::DEFAULT);
        (reserved || !(text.is_empty() || text.starts_with('$'))).then(|| Self(text.into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RouteTable {
    /// Adds `route`; `false` (and no change) when its key is taken.
    pub fn insert(&mut self, route: Route) -> bool {
        match route.key.as_str() {
            RouteKey::CONNECT => !std::mem::replace(&mut self.has_connect, true),
            RouteKey::DISCONNECT => !std::mem::replace(&mut self.has_disconnect, true),
            RouteKey::DEFAULT if self.default_route.is_some() => false,
            RouteKey::DEFAULT => {
                self.default_route = Some(route);
                true
            }
            key if self.custom_routes.contains_key(key) => false,
            _ => {
                self.custom_routes.insert(route.key.0.clone(), route);
                true
            }
        }
    }

    /// The route for an evaluated selection value: the exact match, else `$default`, else `None` (RT-4, RT-8).
    #[must_use]
    pub fn resolve_key(&self, value: &str) -> Option<&Route> {
        self.custom_routes.get(value).or(self.default_route.as_ref())
    }

    /// The route for what a selection expression made of a message; text that is not JSON goes to `$default` (RT-5).
    #[must_use]
    pub fn resolve_selection(&self, selected: &SelectionValue<'_>) -> Option<&Route> {
        match selected {
            SelectionValue::Text(value) => self.resolve_key(value),
            SelectionValue::NotJson => self.default_route.as_ref(),
        }
    }

    /// The `$default` route, if there is one.
    #[must_use]
    pub fn default_route(&self) -> Option<&Route> {
        self.default_route.as_ref()
    }

    /// Every message route, in no particular order.
    pub fn message_routes(&self) -> impl Iterator<Item = &Route> {
        self.custom_routes.values().chain(self.default_route.as_ref())
    }
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
