//! The ledger's own promises: claim, extend, lapse, fence, share, settle, release.

use std::sync::Arc;
use std::time::Duration;

use gateway::id::GatewayId;
use shim::bus::Nodes as _;
use shim::cluster::ledger::{Ledger, Name, Released};
use shim::redis::{Redis, Topology};
use tests::eventually;
use tests::redis::{RedisCluster, RedisServer};

use super::world::{LEASE, Pod, ask, settings};

const SHORT: Duration = Duration::from_millis(100);

async fn ledger(server: &RedisServer) -> Ledger {
    Ledger::new(Redis::connect(settings(server)).await.unwrap(), SHORT)
}

async fn claim(ledger: &Ledger, boot: &str, nodes: &[u16]) -> Option<Name> {
    ledger.claim(boot, "epoch-of-the-first", nodes).await.unwrap().map(|claimed| {
        assert_eq!(claimed.epoch, "epoch-of-the-first");
        claimed.name
    })
}

async fn fence(ledger: &Ledger, name: &Name) {
    eventually!("the lease to lapse", ledger.fence(name).await.unwrap().then_some(()));
}

fn record(sequence: u32) -> (GatewayId, Vec<u8>) {
    (GatewayId::connection(1_800_000_000_000, sequence, 7), b"{}".to_vec())
}

#[tokio::test]
async fn a_number_belongs_to_one_pod_until_its_connections_are_finished() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let first = claim(&ledger, "one", &[7]).await.unwrap();
    assert_eq!((first.node(), first.boot()), (7, "one"));
    assert_eq!(claim(&ledger, "one", &[7]).await, Some(first.clone()), "a repeated claim is the same claim");
    assert_eq!(claim(&ledger, "two", &[7]).await, None);
    let second = claim(&ledger, "two", &[7, 8]).await.unwrap();
    assert_eq!(second.node(), 8);

    assert!(ledger.enrol(&first, &[record(1), record(2)]).await.unwrap());
    assert!(ledger.is_held(7).await.unwrap());
    fence(&ledger, &first).await;
    assert!(!ledger.is_held(7).await.unwrap(), "a fenced pod is gone");
    assert_eq!(claim(&ledger, "three", &[7]).await, None, "but its number is not free");

    let share = ledger.take(&second, &first, 10).await.unwrap().unwrap();
    assert_eq!((share.left, share.taken.len()), (0, 2));
    let fields: Vec<_> = share.taken.iter().map(|taken| taken.field.clone()).collect();
    assert!(!ledger.settle(&second, &first, &fields[..1]).await.unwrap());
    assert!(!ledger.settle(&second, &first, &fields[..1]).await.unwrap(), "striking off twice is striking off once");
    assert_eq!(claim(&ledger, "three", &[7]).await, None);
    assert!(ledger.settle(&second, &first, &fields[1..]).await.unwrap());
    assert_eq!(claim(&ledger, "three", &[7]).await.unwrap().node(), 7);
    assert_eq!(ask(&server, "ZCARD", "fenced"), "0");
}

#[tokio::test]
async fn a_number_that_was_free_is_alive_as_soon_as_it_is_claimed() {
    let server = RedisServer::start().unwrap();
    let pod = Pod::join(&server, &Arc::default()).await;
    let (nodes, free) = (pod.cluster.nodes(), pod.cluster.node() ^ 1);
    let ledger = Ledger::new(Redis::connect(settings(&server)).await.unwrap(), LEASE);
    assert!(nodes.is_alive(pod.cluster.node()).await.unwrap() && !nodes.is_alive(free).await.unwrap());
    let other = claim_of(&ledger, free).await;
    assert!(nodes.is_alive(free).await.unwrap(), "\"not alive\" is asked anew");
    ledger.release(&other).await.unwrap();
    eventually!("the released number to be forgotten", (!nodes.is_alive(free).await.unwrap()).then_some(()));
    pod.leave().await;
}

async fn claim_of(ledger: &Ledger, node: u16) -> Name {
    ledger.claim("other", "another-epoch", &[node]).await.unwrap().expect("the number is free").name
}

#[tokio::test]
async fn a_lapsed_lease_that_nobody_took_away_is_simply_extended() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let (one, two) = (claim(&ledger, "one", &[1]).await.unwrap(), claim(&ledger, "two", &[2]).await.unwrap());
    eventually!("the first lease to lapse", (ledger.beat(&two).await.unwrap().lapsed == [one.clone()]).then_some(()));
    let beat = ledger.beat(&one).await.unwrap();
    assert!(beat.held && beat.fenced.is_empty());
    assert!(!ledger.beat(&two).await.unwrap().lapsed.contains(&one));
}

