//! Connection store: the port's contract, and the items in the table.

use std::collections::BTreeSet;
use std::sync::Arc;

use handlers::audience::Audience;
use handlers::channel::Channel;
use handlers::conformance::connections::{ConnectionStoreFixture, run_suite};
use handlers::conformance::revocations;
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::{Identity, Role};
use handlers::ports::{ChannelChange, ClientConnection, ConnectionStore, StoreError};
use handlers_aws::connections::DynamoConnections;
use handlers_aws::revocations::DynamoRevocations;

use crate::support::{NOW, database, lambda_clock};

fn alice(channels: impl IntoIterator<Item = Channel>) -> ClientConnection {
    let user = UserId::parse("alice").unwrap();
    let tenant = TenantId::parse("acme").unwrap();
    ClientConnection {
        id: ConnectionId::parse("aliceAAAAAAAAAA=").unwrap(),
        identity: Identity { tenant, user, role: Role::User, expires_at: None },
        connected_at: NOW,
        channels: channels.into_iter().collect(),
    }
}

fn rooms(count: usize) -> Vec<Channel> {
    (0..count).map(|number| Channel::from_key(&format!("acme/room:r{number}")).unwrap()).collect()
}

#[tokio::test]
async fn the_store_fulfils_the_contract() {
    let Some(database) = database().await else { return };
    run_suite(async || {
        let clock = lambda_clock();
        ConnectionStoreFixture {
            store: Arc::new(database.connections(clock.clone()).await),
            now: NOW,
            clock: Some(clock),
        }
    })
    .await;
}

#[tokio::test]
async fn the_revocations_fulfil_the_contract() {
    let Some(database) = database().await else { return };
    revocations::run_suite(async || {
        let table = database.connections_table().await;
        Arc::new(DynamoRevocations::new(database.client.clone(), &table)) as _
    })
    .await;
}

#[tokio::test]
async fn a_deleted_connection_leaves_no_item() {
    let Some(database) = database().await else { return };
    let table = database.connections_table().await;
    let store = DynamoConnections::new(database.client.clone(), &table, lambda_clock());
    store.put_connection(&alice(rooms(30))).await.unwrap();
    store.change_channels(&alice([]).id, &rooms(90)[30..], &rooms(10)).await.unwrap();
    assert_eq!(count_items(&database.client, &table).await, 1 + 80, "the record, and a membership for each room");
    assert!(store.delete_connection(&alice([]).id).await.unwrap().is_some());
    assert_eq!(count_items(&database.client, &table).await, 0);
}

#[tokio::test]
async fn more_channels_than_a_transaction_permits_are_rejected_as_a_whole() {
    let Some(database) = database().await else { return };
    let store = database.connections(lambda_clock()).await;
    store.put_connection(&alice([])).await.unwrap();
    let rejected = store.change_channels(&alice([]).id, &rooms(100), &[]).await;
    assert!(matches!(rejected, Err(StoreError::Backend { .. })), "{rejected:?}");
    let found = store.find_connection(&alice([]).id).await.unwrap().unwrap();
    assert_eq!(found.channels, BTreeSet::new());
    let joined = store.change_channels(&alice([]).id, &rooms(99), &[]).await.unwrap();
    assert!(matches!(joined, ChannelChange::Applied { connection, .. } if connection.channels.len() == 99));
}

/// A process that dies during a disconnect can leave a membership; the next leave of that connection deletes it.
#[tokio::test]
async fn a_leave_deletes_a_membership_without_a_record() {
    let Some(database) = database().await else { return };
    let table = database.connections_table().await;
    let store = DynamoConnections::new(database.client.clone(), &table, lambda_clock());
    let (room, id) = (rooms(1).remove(0), alice([]).id);
    store.put_connection(&alice([room.clone()])).await.unwrap();
    let delete = database.client.delete_item().table_name(&table);
    let key = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    delete.key("pk", key(&format!("c#{id}"))).key("sk", key("record")).send().await.unwrap();
    let members = store.list_members(&Audience::Channel(room.clone()), None, 10).await.unwrap();
    assert_eq!((members.items.len(), members.total), (0, 1), "it is counted but has no record");
    assert_eq!(store.change_channels(&id, &[], &[room]).await.unwrap(), ChannelChange::NotFound);
    assert_eq!(count_items(&database.client, &table).await, 0);
}

async fn count_items(client: &aws_sdk_dynamodb::Client, table: &str) -> i32 {
    client.scan().table_name(table).send().await.unwrap().count
}
