//! HTTP server that supplies directives to probes that run as Lambda executables.
//!
//! The directive of a connection arrives with its handshake and must be known for its messages, which other processes
//! may receive. So the processes keep no state: they post each event here unchanged, and fail or respond as
//! instructed.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use probes::Probe;
use probes::directive_client::Instruction;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Running directive server; it stops on drop.
pub struct DirectiveServer {
    /// Address of the server.
    pub address: SocketAddr,
    _stop: DropGuard,
}

impl DirectiveServer {
    /// Starts a server for `probe` on a free loopback port.
    ///
    /// # Errors
    /// No port is free.
    pub async fn open(probe: Arc<Probe>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let (tasks, stopped) = (TaskTracker::new(), stop.clone());
        tasks.clone().spawn(async move {
            tokio::select! {
                () = accept(&listener, &probe, &tasks, &stopped) => {}
                () = stopped.cancelled() => {}
            }
        });
        Ok(Self { address, _stop: stop.drop_guard() })
    }
}

async fn accept(listener: &TcpListener, probe: &Arc<Probe>, tasks: &TaskTracker, stop: &CancellationToken) {
    while let Ok((stream, _)) = listener.accept().await {
        let (probe, stop) = (probe.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = serve_connection(stream, probe) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn serve_connection(stream: TcpStream, probe: Arc<Probe>) {
    // Without TCP_NODELAY a response may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let probe = probe.clone();
        async move { Ok::<_, Infallible>(answer_directive(probe, request).await) }
    });
    // A killed probe breaks its connection; its case detects the failure.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer_directive(probe: Arc<Probe>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let raw = request.into_body().collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let instruction = Instruction::from(probe.invoke(raw).await);
    Response::new(Full::new(serde_json::to_vec(&instruction).unwrap_or_default().into()))
}
