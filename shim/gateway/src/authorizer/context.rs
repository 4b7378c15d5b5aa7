//! Authorizer context of a connection, which later events repeat in `requestContext.authorizer` (AUTHZ-1).
//!
//! Values are strings, numbers or booleans and keep their JSON type (AUTHZ-3; raw types as in REST captures, AUTHZ-4).
//! A context lives as long as its connection, so it is stored compactly: boxed slices and strings, no map. `Debug`
//! shows no values.

use std::collections::HashMap;
use std::fmt;

use aws_lambda_events::apigw::ApiGatewayRequestAuthorizer;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// A value of an [`AuthorizerContext`].
#[derive(Clone, PartialEq)]
pub enum ContextValue {
    Text(Box<str>),
    Number(serde_json::Number),
    Flag(bool),
}

/// The authorizer context of one connection.
#[derive(Clone, PartialEq)]
pub struct AuthorizerContext {
    entries: Box<[(Box<str>, ContextValue)]>,
    principal_id: Box<str>,
    latency_ms: u32,
    usage_identifier_key: Option<Box<str>>,
}

/// A context value that is neither string, number nor boolean (AU-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotScalarError;

impl AuthorizerContext {
    /// Creates a context from its parts, for servers that authorize without a Lambda function.
    #[must_use]
    pub fn new(principal_id: &str, entries: Vec<(Box<str>, ContextValue)>, latency_ms: u32) -> Self {
        let entries = entries.into_iter().filter(|(key, _)| !is_reserved(key)).collect();
        Self { entries, principal_id: principal_id.into(), latency_ms, usage_identifier_key: None }
    }

    /// Parses the `context` of an authorizer result. `null` is an empty context; `null` values are dropped.
    pub(super) fn from_result(principal_id: &str, context: Value, latency_ms: u32) -> Result<Self, NotScalarError> {
        let entries = match context {
            Value::Null => Vec::new(),
            Value::Object(members) => members.into_iter().filter_map(parse_entry).collect::<Result<_, _>>()?,
            _ => return Err(NotScalarError),
        };
        Ok(Self::new(principal_id, entries, latency_ms))
    }

    /// Parses a context from an event; `None` for anything else. Events do not contain the authorizer's API key.
    pub(crate) fn from_event(context: Value) -> Option<Self> {
        let Value::Object(mut members) = context else { return None };
        let Some(Value::String(principal_id)) = members.remove(PRINCIPAL_ID) else { return None };
        let latency_ms = u32::try_from(members.remove(INTEGRATION_LATENCY)?.as_u64()?).ok()?;
        Self::from_result(&principal_id, Value::Object(members), latency_ms).ok()
    }

    pub(super) fn with_usage_identifier_key(mut self, key: Option<String>) -> Self {
        self.usage_identifier_key = key.map(String::into_boxed_str);
        self
    }

    /// Returns the principal id of the authorizer result.
    #[must_use]
    pub fn principal_id(&self) -> &str {
        &self.principal_id
    }

    /// Returns the API key of the authorizer result, if it has one (AU-14).
    #[must_use]
    pub fn usage_identifier_key(&self) -> Option<&str> {
        self.usage_identifier_key.as_deref()
    }

    /// Returns the value `name`, if the authorizer set it.
    #[must_use]
    pub fn value_of(&self, name: &str) -> Option<&ContextValue> {
        self.entries.iter().find(|(key, _)| **key == *name).map(|(_, value)| value)
    }

    /// Converts the context to the type of `aws_lambda_events`.
    #[must_use]
    pub fn to_lambda_authorizer(&self) -> ApiGatewayRequestAuthorizer {
        let mut fields = HashMap::with_capacity(self.entries.len() + 2);
        fields.extend(self.entries.iter().map(|(key, value)| (String::from(&**key), value.to_json())));
        fields.insert(PRINCIPAL_ID.to_owned(), Value::String(String::from(&*self.principal_id)));
        fields.insert(INTEGRATION_LATENCY.to_owned(), Value::from(self.latency_ms));
        let mut authorizer = ApiGatewayRequestAuthorizer::default();
        authorizer.fields = fields;
        authorizer
    }
}

const PRINCIPAL_ID: &str = "principalId";
const INTEGRATION_LATENCY: &str = "integrationLatency";

fn is_reserved(key: &str) -> bool {
    matches!(key, PRINCIPAL_ID | INTEGRATION_LATENCY)
}

fn parse_entry((key, value): (String, Value)) -> Option<Result<(Box<str>, ContextValue), NotScalarError>> {
    let value = match value {
        Value::Null => return None,
        Value::String(text) => ContextValue::Text(text.into()),
        Value::Number(number) => ContextValue::Number(number),
        Value::Bool(flag) => ContextValue::Flag(flag),
        Value::Array(_) | Value::Object(_) => return Some(Err(NotScalarError)),
    };
    Some(Ok((key.into(), value)))
}

impl ContextValue {
    /// Returns the text of a string value.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Flag(_) => None,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(String::from(&**text)),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Flag(flag) => Value::Bool(*flag),
        }
    }
}

impl Serialize for ContextValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => number.serialize(serializer),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
        }
    }
}

/// Serializes in the order of captures: the entries, then `principalId`, then `integrationLatency`.
impl Serialize for AuthorizerContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len() + 2))?;
        for (key, value) in &self.entries {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry(PRINCIPAL_ID, &self.principal_id)?;
        map.serialize_entry(INTEGRATION_LATENCY, &self.latency_ms)?;
        map.end()
    }
}

impl fmt::Debug for ContextValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContextValue(..)")
    }
}

impl fmt::Debug for AuthorizerContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizerContext").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}
