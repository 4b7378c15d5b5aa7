//! Definition of the two tables: keys, attributes and indexes.
//!
//! The CDK app and the SAM template create tables with exactly these keys and indexes; [`create_table`] creates them in
//! an emulator. `docs/adr/0010-dynamodb-tables.md` lists the access patterns. Functions run none of this code.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification,
};

/// Partition key of both tables.
pub const PARTITION_KEY: &str = "pk";
/// Sort key of both tables: a string in the table of connections, an offset (number) in the table of messages.
pub const SORT_KEY: &str = "sk";
/// TTL attribute of both tables, in seconds since 1970.
pub const EXPIRES: &str = "expires";

/// Index of connections by user: partition key [`USER_KEY`], sort key [`ID`], all attributes.
pub const BY_USER: &str = "by_user";
/// Index of connections by tenant and role: partition key [`TENANT`], sort key [`ROLE_ID`], all attributes.
pub const BY_ROLE: &str = "by_role";
/// `{tenant}/{user}` of a connection record.
pub const USER_KEY: &str = "user_key";
/// Connection id.
pub const ID: &str = "id";
/// Tenant of a connection.
pub const TENANT: &str = "tenant";
/// `{role}#{id}` of a connection record: orders the connections of a role by id.
pub const ROLE_ID: &str = "role_id";

/// Key schema, attributes and indexes of a table.
#[derive(Debug, Clone)]
pub struct TableDefinition {
    attributes: Vec<AttributeDefinition>,
    keys: Vec<KeySchemaElement>,
    indexes: Vec<GlobalSecondaryIndex>,
}

/// Error of creating a table.
#[derive(Debug, thiserror::Error)]
pub enum TableCreationError {
    /// A required part of the definition is missing.
    #[error("incomplete table definition")]
    Definition(#[from] BuildError),
    /// `CreateTable` failed.
    #[error("creating the table failed")]
    Create(#[source] Box<SdkError<CreateTableError>>),
    /// The table exists, but enabling TTL failed.
    #[error("enabling TTL on the table failed")]
    Ttl(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Returns the definition of the table of connections and memberships.
///
/// # Errors
/// Never in practice: [`BuildError`] reports a missing part, and all parts are set.
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

/// Returns the definition of the table of messages.
///
/// # Errors
/// Never in practice: [`BuildError`] reports a missing part, and all parts are set.
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

/// Creates a table with on-demand capacity and TTL, for an emulator. Deployments add encryption and backups.
///
/// # Errors
/// [`TableCreationError`], also if the table exists.
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
