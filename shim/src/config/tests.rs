//! Tests of the merge of sources, errors, warnings and the generated pages.

use std::path::Path;

use gateway::quotas::RateLimit;
use handlers::authorizer::ClaimMapping;
use handlers::limits::Limits;

use super::reference;
use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn environment(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn config_file(text: &str) -> ConfigFile {
    ConfigFile { path: PathBuf::from("twinway.toml"), text: text.to_owned() }
}

fn from_environment(values: &[(&str, &str)]) -> LoadedConfig {
    load_config(&environment(values), &FlagValues::default(), None)
}

fn from_file(text: &str) -> LoadedConfig {
    load_config(&environment(&[]), &FlagValues::default(), Some(&config_file(text)))
}

fn errors_of(loaded: LoadedConfig) -> Vec<String> {
    loaded.config.expect_err("the configuration is invalid").errors
}

#[test]
fn the_defaults_are_those_of_embedded_mode() {
    let loaded = from_environment(&[]);
    let config = loaded.config.unwrap();
    assert_eq!(config.mode, DeploymentMode::Embedded);
    assert_eq!(config.server.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.api.profile, QuotaProfile::Aws);
    assert_eq!(config.session.outbox_bytes, 256 << 10);
    assert_eq!(config.storage.retention_age, Duration::from_secs(30 * 86_400));
    assert_eq!(config.drain.delay, Duration::ZERO);
    assert!(config.auth.secret.is_none() && loaded.warnings.is_empty());
}

#[test]
fn the_mode_is_detected_and_selects_defaults() {
    let pod = from_environment(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("TWINWAY_AUTH_SECRET", SECRET)]);
    let config = pod.config.unwrap();
    assert_eq!(config.mode, DeploymentMode::Kubernetes);
    assert_eq!(config.server.listen, "0.0.0.0:8080".parse().unwrap());
    assert_eq!(config.drain.delay, Duration::from_secs(5));
    assert!(config.check_servable().unwrap_err().to_string().contains("REDIS_URL"));

    let function = from_environment(&[("AWS_LAMBDA_FUNCTION_NAME", "f"), ("TWINWAY_AUTH_SECRET", SECRET)]);
    assert!(function.config.unwrap().check_servable().unwrap_err().to_string().contains("API Gateway is the server"));

    let configured = from_environment(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("DEPLOYMENT_MODE", "embedded")]);
    assert_eq!(configured.config.unwrap().mode, DeploymentMode::Embedded);
}

#[test]
fn later_sources_override_earlier_ones() {
    let file = config_file("[api]\nstage = 'file'\nid = 'file'\nregion = 'eu-west-1'");
    let environment = environment(&[("TWINWAY_STAGE", "env"), ("TWINWAY_API_ID", "env")]);
    let loaded = load_config(&environment, &FlagValues::new([("api.stage", "flag")]), Some(&file));
    let origin = |path| loaded.sources.find_value(path).unwrap().1.to_string();
    assert_eq!(origin("api.stage"), "flag --stage");
    assert_eq!(origin("api.id"), "environment TWINWAY_API_ID");
    assert_eq!(origin("api.region"), "file twinway.toml");
    assert_eq!(origin("api.account_id"), "default");
    let api = loaded.config.unwrap().api;
    assert_eq!((api.stage.as_str(), api.id.as_str(), api.region.as_str()), ("flag", "env", "eu-west-1"));
}

#[test]
fn all_errors_are_reported_at_once_with_their_origin() {
    let found = errors_of(from_environment(&[
        ("TWINWAY_HEADER_TIMEOUT", "5"),
        ("TWINWAY_OUTBOX_BYTES", "big"),
        ("TWINWAY_PROFILE", "opem"),
        ("TWINWAY_MAX_CONNECTIONS", "0"),
        ("RUST_LOG", "a=b=c"),
        ("TWINWAY_AUTH_SECRET", "too short"),
    ]));
    assert_eq!(found.len(), 6, "{found:#?}");
    assert!(
        found[0].starts_with("server.header_timeout = \"5\" (environment TWINWAY_HEADER_TIMEOUT): must be a duration")
    );
    assert!(found.iter().any(|error| error.contains("did you mean open?")), "{found:#?}");
    assert!(!found.iter().any(|error| error.contains("too short")), "a secret was shown");
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let found = errors_of(from_file("[server\nlisten = 1"));
    assert!(found[0].starts_with("twinway.toml is not valid TOML") && found[0].contains("line 1"), "{found:#?}");
}

#[test]
fn unknown_keys_cause_a_warning_with_the_nearest_name() {
    let loaded = from_file("[server]\nlisen = '127.0.0.1:1'\n[zebra]\nx = 1");
    assert_eq!(
        loaded.warnings,
        [
            "unknown configuration key server.lisen in twinway.toml is ignored; did you mean server.listen?",
            "unknown configuration key zebra.x in twinway.toml is ignored"
        ]
    );
    let loaded =
        from_environment(&[("TWINWAY_DATADIR", "/x"), ("TWINWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"), ("HOME", "/")]);
    assert_eq!(
        loaded.warnings,
        ["unknown environment variable TWINWAY_DATADIR is ignored; did you mean TWINWAY_DATA_DIR?"]
    );
}

#[test]
fn a_secret_file_is_read_without_its_trailing_line_break() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let path = path.to_str().unwrap();
    let config = from_environment(&[("TWINWAY_AUTH_SECRET_FILE", path)]).config.unwrap();
    assert_eq!(config.auth.secret.unwrap().expose(), SECRET);
    let config = from_file(&format!("[auth]\nsecret_file = {path:?}")).config.unwrap();
    assert_eq!(config.auth.secret.unwrap().expose(), SECRET);

    let both = errors_of(from_environment(&[("TWINWAY_AUTH_SECRET", SECRET), ("TWINWAY_AUTH_SECRET_FILE", path)]));
    assert!(both[0].contains("as a value and as a file"), "{both:#?}");
    let absent = errors_of(from_environment(&[("TWINWAY_AUTH_SECRET_FILE", "/nowhere/secret")]));
    assert!(absent[0].contains("/nowhere/secret cannot be read"), "{absent:#?}");
}

