//! Detection of subscriptions that no longer receive although their connection is open.
//!
//! - In a Cluster a node drops the subscriptions of a slot that it loses, with a push message that nothing asked for
//!   ("Redis cluster specification", sharded publish/subscribe). The driver does not subscribe again, and it takes such a
//!   message for the reply to whatever command is in flight, so that the connection cannot be used any more.
//! - A Cluster node that is cut off from the others keeps its subscribers, but receives nothing. Any other node knows
//!   the new owner of its slots.
//! - Behind Sentinels the former master keeps its subscribers for seconds after a failover.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo, Slot};
use redis::{FromRedisValue as _, Value, cmd};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::connector::RedisConnector;
use super::driver_connection::DriverConnection;
use super::replication::NodeAddress;

/// Interval at which the owners of the subscribed slots of a Cluster are compared.
const OWNER_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Cause for which subscriptions receive nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionRevocation {
    /// The slot of a subscribed Redis channel moved to another node of the Cluster.
    SlotMoved,
    /// Another server became the master.
    MasterChanged,
}

/// Subscriptions of one connection to a Cluster. A server without Cluster never drops any.
#[derive(Default)]
pub(super) struct ShardSubscriptions {
    /// Redis channels that are subscribed or being subscribed.
    channels: Mutex<HashSet<Vec<u8>>>,
    dropped: Notify,
}

impl ShardSubscriptions {
    pub(super) fn insert(&self, redis_channels: &[String]) {
        self.channels.lock().extend(redis_channels.iter().map(|channel| channel.as_bytes().to_vec()));
    }

    /// Removes Redis channels before they are unsubscribed, so that the confirmations are expected.
    pub(super) fn remove(&self, redis_channels: &[String]) {
        let mut channels = self.channels.lock();
        for channel in redis_channels {
            channels.remove(channel.as_bytes());
        }
    }

    /// Records that a node ended a subscription, on request or not.
    pub(super) fn record_unsubscribed(&self, redis_channel: &[u8]) {
        if self.channels.lock().contains(redis_channel) {
            self.dropped.notify_one();
        }
    }

    /// Waits until a node drops a subscription or another node owns its slot.
    async fn wait_moved(&self, mut cluster: ClusterConnection, connector: &RedisConnector) {
        let owner_moved = async {
            let mut owners = HashMap::new();
            loop {
                sleep(OWNER_CHECK_INTERVAL).await;
                let slots: HashSet<Slot> =
                    self.channels.lock().iter().map(|channel| Slot::for_key(&channel[..])).collect();
                let Some(found) = fetch_slot_owners(&mut cluster).await else { continue };
                if found.differ_from(&mut owners, &slots) {
                    return;
                }
                connector.remember_nodes(found.nodes);
            }
        };
        tokio::select! {
            () = self.dropped.notified() => {}
            () = owner_moved => {}
        }
    }
}

/// Waits until the subscriptions of a connection, which was opened in this generation of the master, are revoked.
pub(super) async fn wait_revoked(
    connection: &DriverConnection,
    shard_subscriptions: &ShardSubscriptions,
    connector: &RedisConnector,
    master_generation: u64,
) -> SubscriptionRevocation {
    match (connection, connector.selection()) {
        (DriverConnection::Cluster(cluster), _) => {
            shard_subscriptions.wait_moved(cluster.clone(), connector).await;
            SubscriptionRevocation::SlotMoved
        }
        (DriverConnection::Server(_), Some(selection)) => {
            selection.wait_changed(master_generation).await;
            SubscriptionRevocation::MasterChanged
        }
        (DriverConnection::Server(_), None) => std::future::pending().await,
    }
}

/// Reply to `CLUSTER SLOTS`.
struct SlotOwners {
    /// First and last slot, and the id of the master, of each range of slots.
    ranges: Vec<(u16, u16, String)>,
    /// Masters and replicas.
    nodes: Vec<NodeAddress>,
}

impl SlotOwners {
    fn parse(reply: &Value) -> Option<Self> {
        let Value::Array(ranges) = reply else { return None };
        let range = |range: &Value| {
            let Value::Array(fields) = range else { return None };
            let [first, last, master, replicas @ ..] = &fields[..] else { return None };
            let bound = |value| u16::from_redis_value_ref(value).ok();
            let (id, address) = parse_node(master)?;
            let replicas = replicas.iter().filter_map(parse_node).map(|(_, address)| address);
            let nodes: Vec<NodeAddress> = std::iter::once(address).chain(replicas).collect();
            Some(((bound(first)?, bound(last)?, id), nodes))
        };
        let (ranges, nodes): (Vec<_>, Vec<_>) =
            ranges.iter().map(range).collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let nodes: HashSet<NodeAddress> = nodes.into_iter().flatten().collect();
        Some(Self { ranges, nodes: nodes.into_iter().collect() })
    }

    /// Compares with the known owners of `slots`, and adds those of slots that are new.
    fn differ_from(&self, known: &mut HashMap<Slot, String>, slots: &HashSet<Slot>) -> bool {
        known.retain(|slot, _| slots.contains(slot));
        let mut differ = false;
        // A slot without an owner is unavailable, which the publishers notice.
        for (first, last, owner) in &self.ranges {
            for slot in (*first..=*last).filter_map(Slot::new).filter(|slot| slots.contains(slot)) {
                differ |= known.entry(slot).or_insert_with(|| owner.clone()) != owner;
            }
        }
        differ
    }
}

/// Parses id and address of a node.
fn parse_node(node: &Value) -> Option<(String, NodeAddress)> {
    let Value::Array(fields) = node else { return None };
    let [host, port, id, ..] = &fields[..] else { return None };
    let host = String::from_redis_value_ref(host).ok()?;
    let port = u16::from_redis_value_ref(port).ok()?;
    Some((String::from_redis_value_ref(id).ok()?, NodeAddress { host, port }))
}

async fn fetch_slot_owners(cluster: &mut ClusterConnection) -> Option<SlotOwners> {
    let command = cmd("CLUSTER").arg("SLOTS").take();
    let random = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
    SlotOwners::parse(&cluster.route_command(command, random).await.ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(ranges: &[(u16, u16, &str)]) -> SlotOwners {
        let ranges = ranges.iter().map(|(first, last, id)| {
            let id = Value::BulkString(id.as_bytes().to_vec());
            let master = Value::Array(vec![Value::BulkString(b"10.0.0.1".to_vec()), Value::Int(6379), id]);
            Value::Array(vec![Value::Int((*first).into()), Value::Int((*last).into()), master])
        });
        SlotOwners::parse(&Value::Array(ranges.collect())).unwrap()
    }

    #[test]
    fn a_subscribed_slot_with_another_owner_is_detected() {
        let slot = Slot::for_key(b"{lobby}");
        let number = (0..16_384).find(|number| Slot::new(*number) == Some(slot)).unwrap();
        let mut known = HashMap::new();
        let mut differ = |ranges: &[(u16, u16, &str)]| owners(ranges).differ_from(&mut known, &HashSet::from([slot]));
        assert!(!differ(&[(0, 16_383, "a")]), "the first comparison");
        assert!(!differ(&[(0, number, "a"), (number + 1, 16_383, "b")]), "other slots moved");
        assert!(!differ(&[(number + 1, 16_383, "b")]), "no owner");
        assert!(differ(&[(0, 16_383, "b")]));
    }
}
