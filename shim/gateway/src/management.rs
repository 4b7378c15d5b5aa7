//! The `@connections` API: paths, the body of `GetConnection`, and every error.
//!
//! Invariant: each error names its exception in `x-amzn-ErrorType`, because without it no SDK raises a typed one
//! (CX-20), and its body is empty or JSON (CX-23). Who may call, and how a post reaches a socket, is the server's to
//! decide.

mod error;
mod path;

use http::{Method, StatusCode};
use serde::Serialize;

pub use error::ManagementError;
pub use path::{ManagementTarget, is_management_path, parse_management_path};

use crate::time::iso_8601_ms;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagementOperation {
    /// `POST`: send the body to the connection; 200, empty.
    Post,
    /// `GET`: describe the connection; 200, JSON.
    Describe,
    /// `DELETE`: close the connection with 1000; 204, empty (service model).
    Delete,
}

/// What `GetConnection` tells about a connection. `Debug` shows no address.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionDescription<'c> {
    /// Milliseconds since 1970.
    pub connected_at: i64,
    /// The client's address.
    pub source_ip: &'c str,
    /// The client's `User-Agent`; `null` in the body when it sent none (CX-11).
    pub user_agent: Option<&'c str>,
    /// When it last sent or was sent a message, in milliseconds since 1970 (TM-5).
    pub last_active_at: i64,
}

impl ManagementOperation {
    /// The operation of a method.
    ///
    /// # Errors
    /// [`ManagementError::MissingAuthenticationToken`], API Gateway's answer to methods that do not exist.
    pub fn from_method(method: &Method) -> Result<Self, ManagementError> {
        match *method {
            Method::POST => Ok(Self::Post),
            Method::GET => Ok(Self::Describe),
            Method::DELETE => Ok(Self::Delete),
            _ => Err(ManagementError::MissingAuthenticationToken),
        }
    }

    /// The status when it succeeds.
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
    /// The body of `GetConnection`, in the key order of captures (CX-10, CX-11).
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
