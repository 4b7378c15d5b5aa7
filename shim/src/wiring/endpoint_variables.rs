//! Environment variables through which function processes reach the endpoint proxy and trust its authority.
//!
//! | program | connects through | trusts by |
//! |---|---|---|
//! | Python, Go, Rust, curl, .NET | `HTTPS_PROXY` | `AWS_CA_BUNDLE`, `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` |
//! | Node | `NODE_OPTIONS` (preload script) | the script; `NODE_EXTRA_CA_CERTS` |
//! | Ruby | `RUBYOPT` (preload script) | `AWS_CA_BUNDLE`, `SSL_CERT_FILE` |
//! | Java | `http_proxy` | `JAVA_TOOL_OPTIONS` (trust store) |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::endpoint_files::EndpointFiles;
use crate::access::ApiHosts;
use crate::secret::Secret;

/// Variables that select a proxy for HTTPS. A function that has one of them keeps it.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// Hosts that are reached without a proxy: this machine, and the credentials of EC2, ECS and EKS.
const PROXY_EXCEPTIONS: [&str; 6] =
    ["localhost", "127.0.0.1", "::1", "169.254.169.254", "169.254.170.2", "169.254.170.23"];
/// Variables that name a file with all trusted authorities.
const BUNDLE_VARIABLES: [&str; 4] = ["AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
/// Variable that names a file with authorities in addition to Node's own.
const NODE_AUTHORITIES_VARIABLE: &str = "NODE_EXTRA_CA_CERTS";
/// Variable from which the AWS SDK for Java takes its proxy, for HTTPS as well.
const JAVA_PROXY_VARIABLE: &str = "http_proxy";
/// Maximum bytes of a `bootstrap` script that are searched for the command that it runs.
const MAX_SCRIPT_BYTES: u64 = 64 * 1024;
/// Option that selects Java's trust store.
const JAVA_TRUST_STORE_OPTION: &str = "-Djavax.net.ssl.trustStore=";

/// Variables of function processes for the endpoint proxy.
pub(super) struct EndpointVariables {
    /// URL of the proxy, with the secret.
    pub url: Secret,
    pub hosts: ApiHosts,
    pub files: EndpointFiles,
}

impl EndpointVariables {
    /// Adds the variables of a function with this executable. Options and lists are appended to existing ones, and files
    /// with authorities are extended; a proxy of the function's own stays.
    pub(super) fn apply(&self, variables: &mut BTreeMap<String, String>, executable: &Path) {
        let hosts: Vec<&str> = self.hosts.names().collect();
        for (name, value) in [
            ("TWINWAY_ENDPOINT_PROXY", self.url.expose().to_owned()),
            ("TWINWAY_ENDPOINT_HOSTS", hosts.join(",")),
            ("TWINWAY_ENDPOINT_CA", self.file("authority.pem")),
        ] {
            variables.insert(name.to_owned(), value);
        }
        self.apply_proxy(variables, runs_java(executable));
        for name in BUNDLE_VARIABLES {
            self.apply_authorities(variables, name, "bundle.pem");
        }
        self.apply_authorities(variables, NODE_AUTHORITIES_VARIABLE, "authority.pem");
        self.apply_options(variables);
    }

    fn apply_proxy(&self, variables: &mut BTreeMap<String, String>, is_java: bool) {
        if PROXY_VARIABLES.iter().any(|name| variables.contains_key(*name)) {
            return;
        }
        if is_java {
            variables.entry(JAVA_PROXY_VARIABLE.to_owned()).or_insert_with(|| self.url.expose().to_owned());
        }
        for name in &PROXY_VARIABLES[..2] {
            variables.insert((*name).to_owned(), self.url.expose().to_owned());
        }
        let own = variables.get("NO_PROXY").or_else(|| variables.get("no_proxy")).cloned();
        let exceptions = own.iter().map(String::as_str).chain(PROXY_EXCEPTIONS).collect::<Vec<_>>().join(",");
        for name in ["NO_PROXY", "no_proxy"] {
            variables.insert(name.to_owned(), exceptions.clone());
        }
    }

    fn apply_authorities(&self, variables: &mut BTreeMap<String, String>, name: &str, default: &str) {
        let own = variables.get(name).filter(|own| !own.is_empty()).cloned();
        let path = match own.as_deref().map(|own| self.files.extend(Path::new(own))) {
            None => self.file(default),
            Some(Ok(extended)) => extended.to_string_lossy().into_owned(),
            Some(Err(error)) => {
                tracing::warn!(
                    variable.name = name,
                    error = %errors::chain(&error),
                    "the file of authorities cannot be read, so functions that use it cannot call their API by its name"
                );
                return;
            }
        };
        variables.insert(name.to_owned(), path);
    }

    fn apply_options(&self, variables: &mut BTreeMap<String, String>) {
        let quoted = |name: &str| quote_path(&self.file(name));
        append_option(variables, "NODE_OPTIONS", &format!("--require {}", quoted("endpoint.cjs")));
        // Ruby splits at spaces and has no quotes; such a directory leaves Ruby without the script.
        let ruby = self.file("endpoint.rb");
        if !ruby.contains(char::is_whitespace) {
            append_option(variables, "RUBYOPT", &format!("-r{ruby}"));
        }
        let has_trust_store =
            variables.get("JAVA_TOOL_OPTIONS").is_some_and(|own| own.contains(JAVA_TRUST_STORE_OPTION));
        if !has_trust_store {
            let store = quote_path(&format!("{JAVA_TRUST_STORE_OPTION}{}", self.file("trust.jks")));
            append_option(variables, "JAVA_TOOL_OPTIONS", &format!("{store} -Djavax.net.ssl.trustStoreType=JKS"));
        }
    }

    fn file(&self, name: &str) -> String {
        self.files.path(name).to_string_lossy().into_owned()
    }
}

/// Returns whether a function's executable is Java, or a script that runs it.
fn runs_java(executable: &Path) -> bool {
    if executable.file_name().is_some_and(|name| name == "java") {
        return true;
    }
    let mut start = Vec::new();
    let read = File::open(executable).and_then(|file| file.take(MAX_SCRIPT_BYTES).read_to_end(&mut start));
    read.is_ok() && start.starts_with(b"#!") && start.windows(4).any(|word| word == b"java")
}

/// Appends options to a variable, after a space.
fn append_option(variables: &mut BTreeMap<String, String>, name: &str, option: &str) {
    let value = variables.entry(name.to_owned()).or_default();
    if !value.is_empty() {
        value.push(' ');
    }
    value.push_str(option);
}

/// Quotes an option with a space as Node and Java read it.
fn quote_path(path: &str) -> String {
    if path.contains(char::is_whitespace) { format!("\"{path}\"") } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> EndpointVariables {
        EndpointVariables {
            url: Secret::new("http://functions:secret@127.0.0.1:9"),
            hosts: ApiHosts::new("abc", "us-east-1", ["chat.example"]),
            files: EndpointFiles::write(b"authority").unwrap(),
        }
    }

    fn applied(own: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut variables = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        endpoint().apply(&mut variables, Path::new("/usr/bin/python3"));
        variables
    }

    #[test]
    fn functions_receive_the_proxy_and_the_authorities() {
        let variables = applied(&[]);
        assert_eq!(variables["HTTPS_PROXY"], "http://functions:secret@127.0.0.1:9");
        assert_eq!(variables["no_proxy"], "localhost,127.0.0.1,::1,169.254.169.254,169.254.170.2,169.254.170.23");
        let hosts = "abc.execute-api.us-east-1.amazonaws.com,abc.execute-api.us-east-1.api.aws,chat.example";
        assert_eq!(variables["TWINWAY_ENDPOINT_HOSTS"], hosts);
        for name in BUNDLE_VARIABLES {
            assert!(variables[name].ends_with("/bundle.pem"), "{name}");
        }
        assert!(variables["NODE_OPTIONS"].starts_with("--require /") && variables["RUBYOPT"].starts_with("-r/"));
        assert!(!variables.contains_key("HTTP_PROXY") && !variables.contains_key("http_proxy"));
    }

    #[test]
    fn options_are_appended_and_a_proxy_of_the_function_stays() {
        let own =
            [("NODE_OPTIONS", "--enable-source-maps"), ("JAVA_TOOL_OPTIONS", "-Xss1m"), ("NO_PROXY", ".internal")];
        let variables = applied(&own);
        assert!(variables["NODE_OPTIONS"].starts_with("--enable-source-maps --require "));
        assert!(variables["JAVA_TOOL_OPTIONS"].starts_with("-Xss1m -Djavax.net.ssl.trustStore="));
        assert!(
            variables["NO_PROXY"].starts_with(".internal,localhost,") && variables["no_proxy"] == variables["NO_PROXY"]
        );
        let variables =
            applied(&[("https_proxy", "http://own"), ("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=/own")]);
        assert_eq!((variables.get("HTTPS_PROXY"), &*variables["https_proxy"]), (None, "http://own"));
        assert_eq!(variables["JAVA_TOOL_OPTIONS"], "-Djavax.net.ssl.trustStore=/own");
    }

    #[test]
    fn java_has_a_proxy_for_all_requests() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("bootstrap");
        std::fs::write(&script, "#!/bin/sh\nexec /opt/java/bin/java -jar function.jar\n").unwrap();
        for executable in [Path::new("/usr/bin/java"), &script] {
            let mut variables = BTreeMap::new();
            endpoint().apply(&mut variables, executable);
            assert_eq!(variables["http_proxy"], variables["https_proxy"], "{}", executable.display());
        }
        std::fs::write(&script, "java").unwrap();
        assert!(!runs_java(&script) && !runs_java(Path::new("/nowhere")));
    }

    #[test]
    fn files_of_authorities_are_extended_and_unreadable_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("own.pem");
        std::fs::write(&own, "own").unwrap();
        let endpoint = endpoint();
        let entries = [("SSL_CERT_FILE", own.to_str().unwrap()), ("NODE_EXTRA_CA_CERTS", own.to_str().unwrap())];
        let mut variables = entries.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        endpoint.apply(&mut variables, Path::new("bootstrap"));
        assert_eq!(variables["SSL_CERT_FILE"], variables["NODE_EXTRA_CA_CERTS"]);
        assert!(std::fs::read_to_string(&variables["SSL_CERT_FILE"]).unwrap().starts_with("own\n-----BEGIN"));
        assert_eq!(applied(&[("AWS_CA_BUNDLE", "/nowhere.pem")])["AWS_CA_BUNDLE"], "/nowhere.pem");
    }
}
