//! Table of all configuration keys with names, defaults and documentation.
//!
//! It generates the flags, the names of environment variables, `docs/CONFIGURATION.md`, `twinway.toml.example`, the
//! output of `config print` and the warnings about unknown keys. `build` parses and validates the values.

use super::DeploymentMode;

/// One configuration key.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKey {
    /// Path in `twinway.toml`, and name of the key in messages.
    pub path: &'static str,
    /// Name of the environment variable.
    pub env: &'static str,
    /// Second name of the variable, for those that other programs also read in lower case.
    pub alias: Option<&'static str>,
    /// Name of the flag, without dashes. Secrets have none, because every user of a machine can read a process's
    /// arguments.
    pub flag: Option<&'static str>,
    /// Whether `{path}_file` and `{env}_FILE` accept the path of a file with the value.
    pub accepts_file: bool,
    /// Whether the value is hidden when the configuration is printed.
    pub secret: bool,
    /// Form of the value, for the documentation.
    pub value_format: &'static str,
    pub default: DefaultValue,
    /// Documentation: one or two sentences. The first is also the help of the flag.
    pub doc: &'static str,
}

/// Value of a key that no source sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// No value: the key is optional.
    Unset,
    /// One default for every mode.
    AllModes(&'static str),
    /// Separate default for embedded mode.
    ByMode { embedded: &'static str, other_modes: &'static str },
}

impl DefaultValue {
    /// Returns the default in `mode`.
    #[must_use]
    pub const fn for_mode(self, mode: DeploymentMode) -> Option<&'static str> {
        match (self, mode) {
            (Self::Unset, _) => None,
            (Self::AllModes(value), _) => Some(value),
            (Self::ByMode { embedded, .. }, DeploymentMode::Embedded) => Some(embedded),
            (Self::ByMode { other_modes, .. }, _) => Some(other_modes),
        }
    }
}

impl ConfigKey {
    const fn new(path: &'static str, env: &'static str, value_format: &'static str, doc: &'static str) -> Self {
        Self {
            path,
            env,
            alias: None,
            flag: None,
            accepts_file: false,
            secret: false,
            value_format,
            default: DefaultValue::Unset,
            doc,
        }
    }

    const fn with_alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    const fn with_flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    const fn with_default(self, value: &'static str) -> Self {
        Self { default: DefaultValue::AllModes(value), ..self }
    }

    const fn with_mode_defaults(self, embedded: &'static str, other_modes: &'static str) -> Self {
        Self { default: DefaultValue::ByMode { embedded, other_modes }, ..self }
    }

    const fn as_secret(self) -> Self {
        Self { secret: true, accepts_file: true, ..self }
    }

    const fn or_file(self) -> Self {
        Self { accepts_file: true, ..self }
    }
}

/// Returns the key with this path.
#[must_use]
pub fn find_key(path: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.path == path)
}

