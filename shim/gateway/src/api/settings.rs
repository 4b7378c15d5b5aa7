//! What few APIs set: authorization by signature, the source of API keys, rates and models of single routes.
//!
//! Invariant: the default changes nothing. A setting for a route that does not exist is a mistake, not a setting that
//! waits for one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{ApiValidationError, RouteDefinition};
use crate::model::RequestModel;
use crate::quotas::RateLimit;
use crate::route::RouteKey;

/// `AuthorizationType` of `$connect`, beside `CUSTOM`, which is to have an authorizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthorizationType {
    /// `NONE`: whoever the authorizer lets in, if there is one.
    #[default]
    None,
    /// `AWS_IAM`: a signature of a caller whose policy allows it (IAM-1).
    Iam,
}

/// Where the API key of a handshake is read from: the API key selection expression (developer guide,
/// `apigateway-websocket-api-selection-expressions`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApiKeySource {
    /// `$request.header.x-api-key`.
    #[default]
    Header,
    /// `$context.authorizer.usageIdentifierKey` (AU-14).
    Authorizer,
}

/// Settings of an API and of its stage.
#[derive(Debug, Clone, Default)]
pub struct ApiSettings {
    /// How `$connect` is authorized.
    pub authorization: AuthorizationType,
    /// Where the API key is read from, for an API that asks for one.
    pub key_source: ApiKeySource,
    /// How often each route may run, where `rates` says nothing: the stage's default route settings.
    pub default_rate: Option<RateLimit>,
    /// How often a route may run, by key: the stage's route settings. `$disconnect` has none.
    pub rates: BTreeMap<String, RateLimit>,
    /// What bodies a message route takes, by key: JSON schemas of draft 4.
    pub models: BTreeMap<String, Value>,
}

impl ApiSettings {
    /// Reports settings of routes that are not there.
    pub(super) fn check_routes(&self, routes: &[RouteDefinition], mistakes: &mut Vec<ApiValidationError>) {
        let exists = |key: &str| key != RouteKey::DISCONNECT && routes.iter().any(|route| route.key == key);
        for key in self.rates.keys().filter(|key| !exists(key)) {
            mistakes.push(ApiValidationError::UnknownRoute { setting: "the rate", route: key.clone() });
        }
        for key in self.models.keys().filter(|key| !exists(key) || *key == RouteKey::CONNECT) {
            mistakes.push(ApiValidationError::UnknownRoute { setting: "the model", route: key.clone() });
        }
    }

    /// How often the route `key` may run.
    pub(super) fn rate_of(&self, key: &str) -> Option<RateLimit> {
        self.rates.get(key).copied().or(self.default_rate)
    }

    /// The compiled model of the route `key`.
    pub(super) fn model_of(&self, key: &str, mistakes: &mut Vec<ApiValidationError>) -> Option<Arc<RequestModel>> {
        match RequestModel::compile(self.models.get(key)?.clone()) {
            Ok(model) => Some(Arc::new(model)),
            Err(reason) => {
                mistakes.push(ApiValidationError::Model { route: key.to_owned(), reason });
                None
            }
        }
    }
}
