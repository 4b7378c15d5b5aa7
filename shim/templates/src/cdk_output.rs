//! Output of the CDK: manifest, stack templates, assets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cloudformation::{TemplateFiles, read_document};
use crate::context::ApplicationContext;
use crate::document::Position;
use crate::document::json::parse_json;
use crate::error::TemplateError;
use crate::model::{Application, Severity};

/// Reads the stack with the WebSocket API of a directory `cdk.out`. `ApplicationContext::stack_name` selects a stack.
///
/// # Errors
///
/// Fails if the directory is incomplete, or if several stacks have a WebSocket API.
pub fn read_cdk_output(directory: &Path, context: &ApplicationContext) -> Result<Application, TemplateError> {
    let stacks = read_stacks(directory)?;
    let stack = select_stack(directory, &stacks, context)?;
    let text = crate::document::read_text(&stack.template)?;
    let document = parse_json(&stack.template, &text)?;
    let root = stack.template.parent().unwrap_or(directory).to_owned();
    let assets = read_assets(&root)?;
    let files = TemplateFiles { root, assets, is_built: true, build_command: "cdk synth" };
    let context = ApplicationContext { stack_name: Some(stack.name.clone()), ..context.clone() };
    let mut application = read_document(&stack.template, &document, &context, files)?;
    application.findings.retain(|finding| !is_construct_helper(finding));
    Ok(application)
}

/// Constructs of the CDK add functions that only serve deployments.
fn is_construct_helper(finding: &crate::model::Finding) -> bool {
    finding.severity == Severity::Warning && finding.message.contains("(Custom::LogRetention)")
}

/// A stack of the manifest.
struct CdkStack {
    /// Name of the deployed stack.
    name: String,
    template: PathBuf,
}

fn read_json(path: &Path) -> Result<Value, TemplateError> {
    let text = crate::document::read_text(path)?;
    serde_json::from_str(&text).map_err(|error| {
        let position = Position { line: error.line(), column: error.column() };
        TemplateError::new(path, position, format!("syntax error: {error}")).with_fix("run cdk synth again")
    })
}

/// Returns the stacks of a cloud assembly and of the assemblies in it, such as stages.
fn read_stacks(directory: &Path) -> Result<Vec<CdkStack>, TemplateError> {
    let manifest_path = directory.join("manifest.json");
    let manifest = read_json(&manifest_path)?;
    let mut stacks = Vec::new();
    for (id, artifact) in manifest["artifacts"].as_object().into_iter().flatten() {
        let properties = &artifact["properties"];
        match artifact["type"].as_str() {
            Some("aws:cloudformation:stack") => {
                let Some(file) = properties["templateFile"].as_str() else { continue };
                let name = properties["stackName"].as_str().unwrap_or(id).to_owned();
                stacks.push(CdkStack { name, template: directory.join(file) });
            }
            Some("cdk:cloud-assembly") => {
                let Some(nested) = properties["directoryName"].as_str() else { continue };
                stacks.extend(read_stacks(&directory.join(nested))?);
            }
            _ => {}
        }
    }
    Ok(stacks)
}

/// Selects the stack by name; without a name the only one, or the only one with a WebSocket API.
fn select_stack<'s>(
    directory: &Path,
    stacks: &'s [CdkStack],
    context: &ApplicationContext,
) -> Result<&'s CdkStack, TemplateError> {
    let names = |stacks: &[&CdkStack]| stacks.iter().map(|stack| stack.name.as_str()).collect::<Vec<_>>().join(", ");
    let all: Vec<&CdkStack> = stacks.iter().collect();
    let error =
        |message: String, fix: String| TemplateError::new(directory, Position::default(), message).with_fix(fix);
    if let Some(stack) = stacks.iter().find(|stack| Some(&stack.name) == context.stack_name.as_ref()) {
        return Ok(stack);
    }
    let mut candidates = Vec::new();
    for stack in stacks {
        if has_websocket_api(&read_json(&stack.template)?) {
            candidates.push(stack);
        }
    }
    match (candidates.as_slice(), all.as_slice()) {
        ([stack], _) | ([], [stack]) => Ok(stack),
        ([], []) => Err(error("the manifest has no stacks".to_owned(), "run cdk synth".to_owned())),
        ([], _) => {
            let message = format!("no stack has a WebSocket API; the stacks are {}", names(&all));
            Err(error(message, "give the name of a stack".to_owned()))
        }
        _ => {
            let message = format!("several stacks have a WebSocket API: {}", names(&candidates));
            Err(error(message, "give the name of one of them".to_owned()))
        }
    }
}

