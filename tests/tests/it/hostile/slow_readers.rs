//! HTTP clients that hold connections: they never read responses, or keep idle connections open.

use std::net::SocketAddr;

use tests::client::raw::RawConnection;
use tests::eventually::with_timeout;
use tests::server::TwinwayServer;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use super::HostileFixture;

/// Number of clients that do not read; with the bystander they take all places.
const NON_READERS: usize = 20;

/// Pipelines requests without reading a response, until the server closes the connection.
async fn pipeline_without_reading(address: SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket can be created");
    socket.set_recv_buffer_size(2_048).expect("the receive buffer can be small");
    let mut stream = socket.connect(address).await.expect("the server listens");
    let requests = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50);
    while stream.write_all(&requests).await.is_ok() {}
}

fn spawn_non_readers(address: SocketAddr) -> JoinSet<()> {
    (0..NON_READERS).map(|_| pipeline_without_reading(address)).collect()
}

#[tokio::test]
async fn clients_that_never_read_responses_free_their_places_and_do_not_delay_the_exit() {
    let launch = TwinwayServer::launch()
        .in_memory()
        .with_env("TWINWAY_MAX_CONNECTIONS", NON_READERS + 1)
        .with_env("TWINWAY_WRITE_TIMEOUT", "1s");
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let mut non_readers = spawn_non_readers(fixture.server.traffic);
    while with_timeout("the server to disconnect a non-reader", non_readers.join_next()).await.is_some() {}
    fixture.user("alice").await.close().await;
    let _during_exit = spawn_non_readers(fixture.server.traffic);
    fixture.finish().await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_timeout_while_there_are_free_places() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_HEADER_TIMEOUT", "300ms");
    let fixture = HostileFixture::with_server(launch.with_env("TWINWAY_MAX_CONNECTIONS", 9).start().await).await;
    let mut idle = RawConnection::connect(fixture.server.traffic).await;
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    idle.write(request).await;
    assert!(idle.read_head().await.starts_with("HTTP/1.1 200 "));
    // Several header timeouts later: the silent connections are closed one after the other.
    for _ in 0..3 {
        assert!(RawConnection::connect(fixture.server.traffic).await.read_to_end().await.is_empty());
    }
    idle.write(request).await;
    idle.read_until("</html>").await;
    // Less than an eighth of the places is free: idle connections are closed, and responses announce it.
    let mut users = Vec::new();
    for number in 0..6 {
        users.push(fixture.user(&format!("user-{number}")).await);
    }
    let mut busy = RawConnection::connect(fixture.server.traffic).await;
    busy.write(request).await;
    let head = busy.read_head().await;
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    idle.read_to_end().await;
    for user in users {
        user.close().await;
    }
    fixture.finish().await;
}
