//! Guarantees of the lease store: claim, extend, expire, fence, batch, complete, release.

use std::sync::Arc;
use std::time::Duration;

use gateway::id::GatewayId;
use shim::bus::NodeLiveness as _;
use shim::cluster::lease_store::{LeaseId, LeaseStatus, LeaseStore, ReleaseOutcome};
use shim::redis::{RedisClient, RedisTopology};
use tests::eventually;
use tests::redis::{RedisCluster, RedisOptions, RedisServer};

use super::world::{LEASE, Pod, run_on_key, settings};

const SHORT: Duration = Duration::from_millis(100);

async fn store(server: &RedisServer) -> LeaseStore {
    LeaseStore::new(RedisClient::connect(settings(server)).await.unwrap(), SHORT)
}

async fn claim(store: &LeaseStore, boot: &str, nodes: &[u16]) -> Option<LeaseId> {
    store.claim_lease(boot, "epoch-of-the-first", nodes).await.unwrap().map(|claimed| {
        assert_eq!(claimed.data_epoch, "epoch-of-the-first");
        claimed.lease_id
    })
}

async fn fence(store: &LeaseStore, name: &LeaseId) {
    eventually!("the lease to expire", store.fence_lease(name).await.unwrap().then_some(()));
}

fn record(sequence: u32) -> (GatewayId, Vec<u8>) {
    (GatewayId::for_connection(u64::from(sequence), 7), b"{}".to_vec())
}

#[tokio::test]
async fn a_node_id_belongs_to_one_pod_until_its_connections_are_completed() {
    let server = RedisServer::start().unwrap();
    let store = store(&server).await;
    let first = claim(&store, "one", &[7]).await.unwrap();
    assert_eq!((first.node_id(), first.incarnation()), (7, "one"));
    assert_eq!(claim(&store, "one", &[7]).await, Some(first.clone()), "a repeated claim is the same claim");
    assert_eq!(claim(&store, "two", &[7]).await, None);
    let second = claim(&store, "two", &[7, 8]).await.unwrap();
    assert_eq!(second.node_id(), 8);

    assert!(store.register_connections(&first, &[record(1), record(2)]).await.unwrap());
    assert!(store.is_node_leased(7).await.unwrap());
    fence(&store, &first).await;
    assert!(!store.is_node_leased(7).await.unwrap(), "a fenced pod is not alive");
    assert_eq!(claim(&store, "three", &[7]).await, None, "its node id is not free yet");

    let batch = store.claim_connections(&second, &first, 10).await.unwrap().unwrap();
    assert_eq!((batch.unclaimed, batch.claimed.len()), (0, 2));
    let fields: Vec<_> = batch.claimed.iter().map(|claimed| claimed.field.clone()).collect();
    assert!(!store.complete_connections(&second, &first, &fields[..1]).await.unwrap());
    assert!(
        !store.complete_connections(&second, &first, &fields[..1]).await.unwrap(),
        "deleting twice has the effect of deleting once"
    );
    assert_eq!(claim(&store, "three", &[7]).await, None);
    assert!(store.complete_connections(&second, &first, &fields[1..]).await.unwrap());
    assert_eq!(claim(&store, "three", &[7]).await.unwrap().node_id(), 7);
    assert_eq!(run_on_key(&server, "ZCARD", "fenced"), "0");
}

#[tokio::test]
async fn a_free_node_id_is_alive_as_soon_as_it_is_claimed() {
    let server = RedisServer::start().unwrap();
    let pod = Pod::join(&server, &Arc::default()).await;
    let (nodes, free) = (pod.cluster.leased_nodes(), pod.cluster.node_id() ^ 1);
    let store = LeaseStore::new(RedisClient::connect(settings(&server)).await.unwrap(), LEASE);
    assert!(nodes.is_node_alive(pod.cluster.node_id()).await.unwrap() && !nodes.is_node_alive(free).await.unwrap());
    let other = claim_of(&store, free).await;
    assert!(nodes.is_node_alive(free).await.unwrap(), "a negative result is not cached");
    store.release_lease(&other).await.unwrap();
    eventually!("the released node id to be free", (!nodes.is_node_alive(free).await.unwrap()).then_some(()));
    pod.leave().await;
}

async fn claim_of(store: &LeaseStore, node: u16) -> LeaseId {
    store.claim_lease("other", "another-epoch", &[node]).await.unwrap().expect("the node id is free").lease_id
}

