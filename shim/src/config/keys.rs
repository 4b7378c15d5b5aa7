//! The table of keys: every name, default and explanation, once.
//!
//! Flags, environment names, `docs/CONFIGURATION.md`, `twinway.toml.example`, `config print` and the warnings about unknown
//! keys all come from here; a key that is not in the table does not exist. Checks of values are elsewhere.

use super::Mode;

/// One configuration key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its path in `twinway.toml`, and its name everywhere else.
    pub path: &'static str,
    /// Its environment variable.
    pub env: &'static str,
    /// Its flag without the dashes. Secrets have none: arguments are seen by every user of a machine.
    pub flag: Option<&'static str>,
    /// Whether `{path}_file` and `{env}_FILE` name a file to read the value from.
    pub file: bool,
    /// Whether its value is hidden when the configuration is shown.
    pub secret: bool,
    /// What a value looks like, for people.
    pub form: &'static str,
    /// The value when nobody gives one.
    pub default: Fallback,
    /// One or two sentences: what it does, and why one would change it.
    pub doc: &'static str,
}

/// The value of a key that nobody gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// None: the key is optional.
    Absent,
    /// The same in every mode.
    Always(&'static str),
    /// One for embedded mode, another for the others.
    Embedded {
        /// On a laptop.
        embedded: &'static str,
        /// In a pod and on AWS.
        elsewhere: &'static str,
    },
}

impl Fallback {
    /// The default in `mode`.
    #[must_use]
    pub const fn within(self, mode: Mode) -> Option<&'static str> {
        match (self, mode) {
            (Self::Absent, _) => None,
            (Self::Always(value), _) => Some(value),
            (Self::Embedded { embedded, .. }, Mode::Embedded) => Some(embedded),
            (Self::Embedded { elsewhere, .. }, _) => Some(elsewhere),
        }
    }
}

impl Key {
    const fn new(path: &'static str, env: &'static str, form: &'static str, doc: &'static str) -> Self {
        Self { path, env, flag: None, file: false, secret: false, form, default: Fallback::Absent, doc }
    }

    const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    const fn default(self, value: &'static str) -> Self {
        Self { default: Fallback::Always(value), ..self }
    }

    const fn defaults(self, embedded: &'static str, elsewhere: &'static str) -> Self {
        Self { default: Fallback::Embedded { embedded, elsewhere }, ..self }
    }

    const fn hidden(self) -> Self {
        Self { secret: true, file: true, ..self }
    }

    const fn or_file(self) -> Self {
        Self { file: true, ..self }
    }
}

