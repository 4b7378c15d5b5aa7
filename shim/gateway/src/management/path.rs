//! Paths of `@connections`: `/{stage}/@connections/{id}`, `/{base path}/@connections/{id}` and `/@connections/{id}` (CX-1,
//! CX-2).
//!
//! Each segment is decoded exactly once before it is compared, so all encodings of a path are equivalent. The form
//! without a stage is for custom domains with an empty mapping.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::ManagementError;
use crate::base_path::BasePath;
use crate::id::{self, GatewayId};

const COLLECTION: &str = "@connections";

/// Target of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManagementTarget {
    /// Id of the connection, which may not exist.
    pub connection_id: GatewayId,
}

/// Returns whether `path` (as received, without query) is a path of `@connections`, under any prefix.
#[must_use]
pub fn is_management_path(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|path| path.split('/').any(|segment| decode_segment(segment) == COLLECTION))
}

/// Parses the target from `path` (as received, without query) of an API with the stage `stage` and the base paths
/// `base_paths`. A path without a prefix is always accepted.
///
/// # Errors
/// [`ManagementError::Forbidden`] for another prefix or another form of path, [`ManagementError::MalformedId`] for an id
/// that API Gateway cannot have issued.
pub fn parse_management_path(
    path: &str,
    stage: &str,
    base_paths: &[BasePath],
) -> Result<ManagementTarget, ManagementError> {
    let path = path.strip_prefix('/').ok_or(ManagementError::Forbidden)?;
    let segments: Vec<&str> = path.split('/').collect();
    let Some((&[collection, id], prefix)) = segments.split_last_chunk::<2>().map(|(prefix, last)| (last, prefix))
    else {
        return Err(ManagementError::Forbidden);
    };
    let text = decode_segment(id);
    if decode_segment(collection) != COLLECTION || text.is_empty() || !is_served(prefix, stage, base_paths) {
        return Err(ManagementError::Forbidden);
    }
    match id::parse_gateway_id(&text) {
        Ok(connection_id) => Ok(ManagementTarget { connection_id }),
        Err(id::GatewayIdError) => Err(ManagementError::MalformedId(text.into_owned())),
    }
}

/// Returns whether the levels in front of `@connections` are none, the stage or a base path.
fn is_served(prefix: &[&str], stage: &str, base_paths: &[BasePath]) -> bool {
    let equals = |path: &str| prefix.iter().map(|segment| decode_segment(segment)).eq(path.split('/'));
    let is_base_path = |base: &BasePath| !base.as_str().is_empty() && equals(base.as_str());
    prefix.is_empty() || equals(stage) || base_paths.iter().any(is_base_path)
}

fn decode_segment(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}
