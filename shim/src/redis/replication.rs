//! Replication state of one server, as `INFO replication` reports it.
//!
//! A replica that is promoted keeps the replication id of its former master as its second one ("Redis replication").
//! So of two servers that both call themselves master, the one whose second id is the first id of the other is the
//! newer one: it took over from the other, which does not know that yet.

use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{Cmd, FromRedisValue as _, RedisResult, Value, cmd};

use super::driver_connection::DriverConnection;

/// Second replication id of a server that has never been promoted.
const NO_REPLICATION_ID: &str = "0000000000000000000000000000000000000000";

/// Host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct NodeAddress {
    pub(super) host: String,
    pub(super) port: u16,
}

/// Reply to `INFO replication`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReplicationState {
    pub(super) is_master: bool,
    /// Replication id of the data.
    pub(super) replication_id: String,
    /// Replication id of the master that this server took over from.
    previous_id: String,
    /// Replicas that receive the writes of this master. Replicas that still synchronize are not among them.
    pub(super) online_replicas: Vec<NodeAddress>,
}

impl ReplicationState {
    /// Returns the `INFO replication` command.
    pub(super) fn info_command() -> Cmd {
        cmd("INFO").arg("replication").take()
    }

    /// Parses the reply.
    ///
    /// # Errors
    /// Returns an error when the reply is no text.
    pub(super) fn from_value(reply: Value) -> RedisResult<Self> {
        Ok(Self::parse(&String::from_redis_value(reply.extract_error()?)?))
    }

    fn parse(text: &str) -> Self {
        let mut state = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.trim().split_once(':')) {
            match name {
                "role" => state.is_master = value == "master",
                "master_replid" => value.clone_into(&mut state.replication_id),
                "master_replid2" => value.clone_into(&mut state.previous_id),
                // `slave0` and so on; also `slave_repl_offset`, which has no fields.
                _ if name.starts_with("slave") => state.online_replicas.extend(parse_online_replica(value)),
                _ => {}
            }
        }
        state
    }

    /// Returns whether this server is a master that took over from the master whose replication id is `other`.
    pub(super) fn took_over_from(&self, other: &str) -> bool {
        self.is_master && self.previous_id == other && other != NO_REPLICATION_ID && self.replication_id != other
    }
}

/// Returns the number of online replicas of the master that has the fewest.
pub(super) async fn min_online_replicas(connection: &mut DriverConnection) -> RedisResult<usize> {
    let command = ReplicationState::info_command();
    let replies: Vec<Value> = match connection {
        DriverConnection::Server(_) => vec![connection.send_command(&command).await?],
        DriverConnection::Cluster(cluster) => {
            // Without a response policy the driver returns the reply of every node.
            let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
            let replies = cluster.route_command(command, masters).await?;
            replies.into_map_iter().map(|nodes| nodes.map(|(_, reply)| reply).collect()).unwrap_or_default()
        }
    };
    let states = replies.into_iter().map(ReplicationState::from_value).collect::<RedisResult<Vec<_>>>()?;
    Ok(states.iter().map(|state| state.online_replicas.len()).min().unwrap_or_default())
}

/// Parses `ip=127.0.0.1,port=6380,state=online,offset=1,lag=0`. Returns `None` for a replica that is not online.
fn parse_online_replica(fields: &str) -> Option<NodeAddress> {
    let field = |name: &str| fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let port = field("port")?.parse().ok()?;
    (field("state")? == "online").then(|| field("ip").map(|host| NodeAddress { host: host.to_owned(), port }))?
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const OLD: &str = "8c9d2b6f0f6e0c8f3c0a5d6b8b6a1f1e2d3c4b5a";
    const NEW: &str = "1111111111111111111111111111111111111111";

    /// Returns the state of a server with these lines about its replicas.
    pub(in crate::redis) fn state(
        role: &str,
        replication_id: &str,
        previous_id: &str,
        replicas: &str,
    ) -> ReplicationState {
        ReplicationState::parse(&format!(
            "# Replication\r\nrole:{role}\r\nconnected_slaves:2\r\n{replicas}master_failover_state:no-failover\r\n\
             master_replid:{replication_id}\r\nmaster_replid2:{previous_id}\r\nmaster_repl_offset:42\r\n"
        ))
    }

    #[test]
    fn only_replicas_that_receive_the_writes_are_online() {
        let replicas = "slave0:ip=10.0.0.2,port=6380,state=online,offset=42,lag=0\r\n\
                        slave1:ip=10.0.0.3,port=6381,state=send_bulk,offset=0,lag=0\r\n";
        let master = state("master", OLD, NO_REPLICATION_ID, replicas);
        assert!(master.is_master);
        assert_eq!(master.replication_id, OLD);
        assert_eq!(master.online_replicas, [NodeAddress { host: "10.0.0.2".to_owned(), port: 6380 }]);
        let replica = state("slave", OLD, NO_REPLICATION_ID, "slave_repl_offset:42\r\nslave_priority:100\r\n");
        assert!(!replica.is_master && replica.online_replicas.is_empty());
    }

    #[test]
    fn a_promoted_replica_took_over_from_the_master_whose_data_it_had() {
        let promoted = state("master", NEW, OLD, "");
        assert!(promoted.took_over_from(OLD));
        assert!(!promoted.took_over_from(NEW), "from itself");
        assert!(!state("master", OLD, NO_REPLICATION_ID, "").took_over_from(NO_REPLICATION_ID), "never promoted");
        assert!(!state("slave", NEW, OLD, "").took_over_from(OLD), "demoted since");
    }
}
