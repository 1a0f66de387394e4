//! Looks at the pools once a second and remembers the last minutes, for whoever opens the page.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use pool_core::PoolEvents;
use serde::Serialize;
use tokio::sync::{Semaphore, broadcast};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::view::{EventKind, EventView, PoolView, PoolsView, Sample, millis, words};
use crate::registry::Watched;
use crate::{PoolReading, Registry};

const EVERY: Duration = Duration::from_secs(1);

/// Five minutes.
const SAMPLES: usize = 300;

const EVENTS: usize = 200;

/// Messages kept for a stream that is slower than the pools.
const LAG: usize = 256;

/// Streams at once.
const STREAMS: usize = 64;

/// What the routes share.
#[derive(Debug)]
pub(super) struct Monitor {
    registry: Registry,
    operations: bool,
    memory: Mutex<Memory>,
    messages: broadcast::Sender<Message>,
    pub(super) streams: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Memory {
    pools: HashMap<String, Remembered>,
    events: VecDeque<EventView>,
    next_event: u64,
}

/// The last minutes of one pool.
#[derive(Debug)]
struct Remembered {
    read: (Instant, PoolReading),
    samples: VecDeque<Sample>,
}

/// What a stream sends.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) json: Arc<str>,
}

impl Message {
    fn new(name: &'static str, value: &impl Serialize) -> Self {
        let json = serde_json::to_string(value).expect("views have string keys and finite numbers");
        Self {
            name,
            json: json.into(),
        }
    }
}

/// What a stream begins with.
#[derive(Debug, Serialize)]
struct History<'m> {
    samples: HashMap<&'m str, &'m VecDeque<Sample>>,
    events: &'m VecDeque<EventView>,
}

impl Monitor {
    pub(super) fn new(registry: Registry, operations: bool) -> Arc<Self> {
        Arc::new(Self {
            registry,
            operations,
            memory: Mutex::default(),
            messages: broadcast::Sender::new(LAG),
            streams: Arc::new(Semaphore::new(STREAMS)),
        })
    }

    pub(super) const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Every pool, read now.
    pub(super) fn view(&self) -> PoolsView {
        let watched = self.registry.watched();
        PoolsView {
            at: millis(SystemTime::now()),
            operations: self.operations,
            pools: watched.iter().map(|pool| self.view_of(pool)).collect(),
        }
    }

    /// One pool, read now.
    pub(super) fn view_of(&self, watched: &Watched) -> PoolView {
        let reading = watched.read();
        let last = {
            let memory = self.memory.lock();
            let remembered = memory.pools.get(reading.name());
            remembered.and_then(|pool| pool.samples.back().cloned())
        };
        PoolView::new(&reading, &*watched.pool, last)
    }

    /// A stream's first message and those that come after it.
    pub(super) fn follow(&self) -> (Message, broadcast::Receiver<Message>) {
        let memory = self.memory.lock();
        // Under the lock: an event is in the history or comes later, not both and not neither.
        let receiver = self.messages.subscribe();
        let samples = memory.pools.iter();
        let history = History {
            samples: samples
                .map(|(name, pool)| (name.as_str(), &pool.samples))
                .collect(),
            events: &memory.events,
        };
        (Message::new("history", &history), receiver)
    }

    /// Notes what an operator did.
    pub(super) fn operated(&self, pool: &str, text: String) {
        tracing::info!(pool, operation = text, "an operator changed a pool");
        self.note(pool, EventKind::Operator, text);
    }

    fn note(&self, pool: &str, kind: EventKind, text: String) {
        let mut memory = self.memory.lock();
        let at = millis(SystemTime::now());
        let last = memory.events.back_mut();
        let event = match last {
            Some(last) if last.pool == pool && last.kind == kind && last.text == text => {
                last.at = at;
                last.count += 1;
                last.clone()
            }
            _ => {
                memory.next_event += 1;
                let event = EventView {
                    id: memory.next_event,
                    at,
                    pool: pool.to_owned(),
                    kind,
                    text,
                    count: 1,
                };
                if memory.events.len() == EVENTS {
                    memory.events.pop_front();
                }
                memory.events.push_back(event.clone());
                event
            }
        };
        self.send(Message::new("event", &event));
    }

    fn send(&self, message: Message) {
        // Without a stream there is nobody to tell.
        drop(self.messages.send(message));
    }

    /// Runs until `stop`.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut listening = Listening::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let watched = self.registry.watched();
            listening.follow(&self, &watched);
            self.sample(&watched);
            self.send(Message::new("pools", &self.view()));
        }
    }

    fn sample(&self, watched: &[Arc<Watched>]) {
        let readings: Vec<_> = watched
            .iter()
            .map(|pool| (Instant::now(), pool.read()))
            .collect();
        let at = millis(SystemTime::now());
        let mut memory = self.memory.lock();
        memory
            .pools
            .retain(|name, _| readings.iter().any(|(_, reading)| reading.name() == name));
        for (now, reading) in readings {
            let name = reading.name().to_owned();
            let created = reading.metrics().created;
            let known = memory
                .pools
                .get_mut(&name)
                .filter(|known| known.read.1.metrics().created == created);
            let Some(known) = known else {
                let samples = VecDeque::with_capacity(SAMPLES);
                let read = (now, reading);
                memory.pools.insert(name, Remembered { read, samples });
                continue;
            };
            let seconds = now.duration_since(known.read.0).as_secs_f64().max(1e-3);
            let sample = Sample::between(&known.read.1, &reading, at, seconds);
            if known.samples.len() == SAMPLES {
                known.samples.pop_front();
            }
            known.samples.push_back(sample);
            known.read = (now, reading);
        }
    }
}

/// A task for each pool that hears its events. They end with this.
#[derive(Default)]
struct Listening {
    tasks: JoinSet<()>,
    by_pool: HashMap<u64, AbortHandle>,
}

impl Listening {
    /// Listens to the pools that are watched and no longer to those that are not.
    fn follow(&mut self, monitor: &Arc<Monitor>, watched: &[Arc<Watched>]) {
        while self.tasks.try_join_next().is_some() {}
        self.by_pool.retain(|id, task| {
            let stays = watched.iter().any(|pool| pool.id == *id);
            if !stays {
                task.abort();
            }
            stays
        });
        for pool in watched {
            if !self.by_pool.contains_key(&pool.id) {
                let name = pool.name.clone();
                let events = pool.pool.subscribe();
                let heard = hear(Arc::clone(monitor), name, events);
                self.by_pool.insert(pool.id, self.tasks.spawn(heard));
            }
        }
    }
}

async fn hear(monitor: Arc<Monitor>, pool: String, mut events: PoolEvents) {
    while let Some(event) = events.next().await {
        if let Some((kind, text)) = words(&event) {
            monitor.note(&pool, kind, text);
        }
    }
}
