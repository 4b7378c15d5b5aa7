//! A multiplexed connection to one server, or to the nodes of a Cluster.

use futures_util::FutureExt as _;
use futures_util::future::try_join_all;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};

use super::slots;

/// Multiplexed connection.
#[derive(Clone)]
pub(super) enum DriverConnection {
    /// Connection to one server.
    Server(MultiplexedConnection),
    /// Connections to the nodes of a Cluster.
    Cluster(ClusterConnection),
}

impl DriverConnection {
    /// Sends one command and returns its reply.
    pub(super) async fn send_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Server(connection) => connection.send_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        }
    }

    /// Sends several commands and returns their replies: in one round trip to a server; in a Cluster in one per slot,
    /// all concurrently.
    pub(super) async fn send_pipeline(&mut self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        match self {
            Self::Server(connection) => connection.send_packed_commands(pipeline, 0, pipeline.len()).await,
            Self::Cluster(connection) => {
                let sends = slots::split_by_slot(pipeline).into_iter().map(|part| {
                    let mut connection = connection.clone();
                    async move {
                        let replies = connection.req_packed_commands(&part.pipeline, 0, part.pipeline.len()).await?;
                        RedisResult::Ok((part, replies))
                    }
                });
                Ok(slots::merge_replies(try_join_all(sends).await?))
            }
        }
    }
}

/// Used by `redis::Script`, which sends its source to servers that do not have it.
impl ConnectionLike for DriverConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.send_command(command).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
