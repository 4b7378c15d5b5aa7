//! `samconfig.toml`: stack name, region, parameters.

use std::collections::BTreeMap;
use std::path::Path;

use crate::document::DocumentNode;
use crate::document::toml::parse_toml;
use crate::error::TemplateError;

/// Values of the environment `default`.
#[derive(Default)]
pub(super) struct SamConfig {
    pub template_file: Option<String>,
    pub stack_name: Option<String>,
    pub region: Option<String>,
    pub parameters: BTreeMap<String, String>,
}

/// Reads the file; a directory without it has no values.
pub(super) fn read_samconfig(directory: &Path) -> Result<SamConfig, TemplateError> {
    let path = directory.join("samconfig.toml");
    if !path.is_file() {
        return Ok(SamConfig::default());
    }
    let document = parse_toml(&path, &crate::document::read_text(&path)?)?;
    let Some(environment) = document.get("default") else { return Ok(SamConfig::default()) };
    // Commands that only read a template come last.
    let commands = ["deploy", "global", "build", "local_start_api"];
    let value = |key: &str| commands.iter().find_map(|command| environment.get(command)?.get("parameters")?.get(key));
    let text = |key: &str| value(key).and_then(DocumentNode::scalar);
    Ok(SamConfig {
        template_file: text("template_file").or_else(|| text("template")),
        stack_name: text("stack_name"),
        region: text("region"),
        parameters: value("parameter_overrides").map(overrides).unwrap_or_default(),
    })
}

/// Reads `A=1 B="x y"`, `ParameterKey=A,ParameterValue=1`, or a list of these.
fn overrides(node: &DocumentNode) -> BTreeMap<String, String> {
    let texts: Vec<String> = match node.scalar() {
        Some(text) => split_words(&text),
        None => node.items().iter().filter_map(DocumentNode::scalar).collect(),
    };
    texts.iter().filter_map(|text| parameter(text)).collect()
}

fn parameter(text: &str) -> Option<(String, String)> {
    let unquoted = |text: &str| text.trim_matches(['"', '\'']).to_owned();
    if let Some(rest) = text.strip_prefix("ParameterKey=") {
        let (name, value) = rest.split_once(",ParameterValue=")?;
        return Some((unquoted(name), unquoted(value)));
    }
    let (name, value) = text.split_once('=')?;
    Some((unquoted(name), unquoted(value)))
}

/// Splits at spaces that are not in quotation marks.
fn split_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in text.chars() {
        match (quote, character) {
            (None, ' ' | '\n' | '\t') => words.push(String::new()),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => words.last_mut().into_iter().for_each(|word| word.push(character)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
