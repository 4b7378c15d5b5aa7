//! What the pods know of each other, in Redis, and the only commands that change it.
//!
//! ```text
//! {cluster}:leases    sorted set   name → when its lease lapses, by Redis's clock
//! {cluster}:nodes     hash         node number → name of its holder, "-" before it once that is fenced
//! {cluster}:fenced    sorted set   name → when its lease was taken away; until its connections are finished
//! {cluster}:owed      hash         name → how many of its connections survivors have taken and not finished
//! {cluster}:epoch     string       made with the first lease; another one means that Redis lost its data
//! {cluster}:sessions:NAME   hash   connection id → record: the connections of a pod
//! {cluster}:reaping:NAME    hash   name/id → record: what a survivor is finishing of others' connections
//! ```
//! A name is `number.boot`. Invariants: every script may run twice with the effect of once, because the link repeats; a name
//! that was fenced never holds a lease again; time is Redis's own, so pods' clocks do not matter. All keys share one slot of
//! a Cluster: a pod's connections move between pods in one step. When to do what is decided elsewhere.

mod name;

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use gateway::id::GatewayId;
use redis::Script;

pub use self::name::Name;
use crate::redis::{Redis, RedisTrouble};

/// How long a pod's records outlive its last heartbeat: far longer than any outage of all pods, and as long as the
/// application's own records of connections live.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// Most lapsed and fenced pods that one heartbeat tells; the next one tells the rest.
const TOLD: usize = 16;

static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("ledger/claim.lua")));
static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("ledger/beat.lua")));
static ENROL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("ledger/enrol.lua")));
static FENCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("ledger/fence.lua")));
static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("ledger/take.lua")));
static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("ledger/settle.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("ledger/release.lua")));

/// A hash as a script returns it.
type Fields = Vec<(String, Vec<u8>)>;

/// A claimed lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Under which name.
    pub name: Name,
    /// The epoch of Redis's data.
    pub epoch: String,
}

/// What a heartbeat found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Whether the lease is held; it is extended then.
    pub held: bool,
    /// The epoch of Redis's data; empty when there is none.
    pub epoch: String,
    /// Pods whose lease has lapsed.
    pub lapsed: Vec<Name>,
    /// Pods that were fenced and have connections to be finished.
    pub fenced: Vec<Name>,
    /// Pods whose lease has not lapsed.
    pub living: u64,
}

/// A survivor's share of fenced pods' connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// How many nobody has taken yet.
    pub left: u64,
    /// Those to be finished now.
    pub taken: Vec<Taken>,
}

/// One connection of a fenced pod.
#[derive(Clone, PartialEq, Eq)]
pub struct Taken {
    /// Whose it was.
    pub origin: Name,
    /// What it is called in the share.
    pub field: String,
    /// Its record.
    pub record: Vec<u8>,
}

/// How a lease was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// Nothing is left of the pod.
    Free,
    /// It has connections; others finish them.
    Lapsed,
    /// It was not held.
    NotHeld,
}

/// The pods' common knowledge; clones share the link.
#[derive(Clone)]
pub struct Ledger {
    redis: Redis,
    lease_ms: String,
}

impl Ledger {
    /// The ledger in `redis`, with leases that lapse after `lease` without a heartbeat.
    #[must_use]
    pub fn new(redis: Redis, lease: Duration) -> Self {
        Self { redis, lease_ms: millis(lease) }
    }

    /// Takes the first free number of `nodes`; `None` when all of them are taken. The number of a pod whose connections are
    /// not finished is taken.
    ///
    /// # Errors
    /// [`RedisTrouble`]; the lease may have been claimed, then it lapses.
    pub async fn claim(&self, boot: &str, fresh_epoch: &str, nodes: &[u16]) -> Result<Option<Claimed>, RedisTrouble> {
        let mut arguments = vec![boot.to_owned(), self.lease_ms.clone(), fresh_epoch.to_owned()];
        arguments.extend(nodes.iter().map(u16::to_string));
        let keys = [self.key("leases"), self.key("nodes"), self.key("epoch")];
        let (node, epoch): (u16, String) = self.redis.invoke(&CLAIM, &keys, &arguments).await?;
        Ok((node != 0).then(|| Claimed { name: Name::new(node, boot), epoch }))
    }

    /// Extends the lease, if it is still held.
    ///
    /// # Errors
    /// [`RedisTrouble`].
    pub async fn beat(&self, name: &Name) -> Result<Beat, RedisTrouble> {
        let keys = [self.key("leases"), self.key("fenced"), self.key("epoch"), self.sessions(name), self.reaping(name)];
        let arguments = [name.to_string(), self.lease_ms.clone(), millis(KEEP), TOLD.to_string()];
        let (held, epoch, lapsed, fenced, living): (bool, String, Vec<String>, Vec<String>, u64) =
            self.redis.invoke(&BEAT, &keys, &arguments).await?;
        Ok(Beat { held, epoch, lapsed: names(lapsed), fenced: names(fenced), living })
    }

    /// Writes connections down; `false`, and nothing is written, when the lease is not held.
    ///
    /// # Errors
    /// [`RedisTrouble`]; they may have been written.
    pub async fn enrol(&self, name: &Name, records: &[(GatewayId, Vec<u8>)]) -> Result<bool, RedisTrouble> {
        let mut arguments = vec![name.as_str().as_bytes()];
        for (id, record) in records {
            arguments.extend([id.as_bytes(), record]);
        }
        self.redis.invoke(&ENROL, &[self.key("leases"), self.sessions(name)], &arguments).await
    }

