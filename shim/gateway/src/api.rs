//! Deployed WebSocket API: stage, routes, selection expression, authorizer and quotas.
//!
//! [`WebSocketApi::new`] is the only constructor of a [`WebSocketApi`]. It validates the whole definition and reports
//! all errors together, so code that has a `WebSocketApi` needs no further checks. The value is immutable and shared by
//! all connections as `Arc<WebSocketApi>`. It does not contain the integrations of the routes.

mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::settings::{ApiKeySource, ApiSettings, AuthorizationType};

use crate::base_path::{BasePath, RequestedPath, match_path};
use crate::identity_source::{IdentitySource, RequestAuthorizer};
use crate::model::RequestModelError;
use crate::quotas::{Quotas, RateLimit};
use crate::route::{
    MIN_INTEGRATION_TIMEOUT, Route, RouteIntegration, RouteKey, RouteOrdering, RouteResponse, RouteTable,
    SelectionExpression,
};

/// A route of an [`ApiDefinition`], before validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDefinition {
    /// `$connect`, `$disconnect`, `$default` or a custom key that does not begin with `$`.
    pub key: String,
    pub integration: RouteIntegration,
    /// Whether the integration's body is sent to the client. Ignored for the lifecycle routes.
    pub response: RouteResponse,
    /// Whether messages of one connection are processed one at a time. Ignored for the lifecycle routes.
    pub ordering: RouteOrdering,
}

impl RouteDefinition {
    /// Returns the route `key` with the defaults of API Gateway: a Lambda function, one-way, concurrent messages.
    #[must_use]
    pub fn lambda(key: &str, function: &str) -> Self {
        Self {
            key: key.to_owned(),
            integration: RouteIntegration::lambda(function),
            response: RouteResponse::OneWay,
            ordering: RouteOrdering::Concurrent,
        }
    }
}

/// An API definition as in a template, before validation.
#[derive(Debug, Clone)]
pub struct ApiDefinition {
    /// The API id, for example `a1b2c3d4e5`.
    pub id: String,
    /// The region, for example `eu-central-1`; it selects the partition of ARNs.
    pub region: String,
    /// The 12-digit account id.
    pub account_id: String,
    /// The stage name: letters, digits, `-`, `_`; at most 128 (developer guide, `api-gateway-known-issues`).
    pub stage: String,
    /// `stageVariables` of events.
    pub stage_variables: BTreeMap<String, String>,
    /// All routes, including the lifecycle routes.
    pub routes: Vec<RouteDefinition>,
    /// The route selection expression, usually `$request.body.action`.
    pub selection: String,
    /// Identity sources of the `$connect` authorizer; `None` without an authorizer, empty when it always runs (AU-3).
    pub authorizer: Option<Vec<String>>,
    /// Whether `$connect` needs an API key.
    pub api_key_required: bool,
    /// Sizes, rates and lifetimes to enforce.
    pub quotas: Quotas,
    /// Optional settings: IAM authorization, source of API keys, required parameters, base paths, rate limits and request
    /// models of routes.
    pub settings: ApiSettings,
}

/// A stage of the API, with its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiStage {
    /// The name in URLs and in `requestContext.stage`.
    pub name: Arc<str>,
    /// `stageVariables` of events, absent when empty (EV-6).
    pub variables: BTreeMap<String, String>,
}

/// A validated API.
#[derive(Debug)]
#[non_exhaustive]
pub struct WebSocketApi {
    /// The API id (`requestContext.apiId`).
    pub id: Arc<str>,
    /// Region in ARNs and in credential scopes.
    pub region: Arc<str>,
    /// Account in ARNs (12 digits).
    pub account_id: Arc<str>,
    /// The only stage.
    pub stage: ApiStage,
    /// Message routes and their keys.
    pub routes: RouteTable,
    /// The route selection expression.
    pub selection: SelectionExpression,
    /// The REQUEST authorizer of `$connect`, if any.
    pub authorizer: Option<RequestAuthorizer>,
    /// Authorization of `$connect` without a Lambda authorizer.
    pub authorization: AuthorizationType,
    /// Whether `$connect` needs an API key.
    pub api_key_required: bool,
    /// Source of the API key.
    pub key_source: ApiKeySource,
    /// Parameters that a handshake must have (developer guide, `websocket-api-request-validation`).
    pub required_parameters: Vec<IdentitySource>,
    /// Base paths of custom domains, in addition to the stage's name.
    pub base_paths: Vec<BasePath>,
    /// Rate limit of `$connect`, in addition to the quotas.
    pub connect_rate: Option<RateLimit>,
    /// Sizes, rates and lifetimes to enforce.
    pub quotas: Quotas,
}

