//! The route selection expression: `$request.body.action`, `${request.body.a.b}/${request.body.c}`, `\$default` (RT-1).
//!
//! Invariant: evaluation never fails. A path that leads nowhere is the empty string (RT-2), a text that is not JSON is
//! [`Selected::NotJson`]. Only `request.body` can be read, because messages have nothing else.

use std::borrow::Cow;

use super::scan;

const BODY: &str = "request.body.";

/// Why an expression does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExpression {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// A variable that does not begin with `request.body.`.
    #[error("${0} is not a variable of messages; they have $request.body.PATH (write \\$ for a literal dollar sign)")]
    UnknownVariable(String),
    /// A path with an empty name, a subscript or a wildcard.
    #[error("path {0:?} must be names joined by '.', without subscripts or wildcards")]
    Path(String),
    /// `${` without `}`.
    #[error("'${{' at byte {0} has no closing '}}'")]
    Unclosed(usize),
}

/// What an expression made of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected<'b> {
    /// The value to look up among the route keys; borrowed from the message where that is possible.
    Value(Cow<'b, str>),
    /// The message is not one JSON value.
    NotJson,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Body(Box<[Box<str>]>),
}

/// A parsed route selection expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectionExpression {
    parts: Box<[Part]>,
}

impl SelectionExpression {
    /// Parses `text`.
    ///
    /// Outside braces a path extends over letters, digits, `_`, `-` and `.`; use braces where a literal follows it.
    ///
    /// # Errors
    /// [`InvalidExpression`] says what and where.
    pub fn parse(text: &str) -> Result<Self, InvalidExpression> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(next) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("\\$") {
                literal.push('$');
                rest = after;
            } else if next == '$' {
                flush(&mut literal, &mut parts);
                let (variable, after) = split_variable(rest, text.len() - rest.len())?;
                parts.push(Part::Body(parse_variable(variable)?));
                rest = after;
            } else {
                literal.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        flush(&mut literal, &mut parts);
        if parts.is_empty() { Err(InvalidExpression::Empty) } else { Ok(Self { parts: parts.into() }) }
    }

    /// Evaluates the expression against a message.
    #[must_use]
    pub fn select<'b>(&self, body: &'b str) -> Selected<'b> {
        if let [Part::Body(path)] = &*self.parts {
            return match scan::find(body, path) {
                Ok(found) => Selected::Value(found.unwrap_or_default()),
                Err(scan::NotJson) => Selected::NotJson,
            };
        }
        self.concatenate(body).map_or(Selected::NotJson, |value| Selected::Value(Cow::Owned(value)))
    }

    fn concatenate(&self, body: &str) -> Result<String, scan::NotJson> {
        let mut value = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => value.push_str(text),
                Part::Body(path) => value.push_str(&scan::find(body, path)?.unwrap_or_default()),
            }
        }
        Ok(value)
    }
}

fn flush(literal: &mut String, parts: &mut Vec<Part>) {
    if !literal.is_empty() {
        parts.push(Part::Literal(std::mem::take(literal).into()));
    }
}

/// Splits `$name…` or `${name}…` into the name and what follows; `at` is where it stands in the expression.
fn split_variable(rest: &str, at: usize) -> Result<(&str, &str), InvalidExpression> {
    if let Some(braced) = rest.strip_prefix("${") {
        return braced.split_once('}').ok_or(InvalidExpression::Unclosed(at));
    }
    let bare = &rest[1..];
    let in_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    Ok(bare.split_at(bare.find(|c| !in_path(c)).unwrap_or(bare.len())))
}

fn parse_variable(variable: &str) -> Result<Box<[Box<str>]>, InvalidExpression> {
    let Some(path) = variable.strip_prefix(BODY) else {
        return Err(InvalidExpression::UnknownVariable(variable.to_owned()));
    };
    let plain = |name: &str| !name.is_empty() && !name.contains(['[', ']', '*', '$', '{', '\'', '"', ' ']);
    if !path.split('.').all(plain) {
        return Err(InvalidExpression::Path(path.to_owned()));
    }
    Ok(path.split('.').map(Box::from).collect())
}
