//! Small HTTP server whose responses a test defines.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Status of a handler's response that closes the connection without a response.
pub const CLOSE_CONNECTION: u16 = 599;

/// Handler of the stub's requests.
pub type RequestHandler = dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync;

/// HTTP server on a free loopback port; stops on drop.
pub struct Stub {
    pub address: SocketAddr,
    _accept_task: JoinSet<()>,
}

impl Stub {
    pub async fn start(handler: Arc<RequestHandler>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accept_task = JoinSet::new();
        accept_task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let handler = handler.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| respond(handler.clone(), request));
                    // A client may close its connection during a response.
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, _accept_task: accept_task }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn respond(handler: Arc<RequestHandler>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let response = handler(Request::from_parts(parts, body)).await;
    if response.status() == CLOSE_CONNECTION {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(response.map(Full::new))
}
