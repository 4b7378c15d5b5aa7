//! What is checked before the first command counts: that the address leads to a Redis that can do what is needed.
//!
//! Every failure is a [`StartError`] that says what to do. Nothing stays behind in Redis: the trial key expires at once.

mod error;

use std::sync::Arc;

use redis::{Cmd, ErrorKind, FromRedisValue as _, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use tokio::time::timeout;

pub use self::error::StartError;
use super::diagnosis::{self, Speaks};
use super::settings::{RedisSettings, Topology};
use super::trial;
use super::trouble::{Verdict, verdict};
use super::wire::{self, Connector, Wire};

/// Streams trimmed by id (`XADD … MINID`), which retention by age needs, came with 6.2.
const OLDEST: Version = Version(6, 2);
/// Sharded publish/subscribe, without which every message would cross every node of a Cluster, came with 7.0.
const OLDEST_CLUSTER: Version = Version(7, 0);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

/// What a server says about itself.
#[derive(Debug)]
pub(super) struct Greeting {
    version: String,
    mode: String,
    role: String,
}

impl Greeting {
    /// The command that it answers.
    pub(super) fn question() -> Cmd {
        cmd("HELLO").arg(3).take()
    }

    /// Reads the answer.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn read(answer: &Value) -> RedisResult<Self> {
        let odd = || RedisError::from((ErrorKind::UnexpectedReturnType, "HELLO is not answered as Redis does"));
        Self::fields(answer).ok_or_else(odd)
    }

    fn fields(answer: &Value) -> Option<Self> {
        let field = |name: &str| {
            let mut pairs = answer.as_map_iter()?;
            let (_, value) = pairs.find(|(key, _)| String::from_redis_value_ref(key).is_ok_and(|key| key == name))?;
            String::from_redis_value_ref(value).ok()
        };
        Some(Self { version: field("version")?, mode: field("mode")?, role: field("role").unwrap_or_default() })
    }

    /// Whether it takes writes.
    pub(super) fn is_writable(&self) -> bool {
        self.role != "replica" && self.role != "slave"
    }

    fn topology(&self) -> Topology {
        match self.mode.as_str() {
            "cluster" => Topology::Cluster,
            "sentinel" => Topology::Sentinel,
            _ => Topology::Single,
        }
    }

    fn number(&self) -> Version {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        Version(parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

/// The checks of one link, to be run at its start and when something is wrong later.
pub(super) struct Checks {
    pub(super) settings: RedisSettings,
    pub(super) certificates: Option<Vec<u8>>,
    pub(super) connector: Arc<Connector>,
}

impl Checks {
    /// Runs them, on connections of their own.
    ///
    /// # Errors
    /// [`StartError`], which says what to change.
    pub(super) async fn run(&self) -> Result<(), StartError> {
        check(&self.settings, self.certificates.as_ref(), &self.connector).await
    }
}

/// Checks the addresses one after the other until one can be used, then the servers behind it.
async fn check(
    settings: &RedisSettings,
    certificates: Option<&Vec<u8>>,
    connector: &Connector,
) -> Result<(), StartError> {
    let mut outcome = Err(StartError::Address("none is given".to_owned()));
    for node in 0..settings.urls.len() {
        outcome = Door::open(settings, certificates, node).await;
        if !matches!(&outcome, Err(error) if error.is_transient()) {
            break;
        }
    }
    let Door { address, wire: mut asked } = outcome?;
    let wire = timeout(settings.deadline(), connector.listen(Arc::new(|_| Ok::<(), ()>(()))))
        .await
        .map_err(|elapsed| late(&address, elapsed))?;
    let mut wire = match wire {
        Ok(wire) => wire,
        Err(error) if is_failing_over(&mut asked, settings, &error).await => {
            return Err(StartError::Unreachable { address, source: error });
        }
        Err(error) => return Err(trouble(settings, &address, error)),
    };
    if settings.topology == Topology::Sentinel {
        let greeting = greeting(&mut wire, &address).await?;
        right_version(&greeting, settings.topology, &address)?;
    }
    takes_writes(&mut wire, settings, &address).await?;
    permitted(&mut wire, settings, &address).await
}

/// The way in: the first connection to one of the addresses.
struct Door {
    address: String,
    wire: Wire,
}

impl Door {
    async fn open(settings: &RedisSettings, certificates: Option<&Vec<u8>>, node: usize) -> Result<Self, StartError> {
        let client = wire::first_node(settings, certificates.cloned(), node)
            .map_err(|error| StartError::Address(error.category().to_owned()))?;
        let info = client.get_connection_info().clone();
        let address = info.addr().to_string();
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.response_timeout));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return Err(diagnosed(settings, info.addr(), error).await),
        };
        let mut wire = Wire::Server(connection);
        let greeting = greeting(&mut wire, &address).await?;
        right_topology(&greeting, settings.topology, &address)?;
        if settings.topology != Topology::Sentinel {
            right_version(&greeting, settings.topology, &address)?;
        }
        if settings.topology == Topology::Single && !greeting.is_writable() {
            return Err(StartError::ReadOnly { address });
        }
        Ok(Self { address, wire })
    }
}

/// Whether the Sentinels know the name, but nobody answers to it now.
async fn is_failing_over(sentinel: &mut Wire, settings: &RedisSettings, error: &RedisError) -> bool {
    if error.kind() != ErrorKind::MasterNameNotFoundBySentinel {
        return false;
    }
    let question = cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&settings.sentinel_master).take();
    matches!(sentinel.send(&question).await, Ok(Value::Array(address)) if address.len() == 2)
}

