//! Subscriptions on a connection of their own.
//!
//! Invariant: what was published to a subscribed topic is handed on in order, or the stream ends. It ends when the
//! connection (in a Cluster: that to any node) is lost, and when the reader is [`WAITING`] messages behind; then messages
//! may be missing, and a new subscriber is needed. Nothing is repeated or filled in here.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use redis::aio::AsyncPushSender;
use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::trouble::RedisTrouble;
use super::wire::{Connector, Wire};

/// Most pushes that wait for their reader. A reader that far behind is better off catching up from the log.
const WAITING: usize = 16_384;
/// Most topics in one command to a server.
const TOPICS_PER_COMMAND: usize = 256;
/// Most subscriptions under way at a time in a Cluster, where each topic is a command of its own.
const AT_ONCE: usize = 64;

/// A message that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The whole topic, prefix and all.
    pub topic: Bytes,
    /// What was published.
    pub payload: Bytes,
}

/// One dedicated connection: both of its halves.
pub struct Subscriber {
    topics: Topics,
    pushes: Pushes,
}

/// The half that says what is wanted; clones share the connection.
#[derive(Clone)]
pub struct Topics {
    wire: Wire,
    deadline: Duration,
}

/// The half that hears. The connection lives as long as any [`Topics`] of it.
pub struct Pushes {
    received: mpsc::Receiver<Pushed>,
}

impl Subscriber {
    pub(super) async fn connect(connector: &Connector, deadline: Duration) -> Result<Self, RedisTrouble> {
        let (sender, received) = mpsc::channel(WAITING);
        let intake: Arc<dyn AsyncPushSender> = Arc::new(Intake { sender: parking_lot::Mutex::new(Some(sender)) });
        let wire = timeout(deadline, connector.listen(intake)).await.map_err(|_| RedisTrouble::Late)??;
        Ok(Self { topics: Topics { wire, deadline }, pushes: Pushes { received } })
    }

    /// Both halves, to be used at once.
    #[must_use]
    pub fn split(self) -> (Topics, Pushes) {
        (self.topics, self.pushes)
    }

    /// See [`Topics::subscribe`].
    pub async fn subscribe(&self, topics: &[String]) -> Result<(), RedisTrouble> {
        self.topics.subscribe(topics).await
    }

    /// See [`Topics::unsubscribe`].
    pub async fn unsubscribe(&self, topics: &[String]) -> Result<(), RedisTrouble> {
        self.topics.unsubscribe(topics).await
    }

    /// See [`Pushes::next`].
    pub async fn next(&mut self) -> Option<Pushed> {
        self.pushes.next().await
    }
}

impl Topics {
    /// From when this returns, what is published to these topics (made with [`Redis::key`](super::Redis::key)) arrives.
    /// Subscribing twice changes nothing.
    ///
    /// # Errors
    /// [`RedisTrouble`]; how many of the topics are subscribed then is unknown.
    pub async fn subscribe(&self, topics: &[String]) -> Result<(), RedisTrouble> {
        self.tell(Wish::Hear, topics).await
    }

    /// From some time after this nothing of these topics arrives any more.
    ///
    /// # Errors
    /// [`RedisTrouble`]; how many of the topics are still subscribed then is unknown.
    pub async fn unsubscribe(&self, topics: &[String]) -> Result<(), RedisTrouble> {
        self.tell(Wish::Ignore, topics).await
    }

    async fn tell(&self, wish: Wish, topics: &[String]) -> Result<(), RedisTrouble> {
        // One command takes several topics on a server; in a Cluster each may belong to another node.
        let (size, at_once) = match &self.wire {
            Wire::Server(_) => (TOPICS_PER_COMMAND, 1),
            Wire::Cluster(_) => (1, AT_ONCE),
        };
        // Made before the stream is: a closure over borrowed topics inside it would keep this off other threads.
        let telling: Vec<_> = topics.chunks(size).map(|some| wish.tell(self.wire.clone(), some)).collect();
        let told = stream::iter(telling).buffer_unordered(at_once).try_collect::<()>();
        timeout(self.deadline, told).await.map_err(|_| RedisTrouble::Late)?.map_err(RedisTrouble::from)
    }
}

impl Wish {
    async fn tell(self, wire: Wire, topics: &[String]) -> RedisResult<()> {
        match (wire, self) {
            (Wire::Server(mut connection), Self::Hear) => connection.subscribe(topics).await,
            (Wire::Server(mut connection), Self::Ignore) => connection.unsubscribe(topics).await,
            (Wire::Cluster(mut connection), Self::Hear) => connection.ssubscribe(topics).await,
            (Wire::Cluster(mut connection), Self::Ignore) => connection.sunsubscribe(topics).await,
        }
    }
}

impl Pushes {
    /// The next message; `None` once the connection is lost or was too slow, after everything that had arrived.
    pub async fn next(&mut self) -> Option<Pushed> {
        self.received.recv().await
    }
}

/// What is wanted of a topic.
#[derive(Clone, Copy)]
enum Wish {
    Hear,
    Ignore,
}

/// Where the connection leaves its pushes. It must not wait.
struct Intake {
    sender: parking_lot::Mutex<Option<mpsc::Sender<Pushed>>>,
}

impl AsyncPushSender for Intake {
    fn send(&self, push: PushInfo) -> Result<(), redis::aio::SendError> {
        let mut sender = self.sender.lock();
        let keep = match push.kind {
            PushKind::Disconnection => false,
            PushKind::Message | PushKind::SMessage => match (pushed(push), sender.as_ref()) {
                (Some(pushed), Some(sender)) => sender.try_send(pushed).is_ok(),
                _ => true,
            },
            _ => true,
        };
        if !keep {
            *sender = None;
        }
        Ok(())
    }
}

fn pushed(push: PushInfo) -> Option<Pushed> {
    let mut parts = push.data.into_iter();
    let (Some(Value::BulkString(topic)), Some(Value::BulkString(payload))) = (parts.next(), parts.next()) else {
        return None;
    };
    Some(Pushed { topic: topic.into(), payload: payload.into() })
}
