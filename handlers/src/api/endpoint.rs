//! Which endpoint a method and a path name.
//!
//! Invariant: an [`ApiEndpoint`] carries identifiers that have passed their check, percent-decoded segment by segment, so
//! that `%2F` in a name never becomes a separator. `docs/openapi.yaml` describes exactly these.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::problem::ProblemDetails;
use crate::channel::ChannelName;
use crate::id::{ConnectionId, InvalidIdError, Name};

/// An endpoint with what its path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiEndpoint {
    Push,
    Connections,
    Kick(ConnectionId),
    Rooms,
    Members(Name),
    History(ChannelName),
    Status,
}

impl ApiEndpoint {
    /// Finds it.
    pub(super) fn from_request(method: &Method, path: &str) -> Result<Self, ProblemDetails> {
        let (allowed, endpoint) = Self::from_path(path)?;
        if method.as_str() == allowed { Ok(endpoint) } else { Err(ProblemDetails::wrong_method(allowed)) }
    }

    /// The endpoint at a path and the one method it knows.
    fn from_path(path: &str) -> Result<(&'static str, Self), ProblemDetails> {
        let rest = path.strip_prefix("/v1/").ok_or_else(unknown_path)?;
        let segments: Vec<Cow<'_, str>> =
            rest.split('/').take(4).map(|segment| percent_decode_str(segment).decode_utf8_lossy()).collect();
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        Ok(match segments.as_slice() {
            ["messages"] => ("POST", Self::Push),
            ["connections"] => ("GET", Self::Connections),
            ["connections", id] => {
                ("DELETE", Self::Kick(ConnectionId::parse(id).map_err(|error| invalid_name(&error))?))
            }
            ["rooms"] => ("GET", Self::Rooms),
            ["rooms", room, "members"] => {
                ("GET", Self::Members(Name::parse(room).map_err(|error: InvalidIdError| invalid_name(&error))?))
            }
            ["channels", channel, "history"] => {
                ("GET", Self::History(ChannelName::parse(channel).map_err(|error| invalid_name(&error))?))
            }
            ["status"] => ("GET", Self::Status),
            _ => return Err(unknown_path()),
        })
    }
}

fn unknown_path() -> ProblemDetails {
    ProblemDetails::not_found("the HTTP API has no such path")
}

/// A path with a name that cannot exist is a resource that is not there.
fn invalid_name(error: &dyn std::fmt::Display) -> ProblemDetails {
    ProblemDetails::not_found(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths of the OpenAPI document, each with one method, in the order of [`ApiEndpoint`].
    fn documented() -> Vec<(String, Method)> {
        let document = include_str!("../../../docs/openapi.yaml");
        let mut path = None;
        let mut found = Vec::new();
        for line in document.lines().skip_while(|line| *line != "paths:").take_while(|line| *line != "components:") {
            if let Some(name) = line.strip_prefix("  /").and_then(|name| name.strip_suffix(':')) {
                path = Some(format!("/{name}"));
            } else if let Some(method) = ["get", "post", "put", "patch", "delete"]
                .into_iter()
                .find(|method| line.strip_prefix("    ") == Some(&format!("{method}:")))
            {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                found.push((path.clone().expect("a method stands below a path"), method));
            }
        }
        found
    }

    #[test]
    fn every_documented_endpoint_exists_and_every_endpoint_is_documented() {
        let mut found: Vec<_> = documented()
            .into_iter()
            .map(|(path, method)| {
                let path =
                    path.replace("{connection}", "c1").replace("{room}", "lobby").replace("{channel}", "everyone");
                std::mem::discriminant(&ApiEndpoint::from_request(&method, &path).expect("documented"))
            })
            .collect();
        found.dedup();
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn segments_are_decoded_one_by_one() {
        let found = ApiEndpoint::from_request(&Method::DELETE, "/v1/connections/abcDEF-_1234567%3D").unwrap();
        assert_eq!(found, ApiEndpoint::Kick(ConnectionId::parse("abcDEF-_1234567=").unwrap()));
        let found = ApiEndpoint::from_request(&Method::GET, "/v1/channels/conversation%3Aauth0%7C5/history").unwrap();
        assert_eq!(found, ApiEndpoint::History(ChannelName::parse("conversation:auth0|5").unwrap()));
        assert!(ApiEndpoint::from_request(&Method::GET, "/v1/rooms/a%2Fb/members").is_err());
    }

    #[test]
    fn what_is_not_there_is_404_and_a_wrong_method_405() {
        for path in ["/", "/v1", "/v1/", "/v2/status", "/v1/status/", "/v1/rooms/lobby", "/v1/rooms/a/members/b"] {
            let problem = ApiEndpoint::from_request(&Method::GET, path).unwrap_err();
            assert_eq!(problem.into_response().status(), 404, "{path}");
        }
        let refused = ApiEndpoint::from_request(&Method::PUT, "/v1/messages").unwrap_err().into_response();
        assert_eq!((refused.status().as_u16(), &refused.headers()["allow"]), (405, &"POST".parse().unwrap()));
    }
}
