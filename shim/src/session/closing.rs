//! The end of a session: what was accepted still runs, the client is told why, `$disconnect` fires once.

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

/// Most bytes that are read and thrown away so that a client in the middle of a forbidden message still sees the close
/// frame: closing a socket with unread bytes resets it, and a reset overtakes what was sent.
const MAX_DISCARDED_INPUT_BYTES: usize = 32 * 1024 * 1024;

impl Session {
    /// Ends the connection for `cause`. Where the client has yet to answer a close frame, the handlers go on in a task of
    /// their own meanwhile, so that a client that does not answer delays nothing.
    pub(super) async fn close_session(self, cause: CloseCause) {
        let Self { handle, dispatch, .. } = self;
        let context = dispatch.context.clone();
        let transport = handle.transport().lock().take();
        let ending = Box::pin(drain_and_disconnect(dispatch, cause.clone()));
        let goodbye = async {
            if let Some(mut transport) = transport {
                let goodbye = close_handshake(&mut transport, &handle, &cause);
                let _ = tokio::time::timeout(context.settings.close_timeout, goodbye).await;
            }
        };
        if cause.close_frame().is_some() {
            context.lifecycle.tasks.spawn(ending);
            goodbye.await;
        } else {
            // Nothing is waited for but the echo of the client's own frame.
            goodbye.await;
            ending.await;
        }
    }
}

async fn close_handshake(transport: &mut Transport, handle: &Connection, cause: &CloseCause) {
    poll_fn(|cx| {
        if !matches!(cause, CloseCause::SlowConsumer | CloseCause::ConnectionLost) {
            // What was in line before the end was decided still goes out, as far as the client takes it.
            let _ = transport.write_outbox(cx, handle);
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
        // Dropping the stream ends it.
        return;
    }
    if stream_is_unreadable(cause) {
        let _ = socket.stream_mut().shutdown().await;
        discard_input(socket.stream_mut()).await;
    } else {
        // Whatever still comes was sent before the client saw the close frame.
        while poll_fn(|cx| socket.poll_read(cx)).await.is_ok() {}
        let _ = socket.stream_mut().shutdown().await;
    }
}

async fn discard_input(stream: &mut SocketStream) {
    // On the heap: on the stack it would be part of every session's task for all its life.
    let mut buffer = vec![0; 4096];
    let mut left = MAX_DISCARDED_INPUT_BYTES;
    while left > 0 {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => left = left.saturating_sub(read),
            Ok(_) | Err(_) => return,
        }
    }
}

/// Whether what follows on the stream cannot be read as frames any more.
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

/// What remains to be done for a connection that is gone: messages that had been read are handled like all others, in
/// order; then comes `$disconnect`.
async fn drain_and_disconnect(mut dispatch: MessageDispatcher, cause: CloseCause) {
    dispatch.drain_messages().await;
    disconnect_owned(&dispatch.context, &dispatch.handle, &mut dispatch.event_stamper, &cause).await;
}

/// Fires `$disconnect`, unless another pod has taken the connection over and does so. Its outcome changes nothing for the
/// client, so a failure is only logged, and repeated later where that is allowed.
pub async fn disconnect_owned(
    context: &SessionContext,
    handle: &Connection,
    stamps: &mut invocation::EventStamper,
    cause: &CloseCause,
) {
    let Some(registry) = &context.lifecycle.registry else {
        let _ = run_disconnect(&context.integration, &handle.facts, stamps, cause).await;
        return;
    };
    if !registry.owns_connection(handle.id) {
        return;
    }
    match run_disconnect(&context.integration, &handle.facts, stamps, cause).await {
        Err(_) if context.lifecycle.disconnect_retry.is_allowed() => registry.defer_disconnect(handle.id, cause),
        Ok(()) | Err(_) => registry.delete_connection(handle.id),
    }
}

/// Runs the `$disconnect` of a connection that need not have been this process's.
///
/// # Errors
/// How the handler failed; it is logged already.
pub async fn run_disconnect(
    integration: &ApiIntegration,
    facts: &ConnectionFacts,
    stamps: &mut invocation::EventStamper,
    cause: &CloseCause,
) -> Result<(), IntegrationError> {
    if !integration.api.routes.has_disconnect {
        return Ok(());
    }
    let (request_id, time) = stamps.next_request(integration.clock.now());
    let (status_code, reason) = cause.disconnect_status();
    let event = DisconnectEvent { facts, request_id, time, status_code, reason };
    let call = integration.functions.invoke_disconnect(event);
    let failure = match tokio::time::timeout(integration.api.quotas.integration_timeout, call).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(failure)) => failure,
        Err(_) => IntegrationError::TimedOut,
    };
    tracing::warn!(connection.id = %facts.connection_id, failure = ?failure, "the $disconnect handler failed");
    Err(failure)
}
