//! Certificate authority of the endpoint proxy, generated at the start of the server.
//!
//! Its keys exist only in the memory of this process. A critical name constraint (RFC 5280 section 4.2.1.10) limits the
//! authority to the names of the API, so a program that trusts it trusts it for these names only.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use system_clock::current_time;

use crate::access::ApiHosts;

/// Time before the start from which the certificates are valid, for clocks that are set back.
const BACKDATING: Duration = Duration::from_secs(24 * 60 * 60);
/// Time after the start until which the certificates are valid; longer than a process runs.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Error of generating the certificates.
#[derive(Debug, thiserror::Error)]
pub enum EndpointAuthorityError {
    /// A name of the API cannot be in a certificate, or there is no entropy.
    #[error("a certificate for the names of the API cannot be generated")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library rejects the certificate.
    #[error("the TLS library rejects the generated certificate")]
    Tls(#[from] rustls::Error),
}

/// The authority's certificate, and TLS settings with a certificate of the API that it has signed.
#[derive(Debug)]
pub struct EndpointAuthority {
    /// The authority's certificate (DER).
    pub certificate: Vec<u8>,
    pub(super) tls: Arc<ServerConfig>,
}

impl EndpointAuthority {
    /// Generates the authority and the certificate of the API.
    ///
    /// # Errors
    /// A name of the API cannot be in a certificate, or the generator has no entropy.
    pub fn generate(hosts: &ApiHosts) -> Result<Self, EndpointAuthorityError> {
        let authority = CertifiedIssuer::self_signed(authority_params(hosts)?, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = server_params(hosts)?.signed_by(&key, &authority)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { certificate: authority.der().to_vec(), tls: Arc::new(tls) })
    }
}

fn authority_params(hosts: &ApiHosts) -> Result<CertificateParams, rcgen::Error> {
    let mut params = base_params(Vec::new(), "Twinway endpoints of functions")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: hosts.names().map(|name| GeneralSubtree::DnsName(name.to_owned())).collect(),
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

fn server_params(hosts: &ApiHosts) -> Result<CertificateParams, rcgen::Error> {
    let mut params = base_params(hosts.names().map(str::to_owned).collect(), "Twinway endpoint")?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn base_params(names: Vec<String>, common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(current_time().0).unwrap_or(0));
    params.not_before = (now - BACKDATING).into();
    params.not_after = (now + LIFETIME).into();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    /// Returns whether a client that trusts `authority` accepts a certificate for `name` that it has signed.
    fn is_accepted(authority: &CertifiedIssuer<'_, KeyPair>, name: &'static str) -> Result<(), rustls::Error> {
        let key = KeyPair::generate().unwrap();
        let mut params = base_params(vec![name.to_owned()], "server").unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.der().to_vec())).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let host = ServerName::try_from(name).unwrap();
        verifier.verify_server_cert(certificate.der(), &[], &host, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn the_authority_vouches_for_the_names_of_the_api_only() {
        let hosts = ApiHosts::new("abc", "us-east-1", ["chat.example"]);
        let params = authority_params(&hosts).unwrap();
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        for name in ["abc.execute-api.us-east-1.amazonaws.com", "chat.example"] {
            assert_eq!(is_accepted(&authority, name), Ok(()), "{name}");
        }
        for name in ["dynamodb.us-east-1.amazonaws.com", "example.com", "abd.execute-api.us-east-1.amazonaws.com"] {
            let error = is_accepted(&authority, name).unwrap_err().to_string();
            assert!(error.contains("NameConstraintViolation"), "{name}: {error}");
        }
        assert!(EndpointAuthority::generate(&hosts).unwrap().certificate.len() > 300);
    }
}
