//! The handshake of a client: built like a sentence, ended with an open [`Client`] or a [`HandshakeRejection`].

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

/// The subprotocol of version 1.
const SUBPROTOCOL: &str = "twinway.v1";

/// A handshake that has not been sent yet.
#[derive(Debug, Clone)]
pub struct ClientHandshake {
    url: String,
    name: String,
    headers: HeaderMap,
    receive_buffer: Option<u32>,
    arrival: DeliveryOrder,
    seen: ReceivedState,
}

/// A handshake that was answered with something else than `101`.
#[derive(Debug, Clone)]
pub struct HandshakeRejection {
    /// The status.
    pub status: u16,
    /// The body, as text.
    pub body: String,
}

impl Client {
    /// A client of this address, `ws://host:port/stage`, that calls itself `name` when something goes wrong.
    #[must_use]
    pub fn dial(url: &str, name: &str) -> ClientHandshake {
        let (url, name) = (url.to_owned(), name.to_owned());
        let (arrival, seen) = (DeliveryOrder::Ordered, ReceivedState::default());
        ClientHandshake { url, name, headers: HeaderMap::new(), receive_buffer: None, arrival, seen }
    }
}

impl ClientHandshake {
    /// With a token, the way browsers send it.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("sec-websocket-protocol", &format!("{SUBPROTOCOL}, bearer.{token}"))
    }

    /// With a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("tests send valid headers, except in raw bytes");
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// With what another connection of the same client has seen.
    #[must_use]
    pub fn with_received_state(self, seen: ReceivedState) -> Self {
        Self { seen, ..self }
    }

    /// Where messages arrive like this.
    #[must_use]
    pub fn with_delivery_order(self, arrival: DeliveryOrder) -> Self {
        Self { arrival, ..self }
    }

    /// With a receive buffer of this many bytes, so that a client that stops reading is noticed soon.
    #[must_use]
    pub fn with_receive_buffer(self, bytes: u32) -> Self {
        Self { receive_buffer: Some(bytes), ..self }
    }

    /// Connects. Fails the test when the server refuses.
    pub async fn open(self) -> Client {
        let asked_for_protocol = self.headers.contains_key(SEC_WEBSOCKET_PROTOCOL);
        let (name, mut seen, line) = (self.name.clone(), self.seen.clone(), ReorderBuffer::new(self.arrival));
        // A resume that the old connection did not finish is not under way on this one.
        seen.positions().end_resume();
        let (socket, protocol) = match self.attempt().await {
            Ok(connected) => connected,
            Err(error) => panic!("{name} could not connect: {error}"),
        };
        assert_eq!(
            protocol.is_some(),
            asked_for_protocol,
            "{name} was answered with the wrong subprotocol: {protocol:?}"
        );
        Client { name, socket, arrived: Default::default(), inbox: Default::default(), line, seen }
    }

    /// Connects, and waits for an answer to its first frame: behind the `101` it takes a server a moment until others'
    /// messages find the connection, and a client that neither resumes nor waits may miss them.
    pub async fn open_and_confirm(self) -> Client {
        let mut client = self.open().await;
        client.request(json!({"action": "ping"})).await;
        client
    }

    /// Connects and has to be refused.
    pub async fn expect_rejection(self) -> HandshakeRejection {
        let name = self.name.clone();
        match self.attempt().await {
            Ok(_) => panic!("{name} was let in"),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                HandshakeRejection { status: response.status().as_u16(), body }
            }
            Err(error) => panic!("{name} was not refused in HTTP: {error}"),
        }
    }

    /// Connects, or says why not.
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
    /// The `message` of the body.
    #[must_use]
    pub fn message(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["message"].as_str().unwrap_or_default().to_owned()
    }
}
