//! The sections without secrets, key by key.

use std::net::SocketAddr;
use std::path::PathBuf;

use handlers::limits::Limits;

use super::super::values::{self, Parsed};
use super::super::{
    ApiConfig, ClusterConfig, Compression, DrainConfig, LogFormat, LogStorage, LoggingConfig, Management, Mode,
    Ordering, Profile, ServerConfig, SessionConfig, StorageConfig, Value,
};
use super::Reader;

impl Reader<'_> {
    pub(super) fn server(&mut self) -> Option<ServerConfig> {
        let address =
            |value: &Value| values::parsed::<SocketAddr>(value, "an address with a port, such as 0.0.0.0:8080");
        let listen = self.read("server.listen", address);
        let port = self.optional("server.port", |value| values::parsed::<u16>(value, "a port from 0 to 65535"));
        let ops_listen = self.read("server.ops_listen", address);
        let header_timeout = self.read("server.header_timeout", values::duration);
        let handshake_timeout = self.read("server.handshake_timeout", values::duration);
        let max_connections = self.read("server.max_connections", values::count);
        let domain_name = self.optional("server.domain_name", values::text);
        let trust_forwarded_for = self.read("server.trust_forwarded_for", values::flag);
        let tcp_backlog = self.read("server.tcp_backlog", values::count);
        let management = self.read("server.management", |value| {
            let words = [
                ("loopback", Management::Loopback),
                ("open", Management::Open),
                ("iam", Management::Iam),
                ("off", Management::Off),
            ];
            values::choice(value, &words)
        });
        let mut listen = listen?;
        if let Some(port) = port? {
            listen.set_port(port);
        }
        let ops_listen = ops_listen?;
        if listen == ops_listen && listen.port() != 0 {
            self.mistake("server.listen and server.ops_listen are the same address; give the ops port another one");
        }
        Some(ServerConfig {
            listen,
            ops_listen,
            header_timeout: header_timeout?,
            handshake_timeout: handshake_timeout?,
            max_connections: max_connections?,
            domain_name: domain_name?,
            trust_forwarded_for: trust_forwarded_for?,
            tcp_backlog: tcp_backlog?,
            management: management?,
        })
    }

    pub(super) fn limits(&mut self) -> Option<Limits> {
        let mut limits = Limits::default();
        let mut valid = true;
        for key in Limits::KEYS {
            let given = self.optional(key.path, |value| {
                let text = values::text(value)?;
                Limits::default().set(key.path, &text).map(|()| text)
            });
            match given {
                Some(Some(text)) => valid &= limits.set(key.path, &text).is_ok(),
                Some(None) => {}
                None => valid = false,
            }
        }
        valid.then_some(limits)
    }

    pub(super) fn api(&mut self) -> Option<ApiConfig> {
        let id =
            self.read("api.id", |value| values::text_where(value, |id| word(id, 64, ""), "1 to 64 letters and digits"));
        // "CreateStage" in the API Gateway V2 reference: alphanumeric, hyphens and underscores, at most 128.
        let stage = self.read("api.stage", |value| {
            values::text_where(value, |stage| word(stage, 128, "-_"), "1 to 128 letters, digits, '-' and '_'")
        });
        let region = self.read("api.region", |value| {
            values::text_where(value, |region| word(region, 64, "-"), "a region such as eu-central-1")
        });
        let account_id = self.read("api.account_id", |value| {
            let digits = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
            values::text_where(value, digits, "12 digits (in the file, between quotes)")
        });
        let profile =
            self.read("api.profile", |value| values::choice(value, &[("aws", Profile::Aws), ("open", Profile::Open)]));
        let ordering = self.read("api.ordering", |value| {
            values::choice(value, &[("connection", Ordering::Connection), ("concurrent", Ordering::Concurrent)])
        });
        let stage_variables = self.optional("api.stage_variables", values::table);
        let (key_required, key_source, keys) = self.client_keys();
        Some(ApiConfig {
            id: id?,
            stage: stage?,
            region: region?,
            account_id: account_id?,
            profile: profile?,
            ordering: ordering?,
            stage_variables: stage_variables?.unwrap_or_default(),
            key_required: key_required?,
            key_source: key_source?,
            keys: keys?,
        })
    }

    pub(super) fn session(&mut self) -> Option<SessionConfig> {
        let outbox_bytes = self.read("session.outbox_bytes", values::size);
        let inbound_queue = self.read("session.inbound_queue", values::count);
        let in_flight = self.read("session.in_flight", values::count);
        let compression = self.read("session.compression", |value| {
            values::choice(value, &[("aws", Compression::Aws), ("lean", Compression::Lean), ("off", Compression::Off)])
        });
        let close_timeout = self.read("session.close_timeout", values::duration);
        let stalled_write_timeout = self.read("session.stalled_write_timeout", values::duration);
        Some(SessionConfig {
            outbox_bytes: outbox_bytes?,
            inbound_queue: inbound_queue?,
            in_flight: in_flight?,
            compression: compression?,
            close_timeout: close_timeout?,
            stalled_write_timeout: stalled_write_timeout?,
        })
    }

    pub(super) fn storage(&mut self) -> Option<StorageConfig> {
        let data_dir = self.read("storage.data_dir", |value| {
            values::text_where(value, |text| !text.is_empty(), "a directory").map(PathBuf::from)
        });
        let log = self.read("storage.log", |value| {
            let words = [
                ("file", LogStorage::File),
                ("memory", LogStorage::Memory),
                ("redis", LogStorage::Redis),
                ("postgres", LogStorage::Postgres),
            ];
            values::choice(value, &words)
        });
        let retention_entries = self.read("storage.retention_entries", values::count);
        let retention_age = self.read("storage.retention_age", values::duration);
        Some(StorageConfig {
            data_dir: data_dir?,
            log: log?,
            retention_entries: retention_entries?,
            retention_age: retention_age?,
        })
    }

    pub(super) fn cluster(&mut self) -> Option<ClusterConfig> {
        let heartbeat = self.read("cluster.heartbeat", values::duration);
        let lease = self.read("cluster.lease", values::duration);
        let reap_rate = self.read("cluster.reap_rate", values::count);
        let reap_concurrency = self.read("cluster.reap_concurrency", values::count);
        let (heartbeat, lease) = (heartbeat?, lease?);
        if heartbeat.is_zero() || lease < heartbeat * 3 {
            self.mistake("cluster.lease must be at least three times cluster.heartbeat, and that more than nothing");
        }
        Some(ClusterConfig { heartbeat, lease, reap_rate: reap_rate?, reap_concurrency: reap_concurrency? })
    }

    pub(super) fn drain(&mut self, mode: Mode) -> Option<DrainConfig> {
        let delay = self.read("drain.delay", values::duration);
        let wave_size = self.read("drain.wave_size", values::count);
        let wave_interval = self.read("drain.wave_interval", values::duration);
        let grace = self.read("drain.grace", values::duration);
        let termination_grace = self.optional("drain.termination_grace", values::duration);
        let drain = DrainConfig {
            delay: delay?,
            wave_size: wave_size?,
            wave_interval: wave_interval?,
            grace: grace?,
            termination_grace: termination_grace?,
        };
        let least = drain.least_termination_grace();
        if mode == Mode::Kubernetes && drain.termination_grace.is_some_and(|given| given < least) {
            self.mistake(&format!(
                "drain.termination_grace: the pod would be killed while it drains; set terminationGracePeriodSeconds to at \
                 least {}, or shorten drain.delay and drain.grace",
                least.as_secs()
            ));
        }
        Some(drain)
    }

    pub(super) fn logging(&mut self) -> Option<LoggingConfig> {
        let formats = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];
        let format = self.read("logging.format", |value| values::choice(value, &formats));
        let filter = self.read("logging.filter", log_filter);
        Some(LoggingConfig { format: format?, filter: filter? })
    }
}

/// 1 to `most` letters, digits and characters of `also`.
pub(super) fn word(text: &str, most: usize, also: &str) -> bool {
    (1..=most).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

fn log_filter(value: &Value) -> Parsed<String> {
    let allowed = |text: &str| text.parse::<tracing_subscriber::EnvFilter>().is_ok();
    values::text_where(value, allowed, "a level or directives, such as info,shim::session=debug")
}
