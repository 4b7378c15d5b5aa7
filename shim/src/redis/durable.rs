//! Writes that must survive a failover: replicas have received them, or at least the server is still the master.
//!
//! The write, `WAIT` and `INFO replication` are one round trip on one connection. `WAIT` counts the replicas that have
//! the writes of its own connection. The state after it shows a master that was demoted, and one that has just lost a
//! replica: a promoted replica leaves its master before any Sentinel knows, and the other replicas would still confirm.

use std::time::Duration;

use redis::cluster_routing::{Route, SingleNodeRoutingInfo, SlotAddr};
use redis::{
    Cmd, ErrorKind, FromRedisValue as _, Pipeline, RedisError, RedisResult, ScriptInvocation, ServerErrorKind, Value,
    cmd,
};

use super::driver_connection::DriverConnection;
use super::replication::ReplicationState;

/// Commands of a durable write.
#[derive(Clone, Copy)]
pub(super) enum DurableCommands<'a> {
    /// One command. Its outcome is its reply.
    Command(&'a Cmd),
    /// One script. Its outcome is its reply.
    Script(&'a ScriptInvocation<'a>),
    /// Commands to one server. Their outcome is the list of their replies.
    Pipeline(&'a Pipeline),
}

/// A write, and the replicas it waits for.
#[derive(Clone, Copy)]
pub(super) struct DurableWrite<'a> {
    pub(super) commands: DurableCommands<'a>,
    /// A key that is written. It selects the Cluster node.
    pub(super) key: &'a [u8],
    /// Number of replicas to wait for; 0 only checks the server.
    pub(super) replicas: u32,
    /// Timeout of `WAIT`.
    pub(super) timeout: Duration,
}

/// Confirmation of a write by replicas.
#[derive(Debug)]
pub(super) struct WriteConfirmation {
    /// Number of replicas that have the write.
    pub(super) replicas: u32,
    /// State of the server after the wait.
    pub(super) state: ReplicationState,
}

impl DurableWrite<'_> {
    /// Sends the write and waits for replicas. Where the server `confirms_alone`, it waits only if it has a replica.
    pub(super) async fn send_on(
        self,
        driver: &mut DriverConnection,
        confirms_alone: bool,
    ) -> RedisResult<(Value, WriteConfirmation)> {
        let waits = self.replicas > 0 && !confirms_alone;
        let mut pipeline = self.write_pipeline();
        let writes = pipeline.len();
        if waits {
            pipeline.add_command(self.wait_command());
        }
        pipeline.add_command(ReplicationState::info_command());
        let mut outcome = self.send_pipeline(driver, &pipeline).await;
        if let DurableCommands::Script(invocation) = self.commands
            && is_script_missing(&outcome)
        {
            invocation.load_async(driver).await?;
            outcome = self.send_pipeline(driver, &pipeline).await;
        }
        let mut replies = outcome.map_err(demoted_error)?;
        let mut rest = replies.split_off(writes.min(replies.len())).into_iter();
        let reply = self.reply(replies)?;
        let mut confirmation = parse_confirmation(&mut rest, waits)?;
        if !waits && self.replicas > 0 && !confirmation.state.online_replicas.is_empty() {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.add_command(self.wait_command());
            pipeline.add_command(ReplicationState::info_command());
            let replies = self.send_pipeline(driver, &pipeline).await?;
            confirmation = parse_confirmation(&mut replies.into_iter(), true)?;
        }
        Ok((reply, confirmation))
    }

    fn write_pipeline(self) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(3);
        match self.commands {
            DurableCommands::Command(command) => {
                pipeline.add_command(command.clone());
            }
            DurableCommands::Script(invocation) => {
                pipeline.invoke_script(invocation);
            }
            DurableCommands::Pipeline(commands) => pipeline = commands.clone(),
        }
        pipeline
    }

    fn wait_command(self) -> Cmd {
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        cmd("WAIT").arg(self.replicas).arg(timeout_ms).take()
    }

    /// Sends all commands to one server: in a Cluster, to the master of the key.
    async fn send_pipeline(self, driver: &mut DriverConnection, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        match driver {
            DriverConnection::Server(_) => driver.send_pipeline(pipeline).await,
            DriverConnection::Cluster(cluster) => {
                let node = SingleNodeRoutingInfo::SpecificNode(Route::with_key(self.key, SlotAddr::Master));
                cluster.route_pipeline(pipeline.clone(), 0, pipeline.len(), node).await
            }
        }
    }

    fn reply(self, mut replies: Vec<Value>) -> RedisResult<Value> {
        match self.commands {
            DurableCommands::Pipeline(_) => Value::Array(replies).extract_error(),
            DurableCommands::Command(_) | DurableCommands::Script(_) => {
                replies.pop().ok_or_else(missing_reply)?.extract_error()
            }
        }
    }
}

/// Returns whether the server does not have the script. A Cluster connection returns the first error of all replies.
fn is_script_missing(outcome: &RedisResult<Vec<Value>>) -> bool {
    let no_script = ServerErrorKind::NoScript;
    match outcome {
        Ok(replies) => {
            matches!(replies.first(), Some(Value::ServerError(error)) if error.kind() == Some(no_script))
        }
        Err(error) => error.kind() == ErrorKind::Server(no_script),
    }
}

/// A server that was demoted between the write and `WAIT` rejects `WAIT`: the write has to be repeated on another one.
fn demoted_error(error: RedisError) -> RedisError {
    let demoted = error.detail().is_some_and(|detail| detail.contains("WAIT cannot be used with replica"));
    if demoted {
        RedisError::from((ErrorKind::Server(ServerErrorKind::ReadOnly), "the server was demoted"))
    } else {
        error
    }
}

fn parse_confirmation(replies: &mut impl Iterator<Item = Value>, has_wait: bool) -> RedisResult<WriteConfirmation> {
    // A server that was demoted between the write and `WAIT` rejects `WAIT`. Its state says so too.
    let replicas =
        if has_wait { u32::from_redis_value(replies.next().ok_or_else(missing_reply)?).unwrap_or(0) } else { 0 };
    let state = ReplicationState::from_value(replies.next().ok_or_else(missing_reply)?)?;
    Ok(WriteConfirmation { replicas, state })
}

fn missing_reply() -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, "a pipeline returned too few replies"))
}
