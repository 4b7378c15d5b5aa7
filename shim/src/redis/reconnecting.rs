//! A connection that reconnects: after a loss, the next command opens a new one.
//!
//! At most one connection attempt per [`ReconnectingConnection`] is in progress, and all callers wait for the same
//! attempt. The driver's `ConnectionManager` always uses the same address, which is wrong after a Sentinel failover.
//! This type resolves the address through its [`RedisConnector`] each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use redis::aio::AsyncPushSender;
use redis::{PushInfo, PushKind, RedisResult};

use super::connector::RedisConnector;
use super::driver_connection::DriverConnection;

type ConnectAttempt = Shared<BoxFuture<'static, RedisResult<DriverConnection>>>;

/// Reconnecting connection; clones share it.
#[derive(Clone)]
pub(super) struct ReconnectingConnection {
    connector: Arc<RedisConnector>,
    current: Arc<Mutex<CurrentConnection>>,
}

struct CurrentConnection {
    attempt: ConnectAttempt,
    lost: Arc<AtomicBool>,
    generation: u64,
    /// Generation of the master when the connection was created.
    master_generation: u64,
}

/// The current connection of a [`ReconnectingConnection`].
pub(super) struct CurrentDriver {
    /// For [`ReconnectingConnection::discard`].
    pub(super) generation: u64,
    /// Generation of the master to which the connection was opened.
    pub(super) master_generation: u64,
    pub(super) driver: RedisResult<DriverConnection>,
}

impl ReconnectingConnection {
    /// Creates a connection that is opened on first use.
    pub(super) fn new(connector: Arc<RedisConnector>) -> Self {
        let current = CurrentConnection::new(connector.clone(), 0);
        Self { connector, current: Arc::new(Mutex::new(current)) }
    }

    /// Returns the current connection, opened if necessary. A connection to a former master is replaced.
    pub(super) async fn current_connection(&self) -> CurrentDriver {
        let (generation, master_generation, attempt) = {
            let mut current = self.current.lock();
            if current.lost.load(Ordering::Acquire) || current.master_generation != self.connector.master_generation() {
                *current = CurrentConnection::new(self.connector.clone(), current.generation + 1);
            }
            (current.generation, current.master_generation, current.attempt.clone())
        };
        let driver = attempt.await;
        if driver.is_err() {
            self.discard(generation);
        }
        CurrentDriver { generation, master_generation, driver }
    }

    /// Returns the generation of the current connection.
    pub(super) fn generation(&self) -> u64 {
        self.current.lock().generation
    }

    /// Discards a failed connection, unless it has been replaced already.
    pub(super) fn discard(&self, generation: u64) {
        let mut current = self.current.lock();
        if current.generation == generation {
            *current = CurrentConnection::new(self.connector.clone(), generation + 1);
        }
    }
}

impl CurrentConnection {
    fn new(connector: Arc<RedisConnector>, generation: u64) -> Self {
        let lost = Arc::new(AtomicBool::new(false));
        let loss_flag: Arc<dyn AsyncPushSender> = Arc::new(LossFlag(lost.clone()));
        let master_generation = connector.master_generation();
        let attempt = async move { connector.connect_for_commands(loss_flag).await }.boxed().shared();
        Self { attempt, lost, generation, master_generation }
    }
}

/// Sets a flag when the connection is lost.
struct LossFlag(Arc<AtomicBool>);

impl AsyncPushSender for LossFlag {
    fn send(&self, push: PushInfo) -> Result<(), redis::aio::SendError> {
        if push.kind == PushKind::Disconnection {
            self.0.store(true, Ordering::Release);
        }
        Ok(())
    }
}
