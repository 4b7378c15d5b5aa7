//! Every retryable error of every call that the adapters make, in front of the emulator: each call fails once and must
//! then succeed with the right result.
//!
//! Errors and calls are those of "Error handling with DynamoDB" and "Transaction conflict handling in DynamoDB"
//! (DynamoDB developer guide).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::FutureExt;
use handlers::archive::LogArchive;
use handlers::audience::Audience;
use handlers::channel::Offset;
use handlers::ports::{ChannelChange, ConnectionStore, LogRange, MessageLog};
use handlers_aws::connections::DynamoConnections;
use handlers_aws::log::DynamoLog;
use handlers_aws::retries::dynamo_client;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use tests::dynamodb::DynamoDb;

use crate::faults::{alice, append, lobby};
use crate::stub::{CLOSE_CONNECTION, Stub};
use crate::support::{Database, RETENTION, database, lambda_clock, sdk};

/// Calls of the adapters.
const ALL: &[&str] = &[
    "PutItem",
    "UpdateItem",
    "DeleteItem",
    "TransactWriteItems",
    "BatchWriteItem",
    "GetItem",
    "Query",
    "BatchGetItem",
    "Scan",
];
const ITEM_WRITES: &[&str] = &["PutItem", "UpdateItem", "DeleteItem"];
const WRITES: &[&str] = &["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"];
const TRANSACTIONS: &[&str] = &["TransactWriteItems"];

/// Status, error code and calls of each retryable error.
const ERRORS: [(u16, &str, &[&str]); 13] = [
    (400, "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException", ALL),
    (400, "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded", ALL),
    (400, "com.amazonaws.dynamodb.v20120810#LimitExceededException", ALL),
    (400, "com.amazon.coral.availability#ThrottlingException", ALL),
    (400, "com.amazonaws.dynamodb.v20120810#TransactionConflictException", ITEM_WRITES),
    (400, "com.amazonaws.dynamodb.v20120810#ReplicatedWriteConflictException", WRITES),
    (400, "com.amazonaws.dynamodb.v20120810#TransactionInProgressException", TRANSACTIONS),
    (400, "com.amazon.coral.service#UnrecognizedClientException", ALL),
    (500, "com.amazonaws.dynamodb.v20120810#InternalServerError", ALL),
    (500, "com.amazon.coral.service#InternalFailure", ALL),
    (503, "com.amazonaws.dynamodb.v20120810#ServiceUnavailable", ALL),
    (504, "", ALL),
    (CLOSE_CONNECTION, "", ALL),
];

/// Reasons of a cancelled transaction that a new attempt may resolve ("TransactionCanceledException", API reference).
const CANCELLATION_REASONS: [&str; 4] =
    ["TransactionConflict", "ConditionalCheckFailed", "ThrottlingError", "ProvisionedThroughputExceeded"];

/// The emulator behind a proxy that answers the first request of each of some calls with an error.
struct FailingOnce {
    stub: Stub,
    failed: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl FailingOnce {
    async fn start(emulator: String, status: u16, body: String, calls: &'static [&'static str]) -> Self {
        let failed = Arc::new(Mutex::new(BTreeMap::new()));
        let counted = failed.clone();
        let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = move |request: Request<Bytes>| {
            let target = request.headers()["x-amz-target"].to_str().unwrap().to_owned();
            let call = target.rsplit('.').next().unwrap().to_owned();
            let fails = calls.contains(&call.as_str()) && {
                let mut failed = counted.lock().unwrap();
                *failed.entry(call).and_modify(|count| *count += 1).or_insert(1) == 1
            };
            let (client, emulator, body) = (client.clone(), emulator.clone(), body.clone());
            async move { if fails { error_response(status, body) } else { forward(&client, &emulator, request).await } }
                .boxed()
        };
        Self { stub: Stub::start(Arc::new(answer)).await, failed }
    }
}

fn error_response(status: u16, body: String) -> Response<Bytes> {
    let response = Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    response.body(Bytes::from(body)).unwrap()
}

