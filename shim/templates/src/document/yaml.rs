//! YAML as a document, with CloudFormation's short forms: `!Ref Name` is read as `{Ref: Name}`.

use std::path::Path;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::{DocumentNode, MAX_DEPTH, NodeValue, Position, TableEntry};
use crate::error::{Problem, TemplateError};

/// Limit of the nodes that aliases add, against documents that grow exponentially.
const MAX_NODES: usize = 1_000_000;

/// Parses the first document of a file; an error has the line and column of the syntax error.
pub(crate) fn parse_yaml(file: &Path, text: &str) -> Result<DocumentNode, TemplateError> {
    let loader = YamlLoader { parser: Parser::new_from_str(text), anchors: Vec::new(), nodes: 0 };
    loader.document().map_err(|problem| problem.in_file(file))
}

type LoadResult = Result<DocumentNode, Problem>;

struct YamlLoader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Nodes with an anchor, by its id.
    anchors: Vec<(usize, DocumentNode)>,
    nodes: usize,
}

impl<'a> YamlLoader<'a> {
    fn document(mut self) -> LoadResult {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
                Event::StreamEnd | Event::DocumentEnd => {
                    return Ok(DocumentNode::new(NodeValue::Null, Position::default()));
                }
                first => return self.node(first, span, 0),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => {
                let message = format!("syntax error: {}", error.info());
                Err(Problem::new(position(error.marker()), message, ""))
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> LoadResult {
        let at = position(&span.start);
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(Problem::new(at, "the document is too large or too deep", "remove aliases and nesting"));
        }
        match event {
            Event::Alias(id) => self.alias(id, at),
            Event::Scalar(text, style, anchor, tag) => {
                let value = if style == ScalarStyle::Plain { plain_value(&text) } else { NodeValue::Text(text.into()) };
                self.tagged(DocumentNode::new(value, at), anchor, tag.as_deref())
            }
            Event::SequenceStart(anchor, tag) => {
                let items = self.sequence(depth)?;
                self.tagged(DocumentNode::new(NodeValue::List(items), at), anchor, tag.as_deref())
            }
            Event::MappingStart(anchor, tag) => {
                let entries = self.mapping(depth)?;
                self.tagged(DocumentNode::new(NodeValue::Table(entries), at), anchor, tag.as_deref())
            }
            _ => Err(Problem::new(at, "syntax error: unexpected end of the document", "")),
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<DocumentNode>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<TableEntry>, Problem> {
        let mut entries: Vec<TableEntry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let key_position = position(&span.start);
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(Problem::new(key_position, "a key must be a text", "write the key as a text")),
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if key == "<<" {
                merged.push(node);
                continue;
            }
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let message = format!("the key {key} is there twice; the first is in line {}", first.key_position.line);
                return Err(Problem::new(key_position, message, "remove one of them"));
            }
            entries.push(TableEntry { key, key_position, node });
        }
        merge_into(&mut entries, &merged);
        Ok(entries)
    }

    fn alias(&mut self, id: usize, at: Position) -> LoadResult {
        let found = self.anchors.iter().rev().find(|(anchor, _)| *anchor == id).map(|(_, node)| node.clone());
        let node = found.ok_or_else(|| Problem::new(at, "the alias is inside the value that it names", ""))?;
        self.nodes += count(&node);
        Ok(node)
    }

    /// Applies the tag and stores the node if it has an anchor.
    fn tagged(&mut self, node: DocumentNode, anchor: usize, tag: Option<&Tag>) -> LoadResult {
        let node = match tag {
            Some(tag) => apply_tag(node, tag)?,
            None => node,
        };
        if anchor > 0 {
            self.anchors.push((anchor, node.clone()));
        }
        Ok(node)
    }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

fn count(node: &DocumentNode) -> usize {
    let items = node.items().iter().map(count).sum::<usize>();
    1 + items + node.entries().iter().map(|entry| count(&entry.node)).sum::<usize>()
}

/// Adds the keys of `<<` that the table does not have.
fn merge_into(entries: &mut Vec<TableEntry>, merged: &[DocumentNode]) {
    let tables = merged.iter().flat_map(|node| if node.is_table() { std::slice::from_ref(node) } else { node.items() });
    for entry in tables.flat_map(DocumentNode::entries) {
        if !entries.iter().any(|own| own.key == entry.key) {
            entries.push(entry.clone());
        }
    }
}

/// Plain scalars as YAML 1.1 reads them, which CloudFormation and the SAM CLI use.
fn plain_value(text: &str) -> NodeValue {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeValue::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => NodeValue::Boolean(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => NodeValue::Boolean(false),
        _ if is_number(text) => NodeValue::Number(text.to_owned()),
        _ => NodeValue::Text(text.to_owned()),
    }
}

/// Decimal numbers only: `0x1F` and `1_000` stay texts, as in most templates that contain them.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && text.parse::<f64>().is_ok()
}

/// Replaces a short form by its long form, such as `!Sub text` by `{Fn::Sub: text}`.
fn apply_tag(node: DocumentNode, tag: &Tag) -> LoadResult {
    let at = node.position;
    if tag.is_yaml_core_schema() {
        return Ok(core_tag(node, &tag.suffix));
    }
    let name = tag.suffix.as_str();
    match name {
        "Ref" | "Condition" => Ok(DocumentNode::single(name, node)),
        "GetAtt" => Ok(DocumentNode::single("Fn::GetAtt", attribute_list(node))),
        "And" | "Base64" | "Cidr" | "Equals" | "FindInMap" | "GetAZs" | "If" | "ImportValue" | "Join" | "Length"
        | "Not" | "Or" | "Select" | "Split" | "Sub" | "ToJsonString" | "Transform" => {
            Ok(DocumentNode::single(format!("Fn::{name}"), node))
        }
        _ => {
            let message = format!("unknown tag !{name}");
            Err(Problem::new(at, message, "use the functions of CloudFormation, such as !Ref, !Sub and !GetAtt"))
        }
    }
}

/// `!!str 123` is a text; other core tags change nothing that a template needs.
fn core_tag(node: DocumentNode, suffix: &str) -> DocumentNode {
    match (suffix, node.scalar()) {
        ("str", Some(text)) => DocumentNode::text(text, node.position),
        _ => node,
    }
}

/// `Name.Attribute` as `[Name, Attribute]`; the attribute may contain dots.
fn attribute_list(node: DocumentNode) -> DocumentNode {
    let at = node.position;
    let parts = node.as_text().and_then(|text| text.split_once('.'));
    let Some((name, attribute)) = parts.map(|(name, attribute)| (name.to_owned(), attribute.to_owned())) else {
        return node;
    };
    DocumentNode::new(NodeValue::List(vec![DocumentNode::text(name, at), DocumentNode::text(attribute, at)]), at)
}
