//! Requests for `http` URLs that clients send to the proxy (RFC 9112 section 3.2.2): clients of Java functions, which have
//! no proxy for HTTPS alone.

use http::header::{CONNECTION, HeaderName, PROXY_AUTHORIZATION, TE, UPGRADE};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;

/// Headers that concern the connection to the proxy only (RFC 9110 section 7.6.1).
const CONNECTION_HEADERS: [HeaderName; 6] = [
    CONNECTION,
    PROXY_AUTHORIZATION,
    TE,
    UPGRADE,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
];

/// HTTP client for the requests of functions.
#[derive(Debug, Clone)]
pub(super) struct RequestForwarder(Client<HttpConnector, Incoming>);

impl RequestForwarder {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).build(connector))
    }

    /// Sends the request to its host, and returns the head of the response with its body to be streamed.
    pub(super) async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, Error> {
        for name in &CONNECTION_HEADERS {
            request.headers_mut().remove(name);
        }
        let mut response = self.0.request(request).await?;
        for name in &CONNECTION_HEADERS {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }
}

/// Returns whether the target of a request is a complete `http` URL.
pub(super) fn is_absolute(target: &Uri) -> bool {
    target.scheme_str() == Some("http") && target.authority().is_some()
}
