//! Readers of the sections without secrets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use gateway::base_path::BasePath;
use handlers::api::MAX_PUSH_BYTES;
use handlers::limits::Limits;

use super::super::values::{self, ParseResult};
use super::super::{
    ApiConfig, ClusterConfig, CompressionMode, ConfigValue, DeploymentMode, DrainConfig, FunctionSource,
    FunctionsConfig, JournalConfig, LogFormat, LogStorage, LoggingConfig, MessageOrdering, QuotaProfile, ServerConfig,
    SessionConfig, StorageConfig,
};
use super::ConfigReader;
use super::access::{parse_loopback_listener, parse_management_access};
use super::proxies::{parse_hosts, parse_origins};

/// `session.ping_interval` of profile `open`: that of Engine.IO 4, and below the idle timeouts of all common proxies
/// (`docs/PROXIES.md`). With the default of `session.ping_timeout` a half-open connection is closed after 45 s.
const OPEN_PING_INTERVAL: Duration = Duration::from_secs(25);

/// Addresses of the listeners; `management` is `None` without that listener.
struct ListenerAddresses {
    traffic: SocketAddr,
    ops: SocketAddr,
    management: Option<SocketAddr>,
}

impl ConfigReader<'_> {
    pub(super) fn read_server(&mut self) -> Option<ServerConfig> {
        let listeners = self.read_listeners();
        let header_timeout = self.read_required("server.header_timeout", values::parse_positive_duration);
        let keep_alive_timeout = self.read_required("server.keep_alive_timeout", values::parse_positive_duration);
        let write_timeout = self.read_required("server.write_timeout", values::parse_positive_duration);
        let body_budget = self.read_required("server.body_budget", parse_body_budget);
        let handshake_timeout = self.read_required("server.handshake_timeout", values::parse_positive_duration);
        let max_connections = self.read_required("server.max_connections", values::parse_count);
        let domain_name = self.read_optional("server.domain_name", values::parse_text);
        let proxies = self.read_proxies();
        let hosts = self.read_optional("server.hosts", parse_hosts);
        let origins = self.read_optional("server.origins", parse_origins);
        let tcp_backlog = self.read_required("server.tcp_backlog", values::parse_count);
        let tcp_timeout = self.read_required("server.tcp_timeout", values::parse_duration_or_off);
        let management = self.read_required("server.management", parse_management_access);
        let (listeners, proxies) = (listeners?, proxies?);
        self.check_proxy_peers(listeners.traffic, &proxies);
        Some(ServerConfig {
            listen: listeners.traffic,
            ops_listen: listeners.ops,
            header_timeout: header_timeout?,
            keep_alive_timeout: keep_alive_timeout?,
            write_timeout: write_timeout?,
            body_budget: body_budget?,
            handshake_timeout: handshake_timeout?,
            max_connections: max_connections?,
            domain_name: domain_name?,
            api_hosts: None,
            proxies,
            hosts: hosts?,
            origins: origins?,
            tcp_backlog: tcp_backlog?,
            tcp_timeout: tcp_timeout?,
            management: management?,
            management_listen: listeners.management,
        })
    }

    /// Reads the addresses of the listeners, which must be different.
    fn read_listeners(&mut self) -> Option<ListenerAddresses> {
        let address = |value: &ConfigValue| {
            values::parse_from_str::<SocketAddr>(value, "an address with a port, such as 0.0.0.0:8080")
        };
        let traffic = self.read_required("server.listen", address);
        let port =
            self.read_optional("server.port", |value| values::parse_from_str::<u16>(value, "a port from 0 to 65535"));
        let ops = self.read_required("server.ops_listen", address);
        let management = self.read_required("server.management_listen", parse_loopback_listener);
        let mut traffic = traffic?;
        if let Some(port) = port? {
            traffic.set_port(port);
        }
        let (ops, management) = (ops?, management?);
        if traffic == ops && traffic.port() != 0 {
            self.add_error("server.listen and server.ops_listen are the same address; change one of them");
        }
        if management.is_some_and(|own| own.port() != 0 && [traffic, ops].contains(&own)) {
            self.add_error("server.management_listen is the address of another listener; change one of them");
        }
        Some(ListenerAddresses { traffic, ops, management })
    }

    pub(super) fn read_limits(&mut self) -> Option<Limits> {
        let mut limits = Limits::default();
        let mut valid = true;
        for key in Limits::KEYS {
            let setting = self.read_optional(key.path, |value| {
                let text = values::parse_text(value)?;
                Limits::default().set(key.path, &text).map(|()| text)
            });
            match setting {
                Some(Some(text)) => valid &= limits.set(key.path, &text).is_ok(),
                Some(None) => {}
                None => valid = false,
            }
        }
        valid.then_some(limits)
    }

    /// `functions` decides about the default order of messages.
    pub(super) fn read_api(&mut self, functions: Option<&FunctionsConfig>) -> Option<ApiConfig> {
        let id = self.read_required("api.id", parse_api_id);
        let stage = self.read_required("api.stage", parse_stage);
        let region = self.read_required("api.region", |value| {
            values::parse_text_where(value, is_region, "a region such as eu-central-1, us-gov-west-1 or eusc-de-east-1")
        });
        let account_id = self.read_required("api.account_id", parse_account_id);
        let profile = self.read_required("api.profile", |value| {
            values::parse_choice(value, &[("aws", QuotaProfile::Aws), ("open", QuotaProfile::Open)])
        });
        let ordering = self.read_optional("api.ordering", |value| {
            values::parse_choice(
                value,
                &[("connection", MessageOrdering::Connection), ("concurrent", MessageOrdering::Concurrent)],
            )
        });
        let stage_variables = self.read_optional("api.stage_variables", values::parse_table);
        let base_paths = self.read_optional("api.base_paths", parse_base_paths);
        let (key_required, key_source, keys) = self.read_client_keys();
        Some(ApiConfig {
            id: id?,
            stage: stage?,
            is_stage_set: self.sources.is_set("api.stage"),
            is_region_set: self.sources.is_set("api.region"),
            is_id_set: self.sources.is_set("api.id"),
            region: region?,
            account_id: account_id?,
            profile: profile?,
            ordering: ordering?.unwrap_or_else(|| default_ordering(functions)),
            stage_variables: stage_variables?.unwrap_or_default(),
            base_paths: base_paths?.unwrap_or_default(),
            key_required: key_required?,
            key_source: key_source?,
            keys: keys?,
        })
    }

    /// `api` has the profile, which decides the default of the pings.
    pub(super) fn read_session(&mut self, api: Option<&ApiConfig>) -> Option<SessionConfig> {
        let outbox_bytes = self.read_required("session.outbox_bytes", values::parse_size);
        let inbound_queue = self.read_required("session.inbound_queue", values::parse_count);
        let inbound_bytes = self.read_required("session.inbound_bytes", values::parse_size);
        let in_flight = self.read_required("session.in_flight", values::parse_count);
        let compression = self.read_required("session.compression", |value| {
            values::parse_choice(
                value,
                &[
                    ("aws", CompressionMode::Aws),
                    ("no-context-takeover", CompressionMode::NoContextTakeover),
                    ("off", CompressionMode::Off),
                ],
            )
        });
        let close_timeout = self.read_required("session.close_timeout", values::parse_duration_value);
        let stalled_write_timeout = self.read_required("session.stalled_write_timeout", values::parse_duration_value);
        let ping_interval = self.read_optional("session.ping_interval", values::parse_duration_or_off);
        let ping_timeout = self.read_required("session.ping_timeout", values::parse_positive_duration);
        let pings_by_default = api.is_some_and(|api| api.profile == QuotaProfile::Open);
        Some(SessionConfig {
            outbox_bytes: outbox_bytes?,
            inbound_queue: inbound_queue?,
            inbound_bytes: inbound_bytes?,
            in_flight: in_flight?,
            compression: compression?,
            close_timeout: close_timeout?,
            stalled_write_timeout: stalled_write_timeout?,
            ping_interval: ping_interval?.unwrap_or(pings_by_default.then_some(OPEN_PING_INTERVAL)),
            ping_timeout: ping_timeout?,
        })
    }

    pub(super) fn read_storage(&mut self) -> Option<StorageConfig> {
        let data_dir = self.read_required("storage.data_dir", |value| {
            values::parse_text_where(value, |text| !text.is_empty(), "a directory").map(PathBuf::from)
        });
        let log = self.read_required("storage.log", |value| {
            let words = [
                ("file", LogStorage::File),
                ("memory", LogStorage::Memory),
                ("redis", LogStorage::Redis),
                ("postgres", LogStorage::Postgres),
            ];
            values::parse_choice(value, &words)
        });
        let retention_entries = self.read_required("storage.retention_entries", values::parse_count);
        let retention_age = self.read_required("storage.retention_age", values::parse_retention_age);
        Some(StorageConfig {
            data_dir: data_dir?,
            log: log?,
            retention_entries: retention_entries?,
            retention_age: retention_age?,
        })
    }

    /// `storage` has the data directory, in which the journal is by default.
    pub(super) fn read_cluster(&mut self, storage: Option<&StorageConfig>) -> Option<ClusterConfig> {
        let heartbeat = self.read_required("cluster.heartbeat", values::parse_duration_value);
        let lease = self.read_required("cluster.lease", values::parse_duration_value);
        let reap_rate = self.read_required("cluster.reap_rate", values::parse_count);
        let reap_concurrency = self.read_required("cluster.reap_concurrency", values::parse_count);
        let journal = self.read_optional("cluster.journal_dir", |value| {
            let text = values::parse_text_where(value, |text| !text.is_empty(), "a directory, or off")?;
            Ok(if text == "off" { JournalConfig::Off } else { JournalConfig::Configured(PathBuf::from(text)) })
        });
        let (heartbeat, lease) = (heartbeat?, lease?);
        if heartbeat.is_zero() || lease < heartbeat * 3 {
            self.add_error(
                "cluster.lease must be at least three times cluster.heartbeat, and cluster.heartbeat must be greater \
                 than zero",
            );
        }
        let default_journal =
            || JournalConfig::Default(storage.map_or_else(PathBuf::new, |storage| storage.data_dir.join("journal")));
        let journal = journal?.unwrap_or_else(default_journal);
        Some(ClusterConfig { heartbeat, lease, reap_rate: reap_rate?, reap_concurrency: reap_concurrency?, journal })
    }

    pub(super) fn read_drain(&mut self, mode: DeploymentMode) -> Option<DrainConfig> {
        let delay = self.read_required("drain.delay", values::parse_duration_value);
        let batch_size = self.read_required("drain.batch_size", values::parse_count);
        let batch_interval = self.read_required("drain.batch_interval", values::parse_duration_value);
        let grace = self.read_required("drain.grace", values::parse_duration_value);
        let termination_grace = self.read_optional("drain.termination_grace", values::parse_duration_value);
        let drain = DrainConfig {
            delay: delay?,
            batch_size: batch_size?,
            batch_interval: batch_interval?,
            grace: grace?,
            termination_grace: termination_grace?,
        };
        let minimum = drain.min_termination_grace();
        if mode == DeploymentMode::Kubernetes && drain.termination_grace.is_some_and(|grace| grace < minimum) {
            self.add_error(&format!(
                "drain.termination_grace: the kubelet would kill the pod before the drain ends; set \
                 terminationGracePeriodSeconds to at least {}, or shorten drain.delay and drain.grace",
                minimum.as_secs()
            ));
        }
        Some(drain)
    }

    pub(super) fn read_logging(&mut self) -> Option<LoggingConfig> {
        let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
        let format = self.read_required("logging.format", |value| values::parse_choice(value, &formats));
        let filter = self.read_required("logging.filter", parse_log_filter);
        Some(LoggingConfig { format: format?, filter: filter? })
    }
}

