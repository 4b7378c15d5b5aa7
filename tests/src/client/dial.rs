//! The client's WebSocket handshake: a builder that yields an open [`Client`] or a [`HandshakeRejection`].

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::delivery_order::ReorderBuffer;
use super::{Client, DeliveryOrder, ReceivedState};
use crate::eventually::with_timeout;

/// Subprotocol of protocol version 1.
const SUBPROTOCOL: &str = "twinway.v1";

/// Handshake that has not been sent yet.
#[derive(Debug, Clone)]
pub struct ClientHandshake {
    url: String,
    name: String,
    headers: HeaderMap,
    receive_buffer: Option<u32>,
    order: DeliveryOrder,
    seen: ReceivedState,
}

/// Response to a handshake with a status other than `101`.
#[derive(Debug, Clone)]
pub struct HandshakeRejection {
    /// HTTP status.
    pub status: u16,
    /// Body as text.
    pub body: String,
}

impl Client {
    /// Returns a handshake for `url`, `ws://host:port/stage`; `name` identifies the client in failure messages.
    #[must_use]
    pub fn dial(url: &str, name: &str) -> ClientHandshake {
        let (url, name) = (url.to_owned(), name.to_owned());
        let (order, seen) = (DeliveryOrder::Ordered, ReceivedState::default());
        ClientHandshake { url, name, headers: HeaderMap::new(), receive_buffer: None, order, seen }
    }
}

impl ClientHandshake {
    /// Adds a token, in the subprotocol header as browsers send it.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("sec-websocket-protocol", &format!("{SUBPROTOCOL}, bearer.{token}"))
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("tests send valid headers, except in raw bytes");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Continues from the positions of an earlier connection of the same client.
    #[must_use]
    pub fn with_received_state(self, seen: ReceivedState) -> Self {
        Self { seen, ..self }
    }

    /// Sets the delivery order that the gateway guarantees.
    #[must_use]
    pub fn with_delivery_order(self, order: DeliveryOrder) -> Self {
        Self { order, ..self }
    }

    /// Sets the receive buffer in bytes; a small one makes the server notice soon that the client stopped reading.
    #[must_use]
    pub fn with_receive_buffer(self, bytes: u32) -> Self {
        Self { receive_buffer: Some(bytes), ..self }
    }

    /// Connects; fails the test when the server rejects the handshake.
    pub async fn open(self) -> Client {
        let offers_protocol = self.headers.contains_key(SEC_WEBSOCKET_PROTOCOL);
        let (name, mut seen, reorder) = (self.name.clone(), self.seen.clone(), ReorderBuffer::new(self.order));
        // A resume that the old connection did not complete does not continue on this one.
        seen.positions().end_resume();
        let (socket, protocol) = match self.attempt().await {
            Ok(connected) => connected,
            Err(error) => panic!("{name} could not connect: {error}"),
        };
        assert_eq!(protocol.is_some(), offers_protocol, "{name} received the wrong subprotocol: {protocol:?}");
        Client { name, socket, ready: Default::default(), inbox: Default::default(), reorder, seen }
    }

    /// Connects and waits for the reply to a first frame. After the `101` the connection takes a moment to become
    /// visible to other senders; a client that neither resumes nor waits may miss their messages.
    pub async fn open_and_confirm(self) -> Client {
        let mut client = self.open().await;
        client.request(json!({"action": "ping"})).await;
        client
    }

    /// Connects and expects a rejection.
    pub async fn expect_rejection(self) -> HandshakeRejection {
        let name = self.name.clone();
        match self.attempt().await {
            Ok(_) => panic!("{name} was accepted"),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                HandshakeRejection { status: response.status().as_u16(), body }
            }
            Err(error) => panic!("{name} did not get an HTTP rejection: {error}"),
        }
    }

    /// Connects, or returns the error.
    pub(crate) async fn attempt(self) -> Result<(WebSocketStream<TcpStream>, Option<HeaderValue>), Error> {
        let mut request = self.url.as_str().into_client_request()?;
        request.headers_mut().extend(self.headers);
        let stream = connect(request.uri(), self.receive_buffer).await?;
        let (socket, response) = with_timeout("the answer to a handshake", client_async(request, stream)).await?;
        Ok((socket, response.headers().get(SEC_WEBSOCKET_PROTOCOL).cloned()))
    }
}

async fn connect(uri: &http::Uri, receive_buffer: Option<u32>) -> Result<TcpStream, Error> {
    let authority = uri.authority().expect("tests dial full addresses").as_str();
    let address = tokio::net::lookup_host(authority).await?.next().expect("the host has an address");
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(with_timeout("a TCP connection", socket.connect(address)).await?)
}

impl HandshakeRejection {
    /// Returns the `message` of the body.
    #[must_use]
    pub fn message(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["message"].as_str().unwrap_or_default().to_owned()
    }
}
