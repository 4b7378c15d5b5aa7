//! End of a session: close handshake with the client, remaining messages, then `$disconnect` once.

use std::future::poll_fn;
use std::task::Poll;

use gateway::close::CloseCause;
use gateway::event::{ConnectionFacts, DisconnectEvent};
use gateway::reply::IntegrationError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dispatch::MessageDispatcher;
use super::{Session, SessionContext, invocation};
use crate::connection::{Connection, SocketStream, Transport};
use crate::functions::ApiIntegration;

/// Maximum bytes discarded after a protocol violation, so that a client that is still sending receives the close frame:
/// closing a TCP socket with unread data sends RST, after which the client may lose data that was already sent to it.
const MAX_DISCARDED_INPUT_BYTES: usize = 32 * 1024 * 1024;

impl Session {
    /// Closes the connection with `cause`. If the server sends the close frame first, the remaining messages and
    /// `$disconnect` run in a separate task, so that a client that does not reply to the close frame does not delay
    /// them.
    pub(super) async fn close_session(self, cause: CloseCause) {
        let Self { connection, dispatch, .. } = self;
        let context = dispatch.context.clone();
        let transport = connection.transport().lock().take();
        let disconnect = Box::pin(drain_and_disconnect(dispatch, cause.clone()));
        let handshake = async {
            if let Some(mut transport) = transport {
                let handshake = close_handshake(&mut transport, &connection, &cause);
                let _ = tokio::time::timeout(context.settings.close_timeout, handshake).await;
            }
        };
        if cause.close_frame().is_some() {
            context.lifecycle.tasks.spawn(disconnect);
            handshake.await;
        } else {
            // Only the echo of the client's close frame has to be flushed.
            handshake.await;
            disconnect.await;
        }
    }
}

async fn close_handshake(transport: &mut Transport, connection: &Connection, cause: &CloseCause) {
    poll_fn(|cx| {
        if !matches!(cause, CloseCause::SlowConsumer | CloseCause::ConnectionLost) {
            // Frames queued before the close are still sent, until the socket would block.
            let _ = transport.write_outbox(cx, connection);
        }
        if let Some((code, reason)) = cause.close_frame() {
            transport.socket().enqueue_close(code, reason);
        }
        Poll::Ready(())
    })
    .await;
    let socket = transport.socket();
    let flushed = poll_fn(|cx| socket.poll_flush(cx)).await.is_ok();
    if !flushed || cause.close_frame().is_none() {
        // Dropping the stream closes it.
        return;
    }
    if stream_is_unreadable(cause) {
        let _ = socket.stream_mut().shutdown().await;
        discard_input(socket.stream_mut()).await;
    } else {
        // Further messages were sent before the client received the close frame; they are ignored.
        while poll_fn(|cx| socket.poll_read(cx)).await.is_ok() {}
        let _ = socket.stream_mut().shutdown().await;
    }
}

async fn discard_input(stream: &mut SocketStream) {
    // On the heap: a local array would enlarge the future of every session.
    let mut buffer = vec![0; 4096];
    let mut remaining = MAX_DISCARDED_INPUT_BYTES;
    while remaining > 0 {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => remaining = remaining.saturating_sub(read),
            Ok(_) | Err(_) => return,
        }
    }
}

/// Returns whether the rest of the stream can no longer be parsed as frames.
const fn stream_is_unreadable(cause: &CloseCause) -> bool {
    matches!(
        cause,
        CloseCause::FrameTooBig
            | CloseCause::MessageTooBig
            | CloseCause::ProtocolError
            | CloseCause::InvalidUtf8
            | CloseCause::InvalidDeflate
    )
}

/// Handles the messages that were read before the connection closed, in order, then runs `$disconnect`.
async fn drain_and_disconnect(mut dispatch: MessageDispatcher, cause: CloseCause) {
    dispatch.drain_messages().await;
    disconnect_owned(&dispatch.context, &dispatch.connection, &mut dispatch.event_stamper, &cause).await;
}

/// Runs `$disconnect`, unless another pod has taken over the connection and runs it. A failure has no effect on the
/// client: it is logged, and retried later if the retry policy allows.
pub async fn disconnect_owned(
    context: &SessionContext,
    connection: &Connection,
    event_stamper: &mut invocation::EventStamper,
    cause: &CloseCause,
) {
    let Some(registry) = &context.lifecycle.registry else {
        let _ = run_disconnect(&context.integration, &connection.facts, event_stamper, cause).await;
        return;
    };
    if !registry.owns_connection(connection.id) {
        return;
    }
    match run_disconnect(&context.integration, &connection.facts, event_stamper, cause).await {
        Err(_) if context.lifecycle.disconnect_retry.is_allowed() => registry.defer_disconnect(connection.id, cause),
        Ok(()) | Err(_) => registry.delete_connection(connection.id),
    }
}

/// Runs the `$disconnect` of a connection, possibly one of another process.
///
/// # Errors
/// The handler failed or timed out. The failure is already logged.
pub async fn run_disconnect(
    integration: &ApiIntegration,
    facts: &ConnectionFacts,
    event_stamper: &mut invocation::EventStamper,
    cause: &CloseCause,
) -> Result<(), IntegrationError> {
    let Some(timeout) = integration.api.routes.disconnect.as_ref().map(|route| route.timeout) else { return Ok(()) };
    let (request_id, time) = event_stamper.next_request(integration.clock.now());
    let (status_code, reason) = cause.disconnect_status();
    let event = DisconnectEvent { facts, request_id, time, status_code, reason };
    let call = integration.functions.invoke_disconnect(event);
    let failure = match tokio::time::timeout(timeout, call).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(failure)) => failure,
        Err(_) => IntegrationError::TimedOut,
    };
    tracing::warn!(connection.id = %facts.connection_id, failure = ?failure, "$disconnect handler failed");
    Err(failure)
}