/// A single error of an API definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiValidationError {
    /// The stage name is invalid (developer guide, `api-gateway-known-issues`).
    #[error("stage name {0:?} must have 1 to 128 letters, digits, '-' and '_'")]
    StageName(String),
    /// The route key is empty or reserved.
    #[error("route key {0:?} must not be empty or begin with '$', except $connect, $disconnect and $default")]
    RouteKey(String),
    /// Two routes share a key.
    #[error("duplicate route key {0:?}")]
    DuplicateRoute(String),
    /// There are more routes than the quota allows.
    #[error("{found} routes are defined, at most {limit} are allowed")]
    TooManyRoutes {
        /// Number of defined routes.
        found: usize,
        /// Number that the quota allows.
        limit: usize,
    },
    /// The route selection expression is invalid.
    #[error("route selection expression {expression:?}: {reason}")]
    Selection { expression: String, reason: crate::route::SelectionExpressionError },
    /// A setting is for a route that the API does not define or that does not support the setting.
    #[error("{setting} is set for route {route:?}, which the API does not define")]
    UnknownRoute {
        /// The setting, with its article.
        setting: &'static str,
        /// The route key of the setting.
        route: String,
    },
    /// A request model is not a valid JSON Schema.
    #[error("request model of route {route:?}: {reason}")]
    Model {
        /// The route key.
        route: String,
        reason: RequestModelError,
    },
    /// The timeout of an integration is outside its range (developer guide, quotas of WebSocket APIs).
    #[error(
        "integration timeout of route {route:?} is {} ms, allowed are {} to {} ms",
        .timeout.as_millis(), MIN_INTEGRATION_TIMEOUT.as_millis(), .limit.as_millis()
    )]
    Timeout {
        /// The route key.
        route: String,
        timeout: Duration,
        /// Maximum that the quota allows.
        limit: Duration,
    },
    /// A required parameter is not one of the request.
    #[error("required parameter {0:?} must be route.request.header.NAME or route.request.querystring.NAME")]
    RequiredParameter(String),
    /// A base path is invalid.
    #[error(transparent)]
    BasePath(#[from] crate::base_path::BasePathError),
    /// `$connect` has both a Lambda authorizer and IAM authorization.
    #[error("$connect cannot have a Lambda authorizer and IAM authorization")]
    TwoAuthorizations,
    /// An identity source is invalid.
    #[error(transparent)]
    IdentitySource(#[from] crate::identity_source::IdentitySourceError),
}

/// All errors of an API definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiDefinitionError(pub Vec<ApiValidationError>);

impl WebSocketApi {
    /// Validates `definition` and builds the API.
    ///
    /// # Errors
    /// [`ApiDefinitionError`] with all errors of the definition.
    pub fn new(definition: ApiDefinition) -> Result<Self, ApiDefinitionError> {
        let mut errors = Vec::new();
        check_stage_name(&definition.stage, &mut errors);
        definition.settings.check_routes(&definition.routes, &mut errors);
        if definition.authorizer.is_some() && definition.settings.authorization == AuthorizationType::Iam {
            errors.push(ApiValidationError::TwoAuthorizations);
        }
        let routes = build_routes(&definition, &mut errors);
        let selection = parse_selection(&definition.selection, &mut errors);
        let authorizer = definition.authorizer.map(|sources| parse_authorizer(&sources, &mut errors));
        let required_parameters = definition.settings.parse_required_parameters(&mut errors);
        let base_paths = definition.settings.parse_base_paths(&mut errors);
        let (Some(selection), true) = (selection, errors.is_empty()) else {
            return Err(ApiDefinitionError(errors));
        };
        Ok(Self {
            id: definition.id.into(),
            region: definition.region.into(),
            account_id: definition.account_id.into(),
            stage: ApiStage { name: definition.stage.into(), variables: definition.stage_variables },
            routes,
            selection,
            authorizer,
            authorization: definition.settings.authorization,
            api_key_required: definition.api_key_required,
            key_source: definition.settings.key_source,
            required_parameters,
            base_paths,
            connect_rate: definition.settings.rate_of(RouteKey::CONNECT),
            quotas: definition.quotas,
        })
    }

    /// Returns the route of the message `body`; `None` when API Gateway would respond with `Forbidden` (RT-4 to RT-8).
    #[must_use]
    pub fn route_for(&self, body: &str) -> Option<&Route> {
        self.routes.resolve_selection(&self.selection.evaluate_body(body))
    }

    /// Returns whether `path` (as received) is the stage or a base path of the API; `None` for all other paths. An API
    /// without routes has no paths.
    #[must_use]
    pub fn match_path(&self, path: &str) -> Option<RequestedPath> {
        if self.routes.is_empty() {
            return None;
        }
        match_path(path, &self.stage.name, &self.base_paths)
    }

    /// Returns the ARN that authorizer policies are evaluated against: `arn:…:execute-api:…/{stage}/$connect` (AU-9).
    #[must_use]
    pub fn connect_arn(&self) -> String {
        self.execute_api_arn(RouteKey::CONNECT)
    }

    /// Returns the ARN of a call of `@connections`; its caller needs `execute-api:ManageConnections` on it (SG-1).
    #[must_use]
    pub fn management_arn(&self, method: &str, connection_id: &str) -> String {
        self.execute_api_arn(&format!("{method}/@connections/{connection_id}"))
    }

    fn execute_api_arn(&self, resource: &str) -> String {
        let Self { id, region, account_id, stage, .. } = self;
        [
            "arn:",
            aws_partition(region),
            ":execute-api:",
            region,
            ":",
            account_id,
            ":",
            id,
            "/",
            &stage.name,
            "/",
            resource,
        ]
        .concat()
    }
}

impl std::fmt::Display for ApiDefinitionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiDefinitionError {}

fn check_stage_name(name: &str, errors: &mut Vec<ApiValidationError>) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(allowed) {
        errors.push(ApiValidationError::StageName(name.to_owned()));
    }
}

