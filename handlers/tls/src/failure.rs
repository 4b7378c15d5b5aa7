//! Causes of failed connections, from the errors of rustls, hyper, and the drivers of Redis and PostgreSQL.
//!
//! The drivers pass on errors of rustls as text only, so the cause is read from the text of the error chain. The texts
//! are tested with real servers in the packages that connect.

use std::error::Error;
use std::fmt;

/// Cause of a failed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectFailure {
    /// The server's certificate has expired.
    CertificateExpired,
    /// The server's certificate is not valid yet.
    CertificateNotYetValid,
    /// The server's certificate is for another name.
    WrongName,
    /// The server's certificate is signed by an authority that is not trusted.
    UnknownAuthority,
    /// The server's certificate is invalid for another reason.
    InvalidCertificate,
    /// The server requires a client certificate.
    ClientCertificateRequired,
    /// The server rejects the client certificate.
    ClientCertificateRejected,
    /// The server rejects the handshake: no common protocol version or cipher, or, in TLS 1.2, no client certificate.
    HandshakeRejected,
    /// The server does not use TLS on this port.
    NotTls,
    /// The proxy did not open a tunnel.
    ProxyRejected,
    /// No process listens at the address.
    Refused,
    /// The server did not answer in time.
    Timeout,
    /// The host name cannot be resolved.
    UnknownHost,
}

/// Texts of each cause in lower case, the more specific ones first.
const TEXTS: &[(&str, ConnectFailure)] = &[
    ("certificate expired", ConnectFailure::CertificateExpired),
    ("peer certificate: expired", ConnectFailure::CertificateExpired),
    ("certificate not valid yet", ConnectFailure::CertificateNotYetValid),
    ("peer certificate: notvalidyet", ConnectFailure::CertificateNotYetValid),
    ("certificate not valid for name", ConnectFailure::WrongName),
    ("peer certificate: notvalidforname", ConnectFailure::WrongName),
    ("peer certificate: unknownissuer", ConnectFailure::UnknownAuthority),
    // An authority of the same name with another key, such as one that was created again.
    ("peer certificate: badsignature", ConnectFailure::UnknownAuthority),
    ("peer certificate", ConnectFailure::InvalidCertificate),
    ("fatal alert: certificaterequired", ConnectFailure::ClientCertificateRequired),
    ("fatal alert: unknownca", ConnectFailure::ClientCertificateRejected),
    ("fatal alert: badcertificate", ConnectFailure::ClientCertificateRejected),
    ("fatal alert: certificate", ConnectFailure::ClientCertificateRejected),
    ("fatal alert", ConnectFailure::HandshakeRejected),
    ("received corrupt message", ConnectFailure::NotTls),
    ("failed to lookup address", ConnectFailure::UnknownHost),
    ("dns error", ConnectFailure::UnknownHost),
    ("connection refused", ConnectFailure::Refused),
    ("timed out", ConnectFailure::Timeout),
    ("deadline has elapsed", ConnectFailure::Timeout),
    ("tunnel error", ConnectFailure::ProxyRejected),
];

impl ConnectFailure {
    /// Returns the cause of `error`, or `None` if it is another one.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let text = errors::chain(error).to_string().to_lowercase();
        TEXTS.iter().find(|(part, _)| text.contains(part)).map(|(_, cause)| *cause)
    }

    /// Returns whether the server's certificate was not accepted.
    #[must_use]
    pub const fn is_untrusted(self) -> bool {
        matches!(
            self,
            Self::CertificateExpired
                | Self::CertificateNotYetValid
                | Self::WrongName
                | Self::UnknownAuthority
                | Self::InvalidCertificate
        )
    }

    /// Returns whether the server did not accept the client's side of the handshake.
    #[must_use]
    pub const fn is_rejected_client(self) -> bool {
        matches!(self, Self::ClientCertificateRequired | Self::ClientCertificateRejected | Self::HandshakeRejected)
    }

    /// Returns a short code for logs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateNotYetValid => "certificate_not_yet_valid",
            Self::WrongName => "wrong_name",
            Self::UnknownAuthority => "unknown_authority",
            Self::InvalidCertificate => "invalid_certificate",
            Self::ClientCertificateRequired => "client_certificate_required",
            Self::ClientCertificateRejected => "client_certificate_rejected",
            Self::HandshakeRejected => "handshake_rejected",
            Self::NotTls => "not_tls",
            Self::ProxyRejected => "proxy_rejected",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::UnknownHost => "unknown_host",
        }
    }
}

/// Writes the cause as a clause that follows the name of the server.
impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CertificateExpired => "its certificate has expired",
            Self::CertificateNotYetValid => "its certificate is not valid yet; compare the clocks",
            Self::WrongName => "its certificate is for another name; use a host name of the certificate in the address",
            Self::UnknownAuthority => "its certificate is signed by an authority that is not trusted",
            Self::InvalidCertificate => "its certificate is invalid",
            Self::ClientCertificateRequired => "it requires a client certificate",
            Self::ClientCertificateRejected => "it rejects the client certificate",
            Self::HandshakeRejected => "it rejects the TLS handshake; it may require a client certificate",
            Self::NotTls => "it does not use TLS on this port",
            Self::ProxyRejected => "the proxy opened no tunnel",
            Self::Refused => "the connection was refused",
            Self::Timeout => "it did not answer in time",
            Self::UnknownHost => "its host name cannot be resolved",
        })
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError};

    use super::*;

    #[test]
    fn causes_are_found_in_the_errors_of_rustls() {
        let certificate = rustls::Error::InvalidCertificate;
        for (error, cause) in [
            (certificate(CertificateError::Expired), ConnectFailure::CertificateExpired),
            (certificate(CertificateError::NotValidYet), ConnectFailure::CertificateNotYetValid),
            (certificate(CertificateError::NotValidForName), ConnectFailure::WrongName),
            (certificate(CertificateError::UnknownIssuer), ConnectFailure::UnknownAuthority),
            (certificate(CertificateError::BadSignature), ConnectFailure::UnknownAuthority),
            (certificate(CertificateError::Revoked), ConnectFailure::InvalidCertificate),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
                ConnectFailure::ClientCertificateRequired,
            ),
            (rustls::Error::AlertReceived(AlertDescription::UnknownCA), ConnectFailure::ClientCertificateRejected),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateExpired),
                ConnectFailure::ClientCertificateRejected,
            ),
            (rustls::Error::AlertReceived(AlertDescription::HandshakeFailure), ConnectFailure::HandshakeRejected),
            (rustls::InvalidMessage::InvalidContentType.into(), ConnectFailure::NotTls),
        ] {
            let wrapped = std::io::Error::other(error.clone());
            assert_eq!(ConnectFailure::of(&wrapped), Some(cause), "{error}");
        }
        assert_eq!(ConnectFailure::of(&std::io::Error::from(std::io::ErrorKind::BrokenPipe)), None);
    }
}
