//! Tests of the merge of sources, errors, warnings and the generated pages.

use std::path::Path;

use gateway::quotas::RateLimit;
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
    let file = config_file("[api]\nstage = 'file'\nid = 'file'\nregion = 'file'");
    let environment = environment(&[("TWINWAY_STAGE", "env"), ("TWINWAY_API_ID", "env")]);
    let loaded = load_config(&environment, &FlagValues::new([("api.stage", "flag")]), Some(&file));
    let origin = |path| loaded.sources.find_value(path).unwrap().1.to_string();
    assert_eq!(origin("api.stage"), "flag --stage");
    assert_eq!(origin("api.id"), "environment TWINWAY_API_ID");
    assert_eq!(origin("api.region"), "file twinway.toml");
    assert_eq!(origin("api.account_id"), "default");
    let api = loaded.config.unwrap().api;
    assert_eq!((api.stage.as_str(), api.id.as_str(), api.region.as_str()), ("flag", "env", "file"));
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
    let url =
        from_environment(&[("DEPLOYMENT_MODE", "kubernetes"), ("TWINWAY_AUTH_JWKS_URL", "https://idp.example/jwks")]);
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
        assert!(from_environment(&[("TWINWAY_AUTH_JWKS_URL", url)]).config.is_ok(), "{url}");
    }
    for url in ["http://idp.example/jwks", "http://localhost.example/jwks", "ftp://x", "idp.example"] {
        assert!(from_environment(&[("TWINWAY_AUTH_JWKS_URL", url)]).config.is_err(), "{url}");
    }
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
    assert_eq!((redis.response_timeout, redis.wait_replicas), (Duration::from_secs(2), 0));
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
fn durations_and_sizes_require_units() {
    for (text, millis) in
        [("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("0s", 0), ("1.5s", 1_500)]
    {
        assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in
        ["", "5", "s", "5 parsecs", "1M", "4000d", "-1s", "99999999999999999999s", "999999999999999999d", "1h 30"]
    {
        assert!(parse_duration(text).is_err(), "{text}");
    }
    for (text, bytes) in [("1B", 1), ("2KiB", 2_048), ("64kB", 64_000), ("1MiB", 1 << 20)] {
        assert_eq!(values::parse_size(&ConfigValue::Text(text.to_owned())), Ok(bytes), "{text}");
    }
    assert!(values::parse_size(&ConfigValue::Text("0B".to_owned())).is_err());
    assert!(values::parse_size(&ConfigValue::Text("1024".to_owned())).is_err());
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
    let repetitive = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert!(warnings(&[("TWINWAY_AUTH_SECRET", repetitive)]).contains("auth.secret"));
    assert!(!warnings(&[("TWINWAY_AUTH_SECRET", repetitive)]).contains(repetitive));
    assert!(warnings(&[("TWINWAY_TRUSTED_PROXIES", "0.0.0.0/0")]).contains("server.trusted_proxies"));
    assert_eq!(warnings(&[("TWINWAY_AUTH_SECRET", SECRET)]), "");
}
