//! Session of an accepted handshake: from the `101` until the WebSocket has closed.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use gateway::close::CloseCause;
use gateway::handshake::DeflateAgreement;
use gateway::id::EventIds;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use websocket::{SocketLimits, WebSocket};

use super::HandshakeContext;
use crate::connection::{Connection, SocketStream};
use crate::server::listener::{ConnectionPermit, MonitoredStream};
use crate::session::{EventStamper, Session, disconnect_owned};

/// Starts the session once `subscribed` resolves and returns at that moment, so that the `101` is not sent before this
/// pod receives the messages of other pods. The wait is in the session's task, so the connection gets its `$disconnect`
/// also when the client leaves during it.
pub(super) async fn start_when_subscribed(
    tasks: &TaskTracker,
    subscribed: BoxFuture<'static, ()>,
    session: impl Future<Output = ()> + Send + 'static,
) {
    let (sender, started) = oneshot::channel();
    tasks.spawn(async move {
        subscribed.await;
        // Fails when the client has left and the handshake was dropped.
        let _ = sender.send(());
        session.await;
    });
    let _ = started.await;
}

/// Waits for the upgraded socket and runs its session.
pub(super) async fn serve_upgraded(
    context: Arc<HandshakeContext>,
    connection: Arc<Connection>,
    ids: EventIds,
    upgrade: OnUpgrade,
    deadline: Instant,
    deflate: Option<DeflateAgreement>,
    permit: ConnectionPermit,
) {
    let sessions = &context.sessions;
    let quotas = &sessions.integration.api.quotas;
    let limits = SocketLimits {
        frame_bytes: quotas.frame_bytes,
        message_bytes: quotas.message_bytes,
        outbound_frame_bytes: quotas.outbound_frame_bytes,
    };
    match tokio::time::timeout_at(deadline, upgrade).await {
        Ok(Ok(upgraded)) => {
            let (stream, early) = raw_stream(upgraded);
            let socket = WebSocket::new(stream, &early, limits).with_compression(deflate.as_ref());
            Session::new(socket, connection, ids, sessions.clone()).run().await;
        }
        // The client left before it had its `101`.
        Ok(Err(_)) | Err(_) => {
            sessions.lifecycle.close(&connection);
            disconnect_owned(sessions, &connection, &mut EventStamper::new(ids), &CloseCause::ConnectionLost).await;
        }
    }
    drop(permit);
}

/// Returns the TCP stream of an upgraded connection without hyper's wrapper, and the bytes that hyper has already read.
fn raw_stream(upgraded: Upgraded) -> (SocketStream, Vec<u8>) {
    match upgraded.downcast::<TokioIo<MonitoredStream>>() {
        Ok(parts) => (SocketStream::Left(parts.io.into_inner().into_stream()), parts.read_buf.to_vec()),
        Err(upgraded) => (SocketStream::Right(Box::new(TokioIo::new(upgraded))), Vec::new()),
    }
}