async fn forward(
    client: &HttpClient<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
    emulator: &str,
    request: Request<Bytes>,
) -> Response<Bytes> {
    let (mut parts, body) = request.into_parts();
    parts.uri = emulator.parse::<Uri>().unwrap();
    let response = client.request(Request::from_parts(parts, Full::new(body))).await.unwrap();
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

/// Makes every call of both adapters once and checks the results.
async fn exercise(store: &DynamoConnections, log: &DynamoLog) {
    let (alice, lobby) = (alice(), lobby());
    store.put_connection(&alice).await.unwrap();
    let joined = store.change_channels(&alice.id, std::slice::from_ref(&lobby), &[]).await.unwrap();
    let ChannelChange::Applied { before, .. } = joined else { panic!("{joined:?}") };
    assert_eq!(before.len(), 0, "the join was new");
    let members = store.list_members(&Audience::Channel(lobby.clone()), None, 10).await.unwrap();
    assert_eq!(members.items.iter().map(|member| &member.id).collect::<Vec<_>>(), [&alice.id]);
    assert_eq!(store.occupied_channels(&lobby.tenant, None, 10).await.unwrap().total, 1);
    let appended = log.append(append()).await.unwrap();
    assert_eq!((appended.position.offset, appended.duplicate), (Offset(1), false));
    assert_eq!(log.heads(std::slice::from_ref(&lobby)).await.unwrap()[0].offset, Offset(1));
    assert_eq!(log.read(&lobby, LogRange::Before(None), 10, 10_000).await.unwrap().entries.len(), 1);
    assert_eq!(log.logged_channels().await.unwrap(), std::slice::from_ref(&lobby));
    let removed = store.delete_connection(&alice.id).await.unwrap().unwrap();
    assert!(removed.channels.contains(&lobby));
    assert_eq!(store.occupied_channels(&lobby.tenant, None, 10).await.unwrap().total, 0, "no membership is left");
}

async fn run(database: &Database, status: u16, body: String, calls: &'static [&'static str]) -> BTreeMap<String, u32> {
    let emulator = DynamoDb::shared().await.unwrap().endpoint();
    let (connections, messages) = (database.connections_table().await, database.messages_table().await);
    let failing = FailingOnce::start(emulator, status, body, calls).await;
    let client = dynamo_client(&sdk(&failing.stub.endpoint()).await);
    let store = DynamoConnections::new(client.clone(), &connections, lambda_clock());
    let log = DynamoLog::new(client, &messages, RETENTION, lambda_clock());
    exercise(&store, &log).await;
    let failed = failing.failed.lock().unwrap();
    failed.clone()
}

#[tokio::test]
async fn every_retryable_error_of_every_call_is_retried() {
    let Some(database) = database().await else { return };
    for (status, code, calls) in ERRORS {
        let body = serde_json::json!({"__type": code, "message": "injected"}).to_string();
        let requests = run(&database, status, body, calls).await;
        for call in calls {
            assert!(requests.get(*call).is_some_and(|count| *count >= 2), "{status} {code} of {call}: {requests:?}");
        }
    }
}

#[tokio::test]
async fn a_cancelled_transaction_is_repeated_with_the_current_record() {
    let Some(database) = database().await else { return };
    for reason in CANCELLATION_REASONS {
        let body = serde_json::json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "message": format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{reason}, None]"),
            "CancellationReasons": [{"Code": reason, "Message": "injected"}, {"Code": "None"}],
        });
        let requests = run(&database, 400, body.to_string(), TRANSACTIONS).await;
        assert_eq!(requests["TransactWriteItems"], 2, "{reason}");
    }
}

#[tokio::test]
async fn an_error_that_no_retry_resolves_is_reported_at_once() {
    for code in ["ValidationException", "SerializationException", "ItemCollectionSizeLimitExceededException"] {
        let body = serde_json::json!({"__type": format!("com.amazon.coral.service#{code}"), "message": "injected"});
        let failing = crate::faults::FailingDynamo::start(400, body.to_string().leak(), u32::MAX).await;
        let put = failing.store().await.put_connection(&alice()).await;
        assert!(put.is_err());
        assert_eq!(failing.requests(), 1, "{code}");
    }
}