#[test]
fn lists_and_tables_read_alike_from_file_and_environment() {
    let file = from_file("[api.stage_variables]\nurl = 'http://x?a=1,2'\nretries = 3").config.unwrap();
    let variables = environment(&[("url", "http://x?a=1,2"), ("retries", "3")]);
    assert_eq!(file.api.stage_variables, variables);
    let from_variable = from_environment(&[("TWINWAY_STAGE_VARIABLES", "color=red, size=3")]).config.unwrap();
    assert_eq!(from_variable.api.stage_variables, environment(&[("color", "red"), ("size", "3")]));

    let key = "billing:acme:0123456789abcdef:with:colons";
    let file = from_file(&format!("[auth]\napi_keys = ['{key}']")).config.unwrap();
    let from_variable = from_environment(&[("TWINWAY_AUTH_API_KEYS", key)]).config.unwrap();
    for keys in [file.auth.api_keys, from_variable.auth.api_keys] {
        assert_eq!((keys[0].name.as_str(), keys[0].tenant.as_str()), ("billing", "acme"));
        assert_eq!(keys[0].key.expose(), "0123456789abcdef:with:colons");
    }
}

#[test]
fn unset_rates_are_those_of_the_profile() {
    let quotas = |values: &[(&str, &str)]| {
        let config = from_environment(values).config.unwrap();
        let (requests, connections) = (config.throttle.requests, config.throttle.connections);
        let aws = gateway::Quotas::aws_profile();
        (
            requests.or_profile_rate(aws.request_rate),
            connections.or_profile_rate(aws.connect_rate),
            requests.or_profile_rate(None),
        )
    };
    let rate = |per_second, burst| Some(RateLimit { per_second, burst });
    assert_eq!(quotas(&[]), (rate(10_000, 5_000), rate(500, 500), None));
    let set = quotas(&[("TWINWAY_THROTTLE_RATE", "70"), ("TWINWAY_THROTTLE_CONNECT_BURST", "9")]);
    assert_eq!(set, (rate(70, 70), rate(500, 9), rate(70, 70)));
    assert_eq!(
        quotas(&[("TWINWAY_THROTTLE_RATE", "off"), ("TWINWAY_THROTTLE_CONNECT_RATE", "off")]),
        (None, None, None)
    );
    let config = from_environment(&[("TWINWAY_THROTTLE_ROUTES", "$default=5/10")]).config.unwrap();
    assert_eq!(config.throttle.routes.get("$default").copied(), rate(5, 10));
    for wrong in ["0", "-1", "many"] {
        assert_eq!(errors_of(from_environment(&[("TWINWAY_THROTTLE_RATE", wrong)])).len(), 1, "{wrong}");
    }
}

#[test]
fn keys_and_callers_are_validated_and_never_shown() {
    let config = from_environment(&[("TWINWAY_API_KEYS", "app:0123456789abcdefghij")]).config.unwrap();
    assert_eq!((config.api.keys[0].id.as_str(), config.api.keys[0].key.expose()), ("app", "0123456789abcdefghij"));
    let incomplete = from_environment(&[("TWINWAY_API_KEY_REQUIRED", "true")]);
    assert_eq!(errors_of(incomplete).len(), 1);
    for (name, value) in [("TWINWAY_API_KEYS", "app:hush-too-short"), ("TWINWAY_IAM_CREDENTIALS", "[{\"hush\": 1}]")] {
        let found = errors_of(from_environment(&[(name, value)])).join(" ");
        assert!(!found.contains("hush") && found.contains("must"), "{found}");
    }
}

#[test]
fn outside_embedded_mode_a_secret_or_a_key_set_is_required() {
    let found = errors_of(from_environment(&[("DEPLOYMENT_MODE", "kubernetes")]));
    assert!(found[0].contains("TWINWAY_AUTH_SECRET_FILE"), "{found:#?}");
    let url = from_environment(&[
        ("DEPLOYMENT_MODE", "kubernetes"),
        ("TWINWAY_AUTH_JWKS_URL", "https://idp.example/jwks"),
        ("TWINWAY_AUTH_AUDIENCE", "chat"),
    ]);
    assert_eq!(url.config.unwrap().auth.jwks, Some(JwksSource::Url("https://idp.example/jwks".to_owned())));
}

#[test]
fn kubernetes_mode_serves_with_a_redis_address() {
    let variables =
        [("DEPLOYMENT_MODE", "kubernetes"), ("TWINWAY_AUTH_SECRET", SECRET), ("REDIS_URL", "redis://redis:6379")];
    from_environment(&variables).config.unwrap().check_servable().unwrap();
}

#[test]
fn a_lease_outlasts_three_heartbeats() {
    let found = errors_of(from_environment(&[("TWINWAY_CLUSTER_LEASE", "5s")]));
    assert!(found[0].contains("three times cluster.heartbeat"), "{found:#?}");
    assert!(from_environment(&[("TWINWAY_CLUSTER_LEASE", "6s")]).config.is_ok());
}

#[test]
fn a_termination_grace_shorter_than_the_drain_is_rejected() {
    let pod = |grace| {
        let variables =
            [("DEPLOYMENT_MODE", "kubernetes"), ("TWINWAY_AUTH_SECRET", SECRET), ("TWINWAY_TERMINATION_GRACE", grace)];
        from_environment(&variables)
    };
    // The defaults: 5 s delay, 25 s grace, 4 s to leave the cluster.
    let config = pod("34s").config.unwrap();
    assert_eq!(config.drain.min_termination_grace(), Duration::from_secs(34));
    let found = errors_of(pod("33s"));
    assert!(found[0].contains("at least 34"), "{found:#?}");
}

#[test]
fn batches_are_as_small_as_half_of_the_grace_allows() {
    let drain = from_environment(&[]).config.unwrap().drain;
    // The defaults: 50 connections every 250 ms, 25 s of grace, so 50 batches in half of it.
    assert_eq!(drain.batch_size_for(10), 50);
    assert_eq!(drain.batch_size_for(2_500), 50);
    assert_eq!(drain.batch_size_for(100_000), 2_000);
    let at_once = DrainConfig { grace: Duration::ZERO, ..drain };
    assert_eq!(at_once.batch_size_for(1_000), 1_000);
}

