//! Layers of functions: content directories and archives.

use std::path::PathBuf;

use super::reader::{TemplateReader, text_list};
use super::template::Resource;
use crate::model::Severity;

impl<'a> TemplateReader<'a> {
    /// Returns the layers of `Globals` and of the function, in this order.
    pub(super) fn read_layers(&mut self, resource: &Resource<'a>) -> Vec<PathBuf> {
        let mut layers = Vec::new();
        let lists = [self.global(resource, "Layers"), resource.property("Layers")];
        for node in lists.into_iter().flatten() {
            let location = resource.property_location("Layers");
            let Some(value) = self.evaluate(node, location.clone()) else { continue };
            let arns = self.convert(&value, "a list of layers", location, text_list).unwrap_or_default();
            for arn in arns {
                layers.extend(self.layer_content(resource, &arn));
            }
        }
        layers
    }

    fn layer_content(&mut self, function: &Resource<'a>, arn: &str) -> Option<PathBuf> {
        let logical_id = arn.split(":layer:").nth(1).and_then(|rest| rest.split(':').next());
        let layer = logical_id.and_then(|id| self.template.resources.get(id)).copied();
        let Some(layer) = layer else {
            let message = format!(
                "the layer {arn} is not in the template, and its content is not available; add its files to the code"
            );
            self.report(Severity::Warning, function.property_location("Layers"), message);
            return None;
        };
        let path = self.layer_path(&layer);
        match &path {
            Some(path) if !path.exists() => {
                let message = format!(
                    "the content {} of the layer {} does not exist; run {}",
                    path.display(),
                    layer.logical_id,
                    self.files.build_command
                );
                self.report(Severity::Error, layer.location(), message);
                return None;
            }
            Some(_) => {}
            None => {
                let message = format!("the content of the layer {} is not a local path", layer.logical_id);
                self.report(Severity::Warning, layer.location(), message);
            }
        }
        path
    }

    /// `ContentUri` of SAM; of CloudFormation the asset of the CDK, or a local path as `Content`.
    fn layer_path(&mut self, layer: &Resource<'a>) -> Option<PathBuf> {
        if let Some(path) = self.asset_path(layer, "Content") {
            return Some(path);
        }
        let property = if layer.property("ContentUri").is_some() { "ContentUri" } else { "Content" };
        let content = self.property(layer, property)?;
        let uri = content.as_text().filter(|uri| !uri.starts_with("s3://"))?;
        Some(self.files.root.join(uri))
    }
}
