//! The question whether every server that holds data answers and takes writes.
//!
//! Invariant: it changes nothing, and it is refused where every write is: by a replica (`READONLY`), by a server that cannot
//! save (`MISCONF`), by one that lacks replicas (`NOREPLICAS`). A server that is only full answers it: reads, publishes and
//! deletions go on there, and deletions make room.

use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{ErrorKind, FromRedisValue as _, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use super::connector::DriverConnection;
use super::preflight::HelloReply;

/// A script that does nothing and may write, which has a server say beforehand whether it takes writes ("Eval script flags",
/// since Redis 7.0). It needs no key, so that every node of a Cluster can be asked the same.
const WRITE_PROBE_SCRIPT: &str = "#!lua flags=allow-oom\nreturn 1";

/// Why writes are refused, or why nobody can tell.
pub(super) struct WriteProbeError {
    /// Which node of a Cluster it was, as host and port.
    pub(super) node: Option<String>,
    /// What it said, or what happened.
    pub(super) error: RedisError,
}

/// Asks, in one round trip.
pub(super) async fn probe_writes(wire: &mut DriverConnection, prefix: &str) -> Result<(), WriteProbeError> {
    match wire {
        DriverConnection::Server(_) => {
            probe_server(wire, prefix).await.map_err(|error| WriteProbeError { node: None, error })
        }
        DriverConnection::Cluster(connection) => probe_cluster(connection).await,
    }
}

/// The greeting says whether it is the master, also where replicas take writes; a deletion of what never is there tells the rest.
async fn probe_server(wire: &mut DriverConnection, prefix: &str) -> RedisResult<()> {
    let mut questions = Pipeline::with_capacity(2);
    questions.add_command(HelloReply::hello_command());
    questions.cmd("UNLINK").arg(format!("{prefix}:{{check}}:nothing"));
    let mut greeting = None;
    for answer in wire.send_pipeline(&questions).await? {
        let answer = answer.extract_error()?;
        greeting = greeting.or(Some(answer));
    }
    if HelloReply::from_value(&greeting.unwrap_or(Value::Nil))?.is_writable() {
        return Ok(());
    }
    Err(RedisError::from((ErrorKind::Server(ServerErrorKind::ReadOnly), "the server is a replica")))
}

async fn probe_cluster(connection: &mut ClusterConnection) -> Result<(), WriteProbeError> {
    let question = cmd("EVAL").arg(WRITE_PROBE_SCRIPT).arg(0).take();
    // Without a policy every node's own answer comes back.
    let masters = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    let unknown = |error| WriteProbeError { node: None, error };
    let answers = connection.route_command(question, masters).await.map_err(unknown)?;
    let odd = |_| unknown(RedisError::from((ErrorKind::UnexpectedReturnType, "EVAL is not answered by each node")));
    for (node, answer) in answers.into_map_iter().map_err(odd)? {
        let node = String::from_redis_value(node).ok();
        answer.extract_error().map_err(|error| WriteProbeError { node, error })?;
    }
    Ok(())
}
