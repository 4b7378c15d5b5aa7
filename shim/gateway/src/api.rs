//! One WebSocket API as it is deployed: stage, routes, selection expression, authorizer and quotas.
//!
//! Invariant: an [`WebSocketApi`] can only be built by [`WebSocketApi::new`], which checks the whole definition and reports every mistake
//! at once; whoever holds one checks nothing again. It is immutable and shared as `Arc<WebSocketApi>` by all connections. It
//! says what exists, not how a route's integration is called.

mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::settings::{ApiKeySource, ApiSettings, AuthorizationType};

use crate::identity_source::{IdentitySource, RequestAuthorizer};
use crate::model::RequestModelError;
use crate::quotas::{Quotas, RateLimit};
use crate::route::{Route, RouteKey, RouteOrdering, RouteResponse, RouteTable, SelectionExpression};

/// A route as it is written in a template, before it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDefinition {
    /// `$connect`, `$disconnect`, `$default` or a custom key that does not begin with `$`.
    pub key: String,
    /// Whether the integration's body goes back to the client. Ignored for the lifecycle routes.
    pub response: RouteResponse,
    /// Whether messages of one connection wait for each other. Ignored for the lifecycle routes.
    pub ordering: RouteOrdering,
}

/// An API as it is written in a template, before it is checked.
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
    /// The stage variables.
    pub stage_variables: BTreeMap<String, String>,
    /// Every route, lifecycle routes included.
    pub routes: Vec<RouteDefinition>,
    /// The route selection expression, usually `$request.body.action`.
    pub selection: String,
    /// Identity sources of the `$connect` authorizer; `None` when there is no authorizer, empty when it always runs
    /// (AU-3).
    pub authorizer: Option<Vec<String>>,
    /// Whether `$connect` needs an API key.
    pub api_key_required: bool,
    /// The quotas to apply.
    pub quotas: Quotas,
    /// What few APIs change: authorization by signature, where keys come from, rates and models of routes.
    pub settings: ApiSettings,
}

/// A stage: what a deployment is called in URLs, with its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiStage {
    /// The name in the URL and in `requestContext.stage`.
    pub name: Arc<str>,
    /// What events carry as `stageVariables`, absent when empty (EV-6).
    pub variables: BTreeMap<String, String>,
}

/// A checked API.
#[derive(Debug)]
#[non_exhaustive]
pub struct WebSocketApi {
    /// The API id (`requestContext.apiId`).
    pub id: Arc<str>,
    /// The region.
    pub region: Arc<str>,
    /// The account id.
    pub account_id: Arc<str>,
    /// The stage.
    pub stage: ApiStage,
    /// The routes.
    pub routes: RouteTable,
    /// The route selection expression.
    pub selection: SelectionExpression,
    /// The REQUEST authorizer of `$connect`, if any.
    pub authorizer: Option<RequestAuthorizer>,
    /// How `$connect` is authorized where no authorizer is.
    pub authorization: AuthorizationType,
    /// Whether `$connect` needs an API key.
    pub api_key_required: bool,
    /// Where that key is read from.
    pub key_source: ApiKeySource,
    /// How often `$connect` may be asked for, beside the quotas.
    pub connect_rate: Option<RateLimit>,
    /// The quotas.
    pub quotas: Quotas,
}

/// One thing that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiValidationError {
    /// The stage name breaks API Gateway's grammar.
    #[error("stage name {0:?} must have 1 to 128 letters, digits, '-' and '_'")]
    StageName(String),
    /// A key that API Gateway reserves or that cannot be matched.
    #[error("route key {0:?} must not be empty or begin with '$', except $connect, $disconnect and $default")]
    RouteKey(String),
    /// Two routes share a key.
    #[error("route key {0:?} is defined twice")]
    DuplicateRoute(String),
    /// More routes than the quota.
    #[error("{found} routes are defined, {limit} are allowed")]
    TooManyRoutes {
        /// How many were defined.
        found: usize,
        /// How many the quota allows.
        limit: usize,
    },
    /// The selection expression does not parse.
    #[error("route selection expression {expression:?}: {reason}")]
    Selection {
        /// The expression as written.
        expression: String,
        /// Why it does not parse.
        reason: crate::route::SelectionExpressionError,
    },
    /// A setting names a route that the API does not have, or that cannot have it.
    #[error("{setting} of route {route:?}, which is none of the API's")]
    UnknownRoute {
        /// What was set.
        setting: &'static str,
        /// The key it was set for.
        route: String,
    },
    /// A request model is no schema.
    #[error("the model of route {route:?}: {reason}")]
    Model {
        /// The route's key.
        route: String,
        /// Why it is none.
        reason: RequestModelError,
    },
    /// `$connect` has a Lambda authorizer and asks for signatures as well.
    #[error("$connect cannot have a Lambda authorizer and IAM authorization")]
    TwoAuthorizations,
    /// An identity source does not parse.
    #[error(transparent)]
    IdentitySource(#[from] crate::identity_source::IdentitySourceError),
}

