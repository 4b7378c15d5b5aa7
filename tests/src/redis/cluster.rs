//! Redis Cluster: masters without replicas for tests of routing, or with one replica each for tests of failovers.

use anyhow::Context as _;

use super::server::{RedisOptions, RedisServer};
use super::{free_port, wait_for};

/// Number of hash slots ("Redis cluster specification").
const SLOTS: usize = 16_384;

/// Three masters that share the hash slots, and their replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

/// Way of a planned failover (`CLUSTER FAILOVER`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterFailover {
    /// The master stops writes until the replica has all of them.
    Coordinated,
    /// The replica takes over without the agreement of any node, and may lack the latest writes.
    Takeover,
}

impl RedisCluster {
    /// Starts three masters and waits until each knows all slots.
    ///
    /// # Errors
    /// The cluster does not form in time.
    pub fn start() -> anyhow::Result<Self> {
        let nodes = (0..3).map(|_| node()).collect::<anyhow::Result<Vec<_>>>()?;
        let slots_per_node = SLOTS.div_ceil(nodes.len());
        for (number, node) in nodes.iter().enumerate() {
            let (first, last) = (number * slots_per_node, ((number + 1) * slots_per_node).min(SLOTS) - 1);
            node.run_command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
            // Distinct epochs from the start make a negotiation unnecessary.
            node.run_command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
        }
        for node in &nodes[1..] {
            let bus = node.run_command(&["CONFIG", "GET", "cluster-port"])?;
            let bus = bus.lines().last().unwrap_or_default().to_owned();
            nodes[0].run_command(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string(), &bus])?;
        }
        wait_for("the Cluster", || {
            let states =
                nodes.iter().map(|node| node.run_command(&["CLUSTER", "INFO"])).collect::<anyhow::Result<Vec<_>>>()?;
            Ok(states.iter().all(|state| state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:3")))
        })?;
        Ok(Self { nodes })
    }

    /// Starts three masters with one replica each, the replicas in the order of their masters after them, and waits
    /// until all are synchronized.
    ///
    /// # Errors
    /// The cluster does not form in time.
    pub fn start_with_replicas() -> anyhow::Result<Self> {
        let mut cluster = Self::start()?;
        for master in 0..cluster.nodes.len() {
            let replica = cluster.add_node()?;
            let id = cluster.nodes[master].run_command(&["CLUSTER", "MYID"])?;
            cluster.attach_replica(replica, &id)?;
        }
        Ok(cluster)
    }

    /// Makes an empty node a replica of a master and waits until it has synchronized.
    ///
    /// # Errors
    /// The replica does not synchronize in time.
    pub fn attach_replica(&self, replica: usize, master_id: &str) -> anyhow::Result<()> {
        let replica = &self.nodes[replica];
        wait_for("a replica to know its master", || {
            Ok(replica.run_command(&["CLUSTER", "REPLICATE", master_id]).is_ok_and(|reply| reply == "OK"))
        })?;
        wait_for("a replica", || Ok(replica.run_command(&["INFO", "replication"])?.contains("master_link_status:up")))
    }

    /// Waits until every replica follows its master.
    ///
    /// # Errors
    /// A replica does not synchronize in time.
    pub fn wait_replicas(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            wait_for("the replicas", || {
                let state = node.run_command(&["INFO", "replication"])?;
                Ok(state.contains("role:master") || state.contains("master_link_status:up"))
            })?;
        }
        Ok(())
    }

    /// Adds an empty master and waits until every node knows it. Returns its index.
    ///
    /// # Errors
    /// The node does not join in time.
    pub fn add_node(&mut self) -> anyhow::Result<usize> {
        let added = node()?;
        let bus = added.run_command(&["CONFIG", "GET", "cluster-port"])?;
        let bus = bus.lines().last().unwrap_or_default().to_owned();
        self.nodes[0].run_command(&["CLUSTER", "MEET", "127.0.0.1", &added.port().to_string(), &bus])?;
        self.nodes.push(added);
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        wait_for("the new node", || {
            let states = self.nodes.iter().map(|node| node.run_command(&["CLUSTER", "INFO"]));
            let states = states.collect::<anyhow::Result<Vec<_>>>()?;
            Ok(states.iter().all(|state| state.contains(&known) && state.contains("cluster_state:ok")))
        })?;
        Ok(self.nodes.len() - 1)
    }

    /// Promotes a replica and waits until every node agrees.
    ///
    /// # Errors
    /// The replica is not promoted in time.
    pub fn promote(&self, replica: usize, failover: ClusterFailover) -> anyhow::Result<()> {
        let replica = &self.nodes[replica];
        let takeover: &[&str] = if failover == ClusterFailover::Takeover { &["TAKEOVER"] } else { &[] };
        replica.run_command(&[&["CLUSTER", "FAILOVER"], takeover].concat())?;
        let id = replica.run_command(&["CLUSTER", "MYID"])?;
        self.wait_agreed("the promotion", |nodes| nodes.lines().any(|line| is_master(line, &id) && owns_slots(line)))
    }

