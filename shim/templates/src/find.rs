//! Finding the template of an application in its directory.

mod samconfig;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::context::ApplicationContext;
use crate::document::Position;
use crate::error::TemplateError;

/// File name of the routes file.
pub const ROUTES_FILE_NAME: &str = "twinway.routes.toml";

/// Format of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateFormat {
    /// The routes file.
    Routes,
    /// SAM or CloudFormation, in YAML or JSON.
    CloudFormation,
    /// Output directory of the CDK.
    CdkOutput,
    /// `serverless.yml` of the Serverless Framework.
    Serverless,
    /// Terraform: a plan as JSON, or `.tf` files.
    Terraform,
}

/// The template of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTemplate {
    /// The file; the directory for the output of the CDK and for `.tf` files.
    pub path: PathBuf,
    pub format: TemplateFormat,
    /// `stack_name` of `samconfig.toml`.
    pub stack_name: Option<String>,
    /// `region` of `samconfig.toml`.
    pub region: Option<String>,
    /// `parameter_overrides` of `samconfig.toml`.
    pub parameters: BTreeMap<String, String>,
}

impl FoundTemplate {
    /// Completes a context with the values of `samconfig.toml`; given values have precedence.
    #[must_use]
    pub fn context(&self, given: &ApplicationContext) -> ApplicationContext {
        let mut context = given.clone();
        context.stack_name = context.stack_name.or_else(|| self.stack_name.clone());
        for (name, value) in &self.parameters {
            context.parameters.entry(name.clone()).or_insert_with(|| value.clone());
        }
        context
    }
}

/// Finds the template in a directory; a routes file has precedence over others. `directory` may also be a file, which
/// is then the template.
///
/// # Errors
///
/// Fails if the directory has no template, or several.
pub fn find_template(directory: &Path) -> Result<FoundTemplate, TemplateError> {
    let path = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    if path.is_file() {
        let format = format_of(&path)?;
        return Ok(found(path, format));
    }
    if !path.is_dir() {
        let error = TemplateError::new(directory, Position::default(), "the directory does not exist");
        return Err(error.with_fix("give the directory of the application, or its template"));
    }
    if path.join(ROUTES_FILE_NAME).is_file() {
        return Ok(found(path.join(ROUTES_FILE_NAME), TemplateFormat::Routes));
    }
    if is_cdk_output(&path) {
        return Ok(found(path, TemplateFormat::CdkOutput));
    }
    let hints = samconfig::read_samconfig(&path)?;
    let mut candidates = candidates(&path, hints.template_file.as_deref());
    match candidates.len() {
        0 => Err(nothing_found(&path)),
        1 => {
            let (file, format) = candidates.remove(0);
            let file = if format == TemplateFormat::CloudFormation { built_template(file) } else { file };
            let FoundTemplate { path, format, .. } = found(file, format);
            let samconfig::SamConfig { stack_name, region, parameters, .. } = hints;
            Ok(FoundTemplate { path, format, stack_name, region, parameters })
        }
        _ => Err(ambiguous(&path, &candidates)),
    }
}

/// Returns the format of a file by its name and content.
pub(crate) fn format_of(path: &Path) -> Result<TemplateFormat, TemplateError> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("toml") => Ok(TemplateFormat::Routes),
        Some("tf") => Ok(TemplateFormat::Terraform),
        Some("yml" | "yaml" | "json" | "template") => {
            let is_serverless = name.starts_with("serverless.");
            let is_plan = name.ends_with(".json") && is_terraform(path)?;
            Ok(match (is_serverless, is_plan) {
                (true, _) => TemplateFormat::Serverless,
                (_, true) => TemplateFormat::Terraform,
                _ => TemplateFormat::CloudFormation,
            })
        }
        _ => {
            let message = format!("the file {} is no known template", path.display());
            let fix = "give a routes file (.toml), a SAM or CloudFormation template (.yaml, .json), serverless.yml or cdk.out";
            Err(TemplateError::new(path, Position::default(), message).with_fix(fix))
        }
    }
}

/// Returns whether a JSON file is a plan or a state of `terraform show -json`.
fn is_terraform(path: &Path) -> Result<bool, TemplateError> {
    let text = crate::document::read_text(path)?;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    Ok(value.get("planned_values").is_some()
        || (value.get("terraform_version").is_some() && value.get("values").is_some()))
}

fn found(path: PathBuf, format: TemplateFormat) -> FoundTemplate {
    FoundTemplate { path, format, stack_name: None, region: None, parameters: BTreeMap::new() }
}

fn is_cdk_output(directory: &Path) -> bool {
    directory.join("manifest.json").is_file() && directory.join("cdk.out").is_file()
}

/// Returns all templates of a directory.
fn candidates(directory: &Path, configured: Option<&str>) -> Vec<(PathBuf, TemplateFormat)> {
    let mut found = Vec::new();
    let configured = configured.map(|name| directory.join(name)).filter(|path| path.is_file());
    let names = ["template.yaml", "template.yml", "template.json"];
    match configured {
        Some(path) => found.push((path, TemplateFormat::CloudFormation)),
        None => found.extend(
            names
                .iter()
                .map(|name| directory.join(name))
                .filter(|path| path.is_file())
                .map(|path| (path, TemplateFormat::CloudFormation)),
        ),
    }
    let output = directory.join("cdk.out");
    if is_cdk_output(&output) {
        found.push((output, TemplateFormat::CdkOutput));
    }
    let serverless = ["serverless.yml", "serverless.yaml", "serverless.json"];
    found.extend(
        serverless
            .iter()
            .map(|name| directory.join(name))
            .filter(|path| path.is_file())
            .map(|path| (path, TemplateFormat::Serverless)),
    );
    if has_terraform_files(directory) {
        let plan = directory.join("plan.json");
        found.push((if plan.is_file() { plan } else { directory.to_owned() }, TemplateFormat::Terraform));
    }
    found
}

fn has_terraform_files(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|extension| extension == "tf"))
}

/// Returns the output of `sam build`, if it is there and not older than the template.
fn built_template(template: PathBuf) -> PathBuf {
    let built = template.parent().unwrap_or(Path::new("/")).join(".aws-sam/build/template.yaml");
    let modified = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    match (modified(&built), modified(&template)) {
        (Some(output), Some(source)) if output >= source => built,
        _ => template,
    }
}

fn nothing_found(directory: &Path) -> TemplateError {
    let fix = if directory.join("cdk.json").is_file() {
        "run cdk synth, which writes cdk.out".to_owned()
    } else {
        format!("write {ROUTES_FILE_NAME}, or give the path of a template")
    };
    let message = "the directory has no template: no routes file, template.yaml, cdk.out, serverless.yml or *.tf";
    TemplateError::new(directory, Position::default(), message).with_fix(fix)
}

fn ambiguous(directory: &Path, candidates: &[(PathBuf, TemplateFormat)]) -> TemplateError {
    let name = |path: &PathBuf, format: &TemplateFormat| match format {
        TemplateFormat::Terraform => "*.tf".to_owned(),
        _ => path.strip_prefix(directory).unwrap_or(path).display().to_string(),
    };
    let names: Vec<String> = candidates.iter().map(|(path, format)| name(path, format)).collect();
    let message = format!("the directory has several templates: {}", names.join(", "));
    TemplateError::new(directory, Position::default(), message).with_fix("give the path of one of them")
}
