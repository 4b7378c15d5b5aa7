//! Optional settings of an API: IAM authorization, source of API keys, required parameters, base paths, rate limits and
//! request models of routes.
//!
//! The default disables all of them. A setting for a route that the API does not define is an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{ApiValidationError, RouteDefinition};
use crate::base_path::BasePath;
use crate::identity_source::IdentitySource;
use crate::model::RequestModel;
use crate::quotas::RateLimit;
use crate::route::RouteKey;

/// `AuthorizationType` of `$connect`. `CUSTOM` has no variant: it is an API with an authorizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthorizationType {
    /// `NONE`: no authorization other than that of the authorizer, if there is one.
    #[default]
    None,
    /// `AWS_IAM`: a signature of a caller whose policy allows the connection (IAM-1).
    Iam,
}

/// Source of the API key of a handshake: the API key selection expression (developer guide,
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
    /// Authorization of `$connect` without a Lambda authorizer.
    pub authorization: AuthorizationType,
    /// Source of the API key, for an API that requires one.
    pub key_source: ApiKeySource,
    /// Parameters that `$connect` requires, such as `route.request.querystring.room`.
    pub required_parameters: Vec<String>,
    /// Base paths of custom domains; an empty one is the bare domain.
    pub base_paths: Vec<String>,
    /// Rate limit of routes without an entry in `rates`: the stage's default route settings.
    pub default_rate: Option<RateLimit>,
    /// Rate limits by route key: the stage's route settings. `$disconnect` cannot have one.
    pub rates: BTreeMap<String, RateLimit>,
    /// Request models of message routes by route key: JSON schemas of draft 4.
    pub models: BTreeMap<String, Value>,
}

impl ApiSettings {
    /// Adds an error for each setting of a route that is not in `routes`.
    pub(super) fn check_routes(&self, routes: &[RouteDefinition], errors: &mut Vec<ApiValidationError>) {
        let exists = |key: &str| key != RouteKey::DISCONNECT && routes.iter().any(|route| route.key == key);
        for key in self.rates.keys().filter(|key| !exists(key)) {
            errors.push(ApiValidationError::UnknownRoute { setting: "a rate limit", route: key.clone() });
        }
        for key in self.models.keys().filter(|key| !exists(key) || *key == RouteKey::CONNECT) {
            errors.push(ApiValidationError::UnknownRoute { setting: "a request model", route: key.clone() });
        }
    }

    /// Returns the rate limit of the route `key`.
    pub(super) fn rate_of(&self, key: &str) -> Option<RateLimit> {
        self.rates.get(key).copied().or(self.default_rate)
    }

    /// Returns the parsed required parameters; adds an error for each that is not a header or a query parameter.
    pub(super) fn parse_required_parameters(&self, errors: &mut Vec<ApiValidationError>) -> Vec<IdentitySource> {
        let mut parse = |text: &String| match IdentitySource::parse(text) {
            Ok(source @ (IdentitySource::Header(_) | IdentitySource::QueryString(_))) => Some(source),
            _ => {
                errors.push(ApiValidationError::RequiredParameter(text.clone()));
                None
            }
        };
        self.required_parameters.iter().filter_map(&mut parse).collect()
    }

    /// Returns the parsed base paths; adds an error for each invalid one.
    pub(super) fn parse_base_paths(&self, errors: &mut Vec<ApiValidationError>) -> Vec<BasePath> {
        let parse = |text: &String| BasePath::parse(text).map_err(|error| errors.push(error.into())).ok();
        self.base_paths.iter().filter_map(parse).collect()
    }

    /// Returns the compiled request model of the route `key`; adds an error if it does not compile.
    pub(super) fn model_of(&self, key: &str, errors: &mut Vec<ApiValidationError>) -> Option<Arc<RequestModel>> {
        match RequestModel::compile(self.models.get(key)?.clone()) {
            Ok(model) => Some(Arc::new(model)),
            Err(reason) => {
                errors.push(ApiValidationError::Model { route: key.to_owned(), reason });
                None
            }
        }
    }
}