async fn greeting(wire: &mut Wire, address: &str) -> Result<Greeting, StartError> {
    let answer = wire.send(&Greeting::question()).await.and_then(Value::extract_error);
    let greeting = answer.and_then(|answer| Greeting::read(&answer));
    greeting.map_err(|source| StartError::Other { address: address.to_owned(), source })
}

fn right_topology(greeting: &Greeting, configured: Topology, address: &str) -> Result<(), StartError> {
    let found = greeting.topology();
    if found == configured {
        return Ok(());
    }
    let found_words = match found {
        Topology::Single => "a server without Cluster",
        Topology::Cluster => "a node of a Cluster",
        Topology::Sentinel => "a Sentinel",
    };
    Err(StartError::Topology {
        address: address.to_owned(),
        found: found_words,
        configured: configured.as_str(),
        right: found.as_str(),
    })
}

fn right_version(greeting: &Greeting, topology: Topology, address: &str) -> Result<(), StartError> {
    let (least, reason) = match topology {
        Topology::Cluster => (OLDEST_CLUSTER, "sharded publish/subscribe"),
        Topology::Single | Topology::Sentinel => (OLDEST, "streams that are trimmed by age"),
    };
    if greeting.number() >= least {
        return Ok(());
    }
    Err(too_old(address, &greeting.version, least, reason))
}

fn too_old(address: &str, found: &str, least: Version, reason: &'static str) -> StartError {
    let least = format!("{}.{}", least.0, least.1);
    StartError::TooOld { address: address.to_owned(), found: found.to_owned(), least, reason }
}

/// Has every server say whether it takes writes.
async fn takes_writes(wire: &mut Wire, settings: &RedisSettings, address: &str) -> Result<(), StartError> {
    let asked = trial::takes_writes(wire, &settings.prefix);
    let answer = timeout(settings.deadline(), asked).await.map_err(|elapsed| late(address, elapsed))?;
    answer.map_err(|refusal| trouble(settings, refusal.node.as_deref().unwrap_or(address), refusal.error))
}

/// Tries one command of each kind, so that a missing permission shows now and not at the first message.
async fn permitted(wire: &mut Wire, settings: &RedisSettings, address: &str) -> Result<(), StartError> {
    let key = format!("{}:{{check}}", settings.prefix);
    let publish = if settings.topology == Topology::Cluster { "SPUBLISH" } else { "PUBLISH" };
    let trials = [
        cmd("DEL").arg(&key).take(),
        cmd("EVAL").arg("return redis.call('SET', KEYS[1], '1', 'PX', 1)").arg(1).arg(&key).take(),
        cmd("XLEN").arg(format!("{key}:stream")).take(),
        cmd("ZCARD").arg(format!("{key}:set")).take(),
        cmd(publish).arg(&key).arg("").take(),
        cmd("EVAL").arg("return #redis.call('INFO', 'replication')").arg(1).arg(&key).take(),
        cmd("EVAL").arg("return redis.call('TIME')").arg(1).arg(&key).take(),
    ];
    for trial in trials {
        let answer = timeout(settings.deadline(), wire.send(&trial)).await.map_err(|elapsed| late(address, elapsed))?;
        answer.and_then(Value::extract_error).map_err(|error| trouble(settings, address, error))?;
    }
    Ok(())
}

fn late(address: &str, elapsed: tokio::time::error::Elapsed) -> StartError {
    let source = RedisError::from(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed));
    StartError::Unreachable { address: address.to_owned(), source }
}

/// An error of the first connection, with a second look where the error itself does not tell.
async fn diagnosed(settings: &RedisSettings, place: &redis::ConnectionAddr, error: RedisError) -> StartError {
    let address = place.to_string();
    let told = trouble(settings, &address, error);
    if !matches!(told, StartError::Unreachable { .. } | StartError::Other { .. }) {
        return told;
    }
    match (diagnosis::speaks(place, settings.connect_timeout).await, place) {
        (Speaks::Plain, redis::ConnectionAddr::TcpTls { .. }) => StartError::NoTls { address },
        (Speaks::Tls, redis::ConnectionAddr::Tcp(..)) => StartError::NeedsTls { address },
        _ => told,
    }
}

fn trouble(settings: &RedisSettings, address: &str, error: RedisError) -> StartError {
    let address = address.to_owned();
    match error.kind() {
        ErrorKind::AuthenticationFailed => StartError::Credentials { address },
        ErrorKind::RESP3NotSupported => too_old(&address, "5 or older", OLDEST, "it does not know HELLO"),
        ErrorKind::MasterNameNotFoundBySentinel => {
            StartError::UnknownMaster { address, name: settings.sentinel_master.clone() }
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => StartError::Permission {
            refused: error.detail().unwrap_or("a command was refused").to_owned(),
            prefix: settings.prefix.clone(),
        },
        ErrorKind::Server(ServerErrorKind::ReadOnly) => StartError::ReadOnly { address },
        _ if error.code() == Some("MISCONF") => StartError::CannotSave { address, source: error },
        _ if error.code() == Some("NOREPLICAS") => StartError::NoReplicas { address },
        _ if verdict(&error) == Verdict::Full => StartError::Full { address },
        _ if matches!(error.code(), Some("WRONGPASS" | "NOAUTH")) => StartError::Credentials { address },
        _ if is_untrusted(&error) => StartError::Certificate { address, source: error },
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => StartError::Unreachable { address, source: error },
        _ => StartError::Other { address, source: error },
    }
}

/// rustls names no error that the Redis library passes on as such; its text is all there is.
fn is_untrusted(error: &RedisError) -> bool {
    error.is_io_error() && error.to_string().contains("invalid peer certificate")
}