#[test]
fn key_sets_are_not_fetched_over_plain_http_except_from_loopback() {
    for url in ["http://localhost:1/jwks", "http://127.0.0.1/jwks", "http://[::1]:8/jwks", "https://idp.example/jwks"] {
        assert!(
            from_environment(&[("TWINWAY_AUTH_JWKS_URL", url), ("TWINWAY_AUTH_AUDIENCE", "*")]).config.is_ok(),
            "{url}"
        );
    }
    for url in ["http://idp.example/jwks", "http://localhost.example/jwks", "ftp://x", "idp.example"] {
        assert!(from_environment(&[("TWINWAY_AUTH_JWKS_URL", url)]).config.is_err(), "{url}");
    }
}

#[test]
fn a_key_set_address_requires_an_audience() {
    let found = errors_of(from_environment(&[("TWINWAY_AUTH_JWKS_URL", "https://idp.example/jwks")]));
    assert!(found[0].starts_with("auth.audience: required with auth.jwks_url"), "{found:#?}");
    let with = |audience: &str| {
        let variables = [("TWINWAY_AUTH_JWKS_URL", "https://idp.example/jwks"), ("TWINWAY_AUTH_AUDIENCE", audience)];
        from_environment(&variables).config.unwrap().auth.audiences
    };
    assert_eq!((with("chat, app"), with("*")), (vec!["chat".to_owned(), "app".to_owned()], Vec::new()));
}

#[test]
fn claims_and_roles_are_configurable() {
    let defaults = from_environment(&[]).config.unwrap().auth;
    assert_eq!(defaults.claims, ClaimMapping::default());
    assert_eq!(defaults.max_lifetime, Duration::from_secs(366 * 86_400));
    let text =
        "[auth]\nrole_claim = 'realm_access.roles'\nadmin_roles = ['support', 'root']\nissuer = ['https://a/', 'b']";
    let auth = from_file(text).config.unwrap().auth;
    assert_eq!(auth.claims.role, "realm_access.roles".parse().unwrap());
    assert_eq!(
        (auth.claims.admin_roles, auth.issuers),
        (vec!["support".into(), "root".into()], vec!["https://a/".into(), "b".into()])
    );
    let found = errors_of(from_environment(&[("TWINWAY_AUTH_USER_CLAIM", "a,b")]));
    assert!(found[0].starts_with("auth.user_claim = \"a,b\"") && found[0].contains("one claim"), "{found:#?}");
}

#[test]
fn weak_secrets_and_api_keys_are_rejected_by_the_check() {
    for (name, value) in [
        ("TWINWAY_AUTH_SECRET", "a".repeat(32)),
        ("TWINWAY_AUTH_PREVIOUS_SECRETS", "changeme".repeat(5)),
        ("TWINWAY_AUTH_API_KEYS", format!("billing:acme:{}", "k".repeat(20))),
        ("TWINWAY_AUTH_API_KEYS", "billing:acme:0123456789abcdefghi".to_owned()),
    ] {
        let found = errors_of(from_environment(&[(name, &value)]));
        assert!(found[0].contains(name) && found[0].contains("openssl rand"), "{found:#?}");
        assert!(!found[0].contains(&value), "{found:#?}");
    }
}

#[test]
fn the_form_of_a_region_is_checked() {
    for region in ["eu-central-1", "us-gov-west-1", "us-isob-east-1", "cn-north-1", "eusc-de-east-1"] {
        assert!(from_environment(&[("AWS_REGION", region)]).config.is_ok(), "{region}");
    }
    for region in ["Frankfurt", "eu-central", "eu_central_1", "eu-central-1a", "-1", "eu--1"] {
        let found = errors_of(from_environment(&[("AWS_REGION", region)]));
        assert!(found[0].starts_with(&format!("api.region = {region:?} (environment AWS_REGION)")), "{found:#?}");
    }
}

#[test]
fn wrong_certificate_files_are_found_by_the_check() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (empty, text) =
        (file("empty.pem", ""), file("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"));
    let damaged = file("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (path, problem) in [
        (empty.as_str(), "contains no certificate"),
        (text.as_str(), "contains no certificate"),
        (damaged.as_str(), "certificate 1"),
        ("/nowhere/ca.pem", "cannot be read"),
    ] {
        for (key, variable) in [
            ("redis.ca_file", "TWINWAY_REDIS_CA_FILE"),
            ("postgres.ca_file", "TWINWAY_POSTGRES_CA_FILE"),
            ("auth.ca_file", "TWINWAY_AUTH_CA_FILE"),
        ] {
            let found = errors_of(from_environment(&[(variable, path)]));
            assert!(found[0].starts_with(key) && found[0].contains(problem) && found[0].contains(path), "{found:#?}");
        }
        let shared = [
            ("SSL_CERT_FILE", path),
            ("TWINWAY_AUTH_JWKS_URL", "https://idp.example/"),
            ("TWINWAY_AUTH_AUDIENCE", "a"),
        ];
        let found = errors_of(from_environment(&shared));
        assert!(found.len() == 1 && found[0].starts_with("tls.ca_file") && found[0].contains(problem), "{found:#?}");
        assert!(from_environment(&[("SSL_CERT_FILE", path)]).config.is_ok(), "nothing uses it");
    }
    let found = errors_of(from_environment(&[("TWINWAY_REDIS_CLIENT_CERT_FILE", "/cert.pem")]));
    assert!(found[0].contains("redis.client_key_file must be set together"), "{found:#?}");
}

