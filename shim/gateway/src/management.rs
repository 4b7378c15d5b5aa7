//! `@connections` API: paths, operations, the body of `GetConnection`, and errors.
//!
//! Each error has its exception name in `x-amzn-ErrorType`, because the SDKs raise typed exceptions from it (CX-20),
//! and its body is empty or JSON (CX-23). The server authorizes the calls and delivers the posts.

mod error;
mod path;

use http::{Method, StatusCode};
use serde::Serialize;

pub use error::ManagementError;
pub use path::{ManagementTarget, is_management_path, parse_management_path};

use crate::time::iso_8601_ms;

/// Operation of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagementOperation {
    /// `POST`: sends the body to the connection; 200, empty.
    Post,
    /// `GET`: describes the connection; 200, JSON.
    Describe,
    /// `DELETE`: closes the connection with 1000; 204, empty (service model).
    Delete,
}

/// Result of `GetConnection`. `Debug` shows no address.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionDescription<'c> {
    /// Start of the connection, in milliseconds since 1970.
    pub connected_at: i64,
    /// Client address.
    pub source_ip: &'c str,
    /// `User-Agent` of the handshake; `null` in the body when there was none (CX-11).
    pub user_agent: Option<&'c str>,
    /// Last message in either direction, in milliseconds since 1970 (TM-5).
    pub last_active_at: i64,
}

impl ManagementOperation {
    /// Returns the operation of an HTTP method.
    ///
    /// # Errors
    /// [`ManagementError::MissingAuthenticationToken`], API Gateway's error for other methods.
    pub fn from_method(method: &Method) -> Result<Self, ManagementError> {
        match *method {
            Method::POST => Ok(Self::Post),
            Method::GET => Ok(Self::Describe),
            Method::DELETE => Ok(Self::Delete),
            _ => Err(ManagementError::MissingAuthenticationToken),
        }
    }

    /// Returns the status of a successful call.
    #[must_use]
    pub const fn success_status(self) -> StatusCode {
        match self {
            Self::Post | Self::Describe => StatusCode::OK,
            Self::Delete => StatusCode::NO_CONTENT,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GetConnectionResponse<'c> {
    connected_at: String,
    identity: DescribedIdentity<'c>,
    last_active_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DescribedIdentity<'c> {
    source_ip: &'c str,
    user_agent: Option<&'c str>,
}

impl ConnectionDescription<'_> {
    /// Serializes the body of `GetConnection`, in the key order of captures (CX-10, CX-11).
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let description = GetConnectionResponse {
            connected_at: iso_8601_ms(self.connected_at),
            identity: DescribedIdentity { source_ip: self.source_ip, user_agent: self.user_agent },
            last_active_at: iso_8601_ms(self.last_active_at),
        };
        serde_json::to_vec(&description).unwrap_or_default()
    }
}

impl std::fmt::Debug for ConnectionDescription<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectionDescription").field("connected_at", &self.connected_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