fn build_routes(definition: &ApiDefinition, errors: &mut Vec<ApiValidationError>) -> RouteTable {
    let (found, limit) = (definition.routes.len(), definition.quotas.max_routes);
    if found > limit {
        errors.push(ApiValidationError::TooManyRoutes { found, limit });
    }
    let mut routes = RouteTable::default();
    for (index, RouteDefinition { key, integration, response, ordering }) in definition.routes.iter().enumerate() {
        let Some(route_key) = RouteKey::parse(key) else {
            errors.push(ApiValidationError::RouteKey(key.clone()));
            continue;
        };
        let route = Route {
            key: route_key,
            integration: integration.clone(),
            timeout: integration_timeout(key, integration, definition.quotas.integration_timeout, errors),
            response: *response,
            ordering: *ordering,
            index,
            rate: definition.settings.rate_of(key),
            model: definition.settings.model_of(key, errors),
        };
        if !routes.insert(route) {
            errors.push(ApiValidationError::DuplicateRoute(key.clone()));
        }
    }
    routes
}

/// Returns the timeout of a route's integration; adds an error if it is outside its range.
fn integration_timeout(
    key: &str,
    integration: &RouteIntegration,
    limit: Duration,
    errors: &mut Vec<ApiValidationError>,
) -> Duration {
    let Some(timeout) = integration.timeout() else { return limit };
    if timeout < MIN_INTEGRATION_TIMEOUT || timeout > limit {
        errors.push(ApiValidationError::Timeout { route: key.to_owned(), timeout, limit });
    }
    timeout
}

fn parse_selection(expression: &str, errors: &mut Vec<ApiValidationError>) -> Option<SelectionExpression> {
    SelectionExpression::parse(expression)
        .map_err(|reason| errors.push(ApiValidationError::Selection { expression: expression.to_owned(), reason }))
        .ok()
}

fn parse_authorizer(sources: &[String], errors: &mut Vec<ApiValidationError>) -> RequestAuthorizer {
    let mut identity_sources = Vec::with_capacity(sources.len());
    for source in sources {
        match IdentitySource::parse(source) {
            Ok(parsed) => identity_sources.push(parsed),
            Err(error) => errors.push(error.into()),
        }
    }
    RequestAuthorizer { identity_sources }
}

/// Partitions by prefix of their regions, the longest prefix first; all other regions are in `aws` (AWS SDKs,
/// `partitions.json`).
const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("us-iso-", "aws-iso"),
    ("eu-isoe-", "aws-iso-e"),
    ("eusc-", "aws-eusc"),
];

/// Returns the AWS partition of a region, the second part of its ARNs.
#[must_use]
pub fn aws_partition(region: &str) -> &'static str {
    let partition = PARTITIONS.into_iter().find(|(prefix, _)| region.starts_with(prefix));
    partition.map_or("aws", |(_, partition)| partition)
}

#[cfg(test)]
mod tests;
