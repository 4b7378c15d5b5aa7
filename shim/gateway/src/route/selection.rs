//! Route selection expression: `$request.body.action`, `${request.body.a.b}/${request.body.c}`, `\$default` (RT-1).
//!
//! Evaluation never fails. A path that does not exist gives the empty string (RT-2), a text that is not JSON gives
//! [`SelectionValue::NotJson`]. The only variable is `request.body`, because messages have nothing else.

use std::borrow::Cow;

use super::scan;

const BODY_PREFIX: &str = "request.body.";

/// Error of parsing a route selection expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionExpressionError {
    /// The expression is empty.
    #[error("the expression is empty")]
    Empty,
    /// The variable does not begin with `request.body.`.
    #[error("${0} is not available in messages; use $request.body.PATH (write \\$ for a literal dollar sign)")]
    UnknownVariable(String),
    /// The path has an empty name, a subscript or a wildcard.
    #[error("path {0:?} must be names joined by '.', without subscripts or wildcards")]
    Path(String),
    /// The byte offset of a `${` without `}`.
    #[error("'${{' at byte {0} has no closing '}}'")]
    Unclosed(usize),
}

/// Value of a route selection expression for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectionValue<'b> {
    /// Value to compare with the route keys; borrowed from the message where possible.
    Text(Cow<'b, str>),
    /// The message is not one JSON value.
    NotJson,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ExpressionPart {
    Literal(Box<str>),
    Body(Box<[Box<str>]>),
}

/// A parsed route selection expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectionExpression {
    parts: Box<[ExpressionPart]>,
}

impl SelectionExpression {
    /// Parses an expression.
    ///
    /// Outside braces a path consists of letters, digits, `_`, `-` and `.`; use braces where a literal follows it.
    ///
    /// # Errors
    /// [`SelectionExpressionError`] for an empty expression, an unknown variable or an invalid path.
    pub fn parse(text: &str) -> Result<Self, SelectionExpressionError> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(next) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("\\$") {
                literal.push('$');
                rest = after;
            } else if next == '$' {
                push_literal(&mut literal, &mut parts);
                let (variable, after) = split_variable(rest, text.len() - rest.len())?;
                parts.push(ExpressionPart::Body(parse_variable(variable)?));
                rest = after;
            } else {
                literal.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        push_literal(&mut literal, &mut parts);
        if parts.is_empty() { Err(SelectionExpressionError::Empty) } else { Ok(Self { parts: parts.into() }) }
    }

    /// Evaluates the expression against a message.
    #[must_use]
    pub fn evaluate_body<'b>(&self, body: &'b str) -> SelectionValue<'b> {
        if let [ExpressionPart::Body(path)] = &*self.parts {
            return match scan::find_value(body, path) {
                Ok(found) => SelectionValue::Text(found.unwrap_or_default()),
                Err(scan::NotJsonError) => SelectionValue::NotJson,
            };
        }
        self.concatenate_parts(body).map_or(SelectionValue::NotJson, |value| SelectionValue::Text(Cow::Owned(value)))
    }

    fn concatenate_parts(&self, body: &str) -> Result<String, scan::NotJsonError> {
        let mut value = String::new();
        for part in &self.parts {
            match part {
                ExpressionPart::Literal(text) => value.push_str(text),
                ExpressionPart::Body(path) => value.push_str(&scan::find_value(body, path)?.unwrap_or_default()),
            }
        }
        Ok(value)
    }
}

fn push_literal(literal: &mut String, parts: &mut Vec<ExpressionPart>) {
    if !literal.is_empty() {
        parts.push(ExpressionPart::Literal(std::mem::take(literal).into()));
    }
}

/// Splits `$name…` or `${name}…` into the name and the rest; `position` is its byte offset in the expression.
fn split_variable(rest: &str, position: usize) -> Result<(&str, &str), SelectionExpressionError> {
    if let Some(braced) = rest.strip_prefix("${") {
        return braced.split_once('}').ok_or(SelectionExpressionError::Unclosed(position));
    }
    let bare = &rest[1..];
    let in_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    Ok(bare.split_at(bare.find(|c| !in_path(c)).unwrap_or(bare.len())))
}

fn parse_variable(variable: &str) -> Result<Box<[Box<str>]>, SelectionExpressionError> {
    let Some(path) = variable.strip_prefix(BODY_PREFIX) else {
        return Err(SelectionExpressionError::UnknownVariable(variable.to_owned()));
    };
    let plain = |name: &str| !name.is_empty() && !name.contains(['[', ']', '*', '$', '{', '\'', '"', ' ']);
    if !path.split('.').all(plain) {
        return Err(SelectionExpressionError::Path(path.to_owned()));
    }
    Ok(path.split('.').map(Box::from).collect())
}
