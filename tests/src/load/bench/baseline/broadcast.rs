//! The broadcast baseline: a bounded queue per receiver, one shared text, one flush for all queued messages.
//!
//! A receiver whose queue is full is dropped, so the publisher never waits. The list of receivers is bounded by the
//! process's file descriptors; closed receivers are removed at the next broadcast.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

/// Maximum number of frames queued for one receiver.
const QUEUE: usize = 256;

#[derive(Default)]
struct Receivers(Mutex<Vec<mpsc::Sender<Utf8Bytes>>>);

impl Receivers {
    fn add(&self) -> mpsc::Receiver<Utf8Bytes> {
        let (tx, rx) = mpsc::channel(QUEUE);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tx);
        rx
    }

    /// Enqueues the text for all receivers; drops those whose queue is full or closed.
    fn publish(&self, text: &Utf8Bytes) {
        let mut receivers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.retain(|receiver| receiver.try_send(text.clone()).is_ok());
    }
}

pub(super) async fn serve(listener: TcpListener, stop: CancellationToken) {
    let receivers = Arc::new(Receivers::default());
    super::accept(listener, stop, |stream| serve_connection(stream, Arc::clone(&receivers))).await;
}

async fn serve_connection(stream: TcpStream, receivers: Arc<Receivers>) -> Result<(), Error> {
    let mut publishes = false;
    let inspect = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        publishes = request.uri().path() == "/pub";
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, inspect, Some(super::config())).await?;
    if publishes { publish(socket, &receivers).await } else { receive(socket, receivers.add()).await }
}

async fn publish(mut socket: WebSocketStream<TcpStream>, receivers: &Receivers) -> Result<(), Error> {
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            receivers.publish(&text);
        }
    }
    Ok(())
}

async fn receive(mut socket: WebSocketStream<TcpStream>, mut queue: mpsc::Receiver<Utf8Bytes>) -> Result<(), Error> {
    loop {
        tokio::select! {
            biased;
            text = queue.recv() => match text {
                Some(text) => deliver(&mut socket, text, &mut queue).await?,
                None => return socket.close(None).await,
            },
            message = socket.next() => match message {
                Some(message) => drop(message?),
                None => return Ok(()),
            },
        }
    }
}

/// Writes this text and all queued ones, then flushes once.
async fn deliver(
    socket: &mut WebSocketStream<TcpStream>,
    first: Utf8Bytes,
    queue: &mut mpsc::Receiver<Utf8Bytes>,
) -> Result<(), Error> {
    socket.feed(Message::Text(first)).await?;
    while let Ok(text) = queue.try_recv() {
        socket.feed(Message::Text(text)).await?;
    }
    socket.flush().await
}
