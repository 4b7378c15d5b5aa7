//! Where probes that run as Lambda executables ask what to do.
//!
//! What a client told the probes at connect has to be known when its messages come, and those come to other processes. So
//! the processes keep nothing: they bring each event here, byte for byte as they got it, and fail or answer as told.

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

/// A desk that answers as long as this lives.
pub struct DirectiveServer {
    /// Where it is.
    pub address: SocketAddr,
    _stop: DropGuard,
}

impl DirectiveServer {
    /// Opens a desk for `probe` on a free loopback port.
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
                () = converse(stream, probe) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn converse(stream: TcpStream, probe: Arc<Probe>) {
    // Without it an answer may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let probe = probe.clone();
        async move { Ok::<_, Infallible>(answer_directive(probe, request).await) }
    });
    // A probe that is killed breaks its connection; its case sees to the rest.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer_directive(probe: Arc<Probe>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let raw = request.into_body().collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let instruction = Instruction::from(probe.invoke(raw).await);
    Response::new(Full::new(serde_json::to_vec(&instruction).unwrap_or_default().into()))
}
