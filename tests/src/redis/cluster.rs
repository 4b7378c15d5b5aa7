//! A Cluster of masters without replicas, which is all that routing needs.

use super::server::{RedisOptions, RedisServer};
use super::{free_port, wait_for};

/// How many slots there are ("Redis cluster specification").
const SLOTS: usize = 16_384;

/// Three masters that share the slots.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts three masters and waits until each knows all slots.
    ///
    /// # Errors
    /// When they do not come together.
    pub fn start() -> anyhow::Result<Self> {
        let nodes = (0..3).map(|_| node()).collect::<anyhow::Result<Vec<_>>>()?;
        let share = SLOTS.div_ceil(nodes.len());
        for (number, node) in nodes.iter().enumerate() {
            let (first, last) = (number * share, ((number + 1) * share).min(SLOTS) - 1);
            node.run_command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
            // Distinct epochs from the start spare them the negotiation.
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

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The nodes, to be killed and revived.
    pub fn nodes_mut(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// The addresses of all nodes.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::url).collect()
    }
}

fn node() -> anyhow::Result<RedisServer> {
    // The bus between nodes is 10,000 ports further up unless told otherwise, which may be beyond the last port.
    let options = RedisOptions { append_only: true, ..RedisOptions::default() };
    let options = options
        .with_setting("cluster-enabled", "yes")
        .with_setting("cluster-port", &free_port()?.to_string())
        .with_setting("cluster-node-timeout", "5000");
    RedisServer::start_with(options)
}