    /// Strikes connections of this pod off. One command.
    ///
    /// # Errors
    /// [`RedisTrouble`]; they may have been struck off.
    pub async fn strike(&self, name: &Name, ids: &[GatewayId]) -> Result<(), RedisTrouble> {
        let mut command = redis::cmd("HDEL");
        command.arg(self.sessions(name));
        for id in ids {
            command.arg(id.as_str());
        }
        self.redis.query(&command).await
    }

    /// Which of these connections are not written down.
    ///
    /// # Errors
    /// [`RedisTrouble`].
    pub async fn missing(&self, name: &Name, ids: &[GatewayId]) -> Result<Vec<GatewayId>, RedisTrouble> {
        let mut pipeline = redis::Pipeline::with_capacity(ids.len());
        let key = self.sessions(name);
        for id in ids {
            pipeline.cmd("HEXISTS").arg(&key).arg(id.as_str());
        }
        let there: Vec<bool> = self.redis.pipeline(&pipeline).await?;
        Ok(ids.iter().zip(there).filter_map(|(id, there)| (!there).then_some(*id)).collect())
    }

    /// How many connections of this pod are written down.
    ///
    /// # Errors
    /// [`RedisTrouble`].
    pub async fn enrolled(&self, name: &Name) -> Result<u64, RedisTrouble> {
        self.redis.query(redis::cmd("HLEN").arg(self.sessions(name))).await
    }

    /// Some of the connections of this pod that are written down, and where to go on; 0 is both begin and end.
    ///
    /// # Errors
    /// [`RedisTrouble`].
    pub async fn scan(&self, name: &Name, cursor: u64) -> Result<(u64, Vec<GatewayId>), RedisTrouble> {
        let mut command = redis::cmd("HSCAN");
        command.arg(self.sessions(name)).arg(cursor).arg("COUNT").arg(256);
        let (next, found): (u64, Vec<(String, redis::Value)>) = self.redis.query(&command).await?;
        Ok((next, found.iter().filter_map(|(id, _)| gateway::id::check(id).ok()).collect()))
    }

    /// Takes a lapsed lease away; `false` when there is none (any more).
    ///
    /// # Errors
    /// [`RedisTrouble`]; the lease may have been taken away.
    pub async fn fence(&self, name: &Name) -> Result<bool, RedisTrouble> {
        let keys = [self.key("leases"), self.key("fenced"), self.key("nodes")];
        self.redis.invoke(&FENCE, &keys, &[name.to_string(), name.node().to_string()]).await
    }

    /// Fills this pod's share up to `most` from what `dead` left, and returns all of it. `None` when this pod does not hold
    /// its own lease.
    ///
    /// # Errors
    /// [`RedisTrouble`]; the share may have been filled.
    pub async fn take(&self, own: &Name, dead: &Name, most: usize) -> Result<Option<Share>, RedisTrouble> {
        let keys = [
            self.key("leases"),
            self.key("fenced"),
            self.key("owed"),
            self.reaping(own),
            self.sessions(dead),
            self.reaping(dead),
        ];
        let arguments = [own.to_string(), dead.to_string(), most.to_string()];
        let answer: Option<(u64, Fields)> = self.redis.invoke(&TAKE, &keys, &arguments).await?;
        let Some((left, share)) = answer else { return Ok(None) };
        let taken = share.into_iter().filter_map(|(field, record)| {
            let origin = Name::parse(field.split_once('/')?.0)?;
            Some(Taken { origin, field, record })
        });
        Ok(Some(Share { left, taken: taken.collect() }))
    }

    /// Strikes finished connections of `dead` off this pod's share; `true` when nothing is left of `dead`.
    ///
    /// # Errors
    /// [`RedisTrouble`]; they may have been struck off.
    pub async fn settle(&self, own: &Name, dead: &Name, fields: &[String]) -> Result<bool, RedisTrouble> {
        let keys = [
            self.reaping(own),
            self.key("owed"),
            self.key("fenced"),
            self.key("nodes"),
            self.sessions(dead),
            self.reaping(dead),
        ];
        let mut arguments = vec![dead.to_string(), dead.node().to_string(), millis(KEEP)];
        arguments.extend(fields.iter().cloned());
        self.redis.invoke(&SETTLE, &keys, &arguments).await
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// [`RedisTrouble`]; it may have been given back, otherwise it lapses.
    pub async fn release(&self, name: &Name) -> Result<Released, RedisTrouble> {
        let keys = [self.key("leases"), self.key("nodes"), self.sessions(name), self.reaping(name)];
        let outcome: u8 = self.redis.invoke(&RELEASE, &keys, &[name.to_string(), name.node().to_string()]).await?;
        Ok(match outcome {
            0 => Released::NotHeld,
            1 => Released::Free,
            _ => Released::Lapsed,
        })
    }

    /// Whether somebody holds this number who has not been fenced. One command.
    ///
    /// # Errors
    /// [`RedisTrouble`].
    pub async fn is_held(&self, node: u16) -> Result<bool, RedisTrouble> {
        let holder: Option<String> = self.redis.query(redis::cmd("HGET").arg(self.key("nodes")).arg(node)).await?;
        Ok(holder.is_some_and(|holder| !holder.starts_with('-')))
    }

    fn key(&self, rest: &str) -> String {
        self.redis.key(&format!("{{cluster}}:{rest}"))
    }

    fn sessions(&self, name: &Name) -> String {
        self.key(&format!("sessions:{name}"))
    }

    fn reaping(&self, name: &Name) -> String {
        self.key(&format!("reaping:{name}"))
    }
}

fn names(texts: Vec<String>) -> Vec<Name> {
    texts.iter().filter_map(|text| Name::parse(text)).collect()
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken").field("field", &self.field).finish_non_exhaustive()
    }
}
