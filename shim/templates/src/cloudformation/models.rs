//! Models of messages: JSON schemas.

use serde_json::Value;

use super::reader::TemplateReader;
use super::template::Resource;
use crate::document::DocumentNode;
use crate::model::Severity;

impl<'a> TemplateReader<'a> {
    /// Returns the schema of `RequestModels`: the model of `$default`, or the only one.
    pub(super) fn request_model(&mut self, owner: &Resource<'a>, models: Option<&'a DocumentNode>) -> Option<Value> {
        let models = models?;
        let mut location = owner.property_location("RequestModels");
        location.line = models.position.line;
        let value = self.evaluate(models, location.clone())?;
        let entry = value.entries().iter().find(|entry| entry.key == "$default").or(value.entries().first())?;
        if value.entries().len() > 1 {
            let message =
                format!("of several RequestModels only {} is used; validate others in the function", entry.key);
            self.report(Severity::Warning, location.clone(), message);
        }
        let name = entry.node.scalar()?;
        let models = self.active(&["AWS::ApiGatewayV2::Model"]);
        for model in models {
            if model.logical_id == name || self.text(&model, "Name").is_some_and(|found| found == name) {
                return self.schema(&model);
            }
        }
        self.report(Severity::Error, location, format!("the model {name} is not in the template; add it"));
        None
    }

    /// `Schema` is a table or a text with JSON.
    fn schema(&mut self, model: &Resource<'a>) -> Option<Value> {
        let schema = self.property(model, "Schema")?;
        let Some(text) = schema.as_text() else { return Some(schema.to_json()) };
        match serde_json::from_str(text) {
            Ok(schema) => Some(schema),
            Err(error) => {
                let message = format!("the schema of the model {} is not JSON: {error}", model.logical_id);
                self.report(Severity::Error, model.property_location("Schema"), message);
                None
            }
        }
    }
}
