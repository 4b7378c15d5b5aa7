//! Environment of the function processes: inherited and configured variables, the endpoint of `@connections` and the
//! keys that sign its calls (`docs/adr/0023-management-callers.md`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;

use crate::access::{GeneratedKeys, IamCredentials};
use crate::config::{Config, FunctionCredentials, ManagementAccess};

/// Environment variable with the default endpoint of the AWS SDKs' API Gateway Management API client.
const MANAGEMENT_ENDPOINT_VARIABLE: &str = "AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI";

/// Variables from which an SDK takes credentials (AWS SDKs and Tools reference guide, "Standardized credential
/// providers"). With one of them the functions have credentials of their own.
const CREDENTIAL_VARIABLES: [&str; 11] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
];

/// Files below `HOME` from which an SDK takes credentials.
const CREDENTIAL_FILES: [&str; 2] = [".aws/credentials", ".aws/config"];

/// Variables of the function processes, and the credentials that the server accepts.
pub(super) struct FunctionEnvironment {
    /// Variables of every function.
    pub variables: BTreeMap<String, String>,
    /// `iam.credentials`, and the functions' own keys if the server has drawn any.
    pub credentials: IamCredentials,
}

impl FunctionEnvironment {
    /// Builds the environment; configured variables override those inherited from this process.
    pub(super) fn from_config(config: &Config) -> anyhow::Result<Self> {
        let mut variables = config.functions.inherited_environment.0.clone();
        variables.extend(config.functions.environment.0.clone());
        let mut credentials = config.iam.clone();
        let has_keys = has_own_credentials(&variables);
        let signs = !has_keys && config.function_credentials == FunctionCredentials::Auto;
        if signs {
            let keys = GeneratedKeys::generate().context("drawing keys for the functions failed")?;
            credentials =
                credentials.with_generated_keys(&keys, &config.api.account_id, &format!("{}-functions", config.api.id));
            variables.insert("AWS_ACCESS_KEY_ID".to_owned(), keys.access_key);
            variables.insert("AWS_SECRET_ACCESS_KEY".to_owned(), keys.secret_key.expose().to_owned());
            variables.insert("AWS_SESSION_TOKEN".to_owned(), keys.session_token.expose().to_owned());
        }
        if let Some(address) = management_address(config) {
            let endpoint = format!("http://{address}/{}", config.api.stage);
            variables.entry(MANAGEMENT_ENDPOINT_VARIABLE.to_owned()).or_insert(endpoint);
        }
        if needs_local_listener(config, signs) {
            tracing::warn!(
                "functions cannot call @connections: this server did not issue their credentials and cannot verify \
                 them; set server.management_listen = 127.0.0.1:8082, or list their keys in iam.credentials"
            );
        }
        Ok(Self { variables, credentials })
    }
}

/// Returns the address of `@connections` for functions: the listener of unsigned calls, which works with any
/// credentials, else the traffic port. `None` when there is neither, or the port is not known yet.
fn management_address(config: &Config) -> Option<SocketAddr> {
    let server = &config.server;
    let traffic = (server.management != ManagementAccess::Off).then_some(server.listen);
    server.management_listen.or(traffic).filter(|address| address.port() != 0).map(|address| match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        _ => address,
    })
}

/// Returns whether all calls of the functions would be rejected, because no listener can verify their credentials.
fn needs_local_listener(config: &Config, signs: bool) -> bool {
    let server = &config.server;
    !signs && server.management == ManagementAccess::Iam && server.management_listen.is_none() && config.iam.is_empty()
}

fn has_own_credentials(variables: &BTreeMap<String, String>) -> bool {
    let is_set = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
    let home = variables.get("HOME").map(Path::new);
    CREDENTIAL_VARIABLES.iter().any(|name| is_set(name))
        || home.is_some_and(|home| CREDENTIAL_FILES.iter().any(|file| home.join(file).is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FunctionVariables;

    fn environment(change: impl FnOnce(&mut Config)) -> FunctionEnvironment {
        let mut config = Config::for_tests();
        config.server.listen = "[::]:8080".parse().unwrap();
        config.server.management_listen = None;
        change(&mut config);
        FunctionEnvironment::from_config(&config).unwrap()
    }

    fn set(config: &mut Config, name: &str, value: &str) {
        config.functions.inherited_environment = FunctionVariables([(name.to_owned(), value.to_owned())].into());
    }

    #[test]
    fn functions_receive_keys_in_the_form_of_lambda() {
        let FunctionEnvironment { variables, credentials } = environment(|_| {});
        let (key, secret) = (&variables["AWS_ACCESS_KEY_ID"], &variables["AWS_SECRET_ACCESS_KEY"]);
        assert!(key.len() == 20 && key.starts_with("ASIA") && secret.len() == 40, "{key}");
        assert!(variables["AWS_SESSION_TOKEN"].len() == 64 && !credentials.is_empty());
        let again = environment(|_| {}).variables;
        assert!(again["AWS_ACCESS_KEY_ID"] != *key && again["AWS_SECRET_ACCESS_KEY"] != *secret);
    }

    #[test]
    fn functions_with_credentials_of_their_own_keep_them() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), "[default]").unwrap();
        let home = home.path().to_str().unwrap();
        for (name, value) in
            [("AWS_ACCESS_KEY_ID", "test"), ("AWS_ROLE_ARN", "arn:r"), ("AWS_PROFILE", "p"), ("HOME", home)]
        {
            let FunctionEnvironment { variables, credentials } = environment(|config| set(config, name, value));
            assert!(!variables.contains_key("AWS_SESSION_TOKEN") && variables[name] == value, "{name}");
            assert!(credentials.is_empty(), "placeholders such as test must not sign");
        }
        let off = environment(|config| config.function_credentials = FunctionCredentials::Off);
        assert!(!off.variables.contains_key("AWS_ACCESS_KEY_ID"));
    }

    #[test]
    fn the_endpoint_is_that_of_local_calls_or_of_signed_ones() {
        let endpoint = |change: fn(&mut Config)| environment(change).variables.remove(MANAGEMENT_ENDPOINT_VARIABLE);
        let expected = |text: &str| Some(text.to_owned());
        assert_eq!(endpoint(|_| {}), expected("http://127.0.0.1:8080/prod"));
        let listen = |config: &mut Config| config.server.management_listen = Some("[::1]:8082".parse().unwrap());
        assert_eq!(endpoint(listen), expected("http://[::1]:8082/prod"));
        assert_eq!(
            endpoint(|config| config.server.listen = "[2001:db8::7]:80".parse().unwrap()),
            expected("http://[2001:db8::7]:80/prod")
        );
        assert_eq!(endpoint(|config| config.server.management = ManagementAccess::Off), None);
        assert_eq!(endpoint(|config| set(config, MANAGEMENT_ENDPOINT_VARIABLE, "http://own")), expected("http://own"));
    }

    #[test]
    fn calls_that_nobody_can_verify_need_the_local_listener() {
        let mut config = Config::for_tests();
        config.server.management_listen = None;
        assert!(needs_local_listener(&config, false) && !needs_local_listener(&config, true));
        config.server.management_listen = Some("127.0.0.1:8082".parse().unwrap());
        assert!(!needs_local_listener(&config, false));
    }
}