/// Everything that is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiDefinitionError(pub Vec<ApiValidationError>);

impl WebSocketApi {
    /// Checks `definition` and takes it over.
    ///
    /// # Errors
    /// [`ApiDefinitionError`] with every mistake found.
    pub fn new(definition: ApiDefinition) -> Result<Self, ApiDefinitionError> {
        let mut mistakes = Vec::new();
        check_stage_name(&definition.stage, &mut mistakes);
        definition.settings.check_routes(&definition.routes, &mut mistakes);
        if definition.authorizer.is_some() && definition.settings.authorization == AuthorizationType::Iam {
            mistakes.push(ApiValidationError::TwoAuthorizations);
        }
        let routes = build_routes(&definition, &mut mistakes);
        let selection = parse_selection(&definition.selection, &mut mistakes);
        let authorizer = definition.authorizer.map(|sources| parse_authorizer(&sources, &mut mistakes));
        let (Some(selection), true) = (selection, mistakes.is_empty()) else {
            return Err(ApiDefinitionError(mistakes));
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
            connect_rate: definition.settings.rate_of(RouteKey::CONNECT),
            quotas: definition.quotas,
        })
    }

    /// The route that answers the message `body`, or `None` when API Gateway would say `Forbidden` (RT-4 to RT-8).
    #[must_use]
    pub fn route_for(&self, body: &str) -> Option<&Route> {
        self.routes.resolve_selection(&self.selection.evaluate_body(body))
    }

    /// The ARN that authorizer policies are evaluated against: `arn:…:execute-api:…/{stage}/$connect` (AU-9).
    #[must_use]
    pub fn connect_arn(&self) -> String {
        self.execute_api_arn(RouteKey::CONNECT)
    }

    /// The ARN that callers of `@connections` need `execute-api:ManageConnections` for (SG-1).
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
        for (position, mistake) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiDefinitionError {}

fn check_stage_name(name: &str, mistakes: &mut Vec<ApiValidationError>) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(allowed) {
        mistakes.push(ApiValidationError::StageName(name.to_owned()));
    }
}

fn build_routes(definition: &ApiDefinition, mistakes: &mut Vec<ApiValidationError>) -> RouteTable {
    let (found, most) = (definition.routes.len(), definition.quotas.max_routes);
    if found > most {
        mistakes.push(ApiValidationError::TooManyRoutes { found, limit: most });
    }
    let mut routes = RouteTable::default();
    for (index, RouteDefinition { key, response, ordering }) in definition.routes.iter().enumerate() {
        let Some(checked) = RouteKey::parse(key) else {
            mistakes.push(ApiValidationError::RouteKey(key.clone()));
            continue;
        };
        let model = definition.settings.model_of(key, mistakes);
        let rate = definition.settings.rate_of(key);
        if !routes.insert(Route { key: checked, response: *response, ordering: *ordering, index, rate, model }) {
            mistakes.push(ApiValidationError::DuplicateRoute(key.clone()));
        }
    }
    routes
}

fn parse_selection(expression: &str, mistakes: &mut Vec<ApiValidationError>) -> Option<SelectionExpression> {
    SelectionExpression::parse(expression)
        .map_err(|reason| mistakes.push(ApiValidationError::Selection { expression: expression.to_owned(), reason }))
        .ok()
}

fn parse_authorizer(sources: &[String], mistakes: &mut Vec<ApiValidationError>) -> RequestAuthorizer {
    let mut identity_sources = Vec::with_capacity(sources.len());
    for source in sources {
        match IdentitySource::parse(source) {
            Ok(parsed) => identity_sources.push(parsed),
            Err(mistake) => mistakes.push(mistake.into()),
        }
    }
    RequestAuthorizer { identity_sources }
}

/// The partition a region belongs to (IAM user guide, `reference-arns`).
fn aws_partition(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

#[cfg(test)]
mod tests;