#[test]
fn a_wrong_address_names_the_key_and_hides_the_value() {
    for (key, variable, value) in [
        ("redis.url", "REDIS_URL", "http://:hunter2@redis"),
        ("redis.url", "REDIS_URL", "redis://:hunter2@redis:port"),
        ("redis.url", "REDIS_URL", "redis://:hunter2@redis/first"),
        ("postgres.url", "DATABASE_URL", "mysql://me:hunter2@db/x"),
        ("postgres.url", "DATABASE_URL", "postgres://me:hunter2@db:port/x"),
        ("postgres.url", "DATABASE_URL", "postgres://me:hunter2@db/x?sslmode=maybe"),
        ("proxy.https", "HTTPS_PROXY", "socks5://me:hunter2@proxy"),
        ("proxy.https", "https_proxy", "proxy:3128"),
        ("proxy.https", "HTTPS_PROXY", "http://me:hunter2@proxy:99999"),
        ("proxy.https", "HTTPS_PROXY", "http://me:hunter2@proxy:0"),
        ("proxy.https", "HTTPS_PROXY", "http://me:hunter2@[::1]:"),
    ] {
        let found = errors_of(from_environment(&[(variable, value)]));
        assert!(found[0].starts_with(key) && found[0].contains(variable), "{found:#?}");
        assert!(!found[0].contains("hunter2"), "{found:#?}");
    }
}

#[test]
fn weak_settings_cause_warnings() {
    let warnings = |values: &[(&str, &str)]| from_environment(values).warnings.join("\n");
    let pod = [("DEPLOYMENT_MODE", "kubernetes"), ("TWINWAY_AUTH_SECRET", SECRET)];
    let redis = |url| warnings(&[pod[0], pod[1], ("REDIS_URL", url)]);
    assert!(redis("redis://10.0.0.7:6379").contains("redis.url: passwords and messages"));
    for url in ["rediss://10.0.0.7:6379", "redis://127.0.0.1", "redis://localhost", "redis://[::1]"] {
        assert_eq!(redis(url), "", "{url}");
    }
    let postgres = |url| warnings(&[("TWINWAY_STORAGE_LOG", "postgres"), ("DATABASE_URL", url)]);
    assert!(postgres("postgres://me@db/x?sslmode=prefer").contains("postgres.url: sslmode"));
    assert_eq!(postgres("postgres://me@db/x"), "");
    let keys =
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    assert!(warnings(&[("TWINWAY_AUTH_JWKS", keys)]).contains("auth.audience is not set"));
    assert_eq!(warnings(&[("TWINWAY_AUTH_JWKS", keys), ("TWINWAY_AUTH_AUDIENCE", "chat")]), "");
    let url = ("TWINWAY_AUTH_JWKS_URL", "https://idp.example/keys");
    assert!(warnings(&[url, ("TWINWAY_AUTH_AUDIENCE", "*")]).contains("auth.audience is *"));
    assert_eq!(warnings(&[url, ("TWINWAY_AUTH_AUDIENCE", "chat")]), "");
    let sentinel = [pod[0], pod[1], ("REDIS_URL", "rediss://10.0.0.7"), ("TWINWAY_REDIS_TOPOLOGY", "sentinel")];
    let replicas = |count| warnings(&[&sentinel[..], &[("TWINWAY_REDIS_WAIT_REPLICAS", count)]].concat());
    assert!(replicas("0").contains("redis.wait_replicas is 0"));
    assert_eq!(replicas("1"), "");
    if rustix::process::geteuid().is_root() {
        assert!(warnings(&[("TWINWAY_FUNCTIONS_USER", "1:1")]).contains("functions.user is set but unused"));
    }
}

#[test]
fn roles_that_share_a_value_cause_a_warning() {
    let warnings = |values: &[(&str, &str)]| from_environment(values).warnings.join("\n");
    let (admins, services, users) =
        ("TWINWAY_AUTH_ADMIN_ROLES", "TWINWAY_AUTH_SERVICE_ROLES", "TWINWAY_AUTH_USER_ROLES");
    for values in [
        &[(admins, "admin,user")][..],
        &[(admins, "staff"), (users, "staff,member")],
        &[(services, "admin")],
        &[(users, "admin,member")],
    ] {
        assert!(warnings(values).contains("auth.admin_roles"), "{values:?}");
    }
    for values in
        [&[(admins, "root,wheel")][..], &[(users, "user,member")], &[(admins, "admin,root"), (services, "bot")]]
    {
        assert_eq!(warnings(values), "", "{values:?}");
    }
}

#[test]
fn a_leeway_that_keeps_expired_tokens_valid_is_rejected() {
    assert!(from_environment(&[("TWINWAY_AUTH_LEEWAY", "10m")]).config.is_ok());
    let found = errors_of(from_environment(&[("TWINWAY_AUTH_LEEWAY", "2d")]));
    assert!(found.len() == 1 && found[0].contains("auth.leeway") && found[0].contains("at most 10m"), "{found:#?}");
}

#[test]
fn the_proxy_protocol_needs_the_networks_of_the_balancers() {
    let required = ("TWINWAY_PROXY_PROTOCOL", "required");
    let public = ("TWINWAY_LISTEN", "0.0.0.0:8080");
    let networks = ("TWINWAY_TRUSTED_PROXIES", "10.0.0.0/16");
    for trusted in ["0", "1"] {
        let found = errors_of(from_environment(&[required, public, ("TWINWAY_TRUSTED_PROXIES", trusted)]));
        assert!(found.len() == 1 && found[0].contains("server.trusted_proxies, such as 10.0.0.0/16"), "{found:#?}");
    }
    for accepted in [&[required, public, networks][..], &[required, networks], &[required]] {
        let loaded = from_environment(accepted);
        assert!(loaded.config.is_ok() && loaded.warnings.is_empty(), "{accepted:?} {loaded:?}");
    }
    let counted = from_environment(&[required, ("TWINWAY_TRUSTED_PROXIES", "1")]).warnings;
    assert!(counted.len() == 1 && counted[0].contains("not the balancer"), "{counted:?}");
}

#[test]
fn a_secret_file_that_everybody_can_read_causes_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let text = path.to_str().unwrap();
    let warnings = |mode, values: &[(&str, &str)]| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        from_environment(values).warnings
    };
    let file = ("TWINWAY_AUTH_SECRET_FILE", text);
    let found = warnings(0o644, &[file]);
    assert!(found[0].starts_with("auth.secret: every user") && found[0].contains("(mode 0644)"), "{found:?}");
    for mode in [0o600, 0o640] {
        assert_eq!(warnings(mode, &[file]), Vec::<String>::new());
    }
    // Kubernetes mounts secrets with 0644 into the container's own file system.
    assert_eq!(warnings(0o644, &[("DEPLOYMENT_MODE", "kubernetes"), file]), Vec::<String>::new());
}

