//! Tables of an application in a DynamoDB emulator on this machine: `twinway dev` creates those that are missing, so that an
//! application runs without a deployment.
//!
//! Only an emulator at a loopback address is used: tables at AWS are those of the deployment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use templates::{IndexResource, KeySchema, TableResource};
use tokio::net::TcpStream;

/// Variables with the address of DynamoDB (AWS SDKs and Tools reference guide, "Service-specific endpoints"), the most
/// specific one first.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"];

/// Timeout of a request to the emulator.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of a response in bytes; it contains the description of one table.
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// An emulator of DynamoDB on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalDynamoDb {
    /// Variable that names the emulator.
    variable: &'static str,
    /// Host and port.
    authority: String,
    /// Region of the signature, which emulators read.
    region: String,
}

/// Tables that were created, and the reasons why others were not.
#[derive(Debug, Default)]
pub(super) struct TableReport {
    /// Names of created tables.
    pub created: Vec<String>,
    pub warnings: Vec<String>,
}

impl LocalDynamoDb {
    /// Returns the emulator that the functions use. `None` when they use DynamoDB at AWS or on another machine.
    pub fn of_functions(variables: &BTreeMap<String, String>, region: &str) -> Option<Self> {
        let value = |name: &&'static str| Some((*name, variables.get(*name).filter(|text| !text.is_empty())?));
        let (variable, url) = ENDPOINT_VARIABLES.iter().find_map(value)?;
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if uri.scheme_str() != Some("http") || !is_local {
            return None;
        }
        let authority = format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(80));
        Some(Self { variable, authority, region: region.to_owned() })
    }

    /// Creates the tables that do not exist. Existing ones are not changed. Stops at the first failure of a connection.
    pub async fn create_missing<'t>(&self, tables: impl IntoIterator<Item = &'t TableResource>) -> TableReport {
        let mut report = TableReport::default();
        for table in tables {
            match self.create_table(table).await {
                Ok(true) => report.created.push(table.name.clone()),
                Ok(false) => {}
                Err(error) => {
                    let (url, reason) = (&self.authority, errors::chain(&*error).to_string());
                    let name = &table.name;
                    report.warnings.push(format!(
                        "the table {name} cannot be created at http://{url} ({}): {reason}; start the emulator, or create the \
                         table",
                        self.variable
                    ));
                    break;
                }
            }
        }
        report
    }

    /// Returns whether the table was created; `false` if it exists.
    async fn create_table(&self, table: &TableResource) -> anyhow::Result<bool> {
        let (status, reply) = self.call("CreateTable", &create_request(table)).await?;
        if status != StatusCode::OK {
            let kind = reply["__type"].as_str().unwrap_or_default();
            if kind.ends_with("ResourceInUseException") {
                return Ok(false);
            }
            let message = reply["message"].as_str().or(reply["Message"].as_str()).unwrap_or_default();
            bail!("status {status}: {kind} {message}");
        }
        if let Some(attribute) = &table.ttl_attribute {
            let specification = json!({"Enabled": true, "AttributeName": attribute});
            let request = json!({"TableName": table.name, "TimeToLiveSpecification": specification});
            // Emulators without expiry reject the call; the table can be used without it.
            self.call("UpdateTimeToLive", &request).await?;
        }
        Ok(true)
    }

    async fn call(&self, operation: &str, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
        let calling = tokio::time::timeout(REQUEST_TIMEOUT, self.send(operation, body));
        calling.await.with_context(|| format!("no response within {} seconds", REQUEST_TIMEOUT.as_secs()))?
    }

    async fn send(&self, operation: &str, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
        let stream = TcpStream::connect(&self.authority).await.context("connection failed")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = self.request(operation, body)?;
        let exchange = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
            anyhow::Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
        };
        // The connection future drives the request and completes once the sender is dropped.
        let (reply, _closed) = tokio::join!(exchange, connection);
        reply
    }

    /// Emulators read key and region from the signature, but do not verify it.
    fn request(&self, operation: &str, body: &Value) -> anyhow::Result<Request<Full<Bytes>>> {
        let scope = format!("twinway/20260101/{}/dynamodb/aws4_request", self.region);
        let request = Request::post("/")
            .header("host", &self.authority)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-date", "20260101T000000Z")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("authorization", format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"));
        Ok(request.body(Full::from(body.to_string()))?)
    }
}

