//! IAM policies as far as authorizers and signed callers need them: does a document allow one action on one ARN? (AU-9)
//!
//! Invariant: an explicit deny wins over every allow, and nothing is allowed unless a statement says so. Statements
//! with conditions or members beyond `Sid` are not evaluated: they never allow, and a conditional deny always denies.

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerPolicy;
use aws_lambda_events::iam::{IamPolicyEffect, IamPolicyStatement};
use serde_json::Value;
use wildmatch::WildMatch;

/// What opens a connection (IAM-1).
pub(crate) const INVOKE_ACTION: &str = "execute-api:Invoke";

/// What a policy says about one ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolicyDecision {
    /// Some statement allows it and none denies it.
    Allow,
    /// Some statement denies it, or none allows it.
    Deny,
}

/// Reads a policy document: unlike in the public type, a statement may be a single object instead of a list, and must
/// have an effect. `None` when it is no policy.
pub(crate) fn parse_policy(mut document: Value) -> Option<ApiGatewayCustomAuthorizerPolicy> {
    let statement = document.get_mut("Statement")?;
    if statement.is_object() {
        *statement = Value::Array(vec![statement.take()]);
    }
    // The public type takes a missing effect for an allow; IAM requires one.
    let has_effect = |statement: &Value| statement.get("Effect").is_some_and(Value::is_string);
    if !statement.as_array()?.iter().all(has_effect) {
        return None;
    }
    serde_json::from_value(document).ok()
}

/// Evaluates `policy` for doing `action` to `arn`.
pub(crate) fn evaluate_policy(policy: &ApiGatewayCustomAuthorizerPolicy, action: &str, arn: &str) -> PolicyDecision {
    let mut allowed = false;
    for statement in policy.statement.iter().filter(|statement| statement_applies(statement, action, arn)) {
        match statement.effect {
            IamPolicyEffect::Allow => allowed |= is_unconditional(statement),
            // The public enum may grow; whatever is not an allow is a deny.
            _ => return PolicyDecision::Deny,
        }
    }
    if allowed { PolicyDecision::Allow } else { PolicyDecision::Deny }
}

fn statement_applies(statement: &IamPolicyStatement, action: &str, arn: &str) -> bool {
    // Action names ignore case (IAM user guide, `reference_policies_elements_action`), resources do not.
    let action = action.to_ascii_lowercase();
    let named = statement.action.iter().any(|pattern| matches_wildcard(&pattern.to_ascii_lowercase(), &action));
    named && statement.resource.iter().any(|pattern| matches_wildcard(pattern, arn))
}

fn is_unconditional(statement: &IamPolicyStatement) -> bool {
    statement.condition.is_none() && statement.other.keys().all(|member| member == "Sid")
}

/// Returns whether `pattern` with `*` (any characters, none included) and `?` (exactly one) covers all of `text`.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    WildMatch::new(pattern).matches(text)
}

#[cfg(test)]
mod tests {
    use super::matches_wildcard;

    #[test]
    fn au_9_wildcards_cover_what_iam_says() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "anything"),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("*/prod/*", "arn:x/prod/$connect"),
            ("a*b*c", "a-b-b-c"),
            ("abc**", "abc"),
        ] {
            assert!(matches_wildcard(pattern, text), "{pattern} should cover {text}");
        }
        for (pattern, text) in [("", "a"), ("a?c", "ac"), ("a*c", "abd"), ("abc", "ABC"), ("*x", "abc"), ("ab", "abc")]
        {
            assert!(!matches_wildcard(pattern, text), "{pattern} should not cover {text}");
        }
    }
}
