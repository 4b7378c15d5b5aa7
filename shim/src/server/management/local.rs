//! Listener of unsigned `@connections` calls from processes of this machine (`docs/adr/0023-management-callers.md`).
//!
//! It is bound to a loopback address, but browsers and proxies of this machine connect from there as well. So each
//! request must name a loopback host, which a page that rebinds DNS does not, and must not have a header that only
//! browsers or proxies send.

use std::sync::Arc;

use gateway::management::ManagementError;
use http::header::{FORWARDED, HOST, HeaderMap, ORIGIN, VIA};
use warp::Filter;

use super::{CallerCheck, finish_response, management_routes};
use crate::access::host_name::{HostPort, single_value};
use crate::server::ManagementContext;
use crate::server::listener::BoxedRoutes;

/// Headers that a request of a local process does not have: browsers and proxies add them.
const FOREIGN_HEADERS: [&str; 9] = [
    "sec-fetch-site",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "x-envoy-external-address",
    "x-envoy-peer-metadata-id",
];

/// Returns the routes: `@connections` without signatures, and 403 for everything else.
pub fn local_management_routes(context: Arc<ManagementContext>) -> BoxedRoutes {
    let (for_foreign, for_unknown) = (context.clone(), context.clone());
    let foreign = warp::header::headers_cloned()
        .and_then(|headers: HeaderMap| async move {
            if is_local_request(&headers) { Err(warp::reject::not_found()) } else { Ok(()) }
        })
        .map(move |()| finish_response(&for_foreign, Err(ManagementError::Forbidden)));
    let unknown =
        warp::any().map(move || finish_response(&for_unknown, Err(ManagementError::MissingAuthenticationToken)));
    foreign.or(management_routes(context, CallerCheck::None)).unify().or(unknown).unify().boxed()
}

fn is_local_request(headers: &HeaderMap) -> bool {
    let host = single_value(headers, HOST).and_then(|host| HostPort::parse(host.as_bytes()));
    host.is_some_and(|host| host.is_loopback())
        && ![ORIGIN, FORWARDED, VIA].iter().any(|name| headers.contains_key(name))
        && !FOREIGN_HEADERS.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn is_local(fields: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        is_local_request(&headers)
    }

    #[test]
    fn requests_of_sdks_and_curl_are_local() {
        assert!(is_local(&[
            ("host", "127.0.0.1:8082"),
            ("user-agent", "curl/8"),
            ("authorization", "AWS4-HMAC-SHA256 x")
        ]));
        assert!(is_local(&[("host", "localhost:8082")]) && is_local(&[("host", "[::1]:8082")]));
    }

    #[test]
    fn other_hosts_and_headers_of_browsers_and_proxies_are_not() {
        for host in ["evil.example:8082", "10.0.0.1:8082", "a b"] {
            assert!(!is_local(&[("host", host)]), "{host}");
        }
        assert!(!is_local(&[]) && !is_local(&[("host", "localhost"), ("host", "localhost")]));
        for name in FOREIGN_HEADERS.into_iter().chain(["origin", "forwarded", "via"]) {
            assert!(!is_local(&[("host", "localhost:8082"), (name, "x")]), "{name}");
        }
    }
}
