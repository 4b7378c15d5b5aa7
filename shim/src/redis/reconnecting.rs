//! A connection that heals: when it is lost, the next command makes another one.
//!
//! Invariant: at most one connection is being made per line at a time; everyone who needs it waits for the same attempt.
//! The library's own `ConnectionManager` does the same for one fixed address, which after a Sentinel failover is the wrong
//! one; a line asks its [`RedisConnector`] each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use redis::aio::AsyncPushSender;
use redis::{PushInfo, PushKind, RedisResult};

use super::connector::{DriverConnection, RedisConnector};

type ConnectAttempt = Shared<BoxFuture<'static, RedisResult<DriverConnection>>>;

/// A healing connection; clones share it.
#[derive(Clone)]
pub(super) struct ReconnectingConnection {
    connector: Arc<RedisConnector>,
    current: Arc<Mutex<CurrentConnection>>,
}

struct CurrentConnection {
    attempt: ConnectAttempt,
    lost: Arc<AtomicBool>,
    generation: u64,
}

impl ReconnectingConnection {
    /// A line that connects when it is first used.
    pub(super) fn new(connector: Arc<RedisConnector>) -> Self {
        let current = CurrentConnection::new(connector.clone(), 0);
        Self { connector, current: Arc::new(Mutex::new(current)) }
    }

    /// The present connection, made first if there is none, and its generation for [`Self::discard`].
    pub(super) async fn current_connection(&self) -> (u64, RedisResult<DriverConnection>) {
        let (generation, attempt) = {
            let mut current = self.current.lock();
            if current.lost.load(Ordering::Acquire) {
                *current = CurrentConnection::new(self.connector.clone(), current.generation + 1);
            }
            (current.generation, current.attempt.clone())
        };
        let wire = attempt.await;
        if wire.is_err() {
            self.discard(generation);
        }
        (generation, wire)
    }

    /// Which connection is the present one.
    pub(super) fn generation(&self) -> u64 {
        self.current.lock().generation
    }

    /// Gives a connection up that failed, unless that has been done already.
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
        let watch: Arc<dyn AsyncPushSender> = Arc::new(LossWatch(lost.clone()));
        let attempt = async move { connector.connect_for_commands(watch).await }.boxed().shared();
        Self { attempt, lost, generation }
    }
}

/// Hears that the connection is lost.
struct LossWatch(Arc<AtomicBool>);

impl AsyncPushSender for LossWatch {
    fn send(&self, push: PushInfo) -> Result<(), redis::aio::SendError> {
        if push.kind == PushKind::Disconnection {
            self.0.store(true, Ordering::Release);
        }
        Ok(())
    }
}
