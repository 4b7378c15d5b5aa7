//! Custom domains: base paths, and client certificates, which are not supported.

use super::reader::TemplateReader;
use super::template::Resource;
use crate::document::DocumentNode;
use crate::model::{Severity, SourceLocation};

impl<'a> TemplateReader<'a> {
    /// Returns the base paths of an API's mappings; an empty one is the bare domain.
    pub(super) fn base_paths(&mut self, api: &Resource<'a>) -> Vec<String> {
        let mappings = self.parts_of(api, "AWS::ApiGatewayV2::ApiMapping");
        let mut paths: Vec<String> =
            mappings.iter().map(|mapping| self.text(mapping, "ApiMappingKey").unwrap_or_default()).collect();
        for domain in self.active(&["AWS::ApiGatewayV2::DomainName"]) {
            if domain.property("MutualTlsAuthentication").is_some() {
                self.report_client_certificates(domain.property_location("MutualTlsAuthentication"));
            }
        }
        paths.sort();
        paths.dedup();
        paths
    }

    /// Returns the base paths of SAM's `Domain`; without `BasePath` the bare domain.
    pub(super) fn sam_base_paths(&mut self, api: &Resource<'a>, domain: Option<&'a DocumentNode>) -> Vec<String> {
        let location = api.property_location("Domain");
        let Some(domain) = domain.and_then(|node| self.evaluate(node, location.clone())) else { return Vec::new() };
        if domain.get("MutualTlsAuthentication").is_some() {
            self.report_client_certificates(location.clone());
        }
        let Some(paths) = domain.get("BasePath") else { return vec![String::new()] };
        let paths = self.convert(paths, "a list of paths", location, super::reader::text_list).unwrap_or_default();
        paths.into_iter().map(|path| path.trim_matches('/').to_owned()).collect()
    }

    fn report_client_certificates(&mut self, location: SourceLocation) {
        let message = "client certificates (MutualTlsAuthentication) are not checked; check them in the ingress";
        self.report(Severity::Security, location, message);
    }
}
