//! The table of keys: every name, default and explanation, once.
//!
//! Flags, environment names, `docs/CONFIGURATION.md`, `twinway.toml.example`, `config print` and the warnings about unknown
//! keys all come from here; a key that is not in the table does not exist. Checks of values are elsewhere.

use super::DeploymentMode;

/// One configuration key.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKey {
    /// Its path in `twinway.toml`, and its name everywhere else.
    pub path: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// Its flag without the dashes. Secrets have none: arguments are seen by every user of a machine.
    pub flag: Option<&'static str>,
    /// Whether `{path}_file` and `{env}_FILE` name a file to read the value from.
    pub accepts_file: bool,
    /// Whether its value is hidden when the configuration is shown.
    pub secret: bool,
    /// What a value looks like, for people.
    pub value_format: &'static str,
    /// The value when nobody gives one.
    pub default: DefaultValue,
    /// One or two sentences: what it does, and why one would change it.
    pub doc: &'static str,
}

/// The value of a key that nobody gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// None: the key is optional.
    Unset,
    /// The same in every mode.
    AllModes(&'static str),
    /// One for embedded mode, another for the others.
    ByMode {
        /// On a laptop.
        embedded: &'static str,
        /// In a pod and on AWS.
        other_modes: &'static str,
    },
}

impl DefaultValue {
    /// The default in `mode`.
    #[must_use]
    pub const fn for_mode(self, mode: DeploymentMode) -> Option<&'static str> {
        match (self, mode) {
            (Self::Unset, _) => None,
            (Self::AllModes(value), _) => Some(value),
            (Self::ByMode { embedded, .. }, DeploymentMode::Embedded) => Some(embedded),
            (Self::ByMode { other_modes: elsewhere, .. }, _) => Some(elsewhere),
        }
    }
}

impl ConfigKey {
    const fn new(path: &'static str, env: &'static str, form: &'static str, doc: &'static str) -> Self {
        Self {
            path,
            env,
            flag: None,
            accepts_file: false,
            secret: false,
            value_format: form,
            default: DefaultValue::Unset,
            doc,
        }
    }

    const fn with_flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    const fn with_default(self, value: &'static str) -> Self {
        Self { default: DefaultValue::AllModes(value), ..self }
    }

    const fn with_mode_defaults(self, embedded: &'static str, elsewhere: &'static str) -> Self {
        Self { default: DefaultValue::ByMode { embedded, other_modes: elsewhere }, ..self }
    }

    const fn as_secret(self) -> Self {
        Self { secret: true, accepts_file: true, ..self }
    }

    const fn or_file(self) -> Self {
        Self { accepts_file: true, ..self }
    }
}

/// The key of that path.
#[must_use]
pub fn find_key(path: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.path == path)
}

