//! The end of a session: what was accepted still runs, the client is told why, `$disconnect` fires once.

use std::future::poll_fn;
use std::task::Poll;

use gateway::close::CloseCause;
use gateway::event::{ConnectionFacts, DisconnectEvent};
use gateway::reply::IntegrationFailure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dispatch::Dispatch;
use super::{Session, SessionContext, invocation};
use crate::connection::{Connection, Stream, Transport};
use crate::functions::ApiIntegration;

/// Most bytes that are read and thrown away so that a client in the middle of a forbidden message still sees the close
/// frame: closing a socket with unread bytes resets it, and a reset overtakes what was sent.
const LINGER_BYTES: usize = 32 * 1024 * 1024;

impl Session {
    /// Ends the connection for `cause`. Where the client has yet to answer a close frame, the handlers go on in a task of
    /// their own meanwhile, so that a client that does not answer delays nothing.
    pub(super) async fn finish(self, cause: CloseCause) {
        let Self { handle, dispatch, .. } = self;
        let context = dispatch.context.clone();
        let transport = handle.transport().lock().take();
        let ending = Box::pin(end(dispatch, cause.clone()));
        let goodbye = async {
            if let Some(mut transport) = transport {
                let goodbye = say_goodbye(&mut transport, &handle, &cause);
                let _ = tokio::time::timeout(context.settings.close_timeout, goodbye).await;
            }
        };
        if cause.frame().is_some() {
            context.lifecycle.tasks.spawn(ending);
            goodbye.await;
        } else {
            // Nothing is waited for but the echo of the client's own frame.
            goodbye.await;
            ending.await;
        }
    }
}

async fn say_goodbye(transport: &mut Transport, handle: &Connection, cause: &CloseCause) {
    poll_fn(|cx| {
        if !matches!(cause, CloseCause::SlowConsumer | CloseCause::ConnectionLost) {
            // What was in line before the end was decided still goes out, as far as the client takes it.
            let _ = transport.empty_outbox(cx, handle);
        }
        if let Some((code, reason)) = cause.frame() {
            transport.socket().feed_close(code, reason);
        }
        Poll::Ready(())
    })
    .await;
    let socket = transport.socket();
    let flushed = poll_fn(|cx| socket.poll_flush(cx)).await.is_ok();
    if !flushed || cause.frame().is_none() {
        // Dropping the stream ends it.
        return;
    }
    if stream_is_unreadable(cause) {
        let _ = socket.stream().shutdown().await;
        discard(socket.stream()).await;
    } else {
        // Whatever still comes was sent before the client saw the close frame.
        while poll_fn(|cx| socket.poll_read(cx)).await.is_ok() {}
        let _ = socket.stream().shutdown().await;
    }
}

async fn discard(stream: &mut Stream) {
    // On the heap: on the stack it would be part of every session's task for all its life.
    let mut buffer = vec![0; 4096];
    let mut left = LINGER_BYTES;
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
async fn end(mut dispatch: Dispatch, cause: CloseCause) {
    dispatch.run_out().await;
    disconnect(&dispatch.context, &dispatch.handle, &mut dispatch.stamps, &cause).await;
}

/// Fires `$disconnect`, unless another pod has taken the connection over and does so. Its outcome changes nothing for the
/// client, so a failure is only logged, and repeated later where that is allowed.
pub async fn disconnect(
    context: &SessionContext,
    handle: &Connection,
    stamps: &mut invocation::Stamps,
    cause: &CloseCause,
) {
    let Some(registry) = &context.lifecycle.registry else {
        let _ = fire(&context.integration, &handle.facts, stamps, cause).await;
        return;
    };
    if !registry.holds(handle.id) {
        return;
    }
    match fire(&context.integration, &handle.facts, stamps, cause).await {
        Err(_) if context.lifecycle.disconnect_retry.is_allowed() => registry.leave_unfinished(handle.id, cause),
        Ok(()) | Err(_) => registry.forget(handle.id),
    }
}

/// Runs the `$disconnect` of a connection that need not have been this process's.
///
/// # Errors
/// How the handler failed; it is logged already.
pub async fn fire(
    integration: &ApiIntegration,
    facts: &ConnectionFacts,
    stamps: &mut invocation::Stamps,
    cause: &CloseCause,
) -> Result<(), IntegrationFailure> {
    if !integration.api.routes.has_disconnect {
        return Ok(());
    }
    let (request_id, time) = stamps.request(integration.clock.now());
    let (status_code, reason) = cause.disconnect();
    let event = DisconnectEvent { facts, request_id, time, status_code, reason };
    let call = integration.functions.disconnect(event);
    let failure = match tokio::time::timeout(integration.api.quotas.integration_timeout, call).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(failure)) => failure,
        Err(_) => IntegrationFailure::TimedOut,
    };
    tracing::warn!(connection.id = %facts.connection_id, failure = ?failure, "the $disconnect handler failed");
    Err(failure)
}
