//! `Ref` and `Fn::GetAtt`: names, ids and ARNs of resources in the emulated account.

use super::{Resolved, Resolver};
use crate::cloudformation::template::Resource;
use crate::document::table::nearest_name;
use crate::document::{DocumentNode, NodeValue, Position};
use crate::error::Problem;

/// Properties that name a resource, by its type.
const NAME_PROPERTIES: &[(&str, &str)] = &[
    ("AWS::DynamoDB::GlobalTable", "TableName"),
    ("AWS::DynamoDB::Table", "TableName"),
    ("AWS::Events::EventBus", "Name"),
    ("AWS::IAM::Role", "RoleName"),
    ("AWS::Kinesis::Stream", "Name"),
    ("AWS::Lambda::Function", "FunctionName"),
    ("AWS::Logs::LogGroup", "LogGroupName"),
    ("AWS::S3::Bucket", "BucketName"),
    ("AWS::SNS::Topic", "TopicName"),
    ("AWS::SQS::Queue", "QueueName"),
    ("AWS::SSM::Parameter", "Name"),
    ("AWS::SecretsManager::Secret", "Name"),
    ("AWS::Serverless::Function", "FunctionName"),
    ("AWS::Serverless::SimpleTable", "TableName"),
    ("AWS::Serverless::StateMachine", "Name"),
    ("AWS::StepFunctions::StateMachine", "StateMachineName"),
];

/// Ids of APIs have 10 characters at AWS.
const API_ID_LENGTH: usize = 10;

