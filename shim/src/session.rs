//! One open connection: frames in, events to the handlers, frames out.
//!
//! A session is one task that polls everything it waits for with one waker: the socket, its outbox, the handlers that
//! run, and one timer. It reads all that has arrived, lets the handlers answer, and flushes once. Invariants: pings are
//! answered while a handler runs; a client that does not read its answers stops being read; a session ends with exactly
//! one [`CloseCause`], and what it had accepted from the client still runs.

mod closing;
mod context;
mod dispatch;
mod invocation;
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

/// An open connection being served.
pub struct Session {
    handle: Arc<Connection>,
    dispatch: MessageDispatcher,
    timer: SessionTimer,
}

impl Session {
    /// A session over a socket whose `101` is out, of a connection that is in the index already.
    pub fn new(
        socket: WebSocket<SocketStream>,
        handle: Arc<Connection>,
        ids: EventIds,
        context: Arc<SessionContext>,
    ) -> Self {
        let timer = SessionTimer::new(&context.integration.api.quotas, context.settings.stalled_write_timeout);
        *handle.transport().lock() = Some(Transport::new(socket, context.lifecycle.notices.clone()));
        Self { handle: handle.clone(), dispatch: MessageDispatcher::new(handle, ids, context), timer }
    }

    /// Serves the connection to its end, `$disconnect` included.
    pub async fn run(mut self) {
        let context = self.dispatch.context.clone();
        context.metrics.open_connections.inc();
        let cause = poll_fn(|cx| self.poll(cx)).await;
        context.lifecycle.close(&self.handle);
        context.metrics.open_connections.dec();
        context.metrics.count_closed(cause.name());
        tracing::debug!(connection.id = %self.handle.id, cause = cause.name(), "connection ended");
        self.close_session(cause).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        let Self { handle, dispatch, timer } = self;
        let mut transport = handle.transport().lock();
        // Only the end takes it out.
        let Some(transport) = transport.as_mut() else { return Poll::Pending };
        transport.set_waker(cx.waker());
        let turn = dispatch.run_turn(cx, transport).and_then(|()| transport.flush_outbox(cx, handle));
        dispatch.record_traffic(transport.take_sent_frames());
        let due = || timer.poll(cx, handle, transport.is_blocked());
        turn.err().or_else(due).map_or(Poll::Pending, Poll::Ready)
    }
}
