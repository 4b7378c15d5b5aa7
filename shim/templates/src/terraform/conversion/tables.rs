//! DynamoDB tables.

use serde_json::Value;

use super::{ResourceConverter, entry, table, text};
use crate::document::json::from_value;
use crate::document::{DocumentNode, NodeValue, Position, TableEntry};
use crate::terraform::plan::PlannedResource;

impl<'c> ResourceConverter<'c> {
    pub(super) fn convert_table(&mut self, resource: &PlannedResource<'c>) {
        let values = resource.values;
        let attributes = values["attribute"].as_array().into_iter().flatten().map(|attribute| {
            let pairs = [("name", "AttributeName"), ("type", "AttributeType")];
            table(pairs.iter().map(|(source, target)| entry(target, from_value(&attribute[*source]))).collect())
        });
        let mut properties = vec![
            entry("TableName", from_value(&values["name"])),
            entry("KeySchema", key_schema(values)),
            entry("AttributeDefinitions", list(attributes.collect())),
            entry("GlobalSecondaryIndexes", indexes(&values["global_secondary_index"], values)),
            entry("LocalSecondaryIndexes", indexes(&values["local_secondary_index"], values)),
        ];
        let ttl = &values["ttl"][0];
        if ttl["enabled"] == true {
            let ttl = vec![entry("AttributeName", from_value(&ttl["attribute_name"])), entry("Enabled", text("true"))];
            properties.push(entry("TimeToLiveSpecification", table(ttl)));
        }
        let view = values["stream_view_type"].as_str().filter(|view| !view.is_empty());
        properties
            .extend(view.map(|view| entry("StreamSpecification", table(vec![entry("StreamViewType", text(view))]))));
        self.add(resource, "AWS::DynamoDB::Table", properties);
    }
}

/// Local indexes have the partition key of the table.
fn indexes(indexes: &Value, table_values: &Value) -> DocumentNode {
    let indexes = indexes.as_array().into_iter().flatten().map(|index| {
        let mut keys = index.clone();
        if keys["hash_key"].is_null() {
            keys["hash_key"] = table_values["hash_key"].clone();
        }
        let projection: Vec<TableEntry> = vec![
            entry("ProjectionType", from_value(&index["projection_type"])),
            entry("NonKeyAttributes", from_value(&index["non_key_attributes"])),
        ];
        table(vec![
            entry("IndexName", from_value(&index["name"])),
            entry("KeySchema", key_schema(&keys)),
            entry("Projection", table(projection)),
        ])
    });
    list(indexes.collect())
}

fn key_schema(values: &Value) -> DocumentNode {
    let keys = [("hash_key", "HASH"), ("range_key", "RANGE")].into_iter().filter_map(|(attribute, kind)| {
        let name = values[attribute].as_str().filter(|name| !name.is_empty())?;
        Some(table(vec![entry("AttributeName", text(name)), entry("KeyType", text(kind))]))
    });
    list(keys.collect())
}

fn list(items: Vec<DocumentNode>) -> DocumentNode {
    DocumentNode::new(NodeValue::List(items), Position::default())
}