/// The key of that path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Every key, in the order of the documentation.
pub const KEYS: &[Key] = &[
    Key::new("mode", "DEPLOYMENT_MODE", "`aws`, `kubernetes` or `embedded`", "Where the process runs. Unset, it is detected: `aws` inside a Lambda function, `kubernetes` inside a pod, else `embedded`.").flag("mode"),
    // Server
    Key::new("server.listen", "TWINWAY_LISTEN", "address", "Where WebSockets, the HTTP API and `@connections` are served. A laptop serves only itself; name `0.0.0.0:8080` to be reached from outside.").flag("listen").defaults("127.0.0.1:8080", "0.0.0.0:8080"),
    Key::new("server.port", "PORT", "port", "Replaces the port of `server.listen`, as hosting platforms expect it.").flag("port"),
    Key::new("server.ops_listen", "TWINWAY_OPS_LISTEN", "address", "Where `/health`, `/ready` and `/metrics` are served. Keep it inside the cluster.").flag("ops-listen").defaults("127.0.0.1:8081", "0.0.0.0:8081"),
    Key::new("server.header_timeout", "TWINWAY_HEADER_TIMEOUT", "duration", "How long the head of a request may take, and how long a kept-alive HTTP connection may idle.").default("5s"),
    Key::new("server.handshake_timeout", "TWINWAY_HANDSHAKE_TIMEOUT", "duration", "How long a handshake may take from its head until the WebSocket is open: authorizer, `$connect`, and where there are several pods Redis. Then the client is answered 504, and what `$connect` has begun is undone by `$disconnect`. The default is above API Gateway's own limits, 10 s for the authorizer and 29 s for `$connect`, which apply in any case.").default("45s"),
    Key::new("server.max_connections", "TWINWAY_MAX_CONNECTIONS", "number", "Most open sockets; beyond it clients are answered 503. The file descriptor limit (`ulimit -n`) must leave room for as many.").flag("max-connections").default("100000"),
    Key::new("server.domain_name", "TWINWAY_DOMAIN_NAME", "host name", "`requestContext.domainName` of every event. Unset, the request's `Host` is taken, as behind a custom domain."),
    Key::new("server.trust_forwarded_for", "TWINWAY_TRUST_FORWARDED_FOR", "`true` or `false`", "Whether `X-Forwarded-For` names the client. Only behind a proxy that overwrites the header: otherwise any client can pretend to be another.").default("false"),
    Key::new("server.tcp_backlog", "TWINWAY_TCP_BACKLOG", "number", "How many handshakes the kernel queues; it caps this at `net.core.somaxconn`.").default("4096"),
    Key::new("server.management", "TWINWAY_MANAGEMENT", "`loopback`, `open`, `iam` or `off`", "Who may use `@connections` on the traffic port: processes of the same machine, everyone (for networks that are trusted as a whole), callers of `iam.credentials` who sign as on AWS, or nobody.").flag("management").default("loopback"),
    // API
    Key::new("api.id", "TWINWAY_API_ID", "letters and digits", "`requestContext.apiId`, and the API's part of ARNs.").default("twinway"),
    Key::new("api.stage", "TWINWAY_STAGE", "letters, digits, `-` and `_`", "`requestContext.stage`; clients connect to `ws://host:port/{stage}`.").flag("stage").default("prod"),
    Key::new("api.region", "AWS_REGION", "region", "The region in ARNs.").default("us-east-1"),
    Key::new("api.account_id", "TWINWAY_ACCOUNT_ID", "12 digits", "The account in ARNs.").default("000000000000"),
    Key::new("api.profile", "TWINWAY_PROFILE", "`aws` or `open`", "Which quotas are enforced. `aws` is API Gateway's to the letter (32 KiB frames, 128 KiB messages, 10 minutes idle, 2 hours), so that what works here works there; `open` lifts them and warns once per kind of what would fail on AWS.").flag("profile").default("aws"),
    Key::new("api.ordering", "TWINWAY_ORDERING", "`connection` or `concurrent`", "Whether the messages of one connection are handled one at a time in order, or several at a time as on AWS.").flag("ordering").default("connection"),
    Key::new("api.stage_variables", "TWINWAY_STAGE_VARIABLES", "table, or `name=value,...`", "`stageVariables` of every event."),
    Key::new("api.key_required", "TWINWAY_API_KEY_REQUIRED", "`true` or `false`", "Whether clients need one of `api.keys` to connect, beside what the authorizer asks for.").default("false"),
    Key::new("api.key_source", "TWINWAY_API_KEY_SOURCE", "`header` or `authorizer`", "Where that key is read from: the header `x-api-key`, or `usageIdentifierKey` of the authorizer's answer.").default("header"),
    Key::new("api.keys", "TWINWAY_API_KEYS", "list of `id:key`", "The API keys of clients: at least 20 letters, digits, `-` and `_` each; events show them as `identity.apiKey` with the id beside it.").hidden(),
    // Throttle
    Key::new("throttle.rate", "TWINWAY_THROTTLE_RATE", "number, or `off`", "Requests per second of this process: handshakes, messages, and calls of `@connections` together. Beyond it they are answered 429, messages with the error frame `Too Many Requests`. Unset, profile `aws` has API Gateway's 10,000 and profile `open` has none."),
    Key::new("throttle.burst", "TWINWAY_THROTTLE_BURST", "number", "How many requests may come at once. Unset, profile `aws` has API Gateway's 5,000, and a rate of your own has one second's worth."),
    Key::new("throttle.connect_rate", "TWINWAY_THROTTLE_CONNECT_RATE", "number, or `off`", "New connections per second of this process; beyond it 429. Unset, profile `aws` has API Gateway's 500 and profile `open` has none."),
    Key::new("throttle.connect_burst", "TWINWAY_THROTTLE_CONNECT_BURST", "number", "How many connections may begin at once. Unset, one second's worth."),
    Key::new("throttle.routes", "TWINWAY_THROTTLE_ROUTES", "table, or `route=rate/burst,...`", "How often single routes may run per second and at once, such as `$default=100/200`."),
    // Session
    Key::new("session.outbox_bytes", "TWINWAY_OUTBOX_BYTES", "size", "What may wait for a slow reader. Beyond it ephemeral frames are shed first, then broadcasts, then the connection is closed.").default("256KiB"),
    Key::new("session.inbound_queue", "TWINWAY_INBOUND_QUEUE", "number", "How many messages of a connection may wait for their handler before its socket is no longer read.").default("32"),
    Key::new("session.in_flight", "TWINWAY_IN_FLIGHT", "number", "How many messages of a connection are handled at a time when `api.ordering` is `concurrent`.").default("64"),
    Key::new("session.compression", "TWINWAY_COMPRESSION", "`aws`, `lean` or `off`", "Whether messages are compressed (permessage-deflate) for clients that offer it. `aws` agrees as API Gateway does, and keeps up to 32 KiB of what such a client last sent; `lean` asks clients to compress every message by itself, so that nothing is kept; `off` ignores the offer.").default("aws"),
    Key::new("session.close_timeout", "TWINWAY_CLOSE_TIMEOUT", "duration", "How long the closing handshake of a WebSocket may take.").default("5s"),
    Key::new("session.stalled_write_timeout", "TWINWAY_STALLED_WRITE_TIMEOUT", "duration", "How long a write may make no progress before the connection is closed as slow.").default("30s"),
    // Functions
    Key::new("functions.source", "TWINWAY_FUNCTIONS", "`embedded` or `lambda`", "What answers events: the messaging application in this process, or Lambda executables. Unset, it is `lambda` when a directory or a command line is given."),
    Key::new("functions.directory", "TWINWAY_FUNCTIONS_DIRECTORY", "directory", "Lambda functions as unpacked deployment packages: sub-directories `authorizer`, `connect`, `message`, `disconnect` and `api`, each with a `bootstrap`; all but `message` may be missing.").flag("functions"),
    Key::new("functions.authorizer", "TWINWAY_FUNCTIONS_AUTHORIZER", "command line, or path", "Runs the authorizer, in place of its sub-directory: a `bootstrap`, or a runtime interface client such as `python3 -m awslambdaric app.handler`."),
    Key::new("functions.connect", "TWINWAY_FUNCTIONS_CONNECT", "command line, or path", "Runs the function of `$connect`."),
    Key::new("functions.message", "TWINWAY_FUNCTIONS_MESSAGE", "command line, or path", "Runs the function of all messages."),
    Key::new("functions.disconnect", "TWINWAY_FUNCTIONS_DISCONNECT", "command line, or path", "Runs the function of `$disconnect`."),
    Key::new("functions.api", "TWINWAY_FUNCTIONS_API", "command line, or path", "Runs the function of the HTTP API under `/v1`; it gets payloads of version 2.0."),
    Key::new("functions.handlers", "TWINWAY_FUNCTIONS_HANDLERS", "table, or `name=value,...`", "`_HANDLER` by function. Unset, it is the last word of the command line."),
    Key::new("functions.environment", "TWINWAY_FUNCTIONS_ENVIRONMENT", "table, or `name=value,...`", "Variables for all functions. They see those of Lambda, `AWS_*`, `PATH`, `HOME` and the like, and nothing else of the server's environment.").hidden(),
    Key::new("functions.message_response", "TWINWAY_FUNCTIONS_MESSAGE_RESPONSE", "`two-way` or `one-way`", "Whether a client gets what the message function answers. `one-way` is an API Gateway route without a route response.").default("two-way"),
    Key::new("functions.timeout", "TWINWAY_FUNCTIONS_TIMEOUT", "duration", "How long an invocation may take; then its process is killed and the invocation has failed, as on Lambda, whose own default is 3 s.").default("29s"),
    Key::new("functions.init_timeout", "TWINWAY_FUNCTIONS_INIT_TIMEOUT", "duration", "How long a process may take from its start until it asks for its first event.").default("10s"),
    Key::new("functions.idle_timeout", "TWINWAY_FUNCTIONS_IDLE_TIMEOUT", "duration", "How long a process may be idle before it is stopped.").default("5m"),
    Key::new("functions.memory_mib", "TWINWAY_FUNCTIONS_MEMORY_MIB", "number", "What functions are told about their memory, in MiB. It is not enforced: the container's limit is.").default("128"),
    Key::new("functions.min_processes", "TWINWAY_FUNCTIONS_MIN_PROCESSES", "number", "Processes per function that are always there, as with provisioned concurrency.").default("0"),
    Key::new("functions.max_processes", "TWINWAY_FUNCTIONS_MAX_PROCESSES", "number", "Most processes per function. A process has one invocation at a time, as on Lambda, unless `functions.concurrency` says otherwise.").default("16"),
    Key::new("functions.concurrency", "TWINWAY_FUNCTIONS_CONCURRENCY", "number", "Most invocations of one process at a time. Beyond 1 it is told `AWS_LAMBDA_MAX_CONCURRENCY`, as on Lambda Managed Instances, and has to be made for that.").default("1"),
    Key::new("functions.queue", "TWINWAY_FUNCTIONS_QUEUE", "number", "Most invocations per function that wait while all its processes are busy; beyond it they are throttled.").default("256"),
    // Auth
    Key::new("auth.secret", "TWINWAY_AUTH_SECRET", "text of at least 32 bytes", "Signs and verifies HS256 tokens; its text is the key. Unset in embedded mode, one is created at first start and kept in the data directory, unless JSON Web Keys are configured.").hidden(),
    Key::new("auth.previous_secrets", "TWINWAY_AUTH_PREVIOUS_SECRETS", "list, or `a,b`", "Earlier secrets whose tokens are still taken, for a change of secret without a cut.").hidden(),
    Key::new("auth.jwks_url", "TWINWAY_AUTH_JWKS_URL", "https address", "Where an identity provider publishes its JSON Web Key Set, for RS256, ES256 and EdDSA tokens.").flag("jwks-url"),
    Key::new("auth.jwks", "TWINWAY_AUTH_JWKS", "JSON document", "The JSON Web Key Set itself, where fetching is not wanted. Excludes `auth.jwks_url`.").or_file(),
    Key::new("auth.issuer", "TWINWAY_AUTH_ISSUER", "text", "The `iss` that every token must have."),
    Key::new("auth.audience", "TWINWAY_AUTH_AUDIENCE", "text", "The `aud` that every token must have."),
    Key::new("auth.leeway", "TWINWAY_AUTH_LEEWAY", "duration", "How far the clocks of issuer and server may be apart.").default("30s"),
    Key::new("auth.api_keys", "TWINWAY_AUTH_API_KEYS", "list of `name:tenant:key`", "Keys that backends present as `X-Api-Key`; at least 16 bytes each.").hidden(),
    // IAM
    Key::new("iam.credentials", "TWINWAY_IAM_CREDENTIALS", "JSON document", "Who may sign requests with Signature Version 4: an array of objects with `AccessKeyId`, `SecretAccessKey`, `Arn`, `PolicyDocument`, and optionally `UserId` and `SessionToken`. The policies name `execute-api:ManageConnections` and `execute-api:Invoke`.").hidden(),
    // Storage
    Key::new("storage.data_dir", "TWINWAY_DATA_DIR", "directory", "Everything that survives a restart: the message log and the generated secret. Created with mode 0700.").flag("data-dir").default("./twinway-data"),
    Key::new("storage.log", "TWINWAY_STORAGE_LOG", "`file`, `memory`, `redis` or `postgres`", "Where messages are kept: in embedded mode in a file of the data directory, in memory (gone with the process) or in PostgreSQL; in kubernetes mode in Redis or in PostgreSQL.").flag("log").defaults("file", "redis"),
    Key::new("storage.retention_entries", "TWINWAY_RETENTION_ENTRIES", "number", "Most messages kept per channel; the oldest go first.").default("100000"),
    Key::new("storage.retention_age", "TWINWAY_RETENTION_AGE", "duration", "How long a message is kept.").default("30d"),
    // Limits of the messaging application; the Lambda functions read the same variables
    Key::new("limits.body_bytes", "TWINWAY_LIMITS_BODY_BYTES", "size", "Largest body of one message, in bytes of JSON; at most the default.").default("28KiB"),
    Key::new("limits.history_messages", "TWINWAY_LIMITS_HISTORY_MESSAGES", "number", "Maximum messages in one `history` answer; at most the default.").default("100"),
    Key::new("limits.push_messages", "TWINWAY_LIMITS_PUSH_MESSAGES", "number", "Maximum messages in one push of the HTTP API; at most the default.").default("100"),
    Key::new("limits.resume_messages", "TWINWAY_LIMITS_RESUME_MESSAGES", "number", "Maximum missed messages of a channel that one `resume` sends; a `gap` reports older ones. At most the default.").default("10000"),
    Key::new("limits.resume_bytes", "TWINWAY_LIMITS_RESUME_BYTES", "size", "Maximum bytes of missed messages that one `resume` sends; a `gap` reports the rest. At most the default.").default("4MiB"),
    Key::new("limits.resume_time", "TWINWAY_LIMITS_RESUME_TIME", "duration", "Maximum time that one `resume` reads and sends; a `gap` reports the rest. At most the default.").default("15s"),
    Key::new("limits.listed_members", "TWINWAY_LIMITS_LISTED_MEMBERS", "number", "Maximum members that one `members` answer lists; the number of connections is always exact. At most the default.").default("500"),
    Key::new("limits.counted_members", "TWINWAY_LIMITS_COUNTED_MEMBERS", "number", "Maximum connection records of a channel that are read to count its distinct users. At most the default.").default("10000"),
    // Cluster
    Key::new("cluster.heartbeat", "TWINWAY_CLUSTER_HEARTBEAT", "duration", "How often a pod extends its lease in Redis and looks at the others' (kubernetes mode).").default("2s"),
    Key::new("cluster.lease", "TWINWAY_CLUSTER_LEASE", "duration", "How long a pod may be silent before the others take its connections over and run each one's `$disconnect`. At least three heartbeats.").default("8s"),
    Key::new("cluster.reap_rate", "TWINWAY_CLUSTER_REAP_RATE", "number", "Most `$disconnect`s per second that one pod runs for dead ones, so that a mass loss does not crush the handlers.").default("1000"),
    Key::new("cluster.reap_concurrency", "TWINWAY_CLUSTER_REAP_CONCURRENCY", "number", "How many of them run at a time.").default("32"),
    // Drain
    Key::new("drain.delay", "TWINWAY_DRAIN_DELAY", "duration", "How long the server goes on accepting after SIGTERM while `/ready` already refuses, until no load balancer sends more.").defaults("0s", "5s"),
    Key::new("drain.wave_size", "TWINWAY_DRAIN_WAVE_SIZE", "number", "How many connections are told to reconnect at a time; more when that would take longer than half of `drain.grace`.").default("50"),
    Key::new("drain.wave_interval", "TWINWAY_DRAIN_WAVE_INTERVAL", "duration", "How long between two waves: spreads the reconnects over the remaining servers.").default("250ms"),
    Key::new("drain.grace", "TWINWAY_DRAIN_GRACE", "duration", "How long everything after the delay may take; then what is left is cut. A pod's `terminationGracePeriodSeconds` must exceed delay and grace together.").default("25s"),
    Key::new("drain.termination_grace", "TWINWAY_TERMINATION_GRACE", "duration", "The pod's `terminationGracePeriodSeconds`, so that a start fails when it is too short; `twinway config check` prints the least value."),
    // Logging
    Key::new("logging.format", "TWINWAY_LOG_FORMAT", "`auto`, `json` or `pretty`", "`auto` is readable on a terminal and JSON everywhere else.").flag("log-format").default("auto"),
    Key::new("logging.filter", "RUST_LOG", "directives", "What is logged: a level, or directives such as `info,shim::session=debug`.").flag("log-filter").default("info"),
    // Other systems
    Key::new("redis.url", "REDIS_URL", "`redis://` or `rediss://` address, or several: `a,b`", "The Redis of kubernetes mode: the server, some nodes of the Cluster, or the Sentinels. Unused, with a warning, in embedded mode.").hidden(),
    Key::new("redis.topology", "TWINWAY_REDIS_TOPOLOGY", "`single`, `cluster` or `sentinel`", "How the servers are arranged. Also `single` for a service that offers one address and fails over behind it.").default("single"),
    Key::new("redis.sentinel_master", "TWINWAY_REDIS_SENTINEL_MASTER", "name", "What the Sentinels call the writable server.").default("mymaster"),
    Key::new("redis.username", "TWINWAY_REDIS_USERNAME", "text", "The ACL user; replaces the one in `redis.url`, which with Sentinels is for the Sentinels alone."),
    Key::new("redis.password", "TWINWAY_REDIS_PASSWORD", "text", "The password; replaces the one in `redis.url`, which with Sentinels is for the Sentinels alone.").hidden(),
    Key::new("redis.ca_file", "TWINWAY_REDIS_CA_FILE", "PEM file", "The authorities that may have signed the servers' certificates. Unset, those of the system are taken."),
    Key::new("redis.prefix", "TWINWAY_REDIS_PREFIX", "letters, digits, `-`, `_` and `.`", "What every key and topic begins with; applications with different prefixes can share a Redis.").default("twinway"),
    Key::new("redis.pool_size", "TWINWAY_REDIS_POOL_SIZE", "number", "Most pooled connections per pod, for listings and for appends that wait for replicas. Short commands share connections of their own.").default("8"),
    Key::new("redis.connect_timeout", "TWINWAY_REDIS_CONNECT_TIMEOUT", "duration", "How long a connection may take to be made.").default("2s"),
    Key::new("redis.response_timeout", "TWINWAY_REDIS_RESPONSE_TIMEOUT", "duration", "How long an answer may take. An operation takes no longer than this and `redis.connect_timeout` together, repeats included.").default("2s"),
    Key::new("redis.wait_replicas", "TWINWAY_REDIS_WAIT_REPLICAS", "number", "How many replicas must have a message before it is acknowledged, so that a failover loses none. 0 waits for none.").default("0"),
    Key::new("postgres.url", "DATABASE_URL", "`postgres://user:password@host:5432/database`", "The PostgreSQL that messages are kept in when `storage.log` is `postgres`; the address has to lead to the server that takes writes. `?sslmode=` as in libpq: unset, TLS is used where the server has it, and nothing is verified unless `postgres.ca_file` is set; `verify-full` verifies.").hidden(),
    Key::new("postgres.password", "TWINWAY_POSTGRES_PASSWORD", "text", "The password; replaces the one in `postgres.url`.").hidden(),
    Key::new("postgres.ca_file", "TWINWAY_POSTGRES_CA_FILE", "PEM file", "The authorities that may have signed the server's certificate. Set, certificate and name are verified unless the address has an `sslmode` of its own."),
    Key::new("postgres.schema", "TWINWAY_POSTGRES_SCHEMA", "small letters, digits and `_`", "The schema that all tables are in; it is created at the first start. Applications with different schemas can share a database.").default("twinway"),
    Key::new("postgres.pool_size", "TWINWAY_POSTGRES_POOL_SIZE", "number", "Most connections per process. The server's `max_connections` must leave room for as many from every pod.").default("16"),
    Key::new("postgres.connect_timeout", "TWINWAY_POSTGRES_CONNECT_TIMEOUT", "duration", "How long a connection may take to be made, or to become free.").default("2s"),
    Key::new("postgres.response_timeout", "TWINWAY_POSTGRES_RESPONSE_TIMEOUT", "duration", "How long a statement may take; the server ends it then. An operation takes no longer than this and `postgres.connect_timeout` together, repeats included.").default("2s"),
];
