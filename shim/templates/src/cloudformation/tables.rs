//! DynamoDB tables: `AWS::DynamoDB::Table`, `AWS::DynamoDB::GlobalTable`, `AWS::Serverless::SimpleTable`.

use std::collections::BTreeMap;

use super::reader::TemplateReader;
use super::template::Resource;
use crate::document::DocumentNode;
use crate::model::{IndexResource, KeySchema, Severity, TableResource};

/// Types of tables.
pub(super) const TABLE_KINDS: [&str; 3] =
    ["AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable", "AWS::Serverless::SimpleTable"];

impl<'a> TemplateReader<'a> {
    pub(super) fn read_tables(&mut self) -> BTreeMap<String, TableResource> {
        let mut tables = BTreeMap::new();
        for resource in self.active(&TABLE_KINDS) {
            let table = if resource.kind == "AWS::Serverless::SimpleTable" {
                self.read_simple_table(&resource)
            } else {
                self.read_table(&resource)
            };
            tables.extend(table.map(|table| (resource.logical_id.to_owned(), table)));
        }
        tables
    }

    fn table_name(&mut self, resource: &Resource<'a>) -> String {
        match self.resolver.physical_name(resource, resource.position) {
            Ok(name) => name,
            Err(problem) => {
                self.report_problem(resource.property_location("TableName"), &problem);
                resource.logical_id.to_owned()
            }
        }
    }

    /// The key is `id` of type String, if the template names no other.
    fn read_simple_table(&mut self, resource: &Resource<'a>) -> Option<TableResource> {
        let key = self.property(resource, "PrimaryKey");
        let text = |name: &str| key.as_ref().and_then(|key| key.get(name)?.scalar());
        let partition = text("Name").unwrap_or_else(|| "id".to_owned());
        let kind = match text("Type").as_deref() {
            Some("Number") => "N",
            Some("Binary") => "B",
            _ => "S",
        };
        Some(TableResource {
            name: self.table_name(resource),
            attributes: BTreeMap::from([(partition.clone(), kind.to_owned())]),
            key: KeySchema { partition, sort: None },
            global_indexes: Vec::new(),
            local_indexes: Vec::new(),
            ttl_attribute: None,
            stream_view: None,
            location: resource.location(),
        })
    }

    fn read_table(&mut self, resource: &Resource<'a>) -> Option<TableResource> {
        let key = self.property(resource, "KeySchema").as_ref().and_then(key_schema);
        let Some(key) = key else {
            let message = format!("the table {} has no KeySchema with a HASH key", resource.logical_id);
            self.report(Severity::Error, resource.property_location("KeySchema"), message);
            return None;
        };
        let definitions = self.property(resource, "AttributeDefinitions");
        let attributes = definitions.iter().flat_map(DocumentNode::items).filter_map(|definition| {
            Some((definition.get("AttributeName")?.scalar()?, definition.get("AttributeType")?.scalar()?))
        });
        let attributes = attributes.collect();
        let ttl = self.property(resource, "TimeToLiveSpecification");
        let stream = self.property(resource, "StreamSpecification");
        Some(TableResource {
            name: self.table_name(resource),
            attributes,
            key,
            global_indexes: self.indexes(resource, "GlobalSecondaryIndexes"),
            local_indexes: self.indexes(resource, "LocalSecondaryIndexes"),
            ttl_attribute: ttl.and_then(|ttl| {
                let enabled = ttl.get("Enabled").and_then(DocumentNode::boolean).unwrap_or_default();
                ttl.get("AttributeName").filter(|_| enabled)?.scalar()
            }),
            stream_view: stream.and_then(|stream| stream.get("StreamViewType")?.scalar()),
            location: resource.location(),
        })
    }

    fn indexes(&mut self, resource: &Resource<'a>, property: &str) -> Vec<IndexResource> {
        let Some(value) = self.property(resource, property) else { return Vec::new() };
        let indexes: Vec<IndexResource> = value.items().iter().filter_map(index).collect();
        if indexes.len() < value.items().len() {
            let message = format!("an index of the table {} has no IndexName or KeySchema", resource.logical_id);
            self.report(Severity::Error, resource.property_location(property), message);
        }
        indexes
    }
}

fn index(node: &DocumentNode) -> Option<IndexResource> {
    let projection = node.get("Projection");
    let kind = projection.and_then(|projection| projection.get("ProjectionType")?.scalar());
    let attributes = projection.and_then(|projection| projection.get("NonKeyAttributes"));
    Some(IndexResource {
        name: node.get("IndexName")?.scalar()?,
        key: key_schema(node.get("KeySchema")?)?,
        projection: kind.unwrap_or_else(|| "ALL".to_owned()),
        projected_attributes: attributes
            .into_iter()
            .flat_map(DocumentNode::items)
            .filter_map(DocumentNode::scalar)
            .collect(),
    })
}

fn key_schema(node: &DocumentNode) -> Option<KeySchema> {
    let part = |kind: &str| {
        let element =
            node.items().iter().find(|item| item.get("KeyType").and_then(DocumentNode::as_text) == Some(kind));
        element?.get("AttributeName")?.scalar()
    };
    Some(KeySchema { partition: part("HASH")?, sort: part("RANGE") })
}