fn has_websocket_api(template: &Value) -> bool {
    let resources = template["Resources"].as_object();
    resources.into_iter().flatten().any(|(_, resource)| match resource["Type"].as_str() {
        Some("AWS::Serverless::WebSocketApi") => true,
        Some("AWS::ApiGatewayV2::Api") => resource["Properties"]["ProtocolType"] == "WEBSOCKET",
        _ => false,
    })
}

/// Returns the paths of file assets by the keys of the objects that a deployment writes. Keys are hashes, so that the
/// manifests of all stacks are read.
fn read_assets(root: &Path) -> Result<BTreeMap<String, PathBuf>, TemplateError> {
    let mut assets = BTreeMap::new();
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".assets.json")) {
            assets.extend(file_assets(root, &read_json(&path)?));
        }
    }
    Ok(assets)
}

fn file_assets(root: &Path, manifest: &Value) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for (_, file) in manifest["files"].as_object().into_iter().flatten() {
        let Some(path) = file["source"]["path"].as_str() else { continue };
        for (_, destination) in file["destinations"].as_object().into_iter().flatten() {
            if let Some(key) = destination["objectKey"].as_str() {
                found.push((key.to_owned(), root.join(path)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::read_cdk_output;
    use crate::context::ApplicationContext;
    use crate::model::{Authorization, CodeLocation};

    fn fixture() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cdk.out")
    }

    #[test]
    fn the_output_of_the_websocket_constructs_is_read() {
        let application = read_cdk_output(&fixture(), &ApplicationContext::default()).expect("the output is complete");
        assert_eq!((application.name.as_str(), application.findings.as_slice()), ("Chat", &[][..]));
        let api = application.websocket_api.expect("the stack has a WebSocket API");
        let [connect, default] = api.routes.as_slice() else { panic!("{:#?}", api.routes) };
        let identity_sources = vec!["route.request.header.Authorization".to_owned()];
        assert_eq!(connect.authorization, Authorization::Custom { function: "EchoF00D".to_owned(), identity_sources });
        assert_eq!((default.integration.function(), default.two_way), (Some("EchoF00D"), true));
        assert_eq!((api.stage.name.as_str(), api.base_paths.as_slice()), ("prod", &["chat".to_owned()][..]));
        let function = &application.functions["EchoF00D"];
        assert_eq!(function.code, CodeLocation::Directory(fixture().join("asset.1111")));
        assert_eq!(function.environment["SMILE"], "\u{1f600}");
    }

    #[test]
    fn an_incomplete_output_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let error = read_cdk_output(directory.path(), &ApplicationContext::default()).expect_err("nothing is there");
        assert!(error.message.starts_with("cannot read the template"), "{error}");
        std::fs::write(directory.path().join("manifest.json"), "{}").expect("a file");
        let error = read_cdk_output(directory.path(), &ApplicationContext::default()).expect_err("no stacks");
        assert_eq!((error.message.as_str(), error.fix.as_str()), ("the manifest has no stacks", "run cdk synth"));
    }

    #[test]
    fn several_stacks_need_a_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let template = "{\"Resources\":{\"A\":{\"Type\":\"AWS::Serverless::WebSocketApi\"}}}";
        let artifact = |file: &str| {
            format!("{{\"type\":\"aws:cloudformation:stack\",\"properties\":{{\"templateFile\":\"{file}\"}}}}")
        };
        let manifest = format!("{{\"artifacts\":{{\"One\":{},\"Two\":{}}}}}", artifact("1.json"), artifact("2.json"));
        for (name, text) in [("manifest.json", manifest.as_str()), ("1.json", template), ("2.json", template)] {
            std::fs::write(directory.path().join(name), text).expect("a file");
        }
        let error = read_cdk_output(directory.path(), &ApplicationContext::default()).expect_err("two stacks");
        assert_eq!(error.message, "several stacks have a WebSocket API: One, Two");
        let context = ApplicationContext { stack_name: Some("Two".to_owned()), ..ApplicationContext::default() };
        assert_eq!(read_cdk_output(directory.path(), &context).expect("one stack").name, "Two");
    }
}