/// Every key, in the order of the documentation.
pub const KEYS: &[ConfigKey] = &[
    ConfigKey::new("mode", "DEPLOYMENT_MODE", "`aws`, `kubernetes` or `embedded`", "Where the process runs. Unset, it is detected: `aws` inside a Lambda function, `kubernetes` inside a pod, else `embedded`.").with_flag("mode"),
    // Server
    ConfigKey::new("server.listen", "TWINWAY_LISTEN", "address", "Where WebSockets, the HTTP API and `@connections` are served. A laptop serves only itself; name `0.0.0.0:8080` to be reached from outside.").with_flag("listen").with_mode_defaults("127.0.0.1:8080", "0.0.0.0:8080"),
    ConfigKey::new("server.port", "PORT", "port", "Replaces the port of `server.listen`, as hosting platforms expect it.").with_flag("port"),
    ConfigKey::new("server.ops_listen", "TWINWAY_OPS_LISTEN", "address", "Where `/health`, `/ready` and `/metrics` are served. Keep it inside the cluster.").with_flag("ops-listen").with_mode_defaults("127.0.0.1:8081", "0.0.0.0:8081"),
    ConfigKey::new("server.header_timeout", "TWINWAY_HEADER_TIMEOUT", "duration", "How long the head of a request may take, and how long a kept-alive HTTP connection may idle.").with_default("5s"),
    ConfigKey::new("server.handshake_timeout", "TWINWAY_HANDSHAKE_TIMEOUT", "duration", "How long a handshake may take from its head until the WebSocket is open: authorizer, `$connect`, and where there are several pods Redis. Then the client is answered 504, and what `$connect` has begun is undone by `$disconnect`. The default is above API Gateway's own limits, 10 s for the authorizer and 29 s for `$connect`, which apply in any case.").with_default("45s"),
    ConfigKey::new("server.max_connections", "TWINWAY_MAX_CONNECTIONS", "number", "Most open sockets; beyond it clients are answered 503. The file descriptor limit (`ulimit -n`) must leave room for as many.").with_flag("max-connections").with_default("100000"),
    ConfigKey::new("server.domain_name", "TWINWAY_DOMAIN_NAME", "host name", "`requestContext.domainName` of every event. Unset, the request's `Host` is taken, as behind a custom domain."),
    ConfigKey::new("server.trust_forwarded_for", "TWINWAY_TRUST_FORWARDED_FOR", "`true` or `false`", "Whether `X-Forwarded-For` names the client. Only behind a proxy that overwrites the header: otherwise any client can pretend to be another.").with_default("false"),
    ConfigKey::new("server.tcp_backlog", "TWINWAY_TCP_BACKLOG", "number", "How many handshakes the kernel queues; it caps this at `net.core.somaxconn`.").with_default("4096"),
    ConfigKey::new("server.management", "TWINWAY_MANAGEMENT", "`loopback`, `open`, `iam` or `off`", "Who may use `@connections` on the traffic port: processes of the same machine, everyone (for networks that are trusted as a whole), callers of `iam.credentials` who sign as on AWS, or nobody.").with_flag("management").with_default("loopback"),
    // API
    ConfigKey::new("api.id", "TWINWAY_API_ID", "letters and digits", "`requestContext.apiId`, and the API's part of ARNs.").with_default("twinway"),
    ConfigKey::new("api.stage", "TWINWAY_STAGE", "letters, digits, `-` and `_`", "`requestContext.stage`; clients connect to `ws://host:port/{stage}`.").with_flag("stage").with_default("prod"),
    ConfigKey::new("api.region", "AWS_REGION", "region", "The region in ARNs.").with_default("us-east-1"),
    ConfigKey::new("api.account_id", "TWINWAY_ACCOUNT_ID", "12 digits", "The account in ARNs.").with_default("000000000000"),
    ConfigKey::new("api.profile", "TWINWAY_PROFILE", "`aws` or `open`", "Which quotas are enforced. `aws` is API Gateway's to the letter (32 KiB frames, 128 KiB messages, 10 minutes idle, 2 hours), so that what works here works there; `open` lifts them and warns once per kind of what would fail on AWS.").with_flag("profile").with_default("aws"),
    ConfigKey::new("api.ordering", "TWINWAY_ORDERING", "`connection` or `concurrent`", "Whether the messages of one connection are handled one at a time in order, or several at a time as on AWS.").with_flag("ordering").with_default("connection"),
    ConfigKey::new("api.stage_variables", "TWINWAY_STAGE_VARIABLES", "table, or `name=value,...`", "`stageVariables` of every event."),
    ConfigKey::new("api.key_required", "TWINWAY_API_KEY_REQUIRED", "`true` or `false`", "Whether clients need one of `api.keys` to connect, beside what the authorizer asks for.").with_default("false"),
    ConfigKey::new("api.key_source", "TWINWAY_API_KEY_SOURCE", "`header` or `authorizer`", "Where that key is read from: the header `x-api-key`, or `usageIdentifierKey` of the authorizer's answer.").with_default("header"),
    ConfigKey::new("api.keys", "TWINWAY_API_KEYS", "list of `id:key`", "The API keys of clients: at least 20 letters, digits, `-` and `_` each; events show them as `identity.apiKey` with the id beside it.").as_secret(),
    // Throttle
    ConfigKey::new("throttle.rate", "TWINWAY_THROTTLE_RATE", "number, or `off`", "Requests per second of this process: handshakes, messages, and calls of `@connections` together. Beyond it they are answered 429, messages with the error frame `Too Many Requests`. Unset, profile `aws` has API Gateway's 10,000 and profile `open` has none."),
    ConfigKey::new("throttle.burst", "TWINWAY_THROTTLE_BURST", "number", "How many requests may come at once. Unset, profile `aws` has API Gateway's 5,000, and a rate of your own has one second's worth."),
    ConfigKey::new("throttle.connect_rate", "TWINWAY_THROTTLE_CONNECT_RATE", "number, or `off`", "New connections per second of this process; beyond it 429. Unset, profile `aws` has API Gateway's 500 and profile `open` has none."),
    ConfigKey::new("throttle.connect_burst", "TWINWAY_THROTTLE_CONNECT_BURST", "number", "How many connections may begin at once. Unset, one second's worth."),
    ConfigKey::new("throttle.routes", "TWINWAY_THROTTLE_ROUTES", "table, or `route=rate/burst,...`", "How often single routes may run per second and at once, such as `$default=100/200`."),
    // Session
    ConfigKey::new("session.outbox_bytes", "TWINWAY_OUTBOX_BYTES", "size", "What may wait for a slow reader. Beyond it ephemeral frames are shed first, then broadcasts, then the connection is closed.").with_default("256KiB"),
    ConfigKey::new("session.inbound_queue", "TWINWAY_INBOUND_QUEUE", "number", "How many messages of a connection may wait for their handler before its socket is no longer read.").with_default("32"),
    ConfigKey::new("session.in_flight", "TWINWAY_IN_FLIGHT", "number", "How many messages of a connection are handled at a time when `api.ordering` is `concurrent`.").with_default("64"),
    ConfigKey::new("session.compression", "TWINWAY_COMPRESSION", "`aws`, `lean` or `off`", "Whether messages are compressed (permessage-deflate) for clients that offer it. `aws` agrees as API Gateway does, and keeps up to 32 KiB of what such a client last sent; `lean` asks clients to compress every message by itself, so that nothing is kept; `off` ignores the offer.").with_default("aws"),
    ConfigKey::new("session.close_timeout", "TWINWAY_CLOSE_TIMEOUT", "duration", "How long the closing handshake of a WebSocket may take.").with_default("5s"),
    ConfigKey::new("session.stalled_write_timeout", "TWINWAY_STALLED_WRITE_TIMEOUT", "duration", "How long a write may make no progress before the connection is closed as slow.").with_default("30s"),
    // Functions
    ConfigKey::new("functions.source", "TWINWAY_FUNCTIONS", "`embedded` or `lambda`", "What answers events: the messaging application in this process, or Lambda executables. Unset, it is `lambda` when a directory or a command line is given."),
    ConfigKey::new("functions.directory", "TWINWAY_FUNCTIONS_DIRECTORY", "directory", "Lambda functions as unpacked deployment packages: sub-directories `authorizer`, `connect`, `message`, `disconnect` and `api`, each with a `bootstrap`; all but `message` may be missing.").with_flag("functions"),
    ConfigKey::new("functions.authorizer", "TWINWAY_FUNCTIONS_AUTHORIZER", "command line, or path", "Runs the authorizer, in place of its sub-directory: a `bootstrap`, or a runtime interface client such as `python3 -m awslambdaric app.handler`."),
    ConfigKey::new("functions.connect", "TWINWAY_FUNCTIONS_CONNECT", "command line, or path", "Runs the function of `$connect`."),
    ConfigKey::new("functions.message", "TWINWAY_FUNCTIONS_MESSAGE", "command line, or path", "Runs the function of all messages."),
    ConfigKey::new("functions.disconnect", "TWINWAY_FUNCTIONS_DISCONNECT", "command line, or path", "Runs the function of `$disconnect`."),
    ConfigKey::new("functions.api", "TWINWAY_FUNCTIONS_API", "command line, or path", "Runs the function of the HTTP API under `/v1`; it gets payloads of version 2.0."),
    ConfigKey::new("functions.handlers", "TWINWAY_FUNCTIONS_HANDLERS", "table, or `name=value,...`", "`_HANDLER` by function. Unset, it is the last word of the command line."),
    ConfigKey::new("functions.environment", "TWINWAY_FUNCTIONS_ENVIRONMENT", "table, or `name=value,...`", "Variables for all functions. They see those of Lambda, `AWS_*`, `PATH`, `HOME` and the like, and nothing else of the server's environment.").as_secret(),
    ConfigKey::new("functions.message_response", "TWINWAY_FUNCTIONS_MESSAGE_RESPONSE", "`two-way` or `one-way`", "Whether a client gets what the message function answers. `one-way` is an API Gateway route without a route response.").with_default("two-way"),
    ConfigKey::new("functions.timeout", "TWINWAY_FUNCTIONS_TIMEOUT", "duration", "How long an invocation may take; then its process is killed and the invocation has failed, as on Lambda, whose own default is 3 s.").with_default("29s"),
    ConfigKey::new("functions.init_timeout", "TWINWAY_FUNCTIONS_INIT_TIMEOUT", "duration", "How long a process may take from its start until it asks for its first event.").with_default("10s"),
    ConfigKey::new("functions.idle_timeout", "TWINWAY_FUNCTIONS_IDLE_TIMEOUT", "duration", "How long a process may be idle before it is stopped.").with_default("5m"),
    ConfigKey::new("functions.memory_mib", "TWINWAY_FUNCTIONS_MEMORY_MIB", "number", "What functions are told about their memory, in MiB. It is not enforced: the container's limit is.").with_default("128"),
    ConfigKey::new("functions.min_processes", "TWINWAY_FUNCTIONS_MIN_PROCESSES", "number", "Processes per function that are always there, as with provisioned concurrency.").with_default("0"),
    ConfigKey::new("functions.max_processes", "TWINWAY_FUNCTIONS_MAX_PROCESSES", "number", "Most processes per function. A process has one invocation at a time, as on Lambda, unless `functions.concurrency` says otherwise.").with_default("16"),
    ConfigKey::new("functions.concurrency", "TWINWAY_FUNCTIONS_CONCURRENCY", "number", "Most invocations of one process at a time. Beyond 1 it is told `AWS_LAMBDA_MAX_CONCURRENCY`, as on Lambda Managed Instances, and has to be made for that.").with_default("1"),
    ConfigKey::new("functions.queue", "TWINWAY_FUNCTIONS_QUEUE", "number", "Most invocations per function that wait while all its processes are busy; beyond it they are throttled.").with_default("256"),
    // Auth
    ConfigKey::new("auth.secret", "TWINWAY_AUTH_SECRET", "text of at least 32 bytes", "Signs and verifies HS256 tokens; its text is the key. Unset in embedded mode, one is created at first start and kept in the data directory, unless JSON Web Keys are configured.").as_secret(),
    ConfigKey::new("auth.previous_secrets", "TWINWAY_AUTH_PREVIOUS_SECRETS", "list, or `a,b`", "Earlier secrets whose tokens are still taken, for a change of secret without a cut.").as_secret(),
    ConfigKey::new("auth.jwks_url", "TWINWAY_AUTH_JWKS_URL", "https address", "Where an identity provider publishes its JSON Web Key Set, for RS256, ES256 and EdDSA tokens.").with_flag("jwks-url"),
    ConfigKey::new("auth.jwks", "TWINWAY_AUTH_JWKS", "JSON document", "The JSON Web Key Set itself, where fetching is not wanted. Excludes `auth.jwks_url`.").or_file(),
    ConfigKey::new("auth.issuer", "TWINWAY_AUTH_ISSUER", "text", "The `iss` that every token must have."),
    ConfigKey::new("auth.audience", "TWINWAY_AUTH_AUDIENCE", "text", "The `aud` that every token must have."),
    ConfigKey::new("auth.leeway", "TWINWAY_AUTH_LEEWAY", "duration", "How far the clocks of issuer and server may be apart.").with_default("30s"),
    ConfigKey::new("auth.api_keys", "TWINWAY_AUTH_API_KEYS", "list of `name:tenant:key`", "Keys that backends present as `X-Api-Key`; at least 16 bytes each.").as_secret(),
    // IAM
    ConfigKey::new("iam.credentials", "TWINWAY_IAM_CREDENTIALS", "JSON document", "Who may sign requests with Signature Version 4: an array of objects with `AccessKeyId`, `SecretAccessKey`, `Arn`, `PolicyDocument`, and optionally `UserId` and `SessionToken`. The policies name `execute-api:ManageConnections` and `execute-api:Invoke`.").as_secret(),
    // Storage
    ConfigKey::new("storage.data_dir", "TWINWAY_DATA_DIR", "directory", "Everything that survives a restart: the message log and the generated secret. Created with mode 0700.").with_flag("data-dir").with_default("./twinway-data"),
    ConfigKey::new("storage.log", "TWINWAY_STORAGE_LOG", "`file`, `memory`, `redis` or `postgres`", "Where messages are kept: in embedded mode in a file of the data directory, in memory (gone with the process) or in PostgreSQL; in kubernetes mode in Redis or in PostgreSQL.").with_flag("log").with_mode_defaults("file", "redis"),
    ConfigKey::new("storage.retention_entries", "TWINWAY_RETENTION_ENTRIES", "number", "Most messages kept per channel; the oldest go first.").with_default("100000"),
    ConfigKey::new("storage.retention_age", "TWINWAY_RETENTION_AGE", "duration", "How long a message is kept.").with_default("30d"),
    // Limits of the messaging application; the Lambda functions read the same variables
    ConfigKey::new("limits.body_bytes", "TWINWAY_LIMITS_BODY_BYTES", "size", "Largest body of one message, in bytes of JSON; at most the default.").with_default("28KiB"),
    ConfigKey::new("limits.history_messages", "TWINWAY_LIMITS_HISTORY_MESSAGES", "number", "Maximum messages in one `history` answer; at most the default.").with_default("100"),
    ConfigKey::new("limits.push_messages", "TWINWAY_LIMITS_PUSH_MESSAGES", "number", "Maximum messages in one push of the HTTP API; at most the default.").with_default("100"),
    ConfigKey::new("limits.resume_messages", "TWINWAY_LIMITS_RESUME_MESSAGES", "number", "Maximum missed messages of a channel that one `resume` sends; a `gap` reports older ones. At most the default.").with_default("10000"),
    ConfigKey::new("limits.resume_bytes", "TWINWAY_LIMITS_RESUME_BYTES", "size", "Maximum bytes of missed messages that one `resume` sends; a `gap` reports the rest. At most the default.").with_default("4MiB"),
    ConfigKey::new("limits.resume_time", "TWINWAY_LIMITS_RESUME_TIME", "duration", "Maximum time that one `resume` reads and sends; a `gap` reports the rest. At most the default.").with_default("15s"),
    ConfigKey::new("limits.listed_members", "TWINWAY_LIMITS_LISTED_MEMBERS", "number", "Maximum members that one `members` answer lists; the number of connections is always exact. At most the default.").with_default("500"),
    ConfigKey::new("limits.counted_members", "TWINWAY_LIMITS_COUNTED_MEMBERS", "number", "Maximum connection records of a channel that are read to count its distinct users. At most the default.").with_default("10000"),
    // Cluster
    ConfigKey::new("cluster.heartbeat", "TWINWAY_CLUSTER_HEARTBEAT", "duration", "How often a pod extends its lease in Redis and looks at the others' (kubernetes mode).").with_default("2s"),
    ConfigKey::new("cluster.lease", "TWINWAY_CLUSTER_LEASE", "duration", "How long a pod may be silent before the others take its connections over and run each one's `$disconnect`. At least three heartbeats.").with_default("8s"),
    ConfigKey::new("cluster.reap_rate", "TWINWAY_CLUSTER_REAP_RATE", "number", "Most `$disconnect`s per second that one pod runs for dead ones, so that a mass loss does not crush the handlers.").with_default("1000"),
    ConfigKey::new("cluster.reap_concurrency", "TWINWAY_CLUSTER_REAP_CONCURRENCY", "number", "How many of them run at a time.").with_default("32"),
    // Drain
    ConfigKey::new("drain.delay", "TWINWAY_DRAIN_DELAY", "duration", "How long the server goes on accepting after SIGTERM while `/ready` already refuses, until no load balancer sends more.").with_mode_defaults("0s", "5s"),
    ConfigKey::new("drain.wave_size", "TWINWAY_DRAIN_WAVE_SIZE", "number", "How many connections are told to reconnect at a time; more when that would take longer than half of `drain.grace`.").with_default("50"),
    ConfigKey::new("drain.wave_interval", "TWINWAY_DRAIN_WAVE_INTERVAL", "duration", "How long between two waves: spreads the reconnects over the remaining servers.").with_default("250ms"),
    ConfigKey::new("drain.grace", "TWINWAY_DRAIN_GRACE", "duration", "How long everything after the delay may take; then what is left is cut. A pod's `terminationGracePeriodSeconds` must exceed delay and grace together.").with_default("25s"),
    ConfigKey::new("drain.termination_grace", "TWINWAY_TERMINATION_GRACE", "duration", "The pod's `terminationGracePeriodSeconds`, so that a start fails when it is too short; `twinway config check` prints the least value."),
    // Logging
    ConfigKey::new("logging.format", "TWINWAY_LOG_FORMAT", "`auto`, `json` or `pretty`", "`auto` is readable on a terminal and JSON everywhere else.").with_flag("log-format").with_default("auto"),
    ConfigKey::new("logging.filter", "RUST_LOG", "directives", "What is logged: a level, or directives such as `info,shim::session=debug`.").with_flag("log-filter").with_default("info"),
    // Other systems
    ConfigKey::new("redis.url", "REDIS_URL", "`redis://` or `rediss://` address, or several: `a,b`", "The Redis of kubernetes mode: the server, some nodes of the Cluster, or the Sentinels. Unused, with a warning, in embedded mode.").as_secret(),
    ConfigKey::new("redis.topology", "TWINWAY_REDIS_TOPOLOGY", "`single`, `cluster` or `sentinel`", "How the servers are arranged. Also `single` for a service that offers one address and fails over behind it.").with_default("single"),
    ConfigKey::new("redis.sentinel_master", "TWINWAY_REDIS_SENTINEL_MASTER", "name", "What the Sentinels call the writable server.").with_default("mymaster"),
    ConfigKey::new("redis.username", "TWINWAY_REDIS_USERNAME", "text", "The ACL user; replaces the one in `redis.url`, which with Sentinels is for the Sentinels alone."),
    ConfigKey::new("redis.password", "TWINWAY_REDIS_PASSWORD", "text", "The password; replaces the one in `redis.url`, which with Sentinels is for the Sentinels alone.").as_secret(),
    ConfigKey::new("redis.ca_file", "TWINWAY_REDIS_CA_FILE", "PEM file", "The authorities that may have signed the servers' certificates. Unset, those of the system are taken."),
    ConfigKey::new("redis.prefix", "TWINWAY_REDIS_PREFIX", "letters, digits, `-`, `_` and `.`", "What every key and topic begins with; applications with different prefixes can share a Redis.").with_default("twinway"),
    ConfigKey::new("redis.pool_size", "TWINWAY_REDIS_POOL_SIZE", "number", "Most pooled connections per pod, for listings and for appends that wait for replicas. Short commands share connections of their own.").with_default("8"),
    ConfigKey::new("redis.connect_timeout", "TWINWAY_REDIS_CONNECT_TIMEOUT", "duration", "How long a connection may take to be made.").with_default("2s"),
    ConfigKey::new("redis.response_timeout", "TWINWAY_REDIS_RESPONSE_TIMEOUT", "duration", "How long an answer may take. An operation takes no longer than this and `redis.connect_timeout` together, repeats included.").with_default("2s"),
    ConfigKey::new("redis.wait_replicas", "TWINWAY_REDIS_WAIT_REPLICAS", "number", "How many replicas must have a message before it is acknowledged, so that a failover loses none. 0 waits for none.").with_default("0"),
    ConfigKey::new("postgres.url", "DATABASE_URL", "`postgres://user:password@host:5432/database`", "The PostgreSQL that messages are kept in when `storage.log` is `postgres`; the address has to lead to the server that takes writes. `?sslmode=` as in libpq: unset, TLS is used where the server has it, and nothing is verified unless `postgres.ca_file` is set; `verify-full` verifies.").as_secret(),
    ConfigKey::new("postgres.password", "TWINWAY_POSTGRES_PASSWORD", "text", "The password; replaces the one in `postgres.url`.").as_secret(),
    ConfigKey::new("postgres.ca_file", "TWINWAY_POSTGRES_CA_FILE", "PEM file", "The authorities that may have signed the server's certificate. Set, certificate and name are verified unless the address has an `sslmode` of its own."),
    ConfigKey::new("postgres.schema", "TWINWAY_POSTGRES_SCHEMA", "small letters, digits and `_`", "The schema that all tables are in; it is created at the first start. Applications with different schemas can share a database.").with_default("twinway"),
    ConfigKey::new("postgres.pool_size", "TWINWAY_POSTGRES_POOL_SIZE", "number", "Most connections per process. The server's `max_connections` must leave room for as many from every pod.").with_default("16"),
    ConfigKey::new("postgres.connect_timeout", "TWINWAY_POSTGRES_CONNECT_TIMEOUT", "duration", "How long a connection may take to be made, or to become free.").with_default("2s"),
    ConfigKey::new("postgres.response_timeout", "TWINWAY_POSTGRES_RESPONSE_TIMEOUT", "duration", "How long a statement may take; the server ends it then. An operation takes no longer than this and `postgres.connect_timeout` together, repeats included.").with_default("2s"),
];
