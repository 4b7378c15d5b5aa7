//! Application as a template describes it, before validation.
//!
//! All references between resources are resolved: an integration names a key of [`Application::functions`]. Paths are
//! absolute. A feature that the reader does not support becomes a [`Finding`], never a silent omission.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// A complete application.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Application {
    /// Name of the stack or service, otherwise of the template's directory.
    pub name: String,
    /// Template that the application was read from.
    pub template: PathBuf,
    /// The WebSocket API; `None` for a template that has HTTP APIs only.
    pub websocket_api: Option<WebSocketApiResource>,
    pub http_apis: Vec<HttpApiResource>,
    /// Functions by logical id.
    pub functions: BTreeMap<String, FunctionResource>,
    /// DynamoDB tables by logical id.
    pub tables: BTreeMap<String, TableResource>,
    /// Features of the template that the reader does not support, and values that it had to assume.
    pub findings: Vec<Finding>,
}

/// Place in a template.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SourceLocation {
    /// Logical id, or path of the element, such as `Resources.SendRoute.Properties`.
    pub element: String,
    /// Line, counted from 1; 0 where the format has no lines, such as a JSON plan.
    pub line: usize,
}

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The application behaves differently in a way that cannot be ignored, but that affects no access control.
    Warning,
    /// The application cannot be started: a value is missing or contradictory.
    Error,
    /// An access control of the template is not supported. The server refuses to start without it.
    Security,
}

/// A feature that is not supported, or an error of the template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    pub location: SourceLocation,
    /// What is wrong, and how to fix it.
    pub message: String,
}

/// A WebSocket API with one stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WebSocketApiResource {
    pub logical_id: String,
    /// API id of a routes file; `None` for the id of the configuration.
    pub id: Option<String>,
    /// For example `$request.body.action`.
    pub route_selection_expression: String,
    /// For example `$request.header.x-api-key`; `None` for the default.
    pub api_key_selection_expression: Option<String>,
    pub stage: StageResource,
    pub routes: Vec<RouteResource>,
    /// Base paths of custom domains; an empty one is the bare domain.
    pub base_paths: Vec<String>,
    pub location: SourceLocation,
}

/// A stage of an API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageResource {
    pub name: String,
    pub variables: BTreeMap<String, String>,
    /// Limit of routes without an entry in `route_throttles`.
    pub default_throttle: Option<Throttle>,
    /// Limits by route key.
    pub route_throttles: BTreeMap<String, Throttle>,
    /// Format of access logs with `$context` variables.
    pub access_log_format: Option<String>,
}

/// Token bucket of a route. Both values may be 0, which rejects all requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Throttle {
    /// Requests per second.
    pub rate: f64,
    pub burst: u32,
}

/// A route of a WebSocket API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteResource {
    /// `$connect`, `$disconnect`, `$default` or a custom key.
    pub key: String,
    pub integration: Integration,
    /// Authorization; only that of `$connect` has an effect.
    pub authorization: Authorization,
    pub api_key_required: bool,
    /// Whether the integration's response is sent to the client: the route has a `$default` route response.
    pub two_way: bool,
    /// JSON schema (draft 4) that messages are validated with.
    pub request_model: Option<Value>,
    /// Parameters that `$connect` requires, such as `route.request.querystring.room`.
    pub required_parameters: Vec<String>,
    pub location: SourceLocation,
}

/// Authorization of `$connect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Authorization {
    None,
    /// `AWS_IAM`.
    Iam,
    /// A REQUEST authorizer.
    Custom {
        /// Logical id of the authorizer function.
        function: String,
        /// For example `route.request.header.Authorization`; empty when the authorizer always runs.
        identity_sources: Vec<String>,
    },
}

/// Integration of a route.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Integration {
    /// `AWS_PROXY`.
    Lambda {
        /// Logical id of the function.
        function: String,
        /// `TimeoutInMillis`: 50 ms to 29 s.
        timeout: Duration,
    },
    /// `HTTP_PROXY`.
    HttpProxy {
        method: String,
        uri: String,
        /// Parameter mapping: `integration.request.header.X` and the like by target.
        request_parameters: BTreeMap<String, String>,
        timeout: Duration,
    },
    /// `MOCK`.
    Mock {
        /// Templates by selection value.
        request_templates: BTreeMap<String, String>,
        template_selection: Option<String>,
        /// Response templates by key, such as `$default` or `/4\d\d/`.
        response_templates: BTreeMap<String, String>,
    },
}

