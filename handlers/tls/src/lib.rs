//! TLS settings of outgoing connections, the same for the key set of an identity provider, Redis and PostgreSQL.
//!
//! [`TlsFiles`] names files; [`TlsFiles::load`] reads and checks them at start, so that a wrong file is an error of the
//! configuration and not of the first connection. [`ConnectFailure`] names the cause of a failed connection.
//!
//! Authorities are, in this order: the CA file; those of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`; if there
//! are none, as in an empty container image, those of Mozilla's list that this program contains.
//!
//! ```
//! use tls_client::TlsFiles;
//!
//! let missing = TlsFiles { ca_file: Some("/nowhere/ca.pem".into()), ..TlsFiles::default() };
//! assert!(missing.load().unwrap_err().to_string().contains("/nowhere/ca.pem"));
//! let material = TlsFiles::default().load()?;
//! let config = material.client_config();
//! assert!(config.enable_sni);
//! # Ok::<_, tls_client::TlsFileError>(())
//! ```

#![warn(missing_docs)]

mod failure;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::client::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ConfigBuilder, RootCertStore, WantsVerifier};

pub use rustls::pki_types::ServerName;

pub use self::failure::ConnectFailure;

/// Files of a TLS client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// CA certificates (PEM) that verify the server's certificate; `None` for those of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate that the client presents.
    pub client_certificate: Option<ClientCertificateFiles>,
}

/// Files of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificateFiles {
    /// Certificate, followed by the intermediate ones (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// Contents of [`TlsFiles`], checked. `Debug` prints no key.
#[derive(Debug, Clone, Default)]
pub struct TlsMaterial {
    /// CA certificates (PEM); `None` for those of the system.
    pub authorities: Option<Vec<u8>>,
    /// Certificate that the client presents.
    pub client: Option<ClientIdentity>,
}

/// A client certificate and its key, in PEM.
#[derive(Clone)]
pub struct ClientIdentity {
    /// Certificate, followed by the intermediate ones.
    pub certificate: Vec<u8>,
    /// Private key.
    pub key: Vec<u8>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity(..)")
    }
}

/// An unusable file. The text names the file and what it must contain.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// The file cannot be read.
    #[error("the file {path} cannot be read: {source}")]
    Unreadable {
        /// Path of the file.
        path: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file has no certificate.
    #[error("the file {0} contains no certificate; it must contain PEM text (-----BEGIN CERTIFICATE-----)")]
    NoCertificate(String),
    /// The file contains a damaged certificate, or one that is no authority.
    #[error("certificate {number} of the file {path} is invalid: {reason}")]
    InvalidCertificate {
        /// Path of the file.
        path: String,
        /// Number of the certificate in the file, from 1.
        number: usize,
        /// Cause.
        reason: String,
    },
    /// The file has no private key.
    #[error("the file {0} contains no private key; it must contain PEM text (-----BEGIN PRIVATE KEY-----)")]
    NoKey(String),
    /// Certificate and key do not belong together, or the key is of an unsupported type.
    #[error("the certificate {certificate} cannot be used with the key {key}: {reason}")]
    Mismatch {
        /// Path of the certificate.
        certificate: String,
        /// Path of the key.
        key: String,
        /// Cause.
        reason: String,
    },
}

impl TlsFiles {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`TlsFileError`] if a file cannot be read, or does not contain what it must.
    pub fn load(&self) -> Result<TlsMaterial, TlsFileError> {
        let authorities = self.ca_file.as_deref().map(read_authorities).transpose()?;
        let client = self.client_certificate.as_ref().map(read_client_identity).transpose()?;
        Ok(TlsMaterial { authorities, client })
    }
}

impl TlsMaterial {
    /// Returns the configuration of a client that verifies certificate and name of the server.
    ///
    /// # Panics
    /// Panics if the contents were not returned by [`TlsFiles::load`] and are invalid.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let verifying = config_builder().with_root_certificates(self.root_store());
        match &self.client {
            None => verifying.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_slice(&identity.key).expect("the key was checked");
                verifying
                    .with_client_auth_cert(certificates(&identity.certificate), key)
                    .expect("certificate and key were checked")
            }
        }
    }

    /// Returns the authorities in PEM, for drivers that take no store: the CA file, or those of the system.
    #[must_use]
    pub fn authorities_pem(&self) -> Vec<u8> {
        self.authorities.clone().unwrap_or_else(|| {
            let mut roots = RootCertStore::empty();
            let system = rustls_native_certs::load_native_certs().certs.into_iter();
            let usable = system.filter(|certificate| roots.add(certificate.clone()).is_ok());
            usable.flat_map(|certificate| encode_pem(&certificate).into_bytes()).collect()
        })
    }

    fn root_store(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        match &self.authorities {
            Some(pem) => drop(roots.add_parsable_certificates(certificates(pem))),
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if roots.is_empty() {
                    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                }
            }
        }
        roots
    }
}

fn config_builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has the cipher suites of TLS 1.2 and 1.3")
}

fn encode_pem(certificate: &CertificateDer<'_>) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(certificate))
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    std::fs::read(path).map_err(|source| TlsFileError::Unreadable { path: path.display().to_string(), source })
}

/// Reads a file with at least one certificate, all of which are well-formed.
fn read_certificates(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let pem = read_file(path)?;
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        found += 1;
        if let Err(error) = certificate {
            let (path, reason) = (path.display().to_string(), errors::chain(&error).to_string());
            return Err(TlsFileError::InvalidCertificate { path, number: found, reason });
        }
    }
    if found == 0 { Err(TlsFileError::NoCertificate(path.display().to_string())) } else { Ok(pem) }
}

fn read_authorities(path: &Path) -> Result<Vec<u8>, TlsFileError> {
    let pem = read_certificates(path)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates(&pem).into_iter().enumerate() {
        if let Err(error) = roots.add(certificate) {
            let (path, reason) = (path.display().to_string(), error.to_string());
            return Err(TlsFileError::InvalidCertificate { path, number: index + 1, reason });
        }
    }
    Ok(pem)
}

fn read_client_identity(files: &ClientCertificateFiles) -> Result<ClientIdentity, TlsFileError> {
    let certificate = read_certificates(&files.certificate)?;
    let key = read_file(&files.key)?;
    let parsed = PrivateKeyDer::from_pem_slice(&key);
    let parsed = parsed.map_err(|_| TlsFileError::NoKey(files.key.display().to_string()))?;
    let verifying = config_builder().with_root_certificates(RootCertStore::empty());
    match verifying.with_client_auth_cert(certificates(&certificate), parsed) {
        Ok(_) => Ok(ClientIdentity { certificate, key }),
        Err(error) => Err(TlsFileError::Mismatch {
            certificate: files.certificate.display().to_string(),
            key: files.key.display().to_string(),
            reason: error.to_string(),
        }),
    }
}
