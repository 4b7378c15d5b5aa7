//! Routes of an HTTP API: methods and path patterns, and the selection of a request's route.
//!
//! The most specific route is selected, level by level: a literal before `{name}` before `{name+}`, then a method before
//! `ANY`, and `$default` last (API Gateway developer guide, `http-api-develop-routes`).

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;
use runtime_api::LambdaFunction;

/// Stage that has no prefix in the path.
pub const DEFAULT_STAGE: &str = "$default";
/// Key of the route for all requests that match no other.
const DEFAULT_ROUTE: &str = "$default";

/// Format of the events and responses of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadFormat {
    /// Payload 1.0, also of REST APIs.
    V1,
    /// Payload 2.0.
    V2,
}

/// A route with its function.
pub struct HttpRoute {
    /// Route key of events, such as `GET /rooms/{id}`.
    pub key: String,
    /// Stage name; [`DEFAULT_STAGE`] has no prefix.
    pub stage: String,
    /// Path pattern as in the template; `$default` for the fallback.
    pub path: String,
    pub function: Arc<LambdaFunction>,
    pub payload: PayloadFormat,
    /// Method; `None` for `ANY`.
    method: Option<Method>,
    levels: Vec<PathLevel>,
}

/// One level of a path pattern, the most specific first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum PathLevel {
    Literal(String),
    /// `{name}`
    Variable(String),
    /// `{name+}`: this level and all after it.
    Greedy(String),
}

/// Path parameters of a request by name.
pub type PathParameters = BTreeMap<String, String>;

/// A request's route and its path parameters.
pub struct RouteMatch {
    pub route: Arc<HttpRoute>,
    pub parameters: PathParameters,
}

/// All routes of the HTTP APIs of a server, the most specific first.
#[derive(Default)]
pub struct RouteTable(Vec<Arc<HttpRoute>>);

impl HttpRoute {
    /// Returns the route of a template's `method` (`ANY` for all) and `path`.
    #[must_use]
    pub fn new(stage: &str, method: &str, path: &str, payload: PayloadFormat, function: Arc<LambdaFunction>) -> Self {
        let is_default = path == DEFAULT_ROUTE;
        Self {
            key: if is_default { DEFAULT_ROUTE.to_owned() } else { format!("{method} {path}") },
            stage: stage.to_owned(),
            path: path.to_owned(),
            function,
            payload,
            method: (method != "ANY" && !is_default).then(|| method.parse().ok()).flatten(),
            levels: if is_default { Vec::new() } else { path_levels(path) },
        }
    }

    /// Returns the route with another key in its events.
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self }
    }

    fn is_fallback(&self) -> bool {
        self.path == DEFAULT_ROUTE
    }

    /// Returns the path without the prefix of the stage; `None` if it has another one.
    pub fn path_in_stage<'p>(&self, path: &'p str) -> Option<&'p str> {
        if self.stage == DEFAULT_STAGE {
            return Some(path);
        }
        let rest = path.strip_prefix('/')?.strip_prefix(self.stage.as_str())?;
        if rest.is_empty() { Some("/") } else { rest.starts_with('/').then_some(rest) }
    }

    /// Returns the path parameters if the route matches.
    fn match_request(&self, method: &Method, path: &str) -> Option<PathParameters> {
        let path = self.path_in_stage(path)?;
        if self.method.as_ref().is_some_and(|own| own != method) {
            return None;
        }
        if self.is_fallback() { Some(PathParameters::new()) } else { match_levels(&self.levels, path) }
    }
}

impl RouteTable {
    /// Returns the table of `routes`.
    #[must_use]
    pub fn new(routes: Vec<HttpRoute>) -> Self {
        let mut routes: Vec<_> = routes.into_iter().map(Arc::new).collect();
        routes.sort_by(|a, b| {
            let rank = |route: &HttpRoute| (route.is_fallback(), route.stage == DEFAULT_STAGE);
            rank(a)
                .cmp(&rank(b))
                .then_with(|| a.levels.cmp(&b.levels))
                .then_with(|| a.method.is_none().cmp(&b.method.is_none()))
        });
        Self(routes)
    }

    /// Returns the most specific route of a request.
    #[must_use]
    pub fn find_route(&self, method: &Method, path: &str) -> Option<RouteMatch> {
        self.0
            .iter()
            .find_map(|route| Some(RouteMatch { parameters: route.match_request(method, path)?, route: route.clone() }))
    }

    /// Returns all routes.
    pub fn routes(&self) -> impl Iterator<Item = &HttpRoute> {
        self.0.iter().map(|route| &**route)
    }
}

fn path_levels(path: &str) -> Vec<PathLevel> {
    let level = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        None => PathLevel::Literal(text.to_owned()),
        Some(name) => match name.strip_suffix('+') {
            Some(name) => PathLevel::Greedy(name.to_owned()),
            None => PathLevel::Variable(name.to_owned()),
        },
    };
    path.trim_start_matches('/').split('/').map(level).collect()
}

/// Returns the parameters if `levels` match `path`. Variables need at least one character.
fn match_levels(levels: &[PathLevel], path: &str) -> Option<PathParameters> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut parameters = PathParameters::new();
    let mut rest = Some(path.strip_prefix('/')?);
    for level in levels {
        let current = rest?;
        if let PathLevel::Greedy(name) = level {
            return (!current.is_empty()).then(|| {
                parameters.insert(name.clone(), decode(current));
                parameters
            });
        }
        let (segment, after) = current.split_once('/').map_or((current, None), |(first, rest)| (first, Some(rest)));
        match level {
            PathLevel::Literal(text) if decode(segment) == *text => {}
            PathLevel::Variable(name) if !segment.is_empty() => drop(parameters.insert(name.clone(), decode(segment))),
            _ => return None,
        }
        rest = after;
    }
    rest.is_none_or(str::is_empty).then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pattern: &str, path: &str) -> Option<String> {
        let found = match_levels(&path_levels(pattern), path)?;
        Some(found.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn patterns_match_levels() {
        for (pattern, path, expected) in [
            ("/rooms", "/rooms", Some("")),
            ("/rooms", "/rooms/", Some("")),
            ("/rooms/{id}", "/rooms/a%20b", Some("id=a b")),
            ("/rooms/{id}/users/{user}", "/rooms/1/users/2", Some("id=1,user=2")),
            ("/{proxy+}", "/a/b/c", Some("proxy=a/b/c")),
            ("/v1/{proxy+}", "/v1/x", Some("proxy=x")),
            ("/", "/", Some("")),
            ("/rooms", "/rooms/1", None),
            ("/rooms/{id}", "/rooms", None),
            ("/rooms/{id}", "/rooms/", None),
            ("/{proxy+}", "/", None),
            ("/rooms", "/Rooms", None),
        ] {
            assert_eq!(parameters(pattern, path).as_deref(), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn levels_are_ordered_from_specific_to_greedy() {
        let mut patterns = ["/{proxy+}", "/a/{id}", "/a/b", "/{x}/b"].map(path_levels);
        patterns.sort();
        assert_eq!(patterns, ["/a/b", "/a/{id}", "/{x}/b", "/{proxy+}"].map(path_levels));
    }
}
