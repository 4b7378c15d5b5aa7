//! What the function that stands by itself and whoever deploys it agree on.

/// The variable that names the table.
pub const TABLE_VARIABLE: &str = "PROBE_TABLE";

/// The SDKs' variable for another endpoint of `@connections` than the event's own (AWS SDKs and tools reference guide,
/// "Service-specific endpoints"), stage included.
pub const MANAGEMENT_ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI";

/// The table's partition key: a connection's id.
pub const CONNECTION_KEY: &str = "connection";
