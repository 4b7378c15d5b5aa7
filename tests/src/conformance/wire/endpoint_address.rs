//! Where an endpoint is, and the way to it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

/// How long TCP may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A byte stream, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The address of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointAddress {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its host, as a `Host` header has it, port included where it is not the usual one.
    pub authority: String,
    /// The stage or mapping, without slashes; empty at the root.
    pub stage: String,
}

impl EndpointAddress {
    /// The place of a WebSocket URL.
    ///
    /// # Errors
    /// It is no `ws://` or `wss://` URL.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        let tls = uri.scheme_str() == Some("wss");
        ensure!(tls || uri.scheme_str() == Some("ws"), "{url:?} must begin with ws:// or wss://");
        let authority = uri.authority().context("the URL has no host")?.to_string();
        Ok(Self { tls, authority, stage: uri.path().trim_matches('/').to_owned() })
    }

    /// The path of the stage.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.stage)
    }

    /// The host without a port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.rsplit_once(':').map_or(&self.authority, |(host, _)| host)
    }

    /// Whether API Gateway itself is there, under a name of its own.
    #[must_use]
    pub fn is_on_aws(&self) -> bool {
        self.host().ends_with(".amazonaws.com") || self.host().ends_with(".amazonaws.com.cn")
    }

    pub(super) async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let scheme = if self.tls { "https" } else { "http" };
        let uri: Uri = format!("{scheme}://{}/", self.authority).parse().context("the host is no host")?;
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
    fn a_url_gives_host_and_stage() {
        let place = EndpointAddress::parse("wss://abc.execute-api.us-east-1.amazonaws.com/prod").unwrap();
        assert_eq!(
            (place.tls, place.host(), place.path().as_str()),
            (true, "abc.execute-api.us-east-1.amazonaws.com", "/prod")
        );
        let place = EndpointAddress::parse("ws://127.0.0.1:8080/prod/").unwrap();
        assert_eq!(
            (place.host(), place.authority.as_str(), place.stage.as_str()),
            ("127.0.0.1", "127.0.0.1:8080", "prod")
        );
        assert!(EndpointAddress::parse("https://example.com/prod").is_err());
    }
}
