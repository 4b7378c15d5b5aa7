//! Serialized connection facts, from which another process can build the connection's `$disconnect` event.
//!
//! The format is versioned JSON of this project; API Gateway exposes no such record. Facts that were decoded from a
//! record give the same `$disconnect` event as the original facts, except for request id and time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::facts::ConnectionFacts;
use crate::api::{ApiDefinition, ApiSettings, WebSocketApi};
use crate::authorizer::AuthorizerContext;
use crate::id;
use crate::identity::RequestIdentity;

/// Version of the format. Readers accept only this one. Pods of two releases share records during a rolling deploy, so
/// a new version must be readable one release before it is written.
const RECORD_VERSION: u8 = 1;

/// Error of decoding a connection record.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionRecordError {
    /// The record is not valid JSON of its format. The parser's error is not included, because it shows values.
    #[error("connection record is not valid JSON (byte {0})")]
    Json(usize),
    /// The record has another version.
    #[error("connection record has version {0}, this release reads version {RECORD_VERSION}")]
    Version(u8),
    /// The connection id is malformed.
    #[error(transparent)]
    Id(#[from] id::GatewayIdError),
    /// The authorizer context is not an object of scalars.
    #[error("authorizer context of the connection record is not an object of strings, numbers and booleans")]
    Context,
    /// The API id or stage of the connection is invalid.
    #[error("connection record names an invalid API or stage")]
    Api,
}

impl From<serde_json::Error> for ConnectionRecordError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.column())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncodedRecord<'f> {
    v: u8,
    api_id: &'f str,
    stage: &'f str,
    connection_id: &'f str,
    domain_name: &'f str,
    connected_at: i64,
    identity: &'f RequestIdentity,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<&'f AuthorizerContext>,
}

#[derive(Deserialize)]
struct RecordVersion {
    v: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DecodedRecord {
    api_id: String,
    stage: String,
    connection_id: String,
    domain_name: String,
    connected_at: i64,
    identity: RequestIdentity,
    authorizer: Option<Value>,
}

impl ConnectionFacts {
    /// Serializes the data that differs between connections, about 500 bytes.
    #[must_use]
    pub fn to_record(&self) -> Vec<u8> {
        let record = EncodedRecord {
            v: RECORD_VERSION,
            api_id: &self.api.id,
            stage: &self.api.stage.name,
            connection_id: &self.connection_id,
            domain_name: &self.domain_name,
            connected_at: self.connected_at,
            identity: &self.identity,
            authorizer: self.authorizer.as_deref(),
        };
        serde_json::to_vec(&record).expect("a record has text keys only and a vector takes every byte")
    }

