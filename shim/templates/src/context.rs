//! Values from outside a template: region, account, parameters.

use std::collections::BTreeMap;

/// The deployment that a template is read for. Defaults: region `us-east-1`, account `000000000000`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApplicationContext {
    /// `AWS::Region`.
    pub region: String,
    /// `AWS::AccountId`: 12 digits.
    pub account_id: String,
    /// `AWS::StackName`; `None` for the name of the template's directory.
    pub stack_name: Option<String>,
    /// `Ref` of the WebSocket API.
    pub api_id: String,
    /// Logical id of the WebSocket API to serve if the template has several.
    pub websocket_api: Option<String>,
    /// Attribute `ApiEndpoint` of the WebSocket API; `None` for the address of API Gateway.
    pub api_endpoint: Option<String>,
    /// The stage to use if the template has several; `sls:stage` of `serverless.yml`.
    pub stage: Option<String>,
    /// Parameters of the template by name, which replace their defaults.
    pub parameters: BTreeMap<String, String>,
    /// Values of `Fn::ImportValue` by export name.
    pub imports: BTreeMap<String, String>,
    /// Variables that `serverless.yml` reads with `${env:NAME}`.
    pub environment: BTreeMap<String, String>,
    /// Options that `serverless.yml` reads with `${opt:NAME}`.
    pub options: BTreeMap<String, String>,
}

impl Default for ApplicationContext {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            stack_name: None,
            api_id: "local".to_owned(),
            websocket_api: None,
            api_endpoint: None,
            stage: None,
            parameters: BTreeMap::new(),
            imports: BTreeMap::new(),
            environment: BTreeMap::new(),
            options: BTreeMap::new(),
        }
    }
}

impl ApplicationContext {
    /// Returns the partition of the region, such as `aws-cn`.
    pub(crate) fn partition(&self) -> &'static str {
        match self.region.split('-').next() {
            Some("cn") => "aws-cn",
            Some("us") if self.region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// Returns the domain of the partition.
    pub(crate) fn url_suffix(&self) -> &'static str {
        if self.partition() == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" }
    }

    /// Returns an ARN in the account and region.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{resource}", self.partition(), self.region, self.account_id)
    }

    /// Returns the address of an API at API Gateway.
    pub(crate) fn endpoint(&self, scheme: &str, api_id: &str) -> String {
        format!("{scheme}://{api_id}.execute-api.{}.{}", self.region, self.url_suffix())
    }
}

/// Shows no values of parameters and variables, because they may be secrets.
impl std::fmt::Debug for ApplicationContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("ApplicationContext");
        shown.field("region", &self.region).field("account_id", &self.account_id);
        shown.field("stack_name", &self.stack_name).field("api_id", &self.api_id).field("stage", &self.stage);
        shown.field("parameters", &self.parameters.keys()).field("imports", &self.imports.keys());
        shown.finish_non_exhaustive()
    }
}
