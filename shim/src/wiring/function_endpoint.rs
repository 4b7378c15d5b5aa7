//! The endpoint proxy of function processes: its certificates, port, files and variables
//! (`docs/adr/0043-endpoints-of-functions.md`).

use anyhow::Context as _;

use super::endpoint_files::EndpointFiles;
use super::endpoint_variables::EndpointVariables;
use crate::config::{Config, ServerConfig};
use crate::server::endpoint_proxy::{EndpointAuthority, EndpointProxy, UpstreamProxy};

/// The proxy, and the variables through which functions use it.
pub(super) struct FunctionEndpoint {
    pub proxy: EndpointProxy,
    pub variables: EndpointVariables,
}

impl FunctionEndpoint {
    /// Opens the port and writes the files; `None` if the configuration has no endpoint proxy.
    ///
    /// # Errors
    /// The port cannot be opened or the files cannot be written. The text is meant for the operator.
    pub(super) fn open(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(hosts) = config.api_hosts() else { return Ok(None) };
        Self::open_for(config, hosts).map(Some).context(
            "functions cannot call their API by its host name; correct the cause, or set functions.endpoint_proxy = off",
        )
    }

    fn open_for(config: &Config, hosts: crate::access::ApiHosts) -> anyhow::Result<Self> {
        let authority = EndpointAuthority::generate(&hosts)?;
        let fetch = &config.auth.fetch;
        let upstream =
            fetch.proxy.clone().map(|address| UpstreamProxy { address, exceptions: fetch.proxy_exceptions.clone() });
        let proxy = EndpointProxy::bind(hosts.clone(), &authority, function_uid(config), upstream.as_ref())?;
        let files = EndpointFiles::write(&authority.certificate).with_context(|| {
            format!("files cannot be written to {} (TMPDIR selects another directory)", std::env::temp_dir().display())
        })?;
        let variables = EndpointVariables { url: proxy.url(), hosts, files };
        Ok(Self { proxy, variables })
    }
}

fn function_uid(config: &Config) -> u32 {
    config.functions.user.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid)
}

/// Returns the settings of the server, with the names of the API if its functions use them.
pub(super) fn server_config(config: &Config) -> ServerConfig {
    ServerConfig { api_hosts: config.api_hosts(), ..config.server.clone() }
}