    /// Moves the slot of a key to another master with all its keys, as a rebalance does, and waits until every node
    /// agrees.
    ///
    /// # Errors
    /// The slot is not moved in time.
    pub fn move_slot_of(&self, key: &str, to: usize) -> anyhow::Result<()> {
        let slot = self.nodes[to].run_command(&["CLUSTER", "KEYSLOT", key])?;
        let target = self.nodes[to].run_command(&["CLUSTER", "MYID"])?;
        let from = self.owner_of(&slot)?;
        let source = from.run_command(&["CLUSTER", "MYID"])?;
        self.nodes[to].run_command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source])?;
        from.run_command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target])?;
        let port = self.nodes[to].port().to_string();
        loop {
            let keys = from.run_command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"])?;
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                break;
            }
            from.run_command(&[&["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"], &keys[..]].concat())?;
        }
        self.nodes[to].run_command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target])?;
        // A master that has lost its last slot is a replica by now, and needs no notification.
        let _ = from.run_command(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
        let slot = slot.parse()?;
        self.wait_agreed("the slot to move", |nodes| {
            nodes.lines().any(|line| is_master(line, &target) && slots_of(line).any(|slots| slots.contains(&slot)))
        })
    }

    /// Returns the index of the master that has the slot of a key.
    ///
    /// # Errors
    /// No node claims the slot.
    pub fn master_of(&self, key: &str) -> anyhow::Result<usize> {
        let slot = self.nodes[0].run_command(&["CLUSTER", "KEYSLOT", key])?;
        let port = self.owner_of(&slot)?.port();
        self.nodes.iter().position(|node| node.port() == port).context("the owner is a node")
    }

    /// Returns the Redis channels that clients are subscribed to, on any node.
    ///
    /// # Errors
    /// A node does not respond.
    pub fn shard_channels(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for node in &self.nodes {
            let channels = node.run_command(&["PUBSUB", "SHARDCHANNELS"])?;
            found.extend(channels.lines().filter(|channel| !channel.is_empty()).map(str::to_owned));
        }
        Ok(found)
    }

    /// Moves up to `count` slots of subscribed Redis channels that have no keys to another master. Returns their
    /// number.
    ///
    /// # Errors
    /// A slot is not moved in time.
    pub fn move_subscribed_slots(&self, to: usize, count: usize) -> anyhow::Result<usize> {
        let mut moved = 0;
        for channel in self.shard_channels()? {
            let slot = self.nodes[0].run_command(&["CLUSTER", "KEYSLOT", &channel])?;
            let owner = self.owner_of(&slot)?;
            let keys = owner.run_command(&["CLUSTER", "COUNTKEYSINSLOT", &slot])?;
            if owner.port() != self.nodes[to].port() && keys == "0" {
                self.move_slot_of(&channel, to)?;
                moved += 1;
            }
            if moved == count {
                break;
            }
        }
        Ok(moved)
    }

    /// Returns the master of a slot.
    fn owner_of(&self, slot: &str) -> anyhow::Result<&RedisServer> {
        let slot = slot.parse()?;
        for node in &self.nodes {
            let nodes = node.run_command(&["CLUSTER", "NODES"])?;
            let owns = |line: &str| line.contains("myself,master") && slots_of(line).any(|slots| slots.contains(&slot));
            if nodes.lines().any(owns) {
                return Ok(node);
            }
        }
        anyhow::bail!("no master has slot {slot}")
    }

    fn wait_agreed(&self, what: &str, holds: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        wait_for(what, || {
            let views = self.nodes.iter().map(|node| node.run_command(&["CLUSTER", "NODES"]));
            Ok(views.collect::<anyhow::Result<Vec<_>>>()?.iter().all(|nodes| holds(nodes)))
        })
    }

    /// Returns the nodes.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Returns the nodes for tests that kill and restart them.
    pub fn nodes_mut(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// Returns the URLs of all nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }
}

/// Returns whether a line of `CLUSTER NODES` is that of the master with this id.
fn is_master(line: &str, id: &str) -> bool {
    line.starts_with(id) && line.split(' ').nth(2).is_some_and(|flags| flags.contains("master"))
}

fn owns_slots(line: &str) -> bool {
    slots_of(line).next().is_some()
}

/// Returns the slots of a node in a line of `CLUSTER NODES`, without those that are being moved.
fn slots_of(line: &str) -> impl Iterator<Item = std::ops::RangeInclusive<u16>> {
    line.split(' ').skip(8).filter_map(|slots| {
        let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
        Some(first.parse().ok()?..=last.parse().ok()?)
    })
}

fn node() -> anyhow::Result<RedisServer> {
    // The default bus port is the port plus 10,000, which may exceed 65535.
    let options = RedisOptions { append_only: true, ..RedisOptions::default() };
    let options = options
        .with_setting("cluster-enabled", "yes")
        .with_setting("cluster-port", &free_port()?.to_string())
        .with_setting("cluster-node-timeout", "5000");
    RedisServer::start_with(options)
}