    /// Decodes a record in a process that serves `api`. A connection of another stage, for example from before the
    /// stage was renamed, keeps its stage; the stage variables are those of `api`.
    ///
    /// # Errors
    /// [`ConnectionRecordError`] for bytes that are not a record of this release's [`to_record`](Self::to_record).
    pub fn from_record(record: &[u8], api: &Arc<WebSocketApi>) -> Result<Self, ConnectionRecordError> {
        let RecordVersion { v } = serde_json::from_slice(record)?;
        if v != RECORD_VERSION {
            return Err(ConnectionRecordError::Version(v));
        }
        let decoded: DecodedRecord = serde_json::from_slice(record)?;
        let authorizer = match decoded.authorizer {
            Some(context) => {
                Some(Arc::new(AuthorizerContext::from_event(context).ok_or(ConnectionRecordError::Context)?))
            }
            None => None,
        };
        Ok(Self {
            api: api_of(decoded.api_id, decoded.stage, api)?,
            connection_id: id::parse_gateway_id(&decoded.connection_id)?,
            domain_name: decoded.domain_name.into(),
            connected_at: decoded.connected_at,
            identity: decoded.identity,
            authorizer,
        })
    }
}

/// Returns `api`, or for a record of another API or stage an API with those names and no routes, because events contain
/// only the names.
fn api_of(id: String, stage: String, api: &Arc<WebSocketApi>) -> Result<Arc<WebSocketApi>, ConnectionRecordError> {
    if id == *api.id && stage == *api.stage.name {
        return Ok(api.clone());
    }
    let definition = ApiDefinition {
        id,
        region: api.region.to_string(),
        account_id: api.account_id.to_string(),
        stage,
        stage_variables: api.stage.variables.clone(),
        routes: Vec::new(),
        selection: "$request.body.action".to_owned(),
        authorizer: None,
        api_key_required: false,
        quotas: api.quotas.clone(),
        settings: ApiSettings::default(),
    };
    WebSocketApi::new(definition).map(Arc::new).map_err(|_| ConnectionRecordError::Api)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorizer::ContextValue;
    use crate::event::{ApiKey, DisconnectEvent};
    use crate::samples;
    use crate::time::EventTime;

    const ID: &str = "BIvUPeo-oAMCJlQ=";

    fn full_facts() -> ConnectionFacts {
        let entries = vec![
            ("exp".into(), ContextValue::Number(1_800_000_000.into())),
            ("staff".into(), ContextValue::Flag(false)),
            ("userId".into(), ContextValue::Text("alice \"the\" first".into())),
        ];
        ConnectionFacts {
            identity: RequestIdentity {
                iam: None,
                api_key: Some(Box::new(ApiKey { key: "k".into(), id: "i".into() })),
                user_agent: Some("wscat".into()),
                source_ip: "2001:db8::1".into(),
            },
            authorizer: Some(Arc::new(AuthorizerContext::new("alice", entries, 7))),
            ..samples::connection_facts(ID, 1_731_332_735_513)
        }
    }

    fn disconnect(facts: &ConnectionFacts) -> Vec<u8> {
        let request_id = samples::gateway_id("BIvUPeo-oAMCJlQ=");
        let time = EventTime::from_epoch_ms(1_731_332_739_000);
        DisconnectEvent { facts, request_id, time, status_code: 1006, reason: "Connection lost" }.to_json()
    }

    #[test]
    fn decoded_facts_give_the_same_disconnect_event() {
        for facts in [full_facts(), samples::connection_facts(ID, 0)] {
            let read = ConnectionFacts::from_record(&facts.to_record(), &facts.api).unwrap();
            assert!(Arc::ptr_eq(&read.api, &facts.api));
            assert_eq!(String::from_utf8(disconnect(&read)).unwrap(), String::from_utf8(disconnect(&facts)).unwrap());
        }
    }

    #[test]
    fn a_connection_of_another_stage_keeps_its_stage() {
        let facts = full_facts();
        let mut renamed = samples::api_definition();
        (renamed.id, renamed.stage) = ("def".to_owned(), "next".to_owned());
        let read =
            ConnectionFacts::from_record(&facts.to_record(), &Arc::new(WebSocketApi::new(renamed).unwrap())).unwrap();
        assert_eq!(disconnect(&read), disconnect(&facts));
    }

    #[test]
    fn an_invalid_record_is_rejected_without_showing_its_content() {
        let api = samples::websocket_api();
        let read = |text: &str| ConnectionFacts::from_record(text.as_bytes(), &api).unwrap_err();
        assert!(matches!(read("{\"v\":2}"), ConnectionRecordError::Version(2)));
        assert!(matches!(read(""), ConnectionRecordError::Json(_)));
        let good = String::from_utf8(full_facts().to_record()).unwrap();
        assert!(matches!(read(&good.replace(ID, "short")), ConnectionRecordError::Id(_)));
        assert!(matches!(read(&good.replace("\"staff\":false", "\"staff\":[]")), ConnectionRecordError::Context));
        let bad = read(&good.replace("\"userAgent\":\"wscat\"", "\"userAgent\":{\"secret\":1}"));
        assert!(!bad.to_string().contains("secret"), "{bad}");
    }
}
