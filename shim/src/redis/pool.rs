//! Connections that one caller has for itself, for a while.
//!
//! Multiplexed lines are several times faster for what is short. The pool is for what would hold others up, the reads of
//! many records, and for `WAIT`, which speaks of the writes of its own connection and blocks it. Its connections heal by
//! themselves, so the pool neither tests them when it hands them out nor replaces them.

use std::convert::Infallible;
use std::sync::Arc;

use bb8_redis::bb8::{ManageConnection, Pool};

use super::line::Line;
use super::settings::RedisSettings;
use super::wire::Connector;

/// A bounded set of lines. When all are taken, callers wait for as long as one answer may take.
pub(super) type LinePool = Pool<Lines>;

/// Makes the pool's lines.
pub(super) struct Lines(Arc<Connector>);

/// An empty pool that grows to `settings.pool_size` and shrinks again.
pub(super) fn pool(settings: &RedisSettings, connector: Arc<Connector>) -> LinePool {
    Pool::builder()
        .max_size(settings.pool_size)
        .min_idle(0)
        .test_on_check_out(false)
        .connection_timeout(settings.response_timeout)
        .build_unchecked(Lines(connector))
}

impl ManageConnection for Lines {
    type Connection = Line;
    type Error = Infallible;

    async fn connect(&self) -> Result<Line, Infallible> {
        Ok(Line::new(self.0.clone()))
    }

    async fn is_valid(&self, _: &mut Line) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Line) -> bool {
        false
    }
}
