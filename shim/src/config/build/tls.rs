//! Reader of the files of TLS clients, and of the proxy. Every file is read and checked here, so that `twinway config
//! check` finds a wrong one.

use std::path::PathBuf;

use tls_client::{ClientCertificateFiles, ServerName, TlsFiles};

use super::super::values::{self, ParseResult};
use super::super::{ConfigValue, KeyFetchConfig};
use super::ConfigReader;
use crate::secret::Secret;

/// Keys of one section.
pub(super) struct TlsKeys {
    ca_file: &'static str,
    certificate: &'static str,
    key: &'static str,
    /// Error text if only one of certificate and key is set.
    incomplete: &'static str,
}

pub(super) const REDIS_TLS: TlsKeys = TlsKeys {
    ca_file: "redis.ca_file",
    certificate: "redis.client_cert_file",
    key: "redis.client_key_file",
    incomplete: "redis.client_cert_file and redis.client_key_file must be set together",
};
pub(super) const POSTGRES_TLS: TlsKeys = TlsKeys {
    ca_file: "postgres.ca_file",
    certificate: "postgres.client_cert_file",
    key: "postgres.client_key_file",
    incomplete: "postgres.client_cert_file and postgres.client_key_file must be set together",
};
const AUTH_TLS: TlsKeys = TlsKeys {
    ca_file: "auth.ca_file",
    certificate: "auth.client_cert_file",
    key: "auth.client_key_file",
    incomplete: "auth.client_cert_file and auth.client_key_file must be set together",
};

impl ConfigReader<'_> {
    /// Reads the files of a section. If `is_used`, the authorities default to `tls.ca_file`.
    pub(super) fn read_tls(&mut self, keys: &TlsKeys, is_used: bool) -> Option<TlsFiles> {
        let ca_file = self.read_optional(keys.ca_file, parse_authorities);
        let shared = if is_used { self.read_shared_authorities() } else { Some(None) };
        let path = |value: &ConfigValue| values::parse_text(value).map(PathBuf::from);
        let (certificate, key) = (self.read_optional(keys.certificate, path), self.read_optional(keys.key, path));
        let client_certificate = match (certificate?, key?) {
            (Some(certificate), Some(key)) => Some(ClientCertificateFiles { certificate, key }),
            (None, None) => None,
            _ => {
                self.add_error(keys.incomplete);
                return None;
            }
        };
        let files = TlsFiles { ca_file: None, client_certificate };
        if let Err(error) = files.load() {
            self.add_error(&format!("{}: {error}", keys.certificate));
        }
        Some(TlsFiles { ca_file: ca_file?.or(shared?), ..files })
    }

    /// Reads the authorities of all sections that set none.
    pub(super) fn read_shared_authorities(&mut self) -> Option<Option<PathBuf>> {
        self.read_optional("tls.ca_file", parse_authorities)
    }

    /// Reads how the key set is fetched.
    pub(super) fn read_key_fetch(&mut self, is_used: bool) -> Option<KeyFetchConfig> {
        // Checked by `read_tls` only if a connection uses it: other programs set the variable, too.
        let shared = self.read_optional("tls.ca_file", values::parse_text);
        let tls = self.read_tls(&AUTH_TLS, is_used);
        let server_name = self.read_optional("auth.server_name", |value| {
            let is_name = |text: &str| ServerName::try_from(text).is_ok();
            values::parse_text_where(value, is_name, "a host name or an address")
        });
        let proxy = self.read_optional("proxy.https", parse_proxy);
        let exceptions = self.read_optional("proxy.exceptions", values::parse_list);
        shared?;
        Some(KeyFetchConfig {
            tls: tls?,
            server_name: server_name?,
            proxy: proxy?,
            proxy_exceptions: exceptions?.unwrap_or_default().join(","),
        })
    }
}

fn parse_authorities(value: &ConfigValue) -> ParseResult<PathBuf> {
    let path = PathBuf::from(values::parse_text(value)?);
    let files = TlsFiles { ca_file: Some(path.clone()), client_certificate: None };
    files.load().map(|_| path).map_err(|error| error.to_string())
}

fn parse_proxy(value: &ConfigValue) -> ParseResult<Secret> {
    let address = values::parse_text(value)?;
    jwks::check_proxy(&address).map(|()| Secret::new(&address)).map_err(str::to_owned)
}
