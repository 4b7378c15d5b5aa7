//! Routing: maps method and path to an endpoint.
//!
//! Path segments are percent-decoded one by one, so `%2F` in a name never becomes a separator, and an [`ApiEndpoint`]
//! contains only valid identifiers. `docs/openapi.yaml` describes exactly these endpoints.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::problem::ProblemDetails;
use crate::channel::ChannelName;
use crate::id::{ConnectionId, InvalidIdError, LocalName};

/// An endpoint with the parameters of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiEndpoint {
    Push,
    Connections,
    /// Closes the connections of a user.
    KickUser,
    Kick(ConnectionId),
    /// Revokes tokens.
    Revoke,
    /// Deletes a revocation.
    Withdraw,
    Rooms,
    Members(LocalName),
    History(ChannelName),
    Status,
}

impl ApiEndpoint {
    /// Returns the endpoint of a request, or the problem 404 or 405.
    pub(super) fn from_request(method: &Method, path: &str) -> Result<Self, ProblemDetails> {
        match Self::from_path(path)? {
            (_, Self::Connections) => match method.as_str() {
                "GET" => Ok(Self::Connections),
                "DELETE" => Ok(Self::KickUser),
                _ => Err(ProblemDetails::wrong_method("GET, DELETE")),
            },
            (_, Self::Revoke) => match method.as_str() {
                "POST" => Ok(Self::Revoke),
                "DELETE" => Ok(Self::Withdraw),
                _ => Err(ProblemDetails::wrong_method("POST, DELETE")),
            },
            (allowed, endpoint) if method.as_str() == allowed => Ok(endpoint),
            (allowed, _) => Err(ProblemDetails::wrong_method(allowed)),
        }
    }

    /// Returns the first endpoint of a path and its method.
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
            ["revocations"] => ("POST", Self::Revoke),
            ["rooms"] => ("GET", Self::Rooms),
            ["rooms", room, "members"] => {
                ("GET", Self::Members(LocalName::parse(room).map_err(|error: InvalidIdError| invalid_name(&error))?))
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

/// Returns 404, because a resource with an invalid name cannot exist.
fn invalid_name(error: &dyn std::fmt::Display) -> ProblemDetails {
    ProblemDetails::not_found(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the paths of the OpenAPI document, each with one method, in the order of [`ApiEndpoint`].
    fn documented_endpoints() -> Vec<(String, Method)> {
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
                found.push((path.clone().expect("a method follows its path"), method));
            }
        }
        found
    }

    #[test]
    fn every_documented_endpoint_exists_and_every_endpoint_is_documented() {
        let mut found: Vec<_> = documented_endpoints()
            .into_iter()
            .map(|(path, method)| {
                let path =
                    path.replace("{connection}", "c1").replace("{room}", "lobby").replace("{channel}", "everyone");
                std::mem::discriminant(&ApiEndpoint::from_request(&method, &path).expect("documented"))
            })
            .collect();
        found.dedup();
        assert_eq!(found.len(), 10);
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
    fn an_unknown_path_is_404_and_a_wrong_method_405() {
        for path in ["/", "/v1", "/v1/", "/v2/status", "/v1/status/", "/v1/rooms/lobby", "/v1/rooms/a/members/b"] {
            let problem = ApiEndpoint::from_request(&Method::GET, path).unwrap_err();
            assert_eq!(problem.into_response().status(), 404, "{path}");
        }
        let rejected = ApiEndpoint::from_request(&Method::PUT, "/v1/messages").unwrap_err().into_response();
        assert_eq!((rejected.status().as_u16(), &rejected.headers()["allow"]), (405, &"POST".parse().unwrap()));
    }
}
