//! The Redis and PostgreSQL adapters and their clients, and the key set of an identity provider, on real servers.

#[cfg(test)]
mod postgres;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod tls;

/// Returns files with this authority and no client certificate.
#[cfg(test)]
fn trusting(authority: impl Into<std::path::PathBuf>) -> tls_client::TlsFiles {
    tls_client::TlsFiles { ca_file: Some(authority.into()), client_certificate: None }
}
