//! The tables `tables.NAME`: DynamoDB tables with keys and indexes.

use std::collections::BTreeMap;

use super::{RoutesFileReader, location};
use crate::document::table::TableReader;
use crate::document::{DocumentNode, NodeValue, TableEntry};
use crate::model::{IndexResource, KeySchema, TableResource};

impl RoutesFileReader<'_> {
    pub(super) fn read_tables(&mut self, entries: &[TableEntry]) -> BTreeMap<String, TableResource> {
        entries.iter().map(|entry| (entry.key.clone(), self.read_table(entry))).collect()
    }

    fn read_table(&mut self, entry: &TableEntry) -> TableResource {
        let location = location("tables", entry);
        let mut table = TableReader::new(location.element.clone(), &entry.node, &mut self.errors);
        let key = self.read_key(&mut table);
        let expected = "attributes with S, N or B, such as { id = \"S\" }";
        let types = table.read("attributes", expected, &mut self.errors, attribute_types).unwrap_or_default();
        let indexes = table.node("indexes").map_or(&[][..], DocumentNode::items);
        let (local, global): (Vec<_>, Vec<_>) =
            indexes.iter().map(|node| self.read_index(node, &location.element)).partition(|(local, _)| *local);
        let unnamed =
            |indexes: Vec<(bool, IndexResource)>| indexes.into_iter().map(|(_, index)| index).collect::<Vec<_>>();
        let (local_indexes, global_indexes) = (unnamed(local), unnamed(global));
        let keys = std::iter::once(&key).chain(local_indexes.iter().chain(&global_indexes).map(|index| &index.key));
        let attributes = keys.flat_map(key_attributes).map(|name| {
            let kind = types.get(name).cloned().unwrap_or_else(|| "S".to_owned());
            (name.to_owned(), kind)
        });
        let attributes = attributes.collect();
        let resource = TableResource {
            name: table.text("name", &mut self.errors).unwrap_or_else(|| entry.key.clone()),
            attributes,
            key,
            global_indexes,
            local_indexes,
            ttl_attribute: table.text("ttl", &mut self.errors),
            stream_view: table.text("stream", &mut self.errors),
            location,
        };
        table.finish(&mut self.errors);
        resource
    }

    fn read_key(&mut self, table: &mut TableReader<'_>) -> KeySchema {
        let partition = table.text("partition_key", &mut self.errors).unwrap_or_else(|| {
            let message = format!("{} has no partition_key", table.path());
            self.errors.add(table.position(), message, "write partition_key = \"ATTRIBUTE\"");
            String::new()
        });
        KeySchema { partition, sort: table.text("sort_key", &mut self.errors) }
    }

    /// Returns whether the index is local, and the index.
    fn read_index(&mut self, node: &DocumentNode, element: &str) -> (bool, IndexResource) {
        let mut table = TableReader::new(format!("{element}.indexes"), node, &mut self.errors);
        let key = self.read_key(&mut table);
        let name = table.text("name", &mut self.errors).unwrap_or_else(|| format!("by_{}", key.partition));
        let expected = "\"ALL\", \"KEYS_ONLY\" or a list of attributes";
        let projection = table.read("projection", expected, &mut self.errors, projection);
        let (projection, projected_attributes) = projection.unwrap_or_else(|| ("ALL".to_owned(), Vec::new()));
        let local = table.flag("local", &mut self.errors);
        table.finish(&mut self.errors);
        (local, IndexResource { name, key, projection, projected_attributes })
    }
}

fn key_attributes(key: &KeySchema) -> impl Iterator<Item = &str> {
    std::iter::once(key.partition.as_str()).chain(key.sort.as_deref()).filter(|name| !name.is_empty())
}

fn attribute_types(node: &DocumentNode) -> Option<BTreeMap<String, String>> {
    let pairs = node.is_table().then(|| node.entries())?.iter().map(|entry| {
        let kind = entry.node.as_text().filter(|kind| matches!(*kind, "S" | "N" | "B"))?;
        Some((entry.key.clone(), kind.to_owned()))
    });
    pairs.collect()
}

fn projection(node: &DocumentNode) -> Option<(String, Vec<String>)> {
    match &node.value {
        NodeValue::Text(text) if text == "ALL" || text == "KEYS_ONLY" => Some((text.clone(), Vec::new())),
        NodeValue::List(items) => {
            let names = items.iter().map(|item| item.as_text().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
            Some(("INCLUDE".to_owned(), names))
        }
        _ => None,
    }
}
