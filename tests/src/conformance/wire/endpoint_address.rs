//! Address of an endpoint, and connections to it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

/// Timeout of a TCP connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Byte stream, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Address of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointAddress {
    /// Whether the endpoint uses TLS.
    pub tls: bool,
    /// Host as in a `Host` header, with a port unless it is the default one.
    pub authority: String,
    /// Stage or mapping without slashes; empty at the root.
    pub stage: String,
}

impl EndpointAddress {
    /// Parses a WebSocket URL.
    ///
    /// # Errors
    /// It is not a `ws://` or `wss://` URL.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let tls = uri.scheme_str() == Some("wss");
        ensure!(tls || uri.scheme_str() == Some("ws"), "{url:?} must begin with ws:// or wss://");
        let authority = uri.authority().context("the URL has no host")?.to_string();
        Ok(Self { tls, authority, stage: uri.path().trim_matches('/').to_owned() })
    }

    /// Returns the path of the stage.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.stage)
    }

    /// Returns the host without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.rsplit_once(':').map_or(&self.authority, |(host, _)| host)
    }

    /// Returns whether the endpoint is API Gateway itself, under its default host name.
    #[must_use]
    pub fn is_on_aws(&self) -> bool {
        self.host().ends_with(".amazonaws.com") || self.host().ends_with(".amazonaws.com.cn")
    }

    pub(super) async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let scheme = if self.tls { "https" } else { "http" };
        let uri: Uri = format!("{scheme}://{}/", self.authority).parse().context("invalid host")?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
        let stream = connector.call(uri).await.map_err(|error| anyhow::anyhow!("cannot connect: {error}"))?;
        Ok(Box::new(TokioIo::new(stream)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_contains_host_and_stage() {
        let endpoint = EndpointAddress::parse("wss://abc.execute-api.us-east-1.amazonaws.com/prod").unwrap();
        assert_eq!(
            (endpoint.tls, endpoint.host(), endpoint.path().as_str()),
            (true, "abc.execute-api.us-east-1.amazonaws.com", "/prod")
        );
        let endpoint = EndpointAddress::parse("ws://127.0.0.1:8080/prod/").unwrap();
        assert_eq!(
            (endpoint.host(), endpoint.authority.as_str(), endpoint.stage.as_str()),
            ("127.0.0.1", "127.0.0.1:8080", "prod")
        );
        assert!(EndpointAddress::parse("https://example.com/prod").is_err());
    }
}
