//! Pool of dedicated connections.
//!
//! Short commands are several times faster on a multiplexed connection. The pool serves operations that would delay
//! other commands: reads of many records, and `WAIT`, which covers the writes of its own connection and blocks it.
//! Pooled connections reconnect by themselves, so the pool neither tests them at checkout nor replaces them.

use std::convert::Infallible;
use std::sync::Arc;

use bb8_redis::bb8::{ManageConnection, Pool};

use super::connector::RedisConnector;
use super::reconnecting::ReconnectingConnection;
use super::settings::RedisSettings;

/// Bounded pool of connections. When all are in use, callers wait up to the response timeout.
pub(super) type ConnectionPool = Pool<ConnectionFactory>;

/// Creates the connections of the pool.
pub(super) struct ConnectionFactory(Arc<RedisConnector>);

/// Builds an empty pool that grows to `settings.pool_size` connections and shrinks again when they are idle.
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
