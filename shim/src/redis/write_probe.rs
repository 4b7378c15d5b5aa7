//! Write probe: checks that every server that holds data answers and accepts writes.
//!
//! It changes nothing, and fails on servers that reject writes: replicas (`READONLY`), servers that cannot save to disk
//! (`MISCONF`) and servers without enough replicas (`NOREPLICAS`). It succeeds on a server at maxmemory, where reads,
//! publishes and deletions still work, and deletions free memory.

use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{ErrorKind, FromRedisValue as _, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use super::driver_connection::DriverConnection;
use super::preflight::HelloReply;

/// A script that does nothing but is declared as writing, so that a server checks beforehand whether it accepts writes
/// ("Eval script flags", since Redis 7.0). It needs no key, so it can be sent to every node of a Cluster.
const WRITE_PROBE_SCRIPT: &str = "#!lua flags=allow-oom\nreturn 1";

/// Error of a write probe.
pub(super) struct WriteProbeError {
    /// Cluster node that failed, as host and port.
    pub(super) node: Option<String>,
    /// Reply of the server, or the error of the connection.
    pub(super) error: RedisError,
}

/// Runs the probe, in one round trip.
pub(super) async fn probe_writes(connection: &mut DriverConnection, prefix: &str) -> Result<(), WriteProbeError> {
    match connection {
        DriverConnection::Server(_) => {
            probe_server(connection, prefix).await.map_err(|error| WriteProbeError { node: None, error })
        }
        DriverConnection::Cluster(cluster) => probe_cluster(cluster).await,
    }
}

/// Probes one server. `HELLO` returns its role, also where replicas accept writes; the deletion of a key that never
/// exists fails wherever writes are rejected.
async fn probe_server(connection: &mut DriverConnection, prefix: &str) -> RedisResult<()> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.add_command(HelloReply::hello_command());
    pipeline.cmd("UNLINK").arg(format!("{prefix}:{{check}}:absent"));
    let mut hello = None;
    for reply in connection.send_pipeline(&pipeline).await? {
        let reply = reply.extract_error()?;
        hello = hello.or(Some(reply));
    }
    if HelloReply::from_value(&hello.unwrap_or(Value::Nil))?.is_writable() {
        return Ok(());
    }
    Err(RedisError::from((ErrorKind::Server(ServerErrorKind::ReadOnly), "the server is a replica")))
}

async fn probe_cluster(connection: &mut ClusterConnection) -> Result<(), WriteProbeError> {
    let command = cmd("EVAL").arg(WRITE_PROBE_SCRIPT).arg(0).take();
    // Without a response policy the driver returns the reply of every node.
    let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let unknown = |error| WriteProbeError { node: None, error };
    let replies = connection.route_command(command, masters).await.map_err(unknown)?;
    let unexpected =
        |_| unknown(RedisError::from((ErrorKind::UnexpectedReturnType, "EVAL returned no reply per node")));
    for (node, reply) in replies.into_map_iter().map_err(unexpected)? {
        let node = String::from_redis_value(node).ok();
        reply.extract_error().map_err(|error| WriteProbeError { node, error })?;
    }
    Ok(())
}
