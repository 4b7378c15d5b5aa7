//! Paths of `@connections`: `/{stage}/@connections/{id}` and `/@connections/{id}` (CX-1, CX-2).
//!
//! Each segment is decoded exactly once before it is compared, so all encodings of a path are equivalent. The form
//! without a stage is for custom domains with an empty mapping.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::ManagementError;
use crate::id::{self, GatewayId};

const COLLECTION: &str = "@connections";

/// Target of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManagementTarget {
    /// Id of the connection, which may not exist.
    pub connection_id: GatewayId,
}

/// Returns whether `path` (as received, without query) is a path of `@connections`.
#[must_use]
pub fn is_management_path(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|path| path.split('/').take(2).any(|segment| decode_segment(segment) == COLLECTION))
}

/// Parses the target from `path` (as received, without query) of an API with the stage `stage`.
///
/// # Errors
/// [`ManagementError::Forbidden`] for another stage or another form of path, [`ManagementError::MalformedId`] for an id
/// that API Gateway cannot have issued.
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