/// All keys, in the order of the documentation.
pub const KEYS: &[ConfigKey] = &[
    ConfigKey::new("mode", "DEPLOYMENT_MODE", "`aws`, `kubernetes` or `embedded`", "Deployment mode. If unset, detected: `aws` in a Lambda function, `kubernetes` in a pod, otherwise `embedded`.").with_flag("mode"),
    // Server
    ConfigKey::new("server.listen", "TWINWAY_LISTEN", "address", "Listen address for WebSockets, the HTTP API and `@connections`. The embedded default accepts local clients only; set `0.0.0.0:8080` to accept remote ones.").with_flag("listen").with_mode_defaults("127.0.0.1:8080", "0.0.0.0:8080"),
    ConfigKey::new("server.port", "PORT", "port", "Overrides the port of `server.listen`, for hosting platforms that set `PORT`.").with_flag("port"),
    ConfigKey::new("server.ops_listen", "TWINWAY_OPS_LISTEN", "address", "Listen address for `/health`, `/ready` and `/metrics`. Do not expose it outside the cluster.").with_flag("ops-listen").with_mode_defaults("127.0.0.1:8081", "0.0.0.0:8081"),
    ConfigKey::new("server.header_timeout", "TWINWAY_HEADER_TIMEOUT", "duration", "Timeout for receiving the headers of the first request on a connection.").with_default("5s"),
    ConfigKey::new("server.keep_alive_timeout", "TWINWAY_KEEP_ALIVE_TIMEOUT", "duration", "Idle timeout of keep-alive HTTP connections. It must be longer than the idle timeout of the load balancer in front of the server, which otherwise answers 502 now and then; the default is longer than Cloudflare's 15 minutes (docs/OPERATIONS.md has a table). While less than an eighth of `server.max_connections` is free, idle connections are closed after `server.header_timeout`.").with_default("16m"),
    ConfigKey::new("server.body_budget", "TWINWAY_BODY_BUDGET", "size", "Memory for the bodies of all requests that are received or handled at a time. Requests above it are answered with 503 and `Retry-After`. At least 4MiB, the largest body of one request.").with_default("64MiB"),
    ConfigKey::new("server.write_timeout", "TWINWAY_WRITE_TIMEOUT", "duration", "Time in which an HTTP client must read at least 16 KiB of a response; a slower one is disconnected. WebSockets have `session.stalled_write_timeout`.").with_default("10s"),
    ConfigKey::new("server.handshake_timeout", "TWINWAY_HANDSHAKE_TIMEOUT", "duration", "Timeout of a handshake, from its headers until the WebSocket is open: authorizer, `$connect` and, in kubernetes mode, the registration in Redis. After it the client is answered with 504, and `$disconnect` runs if `$connect` has started. The default is above API Gateway's own timeouts, 10 s for the authorizer and 29 s for `$connect`, which always apply.").with_default("45s"),
    ConfigKey::new("server.max_connections", "TWINWAY_MAX_CONNECTIONS", "number", "Maximum number of open connections; further handshakes are answered with 503. The file descriptor limit (`ulimit -n`) must be higher.").with_flag("max-connections").with_default("100000"),
    ConfigKey::new("server.domain_name", "TWINWAY_DOMAIN_NAME", "host name", "`requestContext.domainName` of every event. If unset, the `Host` header of the request, as with a custom domain; with Lambda functions see `functions.endpoint_proxy`."),
    ConfigKey::new("server.trusted_proxies", "TWINWAY_TRUSTED_PROXIES", "number, or networks: `10.0.0.0/8,fd00::/8`", "Proxies in front of `server.listen` whose address headers are trusted: their number, or their networks. The client is the nearest address from the right that they did not add themselves; with 0 it is the peer of the socket.").with_default("0"),
    ConfigKey::new("server.forwarded_header", "TWINWAY_FORWARDED_HEADER", "`x-forwarded-for` or `forwarded`", "Header to which the trusted proxies append the client's address: `X-Forwarded-For`, or `Forwarded` (RFC 7239). The other one is ignored, because clients can send it.").with_default("x-forwarded-for"),
    ConfigKey::new("server.proxy_protocol", "TWINWAY_PROXY_PROTOCOL", "`off` or `required`", "Whether every connection to `server.listen` must begin with a header of the PROXY protocol, version 1 or 2, from an address of `server.trusted_proxies` if those are networks.").with_default("off"),
    ConfigKey::new("server.hosts", "TWINWAY_HOSTS", "list of names, `*.domain` or `*`", "Host names of requests to `server.listen`, in addition to `localhost`, loopback addresses and the listen address; others are answered with 403. If unset: `server.domain_name` when `server.listen` is a loopback address and no proxies are configured, which keeps web pages out that rebind DNS; otherwise any."),
    ConfigKey::new("server.origins", "TWINWAY_ORIGINS", "list of origins, `https://*.domain`, `null` or `*`", "Web origins that may connect, in addition to that of the server itself; others are answered with 403. If unset: pages of this machine when the listener has a loopback address and no proxies are configured; otherwise any, as with API Gateway."),
    ConfigKey::new("server.tcp_backlog", "TWINWAY_TCP_BACKLOG", "number", "Length of the kernel's accept queue; the kernel caps it at `net.core.somaxconn`.").with_default("4096"),
    ConfigKey::new("server.tcp_timeout", "TWINWAY_TCP_TIMEOUT", "duration, or `off`", "Time after which the kernel closes a client's TCP connection whose peer acknowledges nothing (`TCP_USER_TIMEOUT`). Keep-alive probes start after two fifths of it. A proxy between client and server acknowledges for the client: see `session.ping_interval`. `off` leaves the kernel's settings.").with_default("50s"),
    ConfigKey::new("server.management", "TWINWAY_MANAGEMENT", "`iam`, `open` or `off`", "Access to `@connections` on the traffic port: `iam` for signed requests as on AWS, by function processes of this server and by callers of `iam.credentials`, `open` for every client (trusted networks only), `off` for none.").with_flag("management").with_default("iam"),
    ConfigKey::new("server.management_listen", "TWINWAY_MANAGEMENT_LISTEN", "loopback address, or `off`", "Listen address of unsigned `@connections` calls by processes of the same machine. Requests with a `Host` other than a loopback name or address, from web pages and through proxies are rejected. `off` for none.").with_flag("management-listen").with_mode_defaults("127.0.0.1:8082", "off"),
    // API
    ConfigKey::new("api.id", "TWINWAY_API_ID", "letters and digits", "`requestContext.apiId`, and the API id in ARNs.").with_default("twinway"),
    ConfigKey::new("api.template", "TWINWAY_TEMPLATE", "file", "Template of the application to serve in place of the messaging application: its routes, functions and HTTP APIs (docs/TEMPLATES.md). A file, or a directory that contains one.").with_flag("template"),
    ConfigKey::new("api.parameters", "TWINWAY_PARAMETERS", "table, or `name=value,...`", "Parameters of `api.template`, which replace their defaults.").as_secret(),
    ConfigKey::new("api.stage", "TWINWAY_STAGE", "letters, digits, `-` and `_`", "`requestContext.stage`; clients connect to `ws://host:port/{stage}`. Overrides the stage of `api.template`.").with_flag("stage").with_default("prod"),
    ConfigKey::new("api.region", "AWS_REGION", "region", "Region in ARNs.").with_default("us-east-1"),
    ConfigKey::new("api.account_id", "TWINWAY_ACCOUNT_ID", "12 digits", "Account id in ARNs.").with_default("000000000000"),
    ConfigKey::new("api.profile", "TWINWAY_PROFILE", "`aws` or `open`", "Quotas to enforce. `aws` enforces API Gateway's quotas exactly (32 KiB frames, 128 KiB messages, 10 minutes idle, 2 hours per connection); `open` lifts them and logs one warning per quota that a client would exceed on AWS.").with_flag("profile").with_default("aws"),
    ConfigKey::new("api.ordering", "TWINWAY_ORDERING", "`connection` or `concurrent`", "Order of message handling per connection: `connection` handles one message at a time in order, `concurrent` several at a time, as on AWS. If unset, `connection` for the messaging application and `concurrent` for Lambda functions.").with_flag("ordering"),
    ConfigKey::new("api.base_paths", "TWINWAY_BASE_PATHS", "list, or `a,b`", "Base paths of custom domains under which clients connect and backends call `@connections`, in addition to the stage and to those of `api.template`; `/` is the bare domain. Under a base path with several levels the names of headers in events are in lower case, as on AWS."),
    ConfigKey::new("api.stage_variables", "TWINWAY_STAGE_VARIABLES", "table, or `name=value,...`", "`stageVariables` of every event, in addition to those of `api.template`."),
    ConfigKey::new("api.key_required", "TWINWAY_API_KEY_REQUIRED", "`true` or `false`", "Whether clients need one of `api.keys` to connect, in addition to passing the authorizer.").with_default("false"),
    ConfigKey::new("api.key_source", "TWINWAY_API_KEY_SOURCE", "`header` or `authorizer`", "Source of the client's API key: the header `x-api-key`, or `usageIdentifierKey` in the authorizer's response.").with_default("header"),
    ConfigKey::new("api.keys", "TWINWAY_API_KEYS", "list of `id:key`", "API keys of clients: at least 20 letters, digits, `-` and `_` each. Events contain the key as `identity.apiKey` and the id as `identity.apiKeyId`.").as_secret(),
    // Throttle
    ConfigKey::new("throttle.rate", "TWINWAY_THROTTLE_RATE", "number, or `off`", "Rate limit of this process in requests per second: accepted handshakes, messages, and authorized `@connections` requests together. Requests above it are answered with 429, messages with the error frame `Too Many Requests`. If unset, 10,000 with profile `aws` (API Gateway's limit), none with profile `open`."),
    ConfigKey::new("throttle.burst", "TWINWAY_THROTTLE_BURST", "number", "Burst size of `throttle.rate`, in requests. If unset, 5,000 with profile `aws` (API Gateway's limit), or one second's worth of a configured rate."),
    ConfigKey::new("throttle.connect_rate", "TWINWAY_THROTTLE_CONNECT_RATE", "number, or `off`", "Rate limit of this process in new connections per second; handshakes above it are answered with 429. If unset, 500 with profile `aws` (API Gateway's limit), none with profile `open`."),
    ConfigKey::new("throttle.connect_burst", "TWINWAY_THROTTLE_CONNECT_BURST", "number", "Burst size of `throttle.connect_rate`, in connections. If unset, one second's worth."),
    ConfigKey::new("throttle.connection_rate", "TWINWAY_THROTTLE_CONNECTION_RATE", "number, or `off`", "Rate limit of each connection in messages per second, so that one client does not use up `throttle.rate`. Messages above it are answered with the error frame `Too Many Requests`.").with_default("1000"),
    ConfigKey::new("throttle.connection_burst", "TWINWAY_THROTTLE_CONNECTION_BURST", "number", "Burst size of `throttle.connection_rate`, in messages.").with_default("2000"),
    ConfigKey::new("throttle.address_rate", "TWINWAY_THROTTLE_ADDRESS_RATE", "number, or `off`", "Rate limit of each client address (IPv6: each /64) in rejected requests per second: handshakes without a valid token, unknown paths, plain requests. A wrong token or key of the HTTP API and an invalid signature count ten times. Rejections above it are answered with 429 and `Retry-After`; requests with valid credentials are not limited, except that functions which authenticate clients themselves are not invoked.").with_default("50"),
    ConfigKey::new("throttle.address_burst", "TWINWAY_THROTTLE_ADDRESS_BURST", "number", "Burst size of `throttle.address_rate`, in rejected requests; at least 10.").with_default("50"),
    ConfigKey::new("throttle.action_rate", "TWINWAY_THROTTLE_ACTION_RATE", "number, or `off`", "Budget of each connection of the messaging application, in units per second: a channel that is joined, left, resumed or listed costs 1, 16 KiB of messages that are read 1, and 25 connection records that are read 1; sending costs none. Actions above it are answered with the error `rate_limited`.").with_default("200"),
    ConfigKey::new("throttle.action_burst", "TWINWAY_THROTTLE_ACTION_BURST", "number", "Burst size of `throttle.action_rate`, in units. The default admits a reconnect with 256 channels and several megabytes of missed messages at once.").with_default("2000"),
    ConfigKey::new("throttle.user_action_rate", "TWINWAY_THROTTLE_USER_ACTION_RATE", "number, or `off`", "Budget of all connections of one user to this process together, in the units of `throttle.action_rate` per second. Pods do not share it.").with_default("1000"),
    ConfigKey::new("throttle.user_action_burst", "TWINWAY_THROTTLE_USER_ACTION_BURST", "number", "Burst size of `throttle.user_action_rate`, in units. The default is that of five connections.").with_default("10000"),
    ConfigKey::new("throttle.routes", "TWINWAY_THROTTLE_ROUTES", "table, or `route=rate/burst,...`", "Rate and burst limits of single routes, such as `$default=100/200`."),
    // Session
    ConfigKey::new("session.outbox_bytes", "TWINWAY_OUTBOX_BYTES", "size", "Capacity of a connection's outbox. When it is full, ephemeral frames are dropped first, then broadcasts; then the connection is closed.").with_default("256KiB"),
    ConfigKey::new("session.inbound_queue", "TWINWAY_INBOUND_QUEUE", "number", "Maximum number of messages of a connection that wait for their handler; when it is reached, the server stops reading from the socket.").with_default("32"),
    ConfigKey::new("session.inbound_bytes", "TWINWAY_INBOUND_BYTES", "size", "Bytes of messages of a connection that wait for their handler or are handled, from which the server stops reading from the socket. One message may exceed it, so a connection holds at most `session.outbox_bytes`, this and one message (`aws`: 640 KiB, `open`: 4.5 MiB), besides the page of up to 96 KiB that each running handler reads. When `api.ordering` is `concurrent`, also the maximum size of the messages handled concurrently; a larger one is handled alone.").with_default("256KiB"),
    ConfigKey::new("session.in_flight", "TWINWAY_IN_FLIGHT", "number", "Maximum number of messages of a connection handled concurrently when `api.ordering` is `concurrent`.").with_default("64"),
    ConfigKey::new("session.compression", "TWINWAY_COMPRESSION", "`aws`, `no-context-takeover` or `off`", "Whether messages are compressed (permessage-deflate) for clients that offer it. `aws` negotiates as API Gateway does and keeps a window of up to 32 KiB per connection; `no-context-takeover` negotiates compression without a window (RFC 7692, section 7.1.1), which needs no memory per connection; `off` declines the offer.").with_default("aws"),
    ConfigKey::new("session.close_timeout", "TWINWAY_CLOSE_TIMEOUT", "duration", "Timeout of the WebSocket closing handshake.").with_default("5s"),
    ConfigKey::new("session.stalled_write_timeout", "TWINWAY_STALLED_WRITE_TIMEOUT", "duration", "Time without write progress after which a connection is closed as a slow consumer.").with_default("30s"),
    ConfigKey::new("session.ping_interval", "TWINWAY_PING_INTERVAL", "duration, or `off`", "Interval of the WebSocket pings that the server sends to each client, which detect half-open connections and keep idle ones open in proxies. If unset, `25s` with profile `open`, `off` with profile `aws`: API Gateway sends none."),
    ConfigKey::new("session.ping_timeout", "TWINWAY_PING_TIMEOUT", "duration", "Time after a ping without a byte from the client after which the connection is lost: `$disconnect` runs with 1006. Together with `session.ping_interval` the longest time that a half-open client counts as present.").with_default("20s"),
    // Functions
    ConfigKey::new("functions.source", "TWINWAY_FUNCTIONS_SOURCE", "`embedded` or `lambda`", "Handlers of events: the built-in messaging application, or Lambda executables. If unset, `lambda` when a template, a directory or a command line is set."),
    ConfigKey::new("functions.directory", "TWINWAY_FUNCTIONS_DIRECTORY", "directory", "Lambda functions as unpacked deployment packages: subdirectories `authorizer`, `connect`, `message`, `disconnect` and `api`, each with a `bootstrap`; all except `message` are optional.").with_flag("functions"),
    ConfigKey::new("functions.authorizer", "TWINWAY_FUNCTIONS_AUTHORIZER", "command line, or path", "Command of the authorizer function, overriding its subdirectory: a `bootstrap`, or a runtime interface client such as `python3 -m awslambdaric app.handler`."),
    ConfigKey::new("functions.connect", "TWINWAY_FUNCTIONS_CONNECT", "command line, or path", "Command of the `$connect` function."),
    ConfigKey::new("functions.message", "TWINWAY_FUNCTIONS_MESSAGE", "command line, or path", "Command of the message function."),
    ConfigKey::new("functions.disconnect", "TWINWAY_FUNCTIONS_DISCONNECT", "command line, or path", "Command of the `$disconnect` function."),
    ConfigKey::new("functions.api", "TWINWAY_FUNCTIONS_API", "command line, or path", "Command of the HTTP API function under `/v1`; it receives payload format version 2.0."),
    ConfigKey::new("functions.handlers", "TWINWAY_FUNCTIONS_HANDLERS", "table, or `name=value,...`", "`_HANDLER` by function. If unset, the last word of the command line."),
    ConfigKey::new("functions.environment", "TWINWAY_FUNCTIONS_ENVIRONMENT", "table, or `name=value,...`", "Environment variables of all functions, in addition to Lambda's own, `AWS_*`, `PATH`, `HOME` and similar; the rest of the server's environment is not inherited. Variables that Lambda reserves, such as `AWS_REGION` or `_HANDLER`, are rejected.").as_secret(),
    ConfigKey::new("functions.user", "TWINWAY_FUNCTIONS_USER", "`uid:gid`", "User and group of function processes, without supplementary groups, such as `65534:65534`. Needs a server that runs as root; set it there, because functions that run as root can read the server's memory and files. If unset, the server's own."),
    ConfigKey::new("functions.endpoint_proxy", "TWINWAY_FUNCTIONS_ENDPOINT_PROXY", "`on` or `off`", "Whether function processes reach their API under its own host names, as on AWS: `https://{domainName}/{stage}` and `https://{apiId}.execute-api.{region}.amazonaws.com/{stage}`. They receive a proxy on a loopback port (`HTTPS_PROXY`), which passes all other connections through, and files with its certificate authority. Without `server.domain_name`, `domainName` is then the exact name of `server.hosts` that the client requested, otherwise API Gateway's name.").with_default("on"),
    ConfigKey::new("functions.message_response", "TWINWAY_FUNCTIONS_MESSAGE_RESPONSE", "`two-way` or `one-way`", "Whether the response of `functions.message` is sent to the client, as by an API Gateway route with a route response. If unset, `one-way`, the default of AWS. Routes of `api.template` have their own setting.").with_flag("message-response"),
    ConfigKey::new("functions.timeout", "TWINWAY_FUNCTIONS_TIMEOUT", "duration", "Invocation timeout; after it the invocation fails and its process is killed, as on Lambda (whose default is 3 s).").with_default("29s"),
    ConfigKey::new("functions.init_timeout", "TWINWAY_FUNCTIONS_INIT_TIMEOUT", "duration", "Timeout from the start of a process until it requests its first event.").with_default("10s"),
    ConfigKey::new("functions.idle_timeout", "TWINWAY_FUNCTIONS_IDLE_TIMEOUT", "duration", "Idle time after which a process is stopped.").with_default("5m"),
    ConfigKey::new("functions.memory_mib", "TWINWAY_FUNCTIONS_MEMORY_MIB", "number", "Memory size reported to functions, in MiB. It is not enforced; the container's limit applies.").with_default("128"),
    ConfigKey::new("functions.min_processes", "TWINWAY_FUNCTIONS_MIN_PROCESSES", "number", "Minimum number of processes per function, as with provisioned concurrency.").with_default("0"),
    ConfigKey::new("functions.max_processes", "TWINWAY_FUNCTIONS_MAX_PROCESSES", "number", "Maximum number of processes per function. A process handles one invocation at a time, as on Lambda, unless `functions.concurrency` is higher.").with_default("16"),
    ConfigKey::new("functions.concurrency", "TWINWAY_FUNCTIONS_CONCURRENCY", "number", "Maximum number of concurrent invocations per process. Above 1 the process receives `AWS_LAMBDA_MAX_CONCURRENCY`, as on Lambda Managed Instances, and must support concurrent invocations.").with_default("1"),
    ConfigKey::new("functions.queue", "TWINWAY_FUNCTIONS_QUEUE", "number", "Maximum number of queued invocations per function while all its processes are busy; further invocations are throttled.").with_default("256"),
    // Auth
    ConfigKey::new("auth.secret", "TWINWAY_AUTH_SECRET", "text of at least 32 bytes", "Secret that signs and verifies HS256 tokens; the text is the key. If unset in embedded mode, one is generated at the first start and stored in the data directory, unless JSON Web Keys are configured.").as_secret(),
    ConfigKey::new("auth.previous_secrets", "TWINWAY_AUTH_PREVIOUS_SECRETS", "list, or `a,b`", "Previous secrets whose tokens are still accepted, for secret rotation without downtime.").as_secret(),
    ConfigKey::new("auth.jwks_url", "TWINWAY_AUTH_JWKS_URL", "https address", "URL of an identity provider's JSON Web Key Set, for RS256, ES256 and EdDSA tokens.").with_flag("jwks-url"),
    ConfigKey::new("auth.jwks", "TWINWAY_AUTH_JWKS", "JSON document", "Inline JSON Web Key Set. Mutually exclusive with `auth.jwks_url`.").or_file().as_secret(),
    ConfigKey::new("auth.issuer", "TWINWAY_AUTH_ISSUER", "list, or `a,b`", "Accepted `iss` claims of tokens, compared exactly. If unset, any."),
    ConfigKey::new("auth.audience", "TWINWAY_AUTH_AUDIENCE", "list, or `a,b`, or `*`", "Accepted audiences: a token's `aud` must contain one of them, or its `client_id` if it has no `aud`, as in access tokens of Amazon Cognito. Required with `auth.jwks_url`, because an identity provider signs the tokens of all its applications with the same keys; `*` accepts any."),
    ConfigKey::new("auth.user_claim", "TWINWAY_AUTH_USER_CLAIM", "claim", "Claim of the user: its name, a path such as `profile.id`, or a JSON Pointer such as `/profile/id`. Any text is accepted; characters that a user id cannot contain are percent-encoded.").with_default("sub"),
    ConfigKey::new("auth.role_claim", "TWINWAY_AUTH_ROLE_CLAIM", "claim", "Claim of the role, a text or a list: for example `realm_access.roles` (Keycloak), `cognito:groups` (Amazon Cognito), `roles` (Microsoft Entra ID) or `https://example.com/roles` (Auth0). `scope` and `scp` are split at spaces.").with_default("role"),
    ConfigKey::new("auth.tenant_claim", "TWINWAY_AUTH_TENANT_CLAIM", "claim", "Claim of the tenant, for example `org_id` (Auth0) or `tid` (Microsoft Entra ID). Tokens without it belong to the tenant `default`.").with_default("tenant"),
    ConfigKey::new("auth.admin_roles", "TWINWAY_AUTH_ADMIN_ROLES", "list, or `a,b`", "Values of the role claim that mean `admin`. If several values of a token mean a role, the one with the most permissions counts.").with_default("admin"),
    ConfigKey::new("auth.service_roles", "TWINWAY_AUTH_SERVICE_ROLES", "list, or `a,b`", "Values of the role claim that mean `service`.").with_default("service"),
    ConfigKey::new("auth.user_roles", "TWINWAY_AUTH_USER_ROLES", "list, or `a,b`", "Values of the role claim that mean `user`; tokens with none of the configured values are then rejected. If unset, every other value means `user`, and so does a token without the claim."),
    ConfigKey::new("auth.channels_claim", "TWINWAY_AUTH_CHANNELS_CLAIM", "claim", "Claim of the rooms and topics that a user may join and read: a list, or a text separated by spaces, of names such as `room:support` and prefixes such as `topic:news.*`. Admins and services are not restricted.").with_default("channels"),
    ConfigKey::new("auth.default_channels", "TWINWAY_AUTH_DEFAULT_CHANNELS", "list of `room:name` and `topic:name`, where a name may end with `*`, or `none`", "Rooms and topics that users whose token has no such claim may join and read.").with_default("room:*,topic:*"),
    ConfigKey::new("auth.presence_names", "TWINWAY_AUTH_PRESENCE_NAMES", "`rooms` or `all`", "Channels whose readers users may list by name with `presence`: `rooms` for the rooms that they joined and their own conversation, `all` also for `everyone` and topics. Of other channels they see the numbers of connections and users. Admins and services list all.").with_default("rooms"),
    ConfigKey::new("auth.max_lifetime", "TWINWAY_AUTH_MAX_LIFETIME", "duration", "Longest accepted time until a token expires; tokens with a later `exp` are rejected.").with_default("366d"),
    ConfigKey::new("auth.ca_file", "TWINWAY_AUTH_CA_FILE", "PEM file", "CA certificates that verify the server of `auth.jwks_url`. If unset, `tls.ca_file`."),
    ConfigKey::new("auth.client_cert_file", "TWINWAY_AUTH_CLIENT_CERT_FILE", "PEM file", "Client certificate for the server of `auth.jwks_url`, with `auth.client_key_file`."),
    ConfigKey::new("auth.client_key_file", "TWINWAY_AUTH_CLIENT_KEY_FILE", "PEM file", "Private key of the client certificate."),
    ConfigKey::new("auth.server_name", "TWINWAY_AUTH_SERVER_NAME", "host name", "Name that the certificate of `auth.jwks_url` must have. If unset, the host of the URL."),
    ConfigKey::new("auth.leeway", "TWINWAY_AUTH_LEEWAY", "duration", "Accepted clock difference between issuer and server.").with_default("30s"),
    ConfigKey::new("auth.api_keys", "TWINWAY_AUTH_API_KEYS", "list of `name:tenant:key`", "API keys that backends send as `X-Api-Key`; at least 20 bytes each.").as_secret(),
    // Outgoing connections
    ConfigKey::new("tls.ca_file", "SSL_CERT_FILE", "PEM file", "CA certificates of outgoing TLS connections whose section sets none. If unset, those of the system, or, if it has none, those of Mozilla's list in this program."),
    ConfigKey::new("proxy.https", "HTTPS_PROXY", "`http://host:port`", "Proxy through which `auth.jwks_url` is fetched, and through which Lambda functions reach other hosts than their API (`CONNECT`), optionally with `user:password@`. Also read from `https_proxy`.").with_alias("https_proxy").as_secret(),
    ConfigKey::new("proxy.exceptions", "NO_PROXY", "list, or `a,b`", "Hosts that are reached without the proxy: names with their subdomains, addresses, networks such as `10.0.0.0/8`, or `*`. Also read from `no_proxy`.").with_alias("no_proxy"),
    // IAM
    ConfigKey::new("iam.credentials", "TWINWAY_IAM_CREDENTIALS", "JSON document", "Credentials accepted in requests signed with Signature Version 4: an array of objects with `AccessKeyId`, `SecretAccessKey`, `Arn`, `PolicyDocument`, and optionally `UserId` and `SessionToken`. Relevant actions of the policies are `execute-api:ManageConnections` and `execute-api:Invoke`.").as_secret(),
    ConfigKey::new("iam.function_credentials", "TWINWAY_IAM_FUNCTION_CREDENTIALS", "`auto` or `off`", "Whether function processes receive `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` that this server accepts for `@connections`. `auto`: unless they have credentials of their own, in variables or in `~/.aws`. Set `off` where functions use the role of an EC2 instance.").with_default("auto"),
    // Storage
    ConfigKey::new("storage.data_dir", "TWINWAY_DATA_DIR", "directory", "Directory of the message log and the generated secret. Created with mode 0700.").with_flag("data-dir").with_default("./twinway-data"),
    ConfigKey::new("storage.log", "TWINWAY_STORAGE_LOG", "`file`, `memory`, `redis` or `postgres`", "Storage of the message log. Embedded mode: `file` in the data directory, `memory` (lost at exit) or `postgres`. Kubernetes mode: `redis` or `postgres`.").with_flag("log").with_mode_defaults("file", "redis"),
    ConfigKey::new("storage.retention_entries", "TWINWAY_RETENTION_ENTRIES", "number", "Maximum number of messages retained per channel; the oldest are deleted first.").with_default("100000"),
    ConfigKey::new("storage.retention_age", "TWINWAY_RETENTION_AGE", "duration", "Maximum age of a retained message; at least `1h`.").with_default("30d"),
    // Limits of the messaging application; the Lambda functions read the same variables
    ConfigKey::new("limits.body_bytes", "TWINWAY_LIMITS_BODY_BYTES", "size", "Largest body of one message, in bytes of JSON; at most the default.").with_default("28KiB"),
    ConfigKey::new("limits.history_messages", "TWINWAY_LIMITS_HISTORY_MESSAGES", "number", "Maximum number of messages in one `history` response; at most the default.").with_default("100"),
    ConfigKey::new("limits.push_messages", "TWINWAY_LIMITS_PUSH_MESSAGES", "number", "Maximum number of messages in one push of the HTTP API; at most the default.").with_default("100"),
    ConfigKey::new("limits.resume_messages", "TWINWAY_LIMITS_RESUME_MESSAGES", "number", "Maximum number of missed messages of a channel that one `resume` sends; a `gap` reports older ones. At most the default.").with_default("10000"),
    ConfigKey::new("limits.resume_bytes", "TWINWAY_LIMITS_RESUME_BYTES", "size", "Maximum bytes of missed messages that one `resume` sends; a `gap` reports the rest. At most the default.").with_default("4MiB"),
    ConfigKey::new("limits.resume_time", "TWINWAY_LIMITS_RESUME_TIME", "duration", "Maximum time that one `resume` reads and sends; a `gap` reports the rest. At most the default.").with_default("15s"),
    ConfigKey::new("limits.listed_members", "TWINWAY_LIMITS_LISTED_MEMBERS", "number", "Maximum number of members that one `members` response lists; the number of connections is always exact. At most the default.").with_default("500"),
    ConfigKey::new("limits.counted_members", "TWINWAY_LIMITS_COUNTED_MEMBERS", "number", "Maximum number of connection records that one `members` answer reads to count distinct users, over all its channels. At most the default.").with_default("10000"),
    // Cluster
    ConfigKey::new("cluster.heartbeat", "TWINWAY_CLUSTER_HEARTBEAT", "duration", "Interval at which a pod renews its lease in Redis and checks the leases of its peers (kubernetes mode).").with_default("2s"),
    ConfigKey::new("cluster.lease", "TWINWAY_CLUSTER_LEASE", "duration", "Lease duration: time without a heartbeat after which peers run `$disconnect` for each connection of the pod. At least three heartbeats.").with_default("8s"),
    ConfigKey::new("cluster.reap_rate", "TWINWAY_CLUSTER_REAP_RATE", "number", "Rate limit of the reaper: maximum number of `$disconnect`s per second that a pod runs for dead pods, so that a mass failure does not overload the handlers.").with_default("1000"),
    ConfigKey::new("cluster.reap_concurrency", "TWINWAY_CLUSTER_REAP_CONCURRENCY", "number", "Maximum number of reaper `$disconnect`s that run concurrently.").with_default("32"),
    ConfigKey::new("cluster.journal_dir", "TWINWAY_CLUSTER_JOURNAL_DIR", "directory, or `off`", "Directory of the journal of this pod's connections. A restarted pod reads it, so that the connections of a pod that dies after Redis has lost its data get their `$disconnect`. It has to survive a restart of the container, as an `emptyDir` volume does; pods may share it. If unset, `journal` in `storage.data_dir`, where that is writable."),
    // Drain
    ConfigKey::new("drain.delay", "TWINWAY_DRAIN_DELAY", "duration", "Time after SIGTERM during which the server still accepts connections while `/ready` answers 503, so that load balancers stop sending traffic.").with_mode_defaults("0s", "5s"),
    ConfigKey::new("drain.batch_size", "TWINWAY_DRAIN_BATCH_SIZE", "number", "Number of connections per drain batch; smaller at the start and while the other pods accept clients slowly, larger when the drain would otherwise take longer than half of `drain.grace`.").with_default("50"),
    ConfigKey::new("drain.batch_interval", "TWINWAY_DRAIN_BATCH_INTERVAL", "duration", "Interval between two drain batches, which spreads the reconnects over time.").with_default("250ms"),
    ConfigKey::new("drain.grace", "TWINWAY_DRAIN_GRACE", "duration", "Timeout of the drain after `drain.delay`; then the remaining connections are closed. A pod's `terminationGracePeriodSeconds` must exceed delay and grace together.").with_default("25s"),
    ConfigKey::new("drain.termination_grace", "TWINWAY_TERMINATION_GRACE", "duration", "The pod's `terminationGracePeriodSeconds`, so that the start fails when it is too short; `twinway config check` prints the minimum."),
    // Logging
    ConfigKey::new("logging.format", "TWINWAY_LOG_FORMAT", "`auto`, `json` or `pretty`", "Format of log lines. `auto` is human-readable on a terminal and JSON otherwise.").with_flag("log-format").with_default("auto"),
    ConfigKey::new("logging.filter", "RUST_LOG", "directives", "Log filter: a level, or directives such as `info,shim::session=debug`.").with_flag("log-filter").with_default("info"),
    // Other systems
    ConfigKey::new("redis.url", "REDIS_URL", "`redis://` or `rediss://` address, or several: `a,b`", "Address of Redis in kubernetes mode: the server, some nodes of the Cluster, or the Sentinels. Ignored with a warning in embedded mode.").as_secret(),
    ConfigKey::new("redis.topology", "TWINWAY_REDIS_TOPOLOGY", "`single`, `cluster` or `sentinel`", "Redis deployment type. Use `single` also for a managed service that has one address and fails over internally.").with_default("single"),
    ConfigKey::new("redis.sentinel_master", "TWINWAY_REDIS_SENTINEL_MASTER", "name", "Name of the master in the Sentinels' configuration.").with_default("mymaster"),
    ConfigKey::new("redis.username", "TWINWAY_REDIS_USERNAME", "text", "ACL user; overrides the one in `redis.url`, which with Sentinels applies to the Sentinels only."),
    ConfigKey::new("redis.password", "TWINWAY_REDIS_PASSWORD", "text", "Password; overrides the one in `redis.url`, which with Sentinels applies to the Sentinels only.").as_secret(),
    ConfigKey::new("redis.ca_file", "TWINWAY_REDIS_CA_FILE", "PEM file", "CA certificates that verify the servers' certificates. If unset, `tls.ca_file`."),
    ConfigKey::new("redis.client_cert_file", "TWINWAY_REDIS_CLIENT_CERT_FILE", "PEM file", "Client certificate for servers that require one, with `redis.client_key_file`."),
    ConfigKey::new("redis.client_key_file", "TWINWAY_REDIS_CLIENT_KEY_FILE", "PEM file", "Private key of the client certificate."),
    ConfigKey::new("redis.prefix", "TWINWAY_REDIS_PREFIX", "letters, digits, `-`, `_` and `.`", "Prefix of every key and Redis channel; applications with different prefixes can share a Redis.").with_default("twinway"),
    ConfigKey::new("redis.pool_size", "TWINWAY_REDIS_POOL_SIZE", "number", "Maximum number of pooled connections per pod, used for listings and for appends that wait for replicas. Short commands use separate multiplexed connections.").with_default("8"),
    ConfigKey::new("redis.connect_timeout", "TWINWAY_REDIS_CONNECT_TIMEOUT", "duration", "Timeout for establishing a connection.").with_default("2s"),
    ConfigKey::new("redis.response_timeout", "TWINWAY_REDIS_RESPONSE_TIMEOUT", "duration", "Timeout of a response. An operation, retries included, takes at most this and `redis.connect_timeout` together.").with_default("2s"),
    ConfigKey::new("redis.wait_replicas", "TWINWAY_REDIS_WAIT_REPLICAS", "number", "Number of replicas that must have received a write before it is acknowledged (`WAIT`), so that a failover loses no acknowledged message. While fewer replicas confirm, sends are answered `unavailable`. Default: 1 with `redis.topology` `cluster` or `sentinel`, 0 with `single`. 0 disables waiting, and a failover loses the last messages."),
    ConfigKey::new("postgres.url", "DATABASE_URL", "`postgres://user:password@host:5432/database`", "Address of the PostgreSQL primary that stores messages when `storage.log` is `postgres`. `?sslmode=` as in libpq; if unset, `verify-full` for a server on another machine, whose certificate and name are verified, and `prefer` for loopback addresses and sockets.").as_secret(),
    ConfigKey::new("postgres.password", "TWINWAY_POSTGRES_PASSWORD", "text", "Password; overrides the one in `postgres.url`.").as_secret(),
    ConfigKey::new("postgres.ca_file", "TWINWAY_POSTGRES_CA_FILE", "PEM file", "CA certificates that verify the server's certificate; if unset, `tls.ca_file`. If set, certificate and host name are verified unless the address sets `sslmode`."),
    ConfigKey::new("postgres.client_cert_file", "TWINWAY_POSTGRES_CLIENT_CERT_FILE", "PEM file", "Client certificate for a server that requires one, with `postgres.client_key_file`."),
    ConfigKey::new("postgres.client_key_file", "TWINWAY_POSTGRES_CLIENT_KEY_FILE", "PEM file", "Private key of the client certificate."),
    ConfigKey::new("postgres.schema", "TWINWAY_POSTGRES_SCHEMA", "lower-case letters, digits and `_`", "Schema of all tables, created at the first start. Applications with different schemas can share a database.").with_default("twinway"),
    ConfigKey::new("postgres.pool_size", "TWINWAY_POSTGRES_POOL_SIZE", "number", "Maximum number of connections per process. The server's `max_connections` must allow as many for every pod.").with_default("16"),
    ConfigKey::new("postgres.connect_timeout", "TWINWAY_POSTGRES_CONNECT_TIMEOUT", "duration", "Timeout for establishing a connection or obtaining one from the pool.").with_default("2s"),
    ConfigKey::new("postgres.response_timeout", "TWINWAY_POSTGRES_RESPONSE_TIMEOUT", "duration", "Statement timeout, enforced by the server. An operation, retries included, takes at most this and `postgres.connect_timeout` together.").with_default("2s"),
];