#[tokio::test]
async fn a_fenced_pod_extends_nothing_writes_nothing_and_takes_nothing() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let (one, two) = (claim(&ledger, "one", &[1]).await.unwrap(), claim(&ledger, "two", &[2]).await.unwrap());
    assert!(ledger.enrol(&one, &[record(1)]).await.unwrap());
    fence(&ledger, &one).await;
    assert!(!ledger.fence(&one).await.unwrap(), "it is fenced once");
    let beat = ledger.beat(&one).await.unwrap();
    assert_eq!((beat.held, beat.fenced.as_slice()), (false, [one.clone()].as_slice()));
    assert!(!ledger.enrol(&one, &[record(2)]).await.unwrap());
    assert_eq!(ledger.enrolled(&one).await.unwrap(), 1);
    assert_eq!(ledger.take(&one, &two, 10).await.unwrap(), None);
    assert_eq!(ledger.release(&one).await.unwrap(), Released::NotHeld);
    assert!(!ledger.fence(&claim(&ledger, "three", &[3]).await.unwrap()).await.unwrap(), "a living pod is not fenced");
}

#[tokio::test]
async fn a_share_is_told_again_until_it_is_settled_and_goes_on_to_the_next_survivor() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let [dead, first, second] = [1, 2, 3].map(|node| (node, format!("boot{node}")));
    let dead = claim(&ledger, &dead.1, &[dead.0]).await.unwrap();
    let first = claim(&ledger, &first.1, &[first.0]).await.unwrap();
    assert!(ledger.enrol(&dead, &(0..10).map(record).collect::<Vec<_>>()).await.unwrap());
    fence(&ledger, &dead).await;
    let share = ledger.take(&first, &dead, 4).await.unwrap().unwrap();
    assert_eq!((share.left, share.taken.len()), (6, 4));
    let again = ledger.take(&first, &dead, 4).await.unwrap().unwrap();
    assert_eq!((again.left, again.taken.len()), (6, 4), "a reply that was lost costs nothing");
    assert!(share.taken.iter().all(|taken| again.taken.contains(taken)));

    // The survivor dies too: its share still counts against the first dead pod.
    fence(&ledger, &first).await;
    let second = claim(&ledger, &second.1, &[second.0]).await.unwrap();
    let rest = ledger.take(&second, &dead, 100).await.unwrap().unwrap();
    assert_eq!((rest.left, rest.taken.len()), (0, 6));
    let fields: Vec<_> = rest.taken.iter().map(|taken| taken.field.clone()).collect();
    assert!(!ledger.settle(&second, &dead, &fields).await.unwrap(), "four are with the other survivor");
    let inherited = ledger.take(&second, &first, 100).await.unwrap().unwrap();
    assert!(inherited.taken.iter().all(|taken| taken.origin == dead));
    let fields: Vec<_> = inherited.taken.iter().map(|taken| taken.field.clone()).collect();
    assert_eq!(fields.len(), 4);
    assert!(ledger.settle(&second, &dead, &fields).await.unwrap());
    assert!(ledger.settle(&second, &first, &[]).await.unwrap());
    assert_eq!(ask(&server, "HLEN", "owed"), "0");
}

#[tokio::test]
async fn a_lease_given_back_leaves_nothing_and_one_with_connections_lapses_at_once() {
    let server = RedisServer::start().unwrap();
    let ledger = ledger(&server).await;
    let (one, two) = (claim(&ledger, "one", &[1]).await.unwrap(), claim(&ledger, "two", &[2]).await.unwrap());
    assert_eq!(ledger.release(&one).await.unwrap(), Released::Free);
    assert_eq!(ask(&server, "HKEYS", "nodes"), "2");
    assert!(ledger.enrol(&two, &[record(1)]).await.unwrap());
    ledger.beat(&two).await.unwrap();
    assert_eq!(ledger.release(&two).await.unwrap(), Released::Lapsed);
    assert!(ledger.fence(&two).await.unwrap());
}

#[tokio::test]
async fn a_cluster_keeps_all_of_it_in_one_slot() {
    let cluster = RedisCluster::start().unwrap();
    let mut settings = settings(&cluster.nodes()[0]);
    settings.topology = Topology::Cluster;
    let ledger = Ledger::new(Redis::connect(settings).await.unwrap(), SHORT);
    let (dead, own) = (claim(&ledger, "one", &[1]).await.unwrap(), claim(&ledger, "two", &[2]).await.unwrap());
    assert!(ledger.enrol(&dead, &[record(1), record(2)]).await.unwrap());
    assert_eq!(ledger.missing(&dead, &[record(2).0, record(3).0]).await.unwrap(), [record(3).0]);
    ledger.strike(&dead, &[record(2).0]).await.unwrap();
    assert_eq!(ledger.scan(&dead, 0).await.unwrap(), (0, vec![record(1).0]));
    fence(&ledger, &dead).await;
    ledger.beat(&own).await.unwrap();
    let share = ledger.take(&own, &dead, 10).await.unwrap().unwrap();
    assert!(ledger.settle(&own, &dead, &[share.taken[0].field.clone()]).await.unwrap());
    assert_eq!(ledger.release(&own).await.unwrap(), Released::Free);
}