#[tokio::test]
async fn an_expired_lease_that_no_pod_fenced_is_extended() {
    let server = RedisServer::start().unwrap();
    let store = store(&server).await;
    let (one, two) = (claim(&store, "one", &[1]).await.unwrap(), claim(&store, "two", &[2]).await.unwrap());
    eventually!(
        "the first lease to expire",
        (store.send_heartbeat(&two).await.unwrap().expired == [one.clone()]).then_some(())
    );
    let heartbeat = store.send_heartbeat(&one).await.unwrap();
    assert!(heartbeat.lease == LeaseStatus::Held && heartbeat.fenced.is_empty());
    assert!(!store.send_heartbeat(&two).await.unwrap().expired.contains(&one));
}

#[tokio::test]
async fn a_fenced_pod_cannot_extend_register_or_claim() {
    let server = RedisServer::start().unwrap();
    let store = store(&server).await;
    let (one, two) = (claim(&store, "one", &[1]).await.unwrap(), claim(&store, "two", &[2]).await.unwrap());
    assert!(store.register_connections(&one, &[record(1)]).await.unwrap());
    fence(&store, &one).await;
    assert!(!store.fence_lease(&one).await.unwrap(), "a lease is fenced once");
    let heartbeat = store.send_heartbeat(&one).await.unwrap();
    assert_eq!((heartbeat.lease, heartbeat.fenced.as_slice()), (LeaseStatus::Fenced, [one.clone()].as_slice()));
    assert!(!store.register_connections(&one, &[record(2)]).await.unwrap());
    assert_eq!(store.count_registered(&one).await.unwrap(), 1);
    assert_eq!(store.claim_connections(&one, &two, 10).await.unwrap(), None);
    assert_eq!(store.release_lease(&one).await.unwrap(), ReleaseOutcome::NotHeld);
    assert!(
        !store.fence_lease(&claim(&store, "three", &[3]).await.unwrap()).await.unwrap(),
        "a live pod is not fenced"
    );
}

#[tokio::test]
async fn a_lost_lease_is_claimed_again_but_one_of_a_reaped_pod_is_not() {
    let server = RedisServer::start().unwrap();
    let store = store(&server).await;
    let (one, two) = (claim(&store, "one", &[1]).await.unwrap(), claim(&store, "two", &[2]).await.unwrap());
    // As after a failover to a replica that lacks the claim.
    run_on_key(&server, "DEL", "leases");
    run_on_key(&server, "DEL", "nodes");
    let heartbeat = store.send_heartbeat(&one).await.unwrap();
    assert_eq!((heartbeat.lease, heartbeat.data_epoch.as_str()), (LeaseStatus::Missing, "epoch-of-the-first"));
    assert_eq!(claim(&store, "one", &[1]).await, Some(one.clone()));
    assert_eq!(claim(&store, "two", &[2]).await, Some(two.clone()));
    assert_eq!(store.send_heartbeat(&one).await.unwrap().lease, LeaseStatus::Held);

    fence(&store, &one).await;
    assert!(store.complete_connections(&two, &one, &[]).await.unwrap());
    assert_eq!(store.send_heartbeat(&one).await.unwrap().lease, LeaseStatus::Fenced, "also after it was reaped");
    assert_eq!(claim(&store, "one", &[1]).await, None, "a fenced lease id never holds a lease again");
    assert!(claim(&store, "three", &[1]).await.is_some(), "its node id is free");
}

#[tokio::test]
async fn a_heartbeat_shows_that_another_server_became_the_master() {
    let master = RedisServer::start().unwrap();
    let replica = RedisOptions::default().with_setting("replicaof", &format!("127.0.0.1 {}", master.port()));
    let replica = RedisServer::start_with(replica).unwrap();
    let first = store(&master).await;
    let one = claim(&first, "one", &[1]).await.unwrap();
    let before = first.send_heartbeat(&one).await.unwrap().replication_id;
    assert_eq!(first.send_heartbeat(&one).await.unwrap().replication_id, before);
    eventually!("the lease on the replica", (run_on_key(&replica, "ZCARD", "leases") == "1").then_some(()));
    replica.run_command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    let after = store(&replica).await.send_heartbeat(&one).await.unwrap();
    assert_eq!(after.lease, LeaseStatus::Held);
    assert_ne!(after.replication_id, before);
}

