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

mod cdk_output;
mod cloudformation;
mod context;
mod document;
mod error;
mod find;
mod missing_code;
mod model;
mod routes_file;
mod serverless;
mod terraform;

use std::path::Path;

pub use self::cdk_output::read_cdk_output;
pub use self::cloudformation::read_cloudformation;
pub use self::context::ApplicationContext;
pub use self::error::TemplateError;
pub use self::find::{FoundTemplate, ROUTES_FILE_NAME, TemplateFormat, find_template};
pub use self::model::{
    Application, Authorization, CodeLocation, Finding, FunctionResource, HttpApiResource, HttpPayload,
    HttpRouteResource, IndexResource, Integration, KeySchema, RouteResource, Severity, SourceLocation, StageResource,
    TableResource, Throttle, WebSocketApiResource,
};
pub use self::routes_file::{DEFAULT_FUNCTION_MEMORY_MIB, DEFAULT_FUNCTION_TIMEOUT, DEFAULT_STAGE, read_routes_file};
pub use self::serverless::read_serverless;
pub use self::terraform::read_terraform;

/// Reads the template at a path: a file of any format, a directory `cdk.out`, or a directory with one template, as
/// [`find_template`] finds it.
///
/// # Errors
///
/// Fails for a file that cannot be read, that is no template or that has a syntax error; a routes file also for all
/// other errors. Other errors of templates are findings.
pub fn read_application(path: &Path, context: &ApplicationContext) -> Result<Application, TemplateError> {
    let found = find_template(path)?;
    let context = found.context(context);
    let application = match found.format {
        TemplateFormat::Routes => read_routes_file(&found.path, &document::read_text(&found.path)?),
        TemplateFormat::CloudFormation => {
            read_cloudformation(&found.path, &document::read_text(&found.path)?, &context)
        }
        TemplateFormat::CdkOutput => read_cdk_output(&found.path, &context),
        TemplateFormat::Serverless => read_serverless(&found.path, &document::read_text(&found.path)?, &context),
        TemplateFormat::Terraform if found.path.extension().is_some_and(|extension| extension == "json") => {
            read_terraform(&found.path, &document::read_text(&found.path)?, &context)
        }
        TemplateFormat::Terraform => Err(terraform::unread_configuration(&found.path)),
    }?;
    Ok(missing_code::with_findings(application))
}
