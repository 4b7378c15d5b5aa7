//! Evaluation of IAM policies for one action on one ARN, for authorizers and signing callers (AU-9).
//!
//! An explicit deny wins over every allow, and an action is denied unless a statement allows it. Conditions, and
//! members other than `Sid`, are not evaluated: a statement with one never allows, and its deny always applies.

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerPolicy;
use aws_lambda_events::iam::{IamPolicyEffect, IamPolicyStatement};
use serde_json::Value;
use wildmatch::WildMatch;

/// Action that opens a connection (IAM-1).
pub(crate) const INVOKE_ACTION: &str = "execute-api:Invoke";

/// Decision of a policy for one action on one ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolicyDecision {
    /// A statement allows the action and none denies it.
    Allow,
    /// A statement denies the action, or none allows it.
    Deny,
}

/// Parses a policy document; returns `None` when it is invalid. Unlike in `aws_lambda_events`, `Statement` may be a
/// single object, and every statement must have an effect.
pub(crate) fn parse_policy(mut document: Value) -> Option<ApiGatewayCustomAuthorizerPolicy> {
    let statement = document.get_mut("Statement")?;
    if statement.is_object() {
        *statement = Value::Array(vec![statement.take()]);
    }
    // `aws_lambda_events` defaults a missing effect to allow; IAM requires one.
    let has_effect = |statement: &Value| statement.get("Effect").is_some_and(Value::is_string);
    if !statement.as_array()?.iter().all(has_effect) {
        return None;
    }
    serde_json::from_value(document).ok()
}

/// Evaluates `policy` for `action` on `arn`.
pub(crate) fn evaluate_policy(policy: &ApiGatewayCustomAuthorizerPolicy, action: &str, arn: &str) -> PolicyDecision {
    let mut allowed = false;
    for statement in policy.statement.iter().filter(|statement| statement_applies(statement, action, arn)) {
        match statement.effect {
            IamPolicyEffect::Allow => allowed |= is_unconditional(statement),
            // The enum is non-exhaustive; every other effect is a deny.
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

/// Returns whether `pattern` with `*` (zero or more characters) and `?` (exactly one) matches all of `text`.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    WildMatch::new(pattern).matches(text)
}

#[cfg(test)]
mod tests {
    use super::matches_wildcard;

    #[test]
    fn au_9_wildcards_match_as_in_iam() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "anything"),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("*/prod/*", "arn:x/prod/$connect"),
            ("a*b*c", "a-b-b-c"),
            ("abc**", "abc"),
        ] {
            assert!(matches_wildcard(pattern, text), "{pattern} should match {text}");
        }
        for (pattern, text) in [("", "a"), ("a?c", "ac"), ("a*c", "abd"), ("abc", "ABC"), ("*x", "abc"), ("ab", "abc")]
        {
            assert!(!matches_wildcard(pattern, text), "{pattern} should not match {text}");
        }
    }
}
