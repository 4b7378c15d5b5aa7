//! The task of one open connection: frames in, events to the handlers, frames out.
//!
//! A session polls the socket, the outbox, the running handlers and one timer with a single waker. Each poll reads all
//! received messages, sends the replies of finished handlers, and flushes once.
//!
//! - Pings are answered while a handler runs. With `session.ping_interval` the session sends its own.
//! - A client that does not read its replies is not read either (backpressure).
//! - A session ends with exactly one [`CloseCause`]. Messages accepted before that are still handled.

mod closing;
mod context;
mod dispatch;
mod invocation;
mod ping_schedule;
mod timer;

pub use self::closing::{disconnect_owned, run_disconnect};
pub use self::context::{DisconnectRunner, SessionContext};
pub use self::invocation::EventStamper;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use gateway::close::CloseCause;
use gateway::id::EventIds;
use websocket::WebSocket;

use self::dispatch::MessageDispatcher;
use self::timer::SessionTimer;
use crate::connection::{Connection, SocketStream, Transport};

/// Serves one open connection.
pub struct Session {
    connection: Arc<Connection>,
    dispatch: MessageDispatcher,
    timer: SessionTimer,
}

impl Session {
    /// Creates the session of an indexed connection whose `101` response was sent on `socket`.
    pub fn new(
        socket: WebSocket<SocketStream>,
        connection: Arc<Connection>,
        ids: EventIds,
        context: Arc<SessionContext>,
    ) -> Self {
        let (quotas, clock) = (&context.integration.api.quotas, &*context.integration.clock);
        let expires_at = context.lifecycle.expires_at(&connection);
        let timer = SessionTimer::new(quotas, context.settings.stalled_write_timeout, expires_at, clock)
            .with_pings(&context.settings);
        *connection.transport().lock() = Some(Transport::new(socket, context.lifecycle.notices.clone()));
        Self { connection: connection.clone(), dispatch: MessageDispatcher::new(connection, ids, context), timer }
    }

    /// Serves the connection until it has closed and its `$disconnect` has run.
    pub async fn run(mut self) {
        let context = self.dispatch.context.clone();
        context.metrics.open_connections.inc();
        let cause = poll_fn(|cx| self.poll(cx)).await;
        context.lifecycle.close(&self.connection);
        context.metrics.open_connections.dec();
        context.metrics.count_closed(cause.name());
        tracing::debug!(connection.id = %self.connection.id, cause = cause.name(), "connection closed");
        self.close_session(cause).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        let Self { connection, dispatch, timer } = self;
        let mut transport = connection.transport().lock();
        // Removed only by `close_session`.
        let Some(transport) = transport.as_mut() else { return Poll::Pending };
        transport.set_waker(cx.waker());
        let outcome = dispatch.process_messages(cx, transport).and_then(|()| transport.flush_outbox(cx, connection));
        dispatch.record_traffic(transport.take_sent_frames());
        let clock = &*dispatch.context.integration.clock;
        timer.observe_client(transport.take_received() || dispatch.is_reading_paused());
        let timer_cause = || timer.poll(cx, connection, transport.is_blocked(), clock);
        let mut cause = outcome.err().or_else(timer_cause);
        if cause.is_none() && timer.take_due_ping() {
            cause = transport.send_ping(cx).err();
        }
        cause.map_or(Poll::Pending, Poll::Ready)
    }
}