#[tokio::test]
async fn a_batch_is_returned_again_until_it_is_completed_and_passes_to_the_next_survivor() {
    let server = RedisServer::start().unwrap();
    let store = store(&server).await;
    let [dead, first, second] = [1, 2, 3].map(|node| (node, format!("boot{node}")));
    let dead = claim(&store, &dead.1, &[dead.0]).await.unwrap();
    let first = claim(&store, &first.1, &[first.0]).await.unwrap();
    assert!(store.register_connections(&dead, &(0..10).map(record).collect::<Vec<_>>()).await.unwrap());
    fence(&store, &dead).await;
    let batch = store.claim_connections(&first, &dead, 4).await.unwrap().unwrap();
    assert_eq!((batch.unclaimed, batch.claimed.len()), (6, 4));
    let again = store.claim_connections(&first, &dead, 4).await.unwrap().unwrap();
    assert_eq!((again.unclaimed, again.claimed.len()), (6, 4), "a lost reply has no effect");
    assert!(batch.claimed.iter().all(|claimed| again.claimed.contains(claimed)));

    // The survivor dies too: its batch still belongs to the first dead pod.
    fence(&store, &first).await;
    let second = claim(&store, &second.1, &[second.0]).await.unwrap();
    let rest = store.claim_connections(&second, &dead, 100).await.unwrap().unwrap();
    assert_eq!((rest.unclaimed, rest.claimed.len()), (0, 6));
    let fields: Vec<_> = rest.claimed.iter().map(|claimed| claimed.field.clone()).collect();
    assert!(
        !store.complete_connections(&second, &dead, &fields).await.unwrap(),
        "four are claimed by the other survivor"
    );
    let inherited = store.claim_connections(&second, &first, 100).await.unwrap().unwrap();
    assert!(inherited.claimed.iter().all(|claimed| claimed.owner == dead));
    let fields: Vec<_> = inherited.claimed.iter().map(|claimed| claimed.field.clone()).collect();
    assert_eq!(fields.len(), 4);
    assert!(store.complete_connections(&second, &dead, &fields).await.unwrap());
    assert!(store.complete_connections(&second, &first, &[]).await.unwrap());
    assert_eq!(run_on_key(&server, "HLEN", "pending"), "0");
}

#[tokio::test]
async fn a_released_lease_leaves_no_keys_and_one_with_connections_expires_at_once() {
    let server = RedisServer::start().unwrap();
    let store = store(&server).await;
    let (one, two) = (claim(&store, "one", &[1]).await.unwrap(), claim(&store, "two", &[2]).await.unwrap());
    assert_eq!(store.release_lease(&one).await.unwrap(), ReleaseOutcome::Freed);
    assert_eq!(run_on_key(&server, "HKEYS", "nodes"), "2");
    assert!(store.register_connections(&two, &[record(1)]).await.unwrap());
    store.send_heartbeat(&two).await.unwrap();
    assert_eq!(store.release_lease(&two).await.unwrap(), ReleaseOutcome::Expired);
    assert!(store.fence_lease(&two).await.unwrap());
}

#[tokio::test]
async fn a_cluster_keeps_all_keys_in_one_slot() {
    let cluster = RedisCluster::start().unwrap();
    let mut settings = settings(&cluster.nodes()[0]);
    settings.topology = RedisTopology::Cluster;
    let store = LeaseStore::new(RedisClient::connect(settings).await.unwrap(), SHORT);
    let (dead, own) = (claim(&store, "one", &[1]).await.unwrap(), claim(&store, "two", &[2]).await.unwrap());
    assert!(store.register_connections(&dead, &[record(1), record(2)]).await.unwrap());
    assert_eq!(store.find_unregistered(&dead, &[record(2).0, record(3).0]).await.unwrap(), [record(3).0]);
    store.delete_connections(&dead, &[record(2).0]).await.unwrap();
    assert_eq!(store.scan_registered(&dead, 0).await.unwrap(), (0, vec![record(1)]));
    fence(&store, &dead).await;
    store.send_heartbeat(&own).await.unwrap();
    let batch = store.claim_connections(&own, &dead, 10).await.unwrap().unwrap();
    assert!(store.complete_connections(&own, &dead, &[batch.claimed[0].field.clone()]).await.unwrap());
    assert_eq!(store.release_lease(&own).await.unwrap(), ReleaseOutcome::Freed);
}
