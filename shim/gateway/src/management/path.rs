//! The paths of `@connections`: `/{stage}/@connections/{id}` and `/@connections/{id}` (CX-1, CX-2).
//!
//! Invariant: each segment is decoded exactly once and compared afterwards, so that every way to escape a path means
//! the same. The form without stage is for custom domains, whose mapping may be empty.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::ManagementError;
use crate::id::{self, GatewayId};

const COLLECTION: &str = "@connections";

/// The connection a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManagementTarget {
    /// Its id, well-formed but not necessarily known.
    pub connection_id: GatewayId,
}

/// Whether `path` (as received, without query) belongs to `@connections` and not to another part of the server.
#[must_use]
pub fn is_management_path(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|path| path.split('/').take(2).any(|segment| decode_segment(segment) == COLLECTION))
}

/// Reads the target from `path` (as received, without query) of an API whose stage is called `stage`.
///
/// # Errors
/// [`ManagementError::Forbidden`] for another stage or a path of another form, [`ManagementError::MalformedId`] for an
/// id that API Gateway could not have issued.
pub fn parse_management_path(path: &str, stage: &str) -> Result<ManagementTarget, ManagementError> {
    let mut segments = path.strip_prefix('/').ok_or(ManagementError::Forbidden)?.split('/').map(decode_segment);
    let first = segments.next().unwrap_or_default();
    if first != COLLECTION && (first != stage || segments.next().as_deref() != Some(COLLECTION)) {
        return Err(ManagementError::Forbidden);
    }
    match (segments.next(), segments.next()) {
        (Some(text), None) if !text.is_empty() => match id::parse_gateway_id(&text) {
            Ok(connection_id) => Ok(ManagementTarget { connection_id }),
            Err(id::GatewayIdError) => Err(ManagementError::MalformedId(text.into_owned())),
        },
        _ => Err(ManagementError::Forbidden),
    }
}

fn decode_segment(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}