/// Returns the request of the operation `CreateTable`.
fn create_request(table: &TableResource) -> Value {
    let definition = |(name, kind): (&String, &String)| json!({"AttributeName": name, "AttributeType": kind});
    let mut request = json!({
        "TableName": table.name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": table.attributes.iter().map(definition).collect::<Vec<_>>(),
        "KeySchema": key_schema(&table.key),
    });
    for (property, indexes) in
        [("GlobalSecondaryIndexes", &table.global_indexes), ("LocalSecondaryIndexes", &table.local_indexes)]
    {
        if !indexes.is_empty() {
            request[property] = indexes.iter().map(index).collect();
        }
    }
    if let Some(view) = &table.stream_view {
        request["StreamSpecification"] = json!({"StreamEnabled": true, "StreamViewType": view});
    }
    request
}

fn index(index: &IndexResource) -> Value {
    let mut projection = json!({"ProjectionType": index.projection});
    if !index.projected_attributes.is_empty() {
        projection["NonKeyAttributes"] = json!(index.projected_attributes);
    }
    json!({"IndexName": index.name, "KeySchema": key_schema(&index.key), "Projection": projection})
}

fn key_schema(key: &KeySchema) -> Vec<Value> {
    let element = |name: &String, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    let partition = element(&key.partition, "HASH");
    std::iter::once(partition).chain(key.sort.iter().map(|name| element(name, "RANGE"))).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use templates::read_routes_file;

    use super::*;

    fn emulator(pairs: &[(&str, &str)]) -> Option<String> {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LocalDynamoDb::of_functions(&variables, "eu-west-1").map(|found| found.authority)
    }

    #[test]
    fn only_an_emulator_on_this_machine_gets_tables() {
        let specific = ("AWS_ENDPOINT_URL_DYNAMODB", "http://localhost:8000");
        assert_eq!(emulator(&[specific, ("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]).unwrap(), "localhost:8000");
        assert_eq!(emulator(&[("AWS_ENDPOINT_URL", "http://[::1]:4566/")]).unwrap(), "[::1]:4566");
        for url in
            ["", "http://10.0.0.1:8000", "https://localhost:8000", "https://dynamodb.eu-west-1.amazonaws.com", "x"]
        {
            assert_eq!(emulator(&[("AWS_ENDPOINT_URL_DYNAMODB", url)]), None, "{url}");
        }
        assert_eq!(emulator(&[]), None);
    }

    #[test]
    fn a_request_has_the_keys_and_indexes_of_the_template() {
        let text = "[routes]\n'$default' = 'f'\n[functions.f]\ncommand = ['true']\n[tables.t]\npartition_key = 'room'\n\
                    sort_key = 'at'\nattributes = { at = 'N' }\n[[tables.t.indexes]]\nname = 'i'\npartition_key = 'user'\n\
                    projection = ['text']\n";
        let application = read_routes_file(Path::new("/app/twinway.routes.toml"), text).unwrap();
        let request = create_request(&application.tables["t"]);
        let key = json!([{"AttributeName": "room", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}]);
        assert_eq!((&request["TableName"], &request["KeySchema"]), (&json!("t"), &key));
        assert_eq!(request["AttributeDefinitions"][0], json!({"AttributeName": "at", "AttributeType": "N"}));
        let projection = json!({"ProjectionType": "INCLUDE", "NonKeyAttributes": ["text"]});
        assert_eq!(request["GlobalSecondaryIndexes"][0]["Projection"], projection);
        assert!(request.get("LocalSecondaryIndexes").is_none() && request.get("StreamSpecification").is_none());
    }

    #[tokio::test]
    async fn an_emulator_that_does_not_run_is_a_warning() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let variables = [("AWS_ENDPOINT_URL".to_owned(), url)].into();
        let emulator = LocalDynamoDb::of_functions(&variables, "eu-west-1").unwrap();
        let text =
            "[routes]\n'$default' = 'f'\n[functions.f]\ncommand = ['true']\n[tables.t]\npartition_key = 'room'\n";
        let tables = read_routes_file(Path::new("/app/twinway.routes.toml"), text).unwrap().tables;
        let report = emulator.create_missing(tables.values()).await;
        assert!(report.created.is_empty() && report.warnings[0].contains("(AWS_ENDPOINT_URL): connection failed"));
    }
}
