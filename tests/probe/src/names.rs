//! Names that the standalone function and its deployment share.

/// Environment variable with the name of the table.
pub const TABLE_VARIABLE: &str = "PROBE_TABLE";

/// Environment variable of the SDKs with the endpoint of `@connections`, including the stage, instead of that of the
/// event (AWS SDKs and tools reference guide, "Service-specific endpoints").
pub const MANAGEMENT_ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI";

/// Partition key of the table: the connection id.
pub const CONNECTION_KEY: &str = "connection";