impl Resolver<'_> {
    /// Evaluates `Ref`.
    pub(super) fn reference(&self, name: &str, at: Position) -> Resolved {
        if let Some(value) = self.pseudo_parameter(name, at) {
            return Ok(value);
        }
        if let Some(value) = self.parameter(name, at) {
            return value.map(Some);
        }
        if let Some(resource) = self.template.resources.get(name) {
            self.check_active(resource, at)?;
            return self.resource_reference(resource, at).map(|text| Some(DocumentNode::text(text, at)));
        }
        match self.generated(name) {
            Some(text) => Ok(Some(DocumentNode::text(text, at))),
            None => Err(self.unknown_name("Ref", name, at)),
        }
    }

    /// Evaluates `Fn::GetAtt`.
    pub(super) fn attribute(&self, name: &str, attribute: &str, at: Position) -> Result<Option<String>, Problem> {
        if let Some(resource) = self.template.resources.get(name) {
            self.check_active(resource, at)?;
            return self.resource_attribute(resource, attribute, at).map(Some);
        }
        match self.generated(name) {
            Some(text) if attribute == "Arn" => Ok(Some(self.role_arn(&text))),
            Some(text) => Ok(Some(text)),
            None => Err(self.unknown_name("Fn::GetAtt", name, at)),
        }
    }

    /// Returns the physical name of a resource: its name property, or stack name and logical id.
    pub(in crate::cloudformation) fn physical_name(
        &self,
        resource: &Resource<'_>,
        at: Position,
    ) -> Result<String, Problem> {
        let property = NAME_PROPERTIES.iter().find(|(kind, _)| *kind == resource.kind).map(|(_, property)| property);
        let node = property.and_then(|property| resource.property(property));
        let given = match node {
            Some(node) => self.guarded(resource.logical_id, at, || self.resolve_text(node))?,
            None => None,
        };
        Ok(given.unwrap_or_else(|| format!("{}-{}", self.stack_name, resource.logical_id)))
    }

    /// Returns the id of an API: that of the context for the WebSocket API, otherwise one made of the logical id.
    pub(in crate::cloudformation) fn api_id(&self, resource: &Resource<'_>) -> String {
        let is_selected = self.websocket_api.get().is_none_or(|selected| selected == resource.logical_id);
        if is_selected && self.is_websocket(resource) {
            self.context.api_id.clone()
        } else {
            generated_id(resource.logical_id)
        }
    }

    /// Returns whether a resource is a WebSocket API.
    pub(in crate::cloudformation) fn is_websocket(&self, resource: &Resource<'_>) -> bool {
        resource.kind == "AWS::Serverless::WebSocketApi" || self.protocol(resource) == "WEBSOCKET"
    }

    /// Returns `ProtocolType` of an `AWS::ApiGatewayV2::Api`; empty for other resources.
    pub(in crate::cloudformation) fn protocol(&self, resource: &Resource<'_>) -> String {
        let node = resource.property("ProtocolType").filter(|_| resource.kind == "AWS::ApiGatewayV2::Api");
        node.and_then(|node| self.resolve_text(node).ok().flatten()).unwrap_or_default().to_ascii_uppercase()
    }

    /// Returns the ARN of a function without qualifier.
    pub(in crate::cloudformation) fn function_arn(
        &self,
        resource: &Resource<'_>,
        at: Position,
    ) -> Result<String, Problem> {
        Ok(self.context.arn("lambda", &format!("function:{}", self.physical_name(resource, at)?)))
    }

    /// `Some(None)` for `AWS::NoValue`.
    fn pseudo_parameter(&self, name: &str, at: Position) -> Option<Option<DocumentNode>> {
        let context = self.context;
        let text = match name {
            "AWS::NoValue" => return Some(None),
            "AWS::NotificationARNs" => return Some(Some(DocumentNode::new(NodeValue::List(Vec::new()), at))),
            "AWS::Region" => context.region.clone(),
            "AWS::AccountId" => context.account_id.clone(),
            "AWS::StackName" => self.stack_name.clone(),
            "AWS::Partition" => context.partition().to_owned(),
            "AWS::URLSuffix" => context.url_suffix().to_owned(),
            "AWS::StackId" => context.arn("cloudformation", &format!("stack/{}/{}", self.stack_name, "0".repeat(12))),
            _ => return None,
        };
        Some(Some(DocumentNode::text(text, at)))
    }

    fn check_active(&self, resource: &Resource<'_>, at: Position) -> Result<(), Problem> {
        if self.is_active(resource)? {
            return Ok(());
        }
        let condition = resource.condition().unwrap_or_default();
        let message = format!("{} does not exist, because its condition {condition} is false", resource.logical_id);
        Err(Problem::new(at, message, format!("use Fn::If with {condition} around the reference")))
    }

    fn resource_reference(&self, resource: &Resource<'_>, at: Position) -> Result<String, Problem> {
        let name = self.physical_name(resource, at)?;
        Ok(match resource.kind {
            "AWS::ApiGatewayV2::Api" | "AWS::ApiGateway::RestApi" => self.api_id(resource),
            "AWS::Serverless::WebSocketApi" | "AWS::Serverless::HttpApi" | "AWS::Serverless::Api" => {
                self.api_id(resource)
            }
            "AWS::ApiGatewayV2::Stage" | "AWS::ApiGateway::Stage" => match resource.property("StageName") {
                Some(node) => self.required_text(node, "StageName")?,
                None => "$default".to_owned(),
            },
            "AWS::ApiGatewayV2::DomainName" | "AWS::ApiGateway::DomainName" => match resource.property("DomainName") {
                Some(node) => self.required_text(node, "DomainName")?,
                None => name,
            },
            // References between the parts of an API keep the logical id.
            kind if kind.starts_with("AWS::ApiGatewayV2::") => resource.logical_id.to_owned(),
            "AWS::Lambda::Alias" | "AWS::Lambda::Version" => self.qualified_arn(resource, at)?,
            "AWS::Lambda::LayerVersion" | "AWS::Serverless::LayerVersion" => layer_arn(self, resource),
            "AWS::SNS::Topic" => self.context.arn("sns", &name),
            "AWS::SecretsManager::Secret" => self.context.arn("secretsmanager", &format!("secret:{name}")),
            "AWS::StepFunctions::StateMachine" | "AWS::Serverless::StateMachine" => {
                self.context.arn("states", &format!("stateMachine:{name}"))
            }
            "AWS::SQS::Queue" => self.queue_url(&name),
            "AWS::S3::Bucket" => name.to_ascii_lowercase(),
            _ => name,
        })
    }

    fn resource_attribute(&self, resource: &Resource<'_>, attribute: &str, at: Position) -> Result<String, Problem> {
        let context = self.context;
        let name = self.physical_name(resource, at)?;
        Ok(match (resource.kind, attribute) {
            ("AWS::Lambda::Function" | "AWS::Serverless::Function", "Arn") => self.function_arn(resource, at)?,
            ("AWS::Serverless::Function", "Alias" | "Version") => format!("{}:live", self.function_arn(resource, at)?),
            ("AWS::Lambda::LayerVersion" | "AWS::Serverless::LayerVersion", _) => layer_arn(self, resource),
            ("AWS::Lambda::Alias" | "AWS::Lambda::Version", "AliasArn" | "FunctionArn") => {
                self.qualified_arn(resource, at)?
            }
            ("AWS::Lambda::Version", "Version") => "1".to_owned(),
            (kind, "ApiId" | "RestApiId") if is_api(kind) => self.api_id(resource),
            (kind, "ApiEndpoint") if is_api(kind) => self.api_endpoint(resource),
            (kind, "Stage") if is_api(kind) => "default".to_owned(),
            ("AWS::DynamoDB::Table" | "AWS::DynamoDB::GlobalTable" | "AWS::Serverless::SimpleTable", "Arn") => {
                context.arn("dynamodb", &format!("table/{name}"))
            }
            ("AWS::DynamoDB::Table" | "AWS::DynamoDB::GlobalTable", "StreamArn") => {
                context.arn("dynamodb", &format!("table/{name}/stream/1970-01-01T00:00:00.000"))
            }
            ("AWS::IAM::Role", "Arn") => self.role_arn(&name),
            ("AWS::S3::Bucket", "Arn") => format!("arn:{}:s3:::{}", context.partition(), name.to_ascii_lowercase()),
            ("AWS::SQS::Queue", "QueueUrl") => self.queue_url(&name),
            ("AWS::SNS::Topic", "TopicArn") => context.arn("sns", &name),
            (kind, attribute) if attribute.ends_with("Arn") => {
                let service = kind.split("::").nth(1).unwrap_or_default().to_ascii_lowercase();
                context.arn(&service, &name)
            }
            _ => name,
        })
    }

    fn api_endpoint(&self, resource: &Resource<'_>) -> String {
        let is_websocket = self.is_websocket(resource);
        match &self.context.api_endpoint {
            Some(endpoint) if is_websocket => endpoint.clone(),
            _ => self.context.endpoint(if is_websocket { "wss" } else { "https" }, &self.api_id(resource)),
        }
    }

    fn role_arn(&self, name: &str) -> String {
        format!("arn:{}:iam::{}:role/{name}", self.context.partition(), self.context.account_id)
    }

    fn queue_url(&self, name: &str) -> String {
        let context = self.context;
        format!("https://sqs.{}.{}/{}/{name}", context.region, context.url_suffix(), context.account_id)
    }

    /// Returns the ARN of an alias or version: that of its function with the qualifier.
    fn qualified_arn(&self, resource: &Resource<'_>, at: Position) -> Result<String, Problem> {
        let text = |property: &str| match resource.property(property) {
            Some(node) => self.guarded(resource.logical_id, at, || self.required_text(node, property)),
            None => Ok("1".to_owned()),
        };
        let function = text("FunctionName")?;
        let arn = if function.starts_with("arn:") {
            function
        } else {
            self.context.arn("lambda", &format!("function:{function}"))
        };
        Ok(format!("{arn}:{}", text("Name")?))
    }

    /// Returns the name of a resource that the SAM transformation generates, such as `ServerlessHttpApi` or `SendRole`.
    fn generated(&self, name: &str) -> Option<String> {
        if matches!(name, "ServerlessHttpApi" | "ServerlessRestApi") {
            return Some(generated_id(name));
        }
        let owner =
            self.template.resources.values().find(|resource| {
                resource.kind.starts_with("AWS::Serverless::") && name.starts_with(resource.logical_id)
            })?;
        let suffix = &name[owner.logical_id.len()..];
        match suffix {
            ".Version" | ".Alias" => self.function_arn(owner, owner.position).ok().map(|arn| format!("{arn}:live")),
            _ => Some(format!("{}-{name}", self.stack_name)),
        }
    }

    fn unknown_name(&self, function: &str, name: &str, at: Position) -> Problem {
        let parameters = self.template.document.get("Parameters").map_or(&[][..], DocumentNode::entries);
        let names = parameters.iter().map(|entry| entry.key.as_str()).chain(self.template.resources.keys().copied());
        let fix = match nearest_name(name, names) {
            Some(near) => format!("did you mean {near}?"),
            None => "add it to Parameters or Resources".to_owned(),
        };
        Problem::new(at, format!("{function} names {name}, which is neither a parameter nor a resource"), fix)
    }
}

fn is_api(kind: &str) -> bool {
    matches!(
        kind,
        "AWS::ApiGatewayV2::Api"
            | "AWS::ApiGateway::RestApi"
            | "AWS::Serverless::WebSocketApi"
            | "AWS::Serverless::HttpApi"
            | "AWS::Serverless::Api"
    )
}

/// The ARN of a layer ends with its logical id, by which the reader finds its content.
fn layer_arn(resolver: &Resolver<'_>, resource: &Resource<'_>) -> String {
    resolver.context.arn("lambda", &format!("layer:{}:1", resource.logical_id))
}

/// Makes an API id of a logical id: the same for every start.
pub(in crate::cloudformation) fn generated_id(logical_id: &str) -> String {
    let letters = logical_id.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase());
    letters.chain(std::iter::repeat('0')).take(API_ID_LENGTH).collect()
}