impl Integration {
    /// Returns the logical id of the function that the integration invokes.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        match self {
            Self::Lambda { function, .. } => Some(function),
            Self::HttpProxy { .. } | Self::Mock { .. } => None,
        }
    }
}

/// A Lambda function.
#[derive(Clone, PartialEq, Serialize)]
pub struct FunctionResource {
    /// `AWS_LAMBDA_FUNCTION_NAME`.
    pub name: String,
    /// Runtime identifier, such as `nodejs22.x`, `python3.13` or `provided.al2023`. Empty for a command line.
    pub runtime: String,
    /// For example `app.handler`; `bootstrap` for executables.
    pub handler: String,
    pub code: CodeLocation,
    /// Variables of the function. Values may be secrets.
    #[serde(skip)]
    pub environment: BTreeMap<String, String>,
    pub timeout: Duration,
    pub memory_mib: u32,
    /// Content directories or archives of layers, in the order of the template.
    pub layers: Vec<PathBuf>,
    /// Maximum number of concurrent processes; `None` for the configured default.
    pub reserved_concurrency: Option<usize>,
    pub location: SourceLocation,
}

/// Code of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeLocation {
    /// A directory with the sources or the built files.
    Directory(PathBuf),
    /// A zip archive.
    Archive(PathBuf),
    /// A command line of the routes file, run in the directory.
    Command { line: Vec<String>, directory: PathBuf },
    /// Source text in the template.
    Inline(String),
    /// A file in the directory that a build tool must produce first.
    Missing {
        /// Path that does not exist.
        path: PathBuf,
        /// Command that produces it, such as `sam build`.
        remedy: String,
    },
}

/// An HTTP API with its routes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HttpApiResource {
    pub logical_id: String,
    /// Stage name; `$default` has no path prefix.
    pub stage: String,
    pub routes: Vec<HttpRouteResource>,
    pub location: SourceLocation,
}

/// A route of an HTTP API.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HttpRouteResource {
    /// For example `GET`; `ANY` for all methods.
    pub method: String,
    /// For example `/rooms/{id}` or `/{proxy+}`; `$default` for all other requests.
    pub path: String,
    /// Logical id of the function.
    pub function: String,
    pub payload: HttpPayload,
    pub location: SourceLocation,
}

/// Payload format of an HTTP route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum HttpPayload {
    /// Payload 1.0, also of REST APIs.
    #[serde(rename = "1.0")]
    V1,
    /// Payload 2.0.
    #[serde(rename = "2.0")]
    V2,
}

/// A DynamoDB table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableResource {
    pub name: String,
    /// `S`, `N` or `B` by attribute.
    pub attributes: BTreeMap<String, String>,
    pub key: KeySchema,
    pub global_indexes: Vec<IndexResource>,
    pub local_indexes: Vec<IndexResource>,
    /// Attribute with the time to live.
    pub ttl_attribute: Option<String>,
    /// `StreamViewType`, if the table has a stream.
    pub stream_view: Option<String>,
    pub location: SourceLocation,
}

/// Key of a table or of an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeySchema {
    pub partition: String,
    pub sort: Option<String>,
}

/// A secondary index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexResource {
    pub name: String,
    pub key: KeySchema,
    /// `ALL`, `KEYS_ONLY` or `INCLUDE`.
    pub projection: String,
    /// Attributes of `INCLUDE`.
    pub projected_attributes: Vec<String>,
}

/// Shows no values of the environment, because they may be secrets.
impl std::fmt::Debug for FunctionResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("FunctionResource");
        shown.field("name", &self.name).field("runtime", &self.runtime).field("handler", &self.handler);
        shown.field("code", &self.code).field("environment", &self.environment.keys()).finish_non_exhaustive()
    }
}