#[test]
fn values_without_effect_cause_warnings() {
    let loaded =
        from_environment(&[("REDIS_URL", "redis://:hunter2@redis:6379"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x")]);
    assert_eq!(loaded.warnings.len(), 2, "{:?}", loaded.warnings);
    assert!(!format!("{:?} {:?}", loaded.warnings, loaded.config).contains("hunter2"));
}

#[test]
fn redis_is_configured_by_its_address() {
    assert!(from_environment(&[]).config.unwrap().redis.is_none());
    let nodes = "redis://a:6379, rediss://:hunter2@b";
    let config = from_environment(&[("REDIS_URL", nodes), ("TWINWAY_REDIS_TOPOLOGY", "cluster")]).config.unwrap();
    let redis = config.redis.as_ref().unwrap();
    assert_eq!((redis.urls.len(), redis.topology.as_str(), redis.prefix.as_str()), (2, "cluster", "twinway"));
    assert_eq!((redis.response_timeout, redis.wait_replicas), (Duration::from_secs(2), 1));
    let replicas_of = |topology, variables: &[(&str, &str)]| {
        let variables = [&[("REDIS_URL", "redis://a"), ("TWINWAY_REDIS_TOPOLOGY", topology)], variables].concat();
        from_environment(&variables).config.unwrap().redis.unwrap().wait_replicas
    };
    assert_eq!([replicas_of("single", &[]), replicas_of("sentinel", &[])], [0, 1], "where failovers are normal");
    assert_eq!(replicas_of("sentinel", &[("TWINWAY_REDIS_WAIT_REPLICAS", "0")]), 0);
    assert!(!format!("{config:?}").contains("hunter2"), "a password was shown");

    let several = errors_of(from_environment(&[("REDIS_URL", nodes)]));
    assert!(several[0].contains("several addresses"), "{several:#?}");
    let invalid = errors_of(from_environment(&[("REDIS_URL", "http://a"), ("TWINWAY_REDIS_PREFIX", "a{b}")]));
    assert!(
        invalid.len() == 2 && invalid[0].contains("redis://host") && invalid[1].contains("redis.prefix"),
        "{invalid:#?}"
    );
}

#[test]
fn the_mode_must_support_the_storage_of_messages() {
    let pod = ("DEPLOYMENT_MODE", "kubernetes");
    let secret = ("TWINWAY_AUTH_SECRET", SECRET);
    let url = ("DATABASE_URL", "postgres://twinway:hunter2@db/messages");
    let storage_of = |values: &[(&str, &str)]| from_environment(values).config.unwrap().storage.log;
    assert_eq!(storage_of(&[]), LogStorage::File);
    assert_eq!(storage_of(&[pod, secret]), LogStorage::Redis);
    assert_eq!(storage_of(&[("TWINWAY_STORAGE_LOG", "postgres"), url]), LogStorage::Postgres);
    assert_eq!(storage_of(&[pod, secret, ("TWINWAY_STORAGE_LOG", "postgres"), url]), LogStorage::Postgres);

    let unshared = errors_of(from_environment(&[pod, secret, ("TWINWAY_STORAGE_LOG", "file")]));
    assert!(unshared[0].contains("requires a shared message log"), "{unshared:#?}");
    let unshared = errors_of(from_environment(&[("TWINWAY_STORAGE_LOG", "redis")]));
    assert!(unshared[0].contains("kubernetes mode"), "{unshared:#?}");
    let without = errors_of(from_environment(&[("TWINWAY_STORAGE_LOG", "postgres")]));
    assert!(without[0].contains("DATABASE_URL"), "{without:#?}");
    let unused = from_environment(&[url]);
    assert!(unused.warnings[0].contains("storage.log is postgres"), "{:?}", unused.warnings);
}

#[test]
fn postgresql_is_configured_by_its_address() {
    assert!(from_environment(&[]).config.unwrap().postgres.is_none());
    let loaded = from_environment(&[
        ("DATABASE_URL", "postgresql://twinway:hunter2@db/messages"),
        ("TWINWAY_POSTGRES_SCHEMA", "chat"),
        ("TWINWAY_STORAGE_LOG", "postgres"),
    ]);
    let config = loaded.config.unwrap();
    let postgres = config.postgres.as_ref().unwrap();
    assert_eq!((postgres.schema.as_str(), postgres.pool_size), ("chat", 16));
    assert!(
        !format!("{config:?} {}", reference::render_values(&loaded.sources)).contains("hunter2"),
        "a password was shown"
    );
    let invalid =
        errors_of(from_environment(&[("DATABASE_URL", "mysql://hunter2@db"), ("TWINWAY_POSTGRES_SCHEMA", "A-b")]));
    assert!(
        invalid.len() == 2 && invalid[0].contains("postgres://user") && invalid[1].contains("postgres.schema"),
        "{invalid:#?}"
    );
    assert!(!invalid.join(" ").contains("hunter2"), "a password was shown: {invalid:#?}");
}

#[test]
fn the_port_key_overrides_the_port_of_the_listen_address() {
    let config = from_environment(&[("PORT", "9000")]).config.unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:9000".parse().unwrap());
    let found = errors_of(from_environment(&[("PORT", "8081")]));
    assert!(found[0].contains("the same address"), "{found:#?}");
}

#[test]
fn a_retention_below_an_hour_is_rejected_as_by_the_lambda_functions() {
    let config = from_environment(&[("TWINWAY_RETENTION_AGE", "1h")]).config.unwrap();
    assert_eq!(config.storage.retention_age, Duration::from_secs(3_600));
    let found = errors_of(from_environment(&[("TWINWAY_RETENTION_AGE", "59m")]));
    assert!(found[0].contains("storage.retention_age") && found[0].contains("must be at least 1h"), "{found:#?}");
}

#[test]
fn printing_hides_secrets_and_shows_origins() {
    let loaded =
        from_environment(&[("TWINWAY_AUTH_SECRET", SECRET), ("REDIS_URL", "redis://:hunter2@redis"), ("PORT", "9000")]);
    let page = reference::render_values(&loaded.sources);
    assert!(!page.contains(SECRET) && !page.contains("hunter2"), "{page}");
    let line =
        |path: &str| page.lines().find(|line| line.starts_with(path)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line("auth.secret"), ["auth.secret", "(hidden)", "environment", "TWINWAY_AUTH_SECRET"]);
    assert_eq!(line("server.port"), ["server.port", "9000", "environment", "PORT"]);
    assert_eq!(line("drain.grace"), ["drain.grace", "25s", "default"]);
    assert_eq!(page.lines().count(), keys::KEYS.len());
}

#[test]
fn a_timeout_of_nothing_is_rejected() {
    for name in ["TWINWAY_HANDSHAKE_TIMEOUT", "TWINWAY_HEADER_TIMEOUT"] {
        let found = errors_of(from_environment(&[(name, "0s")]));
        assert!(found[0].contains("at least 1ms"), "{found:#?}");
    }
}

#[test]
fn limits_of_the_application_are_keys_with_the_same_defaults() {
    assert_eq!(from_environment(&[]).config.unwrap().limits, Limits::default());
    for limit in Limits::KEYS {
        let key = keys::find_key(limit.path).unwrap_or_else(|| panic!("{} is not a key", limit.path));
        let default = key.default.for_mode(DeploymentMode::Embedded).unwrap();
        assert_eq!(key.env, limit.env);
        assert_eq!(Limits::default().set(limit.path, default), Ok(()), "{}", limit.path);
    }
    let lower = from_environment(&[("TWINWAY_LIMITS_BODY_BYTES", "1KiB"), ("TWINWAY_LIMITS_RESUME_TIME", "2s")]);
    let limits = lower.config.unwrap().limits;
    assert_eq!((limits.body_bytes, limits.resume_time), (1_024, Duration::from_secs(2)));
    let found = errors_of(from_environment(&[("TWINWAY_LIMITS_BODY_BYTES", "1MiB")]));
    assert!(found[0].contains("limits.body_bytes") && found[0].contains("28.0 KiB"), "{found:#?}");
}

#[test]
fn names_in_the_table_are_distinct_and_secrets_have_no_flag() {
    let mut names: Vec<_> =
        keys::KEYS.iter().flat_map(|key| [Some(key.path), Some(key.env), key.flag]).flatten().collect();
    names.sort_unstable();
    let before = names.len();
    names.dedup();
    // `mode` is both a path and a flag.
    assert_eq!(names.len(), before - 1);
    assert!(keys::KEYS.iter().all(|key| !key.secret || key.flag.is_none()));
}

#[test]
fn the_example_contains_every_key_and_is_valid_when_uncommented() {
    let example = reference::render_example();
    let values = |line: &str| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).map(str::to_owned);
    let text: Vec<_> = example.lines().map(|line| values(line).unwrap_or_else(|| line.to_owned())).collect();
    let entries = config_file(&text.join("\n")).parse_entries().unwrap();
    for key in keys::KEYS {
        let name = if key.accepts_file { format!("{}_file", key.path) } else { key.path.to_owned() };
        assert!(entries.contains_key(&name), "{name} is not in the example");
    }
    assert_eq!(entries.len(), keys::KEYS.len());
}

#[test]
fn generated_pages_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (page, path, command) in [
        (reference::render_markdown(), "docs/CONFIGURATION.md", "docs"),
        (reference::render_example(), "twinway.toml.example", "example"),
    ] {
        let committed = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        assert!(committed == page, "{path} is out of date: run `twinway config {command} > {path}`");
    }
}

#[test]
fn pings_are_on_in_profile_open_where_a_half_open_client_is_gone_within_a_minute() {
    let pings = |values: &[(&str, &str)]| from_environment(values).config.unwrap().session;
    assert_eq!(pings(&[]).ping_interval, None, "API Gateway sends no pings");
    let open = pings(&[("TWINWAY_PROFILE", "open")]);
    let detection = open.ping_interval.unwrap() + open.ping_timeout + open.close_timeout;
    assert!(detection <= Duration::from_secs(60), "{detection:?}");
    let enabled = pings(&[("TWINWAY_PING_INTERVAL", "40s")]);
    assert_eq!(enabled.ping_interval, Some(Duration::from_secs(40)));
    assert_eq!(pings(&[("TWINWAY_PROFILE", "open"), ("TWINWAY_PING_INTERVAL", "off")]).ping_interval, None);
}

#[test]
fn pings_and_the_tcp_timeout_need_a_positive_duration() {
    for (variable, key) in [
        ("TWINWAY_PING_INTERVAL", "session.ping_interval"),
        ("TWINWAY_PING_TIMEOUT", "session.ping_timeout"),
        ("TWINWAY_TCP_TIMEOUT", "server.tcp_timeout"),
    ] {
        let errors = errors_of(from_environment(&[(variable, "0s")]));
        assert!(errors.len() == 1 && errors[0].starts_with(key) && errors[0].contains("at least 1ms"), "{errors:?}");
    }
}

#[test]
fn unsigned_calls_have_a_loopback_listener_in_embedded_mode_only() {
    let server = |values: &[(&str, &str)]| from_environment(values).config.unwrap().server;
    assert_eq!(server(&[]).management_listen, Some("127.0.0.1:8082".parse().unwrap()));
    assert_eq!(server(&[]).management, ManagementAccess::Iam);
    assert_eq!(server(&[("TWINWAY_MANAGEMENT_LISTEN", "off")]).management_listen, None);
    assert_eq!(server(&[("TWINWAY_MANAGEMENT_LISTEN", "[::1]:1")]).management_listen, Some("[::1]:1".parse().unwrap()));
    let pod = [("DEPLOYMENT_MODE", "kubernetes"), ("REDIS_URL", "redis://r"), ("TWINWAY_AUTH_SECRET", SECRET)];
    assert_eq!(server(&pod).management_listen, None);
    for (name, value, text) in [
        ("TWINWAY_MANAGEMENT_LISTEN", "0.0.0.0:8082", "must be a loopback address"),
        ("TWINWAY_MANAGEMENT_LISTEN", "8082", "must be a loopback address"),
        ("TWINWAY_MANAGEMENT_LISTEN", "127.0.0.1:8081", "is the address of another listener"),
        ("TWINWAY_MANAGEMENT", "loopback", "server.management_listen"),
    ] {
        let found = errors_of(from_environment(&[(name, value)]));
        assert!(found.len() == 1 && found[0].contains(text), "{found:#?}");
    }
}

#[test]
fn proxies_hosts_and_origins_are_validated() {
    use crate::access::client_address::TrustedProxies;
    let server = |name, value| from_environment(&[(name, value)]).config.unwrap().server;
    assert_eq!(server("TWINWAY_TRUSTED_PROXIES", "2").proxies.trusted, TrustedProxies::Hops(2));
    let networks = TrustedProxies::Networks(vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::7/128".parse().unwrap()]);
    assert_eq!(server("TWINWAY_TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::7").proxies.trusted, networks);
    let file = from_file("[server]\ntrusted_proxies = ['10.0.0.0/8', '2001:db8::7']").config.unwrap().server;
    assert_eq!(file.proxies.trusted, networks);
    assert!(!ProxyConfig::NONE.is_used() && file.proxies.is_used());
    for (name, value) in [
        ("TWINWAY_TRUSTED_PROXIES", "256"),
        ("TWINWAY_TRUSTED_PROXIES", "true"),
        ("TWINWAY_TRUSTED_PROXIES", "1,10.0.0.0/8"),
        ("TWINWAY_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TWINWAY_FORWARDED_HEADER", "x-real-ip"),
        ("TWINWAY_PROXY_PROTOCOL", "auto"),
        ("TWINWAY_HOSTS", "https://chat.example"),
        ("TWINWAY_HOSTS", "chat.example:8080"),
        ("TWINWAY_ORIGINS", "chat.example"),
    ] {
        let found = errors_of(from_environment(&[(name, value)]));
        assert!(found.len() == 1 && found[0].contains("must be") && found[0].contains(name), "{found:#?}");
    }
}

#[test]
fn unsafe_combinations_cause_a_warning() {
    let warnings = |values: &[(&str, &str)]| from_environment(values).warnings.join("\n");
    let open = ("TWINWAY_MANAGEMENT", "open");
    assert!(warnings(&[open, ("TWINWAY_LISTEN", "[::]:8080")]).contains("server.management is open"));
    assert!(warnings(&[open, ("TWINWAY_TRUSTED_PROXIES", "1")]).contains("server.management is open"));
    assert_eq!(warnings(&[open]), "");
    for networks in ["0.0.0.0/0", "0.0.0.0/1,128.0.0.0/1", "::/0", "10.0.0.0/8,2000::/3", "0.0.0.0/2,64.0.0.0/2"] {
        assert!(warnings(&[("TWINWAY_TRUSTED_PROXIES", networks)]).contains("server.trusted_proxies"), "{networks}");
    }
    assert_eq!(warnings(&[("TWINWAY_TRUSTED_PROXIES", "10.0.0.0/8,fc00::/7,172.16.0.0/12")]), "");
    assert_eq!(warnings(&[("TWINWAY_AUTH_SECRET", SECRET)]), "");
}

#[test]
fn variables_that_lambda_reserves_are_rejected_without_their_values() {
    let environment_error = |text: &str| {
        let file = format!("[functions.environment]\n{text}\n");
        errors_of(from_file(&file)).join("\n")
    };
    for (name, setting) in [
        ("_HANDLER", "functions.handlers"),
        ("AWS_REGION", "api.region"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "functions.memory_mib"),
        ("AWS_LAMBDA_RUNTIME_API", "remove it"),
        ("LAMBDA_TASK_ROOT", "remove it"),
    ] {
        let error = environment_error(&format!("{name} = 'private'"));
        assert!(error.contains(&format!("{name} is reserved")) && error.contains(setting), "{error}");
        assert!(error.contains("functions.environment") && !error.contains("private"), "{error}");
    }
    for name in ["1A", "A", "A-B", "_A", "Ä1"] {
        assert!(environment_error(&format!("'{name}' = 'x'")).contains("is not the name of a variable on Lambda"));
    }
    assert!(environment_error("TABLE = \"a\\u0000b\"").contains("NUL byte"));
    let file =
        "[functions.environment]\nTABLE = 'a=b'\nTZ = 'UTC'\nLD_LIBRARY_PATH = '/x'\nAWS_XRAY_CONTEXT_MISSING = 'x'";
    assert_eq!(from_file(file).config.unwrap().functions.environment.0.len(), 4);
}

#[test]
fn the_user_of_functions_is_two_numbers() {
    let user = |text: &str| from_environment(&[("TWINWAY_FUNCTIONS_USER", text)]).config;
    let parsed = user("1000:2000").unwrap().functions.user.unwrap();
    assert_eq!((parsed.uid, parsed.gid), (1000, 2000));
    for text in ["nobody", "1000", "1000:", ":1", "-1:1", "4294967295:1", "1:1:1"] {
        let errors = user(text).unwrap_err().errors;
        assert!(errors[0].contains("functions.user") && errors[0].contains("65534:65534"), "{errors:?}");
    }
}

#[test]
fn lambda_functions_without_a_message_function_cannot_be_served() {
    let directory = tempfile::tempdir().unwrap();
    let error = |path: &Path| {
        let loaded = from_environment(&[("TWINWAY_FUNCTIONS_DIRECTORY", path.to_str().unwrap())]);
        loaded.config.unwrap().check_servable().map_err(|error| error.to_string())
    };
    assert!(error(directory.path()).unwrap_err().contains("the function 'message' is missing in"));
    assert!(error(Path::new("/no/such/directory")).unwrap_err().contains("is not a directory"));
    std::fs::create_dir(directory.path().join("message")).unwrap();
    error(directory.path()).unwrap();
    let loaded = from_environment(&[("TWINWAY_FUNCTIONS_MESSAGE", "./message")]);
    loaded.config.unwrap().check_servable().unwrap();
}

#[test]
fn lambda_functions_have_the_defaults_of_aws_and_the_messaging_application_its_own() {
    let settings = |variables: &[(&str, &str)]| {
        let config = from_environment(variables).config.unwrap();
        (config.functions.source, config.api.ordering, config.functions.message_response)
    };
    let lambda = (FunctionSource::Lambda, MessageOrdering::Concurrent, MessageResponse::OneWay);
    assert_eq!(settings(&[("TWINWAY_FUNCTIONS_MESSAGE", "./message")]), lambda);
    assert_eq!(settings(&[("TWINWAY_TEMPLATE", "twinway.routes.toml")]), lambda);
    assert_eq!(settings(&[]).1, MessageOrdering::Connection);
    let chosen = [
        ("TWINWAY_TEMPLATE", "a.toml"),
        ("TWINWAY_ORDERING", "connection"),
        ("TWINWAY_FUNCTIONS_MESSAGE_RESPONSE", "two-way"),
    ];
    assert_eq!(settings(&chosen), (FunctionSource::Lambda, MessageOrdering::Connection, MessageResponse::TwoWay));
}

#[test]
fn functions_need_no_token_secret_in_pods() {
    let variables = [("DEPLOYMENT_MODE", "kubernetes"), ("REDIS_URL", "redis://redis"), ("TWINWAY_TEMPLATE", "a.toml")];
    from_environment(&variables).config.unwrap().check_servable().unwrap();
}

#[test]
fn base_paths_and_parameters_are_parsed() {
    let config = |variables: &[(&str, &str)]| from_environment(variables).config;
    let api = config(&[("TWINWAY_BASE_PATHS", "/,v1,a/b")]).unwrap().api;
    assert_eq!(api.base_paths, ["/", "v1", "a/b"]);
    assert!(config(&[("TWINWAY_BASE_PATHS", "a b")]).unwrap_err().errors[0].contains("api.base_paths"));
    let lines = [("TWINWAY_TEMPLATE", "a.toml"), ("TWINWAY_PARAMETERS", "Zones=a,b\nName=c\n")];
    let parameters = config(&lines).unwrap().functions.parameters.0;
    assert_eq!((parameters["Zones"].as_str(), parameters["Name"].as_str()), ("a,b", "c"));
}

#[test]
fn the_search_path_of_functions_is_their_own() {
    let search_path =
        |variables: &[(&str, &str)]| from_environment(variables).config.unwrap().functions.search_path().to_owned();
    let own = ("TWINWAY_FUNCTIONS_ENVIRONMENT", "PATH=/own/bin");
    assert_eq!(search_path(&[("PATH", "/inherited/bin"), own]), "/own/bin");
    assert_eq!(search_path(&[("PATH", "/inherited/bin")]), "/inherited/bin");
    assert!(search_path(&[]).contains("/usr/bin"));
    let inherited = from_environment(&[("AWS_EXECUTION_ENV", "AWS_ECS_FARGATE"), ("LD_LIBRARY_PATH", "/opt/own")]);
    let functions = inherited.config.unwrap().functions;
    assert!(functions.inherited_environment.0.is_empty());
    assert_eq!(functions.library_path.as_deref(), Some("/opt/own"));
}

#[test]
fn no_output_contains_a_secret() {
    let found = errors_of(from_file("[auth]\nsecret = hunter2hunter2hunter2hunter2hunter2\n"));
    assert!(found[0].contains("line 2, column 10: ") && !found[0].contains("hunter2"), "{found:?}");
    let jwks = r#"{"keys":[{"kty":"oct","k":"hunter2","alg":"HS256"}]}"#;
    let loaded = from_environment(&[("TWINWAY_AUTH_JWKS", jwks), ("TWINWAY_FUNCTIONS_ENVIRONMENT", "TOKEN=hunter2")]);
    let printed = reference::render_values(&loaded.sources);
    assert!(printed.contains("auth.jwks") && !printed.contains("hunter2"), "{printed}");
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
}

#[test]
fn a_template_reads_variables_of_the_process_but_none_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let text = "service: demo\nprovider:\n  name: aws\n  runtime: provided.al2023\n  environment:\n    TABLE: \
                ${env:MY_TABLE}\n    STAGE: ${opt:stage, 'dev'}\n    SECRET: ${env:TWINWAY_AUTH_SECRET, 'hidden'}\nfunctions:\n  \
                main:\n    handler: bootstrap\n    events:\n      - websocket: $default\n";
    std::fs::write(directory.path().join("serverless.yml"), text).unwrap();
    std::fs::write(directory.path().join("bootstrap"), "").unwrap();
    let path = directory.path().to_str().unwrap();
    let secret = "0123456789abcdefghijklmnopqrstuvwxyz";
    let variables =
        [("TWINWAY_TEMPLATE", path), ("MY_TABLE", "chat"), ("TWINWAY_STAGE", "blue"), ("TWINWAY_AUTH_SECRET", secret)];
    let mut config = from_environment(&variables).config.unwrap();
    config.load_application().unwrap();
    let application = config.application.unwrap();
    let environment = &application.functions.values().next().unwrap().environment;
    assert_eq!((environment["TABLE"].as_str(), environment["STAGE"].as_str()), ("chat", "blue"));
    assert_eq!(environment["SECRET"], "hidden");
}

#[test]
fn the_region_of_samconfig_applies_unless_the_configuration_sets_one() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("template.yaml"), "Resources: {}\n").unwrap();
    std::fs::write(directory.path().join("samconfig.toml"), "[default.deploy.parameters]\nregion = \"eu-west-1\"\n")
        .unwrap();
    let template = ("TWINWAY_TEMPLATE", directory.path().to_str().unwrap());
    let region = |variables: &[(&str, &str)]| {
        let mut config = from_environment(variables).config.unwrap();
        config.load_application().unwrap();
        config.api.region
    };
    assert_eq!(region(&[template]), "eu-west-1");
    assert_eq!(region(&[template, ("AWS_REGION", "eu-north-1")]), "eu-north-1");
}
