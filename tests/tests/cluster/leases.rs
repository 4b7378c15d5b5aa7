//! The ledger's own promises: claim, extend, lapse, fence, share, settle, release.

use std::sync::Arc;
use std::time::Duration;

use gateway::id::GatewayId;
use shim::bus::NodeLiveness as _;
use shim::cluster::lease_store::{LeaseId, LeaseStore, ReleaseOutcome};
use shim::redis::{RedisClient, RedisTopology};
use tests::eventually;
use tests::redis::{RedisCluster, RedisServer};

use super::world::{LEASE, Pod, ask, settings};

const SHORT: Duration = Duration::from_millis(100);

async fn ledger(server: &RedisServer) -> LeaseStore {
    LeaseStore::new(RedisClient::connect(settings(server)).await.unwrap(), SHORT)
}

async fn claim(ledger: &LeaseStore, boot: &str, nodes: &[u16]) -> Option<LeaseId> {
    ledger.claim_lease(boot, "epoch-of-the-first", nodes).await.unwrap().map(|claimed| {
        assert_eq!(claimed.data_epoch, "epoch-of-the-first");
        claimed.lease_id
    })
}

async fn fence(ledger: &LeaseStore, name: &LeaseId) {
    eventually!("the lease to lapse", ledger.fence_lease(name).await.unwrap().then_some(()));
}

fn record(sequence: u32) -> (GatewayId, Vec<u8>) {
    (GatewayId::for_connection(1_800_000_000_000, sequence, 7), b"{}".to_vec())
}

#[tokio::test]
async fn a_number_belongs_to_one_pod_until_its_connections_are_finished() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let first = claim(&ledger, "one", &[7]).await.unwrap();
    assert_eq!((first.node_id(), first.incarnation()), (7, "one"));
    assert_eq!(claim(&ledger, "one", &[7]).await, Some(first.clone()), "a repeated claim is the same claim");
    assert_eq!(claim(&ledger, "two", &[7]).await, None);
    let second = claim(&ledger, "two", &[7, 8]).await.unwrap();
    assert_eq!(second.node_id(), 8);

    assert!(ledger.register_connections(&first, &[record(1), record(2)]).await.unwrap());
    assert!(ledger.is_node_leased(7).await.unwrap());
    fence(&ledger, &first).await;
    assert!(!ledger.is_node_leased(7).await.unwrap(), "a fenced pod is gone");
    assert_eq!(claim(&ledger, "three", &[7]).await, None, "but its number is not free");

    let share = ledger.claim_connections(&second, &first, 10).await.unwrap().unwrap();
    assert_eq!((share.unclaimed, share.claimed.len()), (0, 2));
    let fields: Vec<_> = share.claimed.iter().map(|taken| taken.field.clone()).collect();
    assert!(!ledger.complete_connections(&second, &first, &fields[..1]).await.unwrap());
    assert!(
        !ledger.complete_connections(&second, &first, &fields[..1]).await.unwrap(),
        "striking off twice is striking off once"
    );
    assert_eq!(claim(&ledger, "three", &[7]).await, None);
    assert!(ledger.complete_connections(&second, &first, &fields[1..]).await.unwrap());
    assert_eq!(claim(&ledger, "three", &[7]).await.unwrap().node_id(), 7);
    assert_eq!(ask(&server, "ZCARD", "fenced"), "0");
}

#[tokio::test]
async fn a_number_that_was_free_is_alive_as_soon_as_it_is_claimed() {
    let server = RedisServer::start().unwrap();
    let pod = Pod::join(&server, &Arc::default()).await;
    let (nodes, free) = (pod.cluster.leased_nodes(), pod.cluster.node_id() ^ 1);
    let ledger = LeaseStore::new(RedisClient::connect(settings(&server)).await.unwrap(), LEASE);
    assert!(nodes.is_node_alive(pod.cluster.node_id()).await.unwrap() && !nodes.is_node_alive(free).await.unwrap());
    let other = claim_of(&ledger, free).await;
    assert!(nodes.is_node_alive(free).await.unwrap(), "\"not alive\" is asked anew");
    ledger.release_lease(&other).await.unwrap();
    eventually!("the released number to be forgotten", (!nodes.is_node_alive(free).await.unwrap()).then_some(()));
    pod.leave().await;
}

async fn claim_of(ledger: &LeaseStore, node: u16) -> LeaseId {
    ledger.claim_lease("other", "another-epoch", &[node]).await.unwrap().expect("the number is free").lease_id
}

#[tokio::test]
async fn a_lapsed_lease_that_nobody_took_away_is_simply_extended() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let (one, two) = (claim(&ledger, "one", &[1]).await.unwrap(), claim(&ledger, "two", &[2]).await.unwrap());
    eventually!(
        "the first lease to lapse",
        (ledger.send_heartbeat(&two).await.unwrap().lapsed == [one.clone()]).then_some(())
    );
    let beat = ledger.send_heartbeat(&one).await.unwrap();
    assert!(beat.held && beat.fenced.is_empty());
    assert!(!ledger.send_heartbeat(&two).await.unwrap().lapsed.contains(&one));
}

