//! Functions that integrations and authorizers name: ARNs, integration URIs, names.

use std::collections::BTreeMap;

use super::reader::TemplateReader;
use crate::model::{Severity, SourceLocation};

impl TemplateReader<'_> {
    /// Returns the logical id of a function that a text names; otherwise a finding.
    pub(super) fn function_target(
        &mut self,
        text: &str,
        variables: &BTreeMap<String, String>,
        location: SourceLocation,
        severity: Severity,
    ) -> Option<String> {
        let text = substitute_variables(text, variables);
        let name = function_name(&text);
        if let Some(logical_id) = name.and_then(|name| self.function_names.get(name)) {
            return Some(logical_id.clone());
        }
        let message = match name {
            Some(name) if name.contains("${stageVariables.") => {
                format!("{text} contains a stage variable that the stage does not define; add it to StageVariables")
            }
            Some(name) => format!(
                "the function {name} is not in the template; add it, or describe the application in a routes file"
            ),
            None => format!("{text} does not name a Lambda function; only functions of the template can be invoked"),
        };
        self.report(severity, location, message);
        None
    }
}

/// Replaces `${stageVariables.NAME}`.
pub(super) fn substitute_variables(text: &str, variables: &BTreeMap<String, String>) -> String {
    variables
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{stageVariables.{name}}}"), value))
}

/// Returns the function's name in an integration URI, an ARN with or without qualifier, or a bare name.
pub(super) fn function_name(text: &str) -> Option<&str> {
    let text = match text.split_once(":lambda:path/") {
        Some((_, path)) => path.split_once("/functions/")?.1.strip_suffix("/invocations")?,
        None => text,
    };
    match text.split_once(":function:") {
        Some((prefix, rest)) if prefix.starts_with("arn:") => rest.split(':').next(),
        Some(_) => None,
        None if text.contains('/') || text.starts_with("arn:") => None,
        None => text.split(':').next(),
    }
    .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::function_name;

    #[test]
    fn uris_arns_and_names_lead_to_the_function() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:app-Send";
        let uri = format!("arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/{arn}/invocations");
        let qualified = format!("arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/{arn}:live/invocations");
        for text in [arn, &uri, &qualified, "app-Send", "app-Send:1"] {
            assert_eq!(function_name(text), Some("app-Send"), "{text}");
        }
        for text in
            ["arn:aws:apigateway:eu-west-1:sqs:path/123/queue", "https://example.com/x", "", "arn:aws:sqs:x:y:z"]
        {
            assert_eq!(function_name(text), None, "{text}");
        }
    }
}
