//! What an authorizer says about a connection, as every later event repeats it in `requestContext.authorizer`
//! (AUTHZ-1).
//!
//! Invariant: values are strings, numbers or booleans and keep their JSON type (AUTHZ-3; raw types as in REST captures,
//! AUTHZ-4). It lives as long as the connection, so it is packed: no map, no spare capacity. Debug shows no values.

use std::collections::HashMap;
use std::fmt;

use aws_lambda_events::apigw::ApiGatewayRequestAuthorizer;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// One value of the context.
#[derive(Clone, PartialEq)]
pub enum ContextValue {
    /// A string.
    Text(Box<str>),
    /// A number.
    Number(serde_json::Number),
    /// A boolean.
    Flag(bool),
}

/// The context of one connection.
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
    /// A context made by hand, for servers that authorize without a function.
    #[must_use]
    pub fn new(principal_id: &str, entries: Vec<(Box<str>, ContextValue)>, latency_ms: u32) -> Self {
        let entries = entries.into_iter().filter(|(key, _)| !is_reserved(key)).collect();
        Self { entries, principal_id: principal_id.into(), latency_ms, usage_identifier_key: None }
    }

    /// Takes the `context` of an authorizer result; `null` and absent mean an empty one, `null` values are dropped.
    pub(super) fn from_result(principal_id: &str, context: Value, latency_ms: u32) -> Result<Self, NotScalarError> {
        let entries = match context {
            Value::Null => Vec::new(),
            Value::Object(members) => members.into_iter().filter_map(parse_entry).collect::<Result<_, _>>()?,
            _ => return Err(NotScalarError),
        };
        Ok(Self::new(principal_id, entries, latency_ms))
    }

    /// Takes a context as events carry it; `None` for anything else. An API key that the authorizer chose is not in it.
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

    /// Whom the authorizer recognised.
    #[must_use]
    pub fn principal_id(&self) -> &str {
        &self.principal_id
    }

    /// The API key the authorizer chose, when it did (AU-14).
    #[must_use]
    pub fn usage_identifier_key(&self) -> Option<&str> {
        self.usage_identifier_key.as_deref()
    }

    /// The value called `name`, if the authorizer set one.
    #[must_use]
    pub fn value_of(&self, name: &str) -> Option<&ContextValue> {
        self.entries.iter().find(|(key, _)| **key == *name).map(|(_, value)| value)
    }

    /// The form of the public event type.
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
    /// The text of a string.
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

/// The order of captures: the context's entries, then `principalId`, then `integrationLatency`.
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
