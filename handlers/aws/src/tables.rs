//! The two tables: names of keys, attributes and indexes, and their definition for emulators.
//!
//! Invariant: what a deployment creates (the CDK app, the SAM template) is what [`connections_table`] and [`messages_table`] describe.
//! Which calls read and write what is in `docs/adr/0010-dynamodb-tables.md`. Nothing here runs in a function.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};

/// The partition key of both tables.
pub const PARTITION_KEY: &str = "pk";
/// The sort key of both tables: text in the table of connections, an offset (number) in that of messages.
pub const SORT_KEY: &str = "sk";
/// When DynamoDB may delete an item, in seconds since 1970: both tables' TTL attribute.
pub const EXPIRES: &str = "expires";

/// The index of connections by user: partition [`USER_KEY`], sort [`ID`], all attributes.
pub const BY_USER: &str = "by_user";
/// The index of connections by tenant and role: partition [`TENANT`], sort [`ROLE_ID`], all attributes.
pub const BY_ROLE: &str = "by_role";
/// `{tenant}/{user}` of a connection's record.
pub const USER_KEY: &str = "user_key";
/// A connection's id.
pub const ID: &str = "id";
/// A connection's tenant.
pub const TENANT: &str = "tenant";
/// `{role}#{id}` of a connection's record: connections of one role in the order of their ids.
pub const ROLE_ID: &str = "role_id";

/// How a table is called and what keys it has; everything that `CreateTable` takes.
#[derive(Debug, Clone)]
pub struct TableDefinition {
    attributes: Vec<AttributeDefinition>,
    keys: Vec<KeySchemaElement>,
    indexes: Vec<GlobalSecondaryIndex>,
}

/// A table could not be created.
#[derive(Debug, thiserror::Error)]
pub enum TableCreationError {
    /// A part of the definition is incomplete.
    #[error("the table's definition is incomplete")]
    Definition(#[from] BuildError),
    /// The call failed.
    #[error("the table could not be created")]
    Create(#[source] Box<SdkError<CreateTableError>>),
    /// The table is there, its TTL is not.
    #[error("the table's TTL could not be set")]
    Ttl(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The table of connections and of who is in which channel.
///
/// # Errors
/// [`BuildError`], never: all parts are given.
pub fn connections_table() -> Result<TableDefinition, BuildError> {
    let text = |name| define_attribute(name, ScalarAttributeType::S);
    Ok(TableDefinition {
        attributes: [PARTITION_KEY, SORT_KEY, USER_KEY, ID, TENANT, ROLE_ID]
            .into_iter()
            .map(text)
            .collect::<Result<_, _>>()?,
        keys: key_schema(PARTITION_KEY, SORT_KEY)?,
        indexes: vec![global_index(BY_USER, USER_KEY, ID)?, global_index(BY_ROLE, TENANT, ROLE_ID)?],
    })
}

/// The table of messages.
///
/// # Errors
/// [`BuildError`], never: all parts are given.
pub fn messages_table() -> Result<TableDefinition, BuildError> {
    Ok(TableDefinition {
        attributes: vec![
            define_attribute(PARTITION_KEY, ScalarAttributeType::S)?,
            define_attribute(SORT_KEY, ScalarAttributeType::N)?,
        ],
        keys: key_schema(PARTITION_KEY, SORT_KEY)?,
        indexes: Vec::new(),
    })
}

/// Creates a table, as an emulator needs it: on demand, with TTL. Deployments create theirs with encryption and backups.
///
/// # Errors
/// [`TableCreationError`], also when the table exists.
pub async fn create_table(client: &Client, name: &str, definition: TableDefinition) -> Result<(), TableCreationError> {
    let TableDefinition { attributes, keys, indexes } = definition;
    let create = client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    let create = create.set_attribute_definitions(Some(attributes)).set_key_schema(Some(keys));
    let indexes = (!indexes.is_empty()).then_some(indexes);
    Box::pin(create.set_global_secondary_indexes(indexes).send())
        .await
        .map_err(|error| TableCreationError::Create(Box::new(error)))?;
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRES).build()?;
    let update = client.update_time_to_live().table_name(name).time_to_live_specification(ttl);
    Box::pin(update.send()).await.map_err(|error| TableCreationError::Ttl(Box::new(error)))?;
    Ok(())
}

fn define_attribute(name: &str, kind: ScalarAttributeType) -> Result<AttributeDefinition, BuildError> {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build()
}

fn key_schema(partition: &str, sort: &str) -> Result<Vec<KeySchemaElement>, BuildError> {
    let key = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    Ok(vec![key(partition, KeyType::Hash)?, key(sort, KeyType::Range)?])
}

fn global_index(name: &str, partition: &str, sort: &str) -> Result<GlobalSecondaryIndex, BuildError> {
    let projection = Projection::builder().projection_type(ProjectionType::All).build();
    let index = GlobalSecondaryIndex::builder().index_name(name).projection(projection);
    index.set_key_schema(Some(key_schema(partition, sort)?)).build()
}
