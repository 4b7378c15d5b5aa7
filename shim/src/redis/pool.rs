//! Connections that one caller has for itself, for a while.
//!
//! Multiplexed lines are several times faster for what is short. The pool is for what would hold others up, the reads of
//! many records, and for `WAIT`, which speaks of the writes of its own connection and blocks it. Its connections heal by
//! themselves, so the pool neither tests them when it hands them out nor replaces them.

use std::convert::Infallible;
use std::sync::Arc;

use bb8_redis::bb8::{ManageConnection, Pool};

use super::connector::RedisConnector;
use super::reconnecting::ReconnectingConnection;
use super::settings::RedisSettings;

/// A bounded set of lines. When all are taken, callers wait for as long as one answer may take.
pub(super) type ConnectionPool = Pool<ConnectionFactory>;

/// Makes the pool's lines.
pub(super) struct ConnectionFactory(Arc<RedisConnector>);

/// An empty pool that grows to `settings.pool_size` and shrinks again.
pub(super) fn build_pool(settings: &RedisSettings, connector: Arc<RedisConnector>) -> ConnectionPool {
    Pool::builder()
        .max_size(settings.pool_size)
        .min_idle(0)
        .test_on_check_out(false)
        .connection_timeout(settings.response_timeout)
        .build_unchecked(ConnectionFactory(connector))
}

impl ManageConnection for ConnectionFactory {
    type Connection = ReconnectingConnection;
    type Error = Infallible;

    async fn connect(&self) -> Result<ReconnectingConnection, Infallible> {
        Ok(ReconnectingConnection::new(self.0.clone()))
    }

    async fn is_valid(&self, _: &mut ReconnectingConnection) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut ReconnectingConnection) -> bool {
        false
    }
}
