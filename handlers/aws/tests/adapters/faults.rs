//! Errors of the adapters when DynamoDB throttles, lacks the table, denies access or fails, with DynamoDB's error
//! bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use handlers::audience::Audience;
use handlers::channel::{Channel, ChannelName};
use handlers::id::{ConnectionId, MessageId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::ports::{
    AppendRequest, ClientConnection, ConnectionStore, LogError, MessageLog, MessageSender, StoreError,
};
use handlers_aws::connections::DynamoConnections;
use handlers_aws::log::DynamoLog;
use handlers_aws::retries::dynamo_client;
use http::{Request, Response};
use serde_json::value::RawValue;

use crate::stub::Stub;
use crate::support::{NOW, RETENTION, lambda_clock, sdk};

/// Stub of DynamoDB that fails `failures` times and then answers every request with an empty success.
pub struct FailingDynamo {
    pub stub: Stub,
    requests: Arc<AtomicU32>,
}

impl FailingDynamo {
    pub async fn start(status: u16, error: &'static str, failures: u32) -> Self {
        let requests = Arc::new(AtomicU32::new(0));
        let counted = requests.clone();
        let answer = move |_: Request<Bytes>| {
            let failed = counted.fetch_add(1, Ordering::SeqCst) < failures;
            let (status, body) = if failed { (status, error.to_owned()) } else { (200, "{}".to_owned()) };
            let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
            let response = response.body(Bytes::from(body)).unwrap();
            async move { response }.boxed()
        };
        Self { stub: Stub::start(Arc::new(answer)).await, requests }
    }

    pub async fn store(&self) -> DynamoConnections {
        DynamoConnections::new(dynamo_client(&sdk(&self.stub.endpoint()).await), "connections", lambda_clock())
    }

    async fn log(&self) -> DynamoLog {
        DynamoLog::new(dynamo_client(&sdk(&self.stub.endpoint()).await), "messages", RETENTION, lambda_clock())
    }

    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

pub const THROUGHPUT: &str = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API."}"#;
pub const THROTTLED: &str = r#"{"__type":"com.amazon.coral.availability#ThrottlingException","message":"Rate of requests exceeds the allowed throughput."}"#;
pub const TABLE_NOT_FOUND: &str = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}"#;
pub const DENIED: &str = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"User: arn:aws:sts::123456789012:assumed-role/connect/connect is not authorized to perform: dynamodb:PutItem on resource: arn:aws:dynamodb:eu-west-1:123456789012:table/connections because no identity-based policy allows the dynamodb:PutItem action"}"#;

pub fn alice() -> ClientConnection {
    let (tenant, user) = (TenantId::default_tenant(), UserId::parse("alice").unwrap());
    ClientConnection {
        id: ConnectionId::parse("aliceAAAAAAAAAA=").unwrap(),
        identity: Identity { tenant, user, role: Role::User, expires_at: None },
        connected_at: NOW,
        channels: std::collections::BTreeSet::new(),
    }
}

pub fn lobby() -> Channel {
    Channel::from_key("default/room:lobby").unwrap()
}

pub fn append() -> AppendRequest {
    AppendRequest {
        channel: lobby(),
        sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::User },
        id: MessageId::parse("m1").unwrap(),
        sent_at: NOW,
        body: Arc::from(RawValue::from_string("1".to_owned()).unwrap()),
    }
}

#[tokio::test]
async fn a_call_that_is_throttled_twice_succeeds() {
    for error in [THROUGHPUT, THROTTLED] {
        let failing = FailingDynamo::start(400, error, 2).await;
        failing.store().await.put_connection(&alice()).await.unwrap();
        assert_eq!(failing.requests(), 3, "two throttled, the third accepted");
    }
}

#[tokio::test]
async fn a_call_that_stays_throttled_is_unavailable_after_a_bounded_number_of_attempts() {
    for error in [THROUGHPUT, THROTTLED] {
        let failing = FailingDynamo::start(400, error, u32::MAX).await;
        let put = failing.store().await.put_connection(&alice()).await;
        assert!(matches!(put, Err(StoreError::Unavailable(_))), "{put:?}");
        assert!((2..=5).contains(&failing.requests()), "{} attempts", failing.requests());
        let appended = failing.log().await.append(append()).await;
        assert!(matches!(appended, Err(LogError::Unavailable(_))), "{appended:?}");
    }
}

#[tokio::test]
async fn a_failing_or_unreachable_server_is_unavailable() {
    let failing = FailingDynamo::start(500, r#"{"__type":"com.amazon.coral.service#InternalFailure"}"#, u32::MAX).await;
    let found = failing.store().await.find_connection(&alice().id).await;
    assert!(matches!(found, Err(StoreError::Unavailable(_))), "{found:?}");
    let endpoint = failing.stub.endpoint();
    drop(failing);
    let unreachable = DynamoConnections::new(dynamo_client(&sdk(&endpoint).await), "connections", lambda_clock());
    let found = unreachable.find_connection(&alice().id).await;
    assert!(matches!(found, Err(StoreError::Unavailable(_))), "{found:?}");
}

#[tokio::test]
async fn a_missing_table_is_named_and_the_call_not_retried() {
    let failing = FailingDynamo::start(400, TABLE_NOT_FOUND, u32::MAX).await;
    let put = failing.store().await.put_connection(&alice()).await;
    let Err(StoreError::Backend { source, .. }) = put else { panic!("{put:?}") };
    assert_eq!(
        source.to_string(),
        "PutItem: table 'connections' (or its index) does not exist in this account and region"
    );
    assert_eq!(failing.requests(), 1);
    let heads = failing.log().await.heads(&[lobby()]).await;
    let Err(LogError::Backend { source, .. }) = heads else { panic!("{heads:?}") };
    assert!(source.to_string().contains("'messages'"), "{source}");
}

#[tokio::test]
async fn a_denied_call_names_the_permission_and_the_table() {
    let failing = FailingDynamo::start(400, DENIED, u32::MAX).await;
    let store = failing.store().await;
    let everyone = Audience::Channel(ChannelName::Everyone.in_tenant(TenantId::default_tenant()));
    let put = store.put_connection(&alice()).await.err();
    let remove = store.delete_connection(&alice().id).await.err();
    let members = store.list_members(&everyone, None, 10).await.err();
    for (error, operation) in [(put, "PutItem"), (remove, "DeleteItem"), (members, "Query")] {
        let Some(StoreError::Backend { source, .. }) = error else { panic!("{operation}: {error:?}") };
        let expected = format!(
            "{operation} is denied: the function's role needs 'dynamodb:{operation}' on the table 'connections'"
        );
        assert_eq!(source.to_string(), expected);
    }
}
