//! Host names of the API: API Gateway's own, and custom domains.
//!
//! Function processes call `https://{host}/{stage}/@connections/…` under any of them, and events contain one of them as
//! `domainName` (`docs/adr/0043-endpoints-of-functions.md`).

use std::sync::Arc;

use gateway::api::aws_partition;

/// Host names of the API, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiHosts {
    /// `{api id}.execute-api.`
    prefix: Box<str>,
    /// API Gateway's names: that of IPv4, and that of IPv4 and IPv6.
    generated: [Arc<str>; 2],
    custom: Vec<Arc<str>>,
}

impl ApiHosts {
    /// Returns the names of an API with these custom domains. Names of loopback addresses and addresses are no domains and
    /// are left out.
    #[must_use]
    pub fn new<'n>(api_id: &str, region: &str, custom_domains: impl IntoIterator<Item = &'n str>) -> Self {
        let prefix = format!("{api_id}.execute-api.").to_ascii_lowercase();
        let suffix = if aws_partition(region) == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let generated = [suffix, "api.aws"].map(|suffix| Arc::from(format!("{prefix}{region}.{suffix}")));
        let domains = custom_domains.into_iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let mut custom: Vec<Arc<str>> = domains.filter(|name| is_domain(name)).map(Arc::from).collect();
        custom.dedup();
        Self { prefix: prefix.into(), generated, custom }
    }

    /// Returns all names, API Gateway's own first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.generated.iter().chain(&self.custom).map(|name| &**name)
    }

    /// Returns whether `host` is a name of the API. A final dot and case are ignored.
    #[must_use]
    pub fn contains(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.names().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Returns whether `host` is the name that the API would have in another region.
    #[must_use]
    pub fn is_of_other_region(&self, host: &str) -> bool {
        let begins = host.get(..self.prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(&self.prefix));
        begins && !self.contains(host)
    }

    /// Returns `domainName` for a request to `host` without port: the custom domain of the request, else API Gateway's
    /// name.
    #[must_use]
    pub fn event_domain(&self, host: &str) -> Arc<str> {
        let custom = self.custom.iter().find(|name| name.eq_ignore_ascii_case(host));
        custom.unwrap_or(&self.generated[0]).clone()
    }
}

fn is_domain(name: &str) -> bool {
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    !name.is_empty() && !is_address && name != "localhost" && !name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> ApiHosts {
        ApiHosts::new("abc", "eu-central-1", ["Chat.Example", "localhost", "127.0.0.1", "::1", "a.localhost"])
    }

    #[test]
    fn the_api_has_the_names_of_api_gateway_and_its_custom_domains() {
        let names: Vec<String> = hosts().names().map(str::to_owned).collect();
        let own = "abc.execute-api.eu-central-1";
        assert_eq!(names, [format!("{own}.amazonaws.com"), format!("{own}.api.aws"), "chat.example".to_owned()]);
        assert!(hosts().contains("ABC.execute-api.eu-central-1.amazonaws.com.") && hosts().contains("chat.example"));
        for other in ["localhost", "abd.execute-api.eu-central-1.amazonaws.com", "x.chat.example", ""] {
            assert!(!hosts().contains(other), "{other}");
        }
        let china = ApiHosts::new("abc", "cn-north-1", []);
        assert!(china.contains("abc.execute-api.cn-north-1.amazonaws.com.cn"));
    }

    #[test]
    fn names_of_other_regions_are_recognized() {
        assert!(hosts().is_of_other_region("abc.execute-api.us-east-1.amazonaws.com"));
        for other in ["abc.execute-api.eu-central-1.amazonaws.com", "xabc.execute-api.us-east-1.amazonaws.com", "é"] {
            assert!(!hosts().is_of_other_region(other), "{other}");
        }
    }

    #[test]
    fn events_name_the_custom_domain_of_the_request_or_the_api() {
        let own = "abc.execute-api.eu-central-1.amazonaws.com";
        assert_eq!(&*hosts().event_domain("CHAT.example"), "chat.example");
        for host in ["localhost", "evil.example", "", own] {
            assert_eq!(&*hosts().event_domain(host), own, "{host}");
        }
    }
}
