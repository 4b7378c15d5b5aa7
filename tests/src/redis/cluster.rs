//! Redis Cluster of masters without replicas, sufficient for tests of routing.

use super::server::{RedisOptions, RedisServer};
use super::{free_port, wait_for};

/// Number of hash slots ("Redis cluster specification").
const SLOTS: usize = 16_384;

/// Three masters that share the hash slots.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
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

fn node() -> anyhow::Result<RedisServer> {
    // The default bus port is the port plus 10,000, which may exceed 65535.
    let options = RedisOptions { append_only: true, ..RedisOptions::default() };
    let options = options
        .with_setting("cluster-enabled", "yes")
        .with_setting("cluster-port", &free_port()?.to_string())
        .with_setting("cluster-node-timeout", "5000");
    RedisServer::start_with(options)
}
