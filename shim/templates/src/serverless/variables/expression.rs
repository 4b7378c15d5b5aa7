//! Grammar of a variable: `${source:address, other:address, 'literal'}`.

use crate::document::NodeValue;

/// A variable as written, with its sources in order.
#[derive(Debug, PartialEq)]
pub(super) struct VariableExpression {
    pub written: String,
    pub sources: Vec<VariableSource>,
}

/// A source of a value.
#[derive(Debug, PartialEq)]
pub(super) enum VariableSource {
    /// `self:custom.name`
    Own(String),
    /// `env:NAME`
    Environment(String),
    /// `opt:stage`
    Option(String),
    /// `sls:stage`
    Framework(String),
    /// `aws:accountId`
    Account(String),
    /// `param:name`
    Parameter(String),
    /// `file(./path.yml):address`
    File { path: String, address: String },
    /// `ssm:…`, `cf:…`, `s3:…` and others that need AWS or a plug-in.
    Remote,
    /// `'text'`, `1`, `true`
    Literal(NodeValue),
}

/// Sources that need a service.
const REMOTE: [&str; 8] = ["cf", "ssm", "s3", "git", "vault", "terraform", "output", "doppler"];

/// Returns start, end and content of the last variable that contains no other variable. Texts such as
/// `${AWS::Region}`, which CloudFormation replaces, are skipped.
pub(super) fn innermost_variable(text: &str) -> Option<(usize, usize, VariableExpression)> {
    let starts: Vec<usize> = text.match_indices("${").map(|(start, _)| start).collect();
    starts.into_iter().rev().find_map(|start| {
        let length = text[start..].find('}')?;
        let content = &text[start + 2..start + length];
        let expression = parse_expression(content)?;
        Some((start, start + length + 1, expression))
    })
}

/// Returns `None` if the text is no variable of the framework.
fn parse_expression(content: &str) -> Option<VariableExpression> {
    let parts = split_sources(content);
    let sources: Vec<VariableSource> = parts.iter().map(|part| parse_source(part.trim())).collect::<Option<_>>()?;
    let is_variable = !matches!(sources.first()?, VariableSource::Literal(_));
    is_variable.then(|| VariableExpression { written: format!("${{{content}}}"), sources })
}

/// Splits at commas outside of quotation marks and parentheses.
fn split_sources(content: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut quote) = (Vec::new(), 0, 0_usize, None);
    for (index, character) in content.char_indices() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(&content[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&content[start..]);
    parts
}

fn parse_source(part: &str) -> Option<VariableSource> {
    if let Some(rest) = part.strip_prefix("file(") {
        let (path, address) = rest.split_once(')')?;
        let (path, address) = (path.trim().to_owned(), address.trim_start_matches(':').trim().to_owned());
        return Some(VariableSource::File { path, address });
    }
    if let Some(literal) = literal(part) {
        return Some(VariableSource::Literal(literal));
    }
    let (name, address) = part.split_once(':')?;
    let address = address.trim().to_owned();
    let base = name.split('(').next().unwrap_or_default();
    match base {
        _ if address.starts_with(':') => None,
        "self" => Some(VariableSource::Own(address)),
        "env" => Some(VariableSource::Environment(address)),
        "opt" => Some(VariableSource::Option(address)),
        "sls" => Some(VariableSource::Framework(address)),
        "aws" => Some(VariableSource::Account(address)),
        "param" => Some(VariableSource::Parameter(address)),
        _ if REMOTE.contains(&base) => Some(VariableSource::Remote),
        _ => None,
    }
}

/// Reads a text in quotation marks, a number or a boolean.
fn literal(part: &str) -> Option<NodeValue> {
    let unquoted = ['\'', '"'].iter().find_map(|quote| part.strip_prefix(*quote)?.strip_suffix(*quote));
    match (unquoted, part) {
        (Some(text), _) => Some(NodeValue::Text(text.to_owned())),
        (None, "true" | "false") => Some(NodeValue::Boolean(part == "true")),
        (None, "null") => Some(NodeValue::Null),
        _ => part.parse::<f64>().ok().map(|_| NodeValue::Number(part.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{VariableSource, innermost_variable};
    use crate::document::NodeValue;

    #[test]
    fn the_innermost_variable_comes_first() {
        let (start, end, expression) = innermost_variable("a ${self:x.${opt:stage, 'dev'}}").expect("a variable");
        assert_eq!((start, end), (11, 30));
        let literal = VariableSource::Literal(NodeValue::Text("dev".to_owned()));
        assert_eq!(expression.sources, [VariableSource::Option("stage".to_owned()), literal]);
    }

    #[test]
    fn files_have_a_path_and_an_address() {
        let (_, _, expression) = innermost_variable("${file(./a.yml):b.c, ''}").expect("a variable");
        let file = VariableSource::File { path: "./a.yml".to_owned(), address: "b.c".to_owned() };
        assert_eq!(expression.sources[0], file);
    }

    #[test]
    fn variables_of_cloudformation_are_no_variables() {
        for text in ["${AWS::Region}", "${Table}", "${Table.Arn}", "${!x}", "${stageVariables.f}", "${", "plain"] {
            assert_eq!(innermost_variable(text), None, "{text}");
        }
    }
}
