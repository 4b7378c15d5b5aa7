//! Readers of application templates. Each reader returns an [`Application`]: WebSocket API, HTTP APIs, functions and
//! tables, independent of the format of the template.
//!
//! ```
//! use std::time::Duration;
//! use templates::{Authorization, Integration, RouteResource, SourceLocation};
//!
//! let route = RouteResource {
//!     key: "sendmessage".into(),
//!     integration: Integration::Lambda { function: "SendFunction".into(), timeout: Duration::from_secs(29) },
//!     authorization: Authorization::None,
//!     api_key_required: false,
//!     two_way: false,
//!     request_model: None,
//!     required_parameters: Vec::new(),
//!     location: SourceLocation::default(),
//! };
//! assert_eq!(route.integration.function(), Some("SendFunction"));
//! ```

mod document;
mod error;
mod model;
mod routes_file;

pub use self::error::TemplateError;
pub use self::model::{
    Application, Authorization, CodeLocation, Finding, FunctionResource, HttpApiResource, HttpPayload,
    HttpRouteResource, IndexResource, Integration, KeySchema, RouteResource, Severity, SourceLocation, StageResource,
    TableResource, Throttle, WebSocketApiResource,
};
pub use self::routes_file::{DEFAULT_FUNCTION_MEMORY_MIB, DEFAULT_FUNCTION_TIMEOUT, DEFAULT_STAGE, read_routes_file};
