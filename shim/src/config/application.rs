//! Application of `api.template`: reading, rejection of templates that cannot be served, and the settings that a
//! template provides.

use std::path::Path;
use std::sync::Arc;

use templates::{Application, ApplicationContext, Finding, Severity, TemplateError, find_template};

use super::{Config, ConfigError};

impl Config {
    /// Reads `api.template`, if it is set, and applies its API id and stage unless the configuration sets them. Returns
    /// the template's warnings.
    ///
    /// # Errors
    /// [`ConfigError`] for a template that cannot be read, and for findings that prevent serving it.
    pub fn load_application(&mut self) -> Result<Vec<String>, ConfigError> {
        let Some(path) = self.functions.template.clone() else { return Ok(Vec::new()) };
        self.api.region = template_region(&path, self)?;
        let application = read_application(&path, self)?;
        self.set_application(application)
    }

    /// Applies an application, as [`Self::load_application`] does.
    ///
    /// # Errors
    /// [`ConfigError`] for findings that prevent serving the application.
    pub fn set_application(&mut self, application: Application) -> Result<Vec<String>, ConfigError> {
        let warnings = check_findings(&application)?;
        if let Some(api) = &application.websocket_api {
            if !self.api.is_stage_set {
                self.api.stage.clone_from(&api.stage.name);
            }
            if let Some(id) = api.id.as_ref().filter(|_| !self.api.is_id_set) {
                self.api.id.clone_from(id);
            }
        }
        self.application = Some(Arc::new(application));
        Ok(warnings)
    }
}

/// Reads the template at `path`, a file or a directory that contains one, with the region, account and API id of `config`.
///
/// # Errors
/// [`ConfigError`] when there is no template, it cannot be read or it is invalid.
pub fn read_application(path: &Path, config: &Config) -> Result<Application, ConfigError> {
    let stage = config.api.is_stage_set.then(|| config.api.stage.clone());
    let region = config.api.is_region_set.then(|| config.api.region.clone());
    let options = [("stage", stage.clone()), ("region", region)];
    let context = ApplicationContext {
        region: template_region(path, config)?,
        account_id: config.api.account_id.clone(),
        api_id: config.api.id.clone(),
        stage,
        parameters: config.functions.parameters.0.clone(),
        environment: config.functions.template_environment.0.clone(),
        options: options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        ..ApplicationContext::default()
    };
    templates::read_application(path, &context).map_err(invalid_template)
}

/// Returns the configured region; if none is set, that of the template's `samconfig.toml`, or the default.
fn template_region(template: &Path, config: &Config) -> Result<String, ConfigError> {
    if config.api.is_region_set {
        return Ok(config.api.region.clone());
    }
    let found = find_template(template).map_err(invalid_template)?;
    Ok(found.region.unwrap_or_else(|| config.api.region.clone()))
}

fn invalid_template(error: TemplateError) -> ConfigError {
    ConfigError { errors: error.to_string().lines().map(|line| format!("api.template: {line}")).collect() }
}

/// Returns the warnings of an application. An access control that is not supported prevents serving it: the server would
/// be open to clients that the template rejects.
fn check_findings(application: &Application) -> Result<Vec<String>, ConfigError> {
    let describe = |finding: &Finding| describe_finding(application, finding);
    let (warnings, errors): (Vec<_>, Vec<_>) =
        application.findings.iter().partition(|finding| finding.severity == Severity::Warning);
    if errors.is_empty() {
        return Ok(warnings.into_iter().map(describe).collect());
    }
    Err(ConfigError { errors: errors.into_iter().map(describe).collect() })
}

/// Returns a finding with its place: `file:line: element: message`.
#[must_use]
pub fn describe_finding(application: &Application, finding: &Finding) -> String {
    let file = application.template.display();
    let place = match finding.location.line {
        0 => format!("{file}"),
        line => format!("{file}:{line}"),
    };
    let prefix = match finding.severity {
        Severity::Security => "security: ",
        Severity::Error | Severity::Warning => "",
    };
    format!("{prefix}{place}: {}: {}", finding.location.element, finding.message)
}
