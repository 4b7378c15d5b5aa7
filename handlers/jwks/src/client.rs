//! HTTP client of a key set: TLS settings, and a tunnel through a proxy (`CONNECT`, RFC 9110, section 9.3.6).

use std::fmt;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use tls_client::{ServerName, TlsMaterial};

/// Connection settings for fetching a key set. The default uses the authorities of the system and no proxy.
#[derive(Debug, Clone, Default)]
pub struct FetchSettings {
    /// Trusted authorities and client certificate.
    pub tls: TlsMaterial,
    /// Name that the certificate must have, if it is not the host of the URL.
    pub server_name: Option<String>,
    /// Proxy to the provider.
    pub proxy: Option<ProxySettings>,
}

/// A proxy for `https://` URLs.
#[derive(Clone)]
pub struct ProxySettings {
    /// `http://host:port`, optionally with `user:password@`.
    pub address: String,
    /// Hosts that are connected to directly: names with their subdomains, addresses, networks, or `*` (curl's rules of
    /// `NO_PROXY`).
    pub exceptions: String,
}

/// Hides the address, which may contain a password.
impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySettings").field("exceptions", &self.exceptions).finish_non_exhaustive()
    }
}

/// Checks the address of a proxy.
///
/// # Errors
/// The rule that the address violates, as text for an operator, without the address.
pub fn check_proxy(address: &str) -> Result<(), &'static str> {
    const RULE: &str = "must be an address such as http://proxy.example:3128";
    let uri = address.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http")).ok_or(RULE)?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(RULE)?;
    // `port_u16` is `None` for an invalid port as for none.
    let host_end = authority.as_str().ends_with(authority.host());
    if host_end || authority.port_u16().is_some_and(|port| port > 0) {
        Ok(())
    } else {
        Err("must have a port from 1 to 65535, such as http://proxy.example:3128")
    }
}

type HttpClient<C> = Client<HttpsConnector<C>, Empty<Bytes>>;

/// Client of one URL, with or without a proxy.
pub(super) enum KeySetClient {
    Direct(HttpClient<HttpConnector>),
    Tunnelled(HttpClient<Tunnel<HttpConnector>>),
}

impl KeySetClient {
    pub(super) fn new(address: &Uri, settings: &FetchSettings) -> Self {
        let https = HttpsConnectorBuilder::new().with_tls_config(settings.tls.client_config()).https_or_http();
        let name = settings.server_name.clone().and_then(|name| ServerName::try_from(name).ok());
        let https = match name {
            Some(name) => https.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => https,
        };
        let mut http = HttpConnector::new();
        let proxy = settings
            .proxy
            .as_ref()
            .map(|proxy| Matcher::builder().https(proxy.address.as_str()).no(proxy.exceptions.as_str()).build());
        // Fetches are minutes apart, so an idle connection would be closed before its reuse.
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_max_idle_per_host(0);
        match proxy.and_then(|proxy| proxy.intercept(address)) {
            Some(proxy) => {
                let tunnel = Tunnel::new(proxy.uri().clone(), http);
                let tunnel = match proxy.basic_auth() {
                    Some(credentials) => tunnel.with_auth(credentials.clone()),
                    None => tunnel,
                };
                Self::Tunnelled(client.build(https.enable_http1().wrap_connector(tunnel)))
            }
            None => {
                http.enforce_http(false);
                Self::Direct(client.build(https.enable_http1().wrap_connector(http)))
            }
        }
    }

    /// Requests the key set.
    pub(super) async fn request(&self, address: &Uri) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = address.clone();
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        match self {
            Self::Direct(client) => client.request(request).await,
            Self::Tunnelled(client) => client.request(request).await,
        }
    }
}
