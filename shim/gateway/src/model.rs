//! Request models: validation of a route's messages before its function is invoked (MSG-9).
//!
//! Models are JSON schemas of draft 4 (developer guide, `models-mappings-models`). A schema must be self-contained, so
//! that compiling it loads no other document. Its patterns run in linear time, because clients choose the text that
//! they match.

use std::fmt;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

/// Error of compiling a request model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a self-contained JSON Schema (draft 4): {0}")]
pub struct RequestModelError(String);

/// A compiled request model.
pub struct RequestModel {
    schema: Value,
    validator: Validator,
}

impl RequestModel {
    /// Compiles a schema.
    ///
    /// # Errors
    /// [`RequestModelError`] for an invalid schema, a reference to another document, or a pattern without linear-time
    /// matching.
    pub fn compile(schema: Value) -> Result<Self, RequestModelError> {
        let options = jsonschema::options().with_draft(Draft::Draft4).with_pattern_options(PatternOptions::regex());
        let validator = options.build(&schema).map_err(|error| RequestModelError(error.to_string()))?;
        Ok(Self { schema, validator })
    }

    /// Returns whether the model allows a message. No model allows text that is not JSON.
    #[must_use]
    pub fn allows_body(&self, body: &str) -> bool {
        serde_json::from_str(body).is_ok_and(|value: Value| self.validator.is_valid(&value))
    }
}

impl PartialEq for RequestModel {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema
    }
}

impl Eq for RequestModel {}

impl fmt::Debug for RequestModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestModel").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn msg_9_a_model_allows_what_its_schema_does() {
        let model = RequestModel::compile(json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "object",
            "required": ["action", "text"],
            "properties": {"text": {"type": "string", "pattern": "^[a-z]+$"}, "age": {"minimum": 0, "exclusiveMinimum": true}},
        }))
        .unwrap();
        for body in [r#"{"action":"a","text":"b"}"#, r#"{"action":1,"text":"b","age":1,"more":null}"#] {
            assert!(model.allows_body(body), "{body}");
        }
        for body in ["", "hello", "[]", "{}", r#"{"action":"a","text":1}"#, r#"{"action":"a","text":"B"}"#] {
            assert!(!model.allows_body(body), "{body}");
        }
        // `exclusiveMinimum` is a boolean in draft 4 and a number in later drafts.
        assert!(!model.allows_body(r#"{"action":"a","text":"b","age":0}"#));
    }

    #[test]
    fn msg_9_invalid_schemas_and_external_references_are_rejected() {
        for schema in [
            json!({"type": "nothing"}),
            json!({"$ref": "https://apigateway.amazonaws.com/restapis/a/models/b"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"pattern": "(a)\\1"}),
        ] {
            assert!(RequestModel::compile(schema.clone()).is_err(), "{schema}");
        }
    }
}