/// Messages of Lambda functions are handled concurrently, as on AWS (`docs/adr/0039-applications.md`).
fn default_ordering(functions: Option<&FunctionsConfig>) -> MessageOrdering {
    match functions.map(|functions| functions.source) {
        Some(FunctionSource::Lambda) => MessageOrdering::Concurrent,
        Some(FunctionSource::Embedded) | None => MessageOrdering::Connection,
    }
}

fn parse_base_paths(value: &ConfigValue) -> ParseResult<Vec<String>> {
    let paths = values::parse_list(value)?;
    paths.iter().try_for_each(|path| BasePath::parse(path).map(drop).map_err(|error| error.to_string()))?;
    Ok(paths)
}

/// Returns whether `text` consists of 1 to `max_len` letters, digits and characters of `also_allowed`.
pub(super) fn is_identifier(text: &str, max_len: usize, also_allowed: &str) -> bool {
    (1..=max_len).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || also_allowed.contains(c))
}

fn parse_api_id(value: &ConfigValue) -> ParseResult<String> {
    values::parse_text_where(value, |id| is_identifier(id, 64, ""), "1 to 64 letters and digits")
}

/// Parses a stage by the rules of "CreateStage" in the API Gateway V2 reference: alphanumeric, hyphens and underscores,
/// at most 128.
fn parse_stage(value: &ConfigValue) -> ParseResult<String> {
    let valid = |stage: &str| is_identifier(stage, 128, "-_");
    values::parse_text_where(value, valid, "1 to 128 letters, digits, '-' and '_'")
}

fn parse_account_id(value: &ConfigValue) -> ParseResult<String> {
    let digits = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
    values::parse_text_where(value, digits, "12 digits (quoted in the file)")
}

/// A budget below the size of one body would reject it at any load.
fn parse_body_budget(value: &ConfigValue) -> ParseResult<usize> {
    let bytes = values::parse_size(value)?;
    // A semaphore counts the bytes in 32 bits.
    let allowed = MAX_PUSH_BYTES..=u32::MAX as usize;
    if allowed.contains(&bytes) { Ok(bytes) } else { Err("must be a size from 4MiB to 4095MiB".to_owned()) }
}

/// Returns whether `text` has the form of a region of any partition: lower-case words and a number, separated by `-`.
fn is_region(text: &str) -> bool {
    let mut words = text.rsplit('-');
    let number = words.next().is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()));
    let names: Vec<_> = words.collect();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    number && (2..=4).contains(&names.len()) && names.iter().all(is_word)
}

fn parse_log_filter(value: &ConfigValue) -> ParseResult<String> {
    let allowed = |text: &str| text.parse::<tracing_subscriber::EnvFilter>().is_ok();
    values::parse_text_where(value, allowed, "a level or directives, such as info,shim::session=debug")
}