#[tokio::test]
async fn a_fenced_pod_extends_nothing_writes_nothing_and_takes_nothing() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let (one, two) = (claim(&ledger, "one", &[1]).await.unwrap(), claim(&ledger, "two", &[2]).await.unwrap());
    assert!(ledger.register_connections(&one, &[record(1)]).await.unwrap());
    fence(&ledger, &one).await;
    assert!(!ledger.fence_lease(&one).await.unwrap(), "it is fenced once");
    let beat = ledger.send_heartbeat(&one).await.unwrap();
    assert_eq!((beat.held, beat.fenced.as_slice()), (false, [one.clone()].as_slice()));
    assert!(!ledger.register_connections(&one, &[record(2)]).await.unwrap());
    assert_eq!(ledger.count_registered(&one).await.unwrap(), 1);
    assert_eq!(ledger.claim_connections(&one, &two, 10).await.unwrap(), None);
    assert_eq!(ledger.release_lease(&one).await.unwrap(), ReleaseOutcome::NotHeld);
    assert!(
        !ledger.fence_lease(&claim(&ledger, "three", &[3]).await.unwrap()).await.unwrap(),
        "a living pod is not fenced"
    );
}

#[tokio::test]
async fn a_share_is_told_again_until_it_is_settled_and_goes_on_to_the_next_survivor() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let [dead, first, second] = [1, 2, 3].map(|node| (node, format!("boot{node}")));
    let dead = claim(&ledger, &dead.1, &[dead.0]).await.unwrap();
    let first = claim(&ledger, &first.1, &[first.0]).await.unwrap();
    assert!(ledger.register_connections(&dead, &(0..10).map(record).collect::<Vec<_>>()).await.unwrap());
    fence(&ledger, &dead).await;
    let share = ledger.claim_connections(&first, &dead, 4).await.unwrap().unwrap();
    assert_eq!((share.unclaimed, share.claimed.len()), (6, 4));
    let again = ledger.claim_connections(&first, &dead, 4).await.unwrap().unwrap();
    assert_eq!((again.unclaimed, again.claimed.len()), (6, 4), "a reply that was lost costs nothing");
    assert!(share.claimed.iter().all(|taken| again.claimed.contains(taken)));

    // The survivor dies too: its share still counts against the first dead pod.
    fence(&ledger, &first).await;
    let second = claim(&ledger, &second.1, &[second.0]).await.unwrap();
    let rest = ledger.claim_connections(&second, &dead, 100).await.unwrap().unwrap();
    assert_eq!((rest.unclaimed, rest.claimed.len()), (0, 6));
    let fields: Vec<_> = rest.claimed.iter().map(|taken| taken.field.clone()).collect();
    assert!(!ledger.complete_connections(&second, &dead, &fields).await.unwrap(), "four are with the other survivor");
    let inherited = ledger.claim_connections(&second, &first, 100).await.unwrap().unwrap();
    assert!(inherited.claimed.iter().all(|taken| taken.owner == dead));
    let fields: Vec<_> = inherited.claimed.iter().map(|taken| taken.field.clone()).collect();
    assert_eq!(fields.len(), 4);
    assert!(ledger.complete_connections(&second, &dead, &fields).await.unwrap());
    assert!(ledger.complete_connections(&second, &first, &[]).await.unwrap());
    assert_eq!(ask(&server, "HLEN", "owed"), "0");
}

#[tokio::test]
async fn a_lease_given_back_leaves_nothing_and_one_with_connections_lapses_at_once() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let (one, two) = (claim(&ledger, "one", &[1]).await.unwrap(), claim(&ledger, "two", &[2]).await.unwrap());
    assert_eq!(ledger.release_lease(&one).await.unwrap(), ReleaseOutcome::Freed);
    assert_eq!(ask(&server, "HKEYS", "nodes"), "2");
    assert!(ledger.register_connections(&two, &[record(1)]).await.unwrap());
    ledger.send_heartbeat(&two).await.unwrap();
    assert_eq!(ledger.release_lease(&two).await.unwrap(), ReleaseOutcome::Lapsed);
    assert!(ledger.fence_lease(&two).await.unwrap());
}

#[tokio::test]
async fn a_cluster_keeps_all_of_it_in_one_slot() {
    let cluster = RedisCluster::start().unwrap();
    let mut settings = settings(&cluster.nodes()[0]);
    settings.topology = RedisTopology::Cluster;
    let ledger = LeaseStore::new(RedisClient::connect(settings).await.unwrap(), SHORT);
    let (dead, own) = (claim(&ledger, "one", &[1]).await.unwrap(), claim(&ledger, "two", &[2]).await.unwrap());
    assert!(ledger.register_connections(&dead, &[record(1), record(2)]).await.unwrap());
    assert_eq!(ledger.find_unregistered(&dead, &[record(2).0, record(3).0]).await.unwrap(), [record(3).0]);
    ledger.delete_connections(&dead, &[record(2).0]).await.unwrap();
    assert_eq!(ledger.scan_registered(&dead, 0).await.unwrap(), (0, vec![record(1).0]));
    fence(&ledger, &dead).await;
    ledger.send_heartbeat(&own).await.unwrap();
    let share = ledger.claim_connections(&own, &dead, 10).await.unwrap().unwrap();
    assert!(ledger.complete_connections(&own, &dead, &[share.claimed[0].field.clone()]).await.unwrap());
    assert_eq!(ledger.release_lease(&own).await.unwrap(), ReleaseOutcome::Freed);
}
