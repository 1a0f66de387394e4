//! The load: many operations at once, each with a context of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use connection_factory::Database;
use operation_context::OperationContext;
use parking_lot::Mutex;
use service_container::Container;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::data::{Quote, TradingDay};
use crate::load_profile::Phase;
use crate::subject::PerSubject;
use crate::{history, quotes};

/// What the operations work on.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) history: Vec<TradingDay>,
    pub(crate) quotes: Vec<Quote>,
}

/// How much is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) phase: Phase,
    pub(crate) concurrency: u32,
    /// Nothing new is begun any more.
    pub(crate) over: bool,
}

impl Load {
    /// What a client does between two operations.
    const fn pause(self) -> Duration {
        match self.phase {
            Phase::Quiet => Duration::from_millis(5),
            _ => Duration::ZERO,
        }
    }
}

/// What has been done.
#[derive(Debug, Default)]
pub(crate) struct Served {
    counts: PerSubject<Counts>,
    pub(crate) notes: AtomicU64,
    pub(crate) ticks: AtomicU64,
    pub(crate) comparisons: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    operations: AtomicU64,
    errors: AtomicU64,
    first_error: Mutex<Option<String>>,
}

impl Served {
    pub(crate) fn operations(&self, database: Database) -> u64 {
        self.counts.of(database).operations.load(Ordering::Relaxed)
    }

    pub(crate) fn errors(&self, database: Database) -> u64 {
        self.counts.of(database).errors.load(Ordering::Relaxed)
    }

    /// The first thing that went wrong; the others are often the same.
    pub(crate) fn first_error(&self, database: Database) -> Option<String> {
        self.counts.of(database).first_error.lock().clone()
    }

    fn count(&self, database: Database, outcome: &Result<()>) {
        let counts = self.counts.of(database);
        match outcome {
            Ok(()) => counts.operations.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                let mut first = counts.first_error.lock();
                first.get_or_insert_with(|| crate::explain(error));
                counts.errors.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// Begins `clients` clients, of which as many are at work as the load says. They end with it.
pub(crate) fn start(
    clients: u32,
    container: &Container,
    market: &Arc<Market>,
    served: &Arc<Served>,
    load: &watch::Receiver<Load>,
) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for index in 0..clients {
        let client = Client {
            index,
            container: container.clone(),
            market: Arc::clone(market),
            served: Arc::clone(served),
            load: load.clone(),
        };
        running.spawn(client.work());
    }
    running
}

/// Somebody who sends one request after the other.
struct Client {
    index: u32,
    container: Container,
    market: Arc<Market>,
    served: Arc<Served>,
    load: watch::Receiver<Load>,
}

impl Client {
    async fn work(mut self) {
        loop {
            let index = self.index;
            let mine = |load: &Load| load.over || index < load.concurrency;
            let Ok(load) = self.load.wait_for(mine).await.map(|load| *load) else {
                return;
            };
            if load.over {
                return;
            }
            self.request().await;
            tokio::time::sleep(load.pause()).await;
        }
    }

    async fn request(&self) {
        let day = fastrand::usize(..self.market.history.len());
        let quote = &self.market.quotes[fastrand::usize(..self.market.quotes.len())];
        match fastrand::u8(..100) {
            0..25 => self.history("closing_price", day).await,
            25..38 => self.history("extremes", day).await,
            38..45 => self.history("annotate", day).await,
            45..70 => self.quotes("price", quote).await,
            70..78 => self.quotes("latest", quote).await,
            78..90 => self.quotes("record", quote).await,
            _ => self.compare(quote).await,
        }
    }

    /// One request about the index.
    async fn history(&self, operation: &'static str, day: usize) {
        let context = OperationContext::create("history", operation).container(&self.container);
        let days = &self.market.history[day..];
        let outcome = match operation {
            "closing_price" => history::closing_price(&context, &days[0]).await,
            "extremes" => history::extremes(&context, &days[..days.len().min(20)]).await,
            _ => {
                let text = format!("noted by operation {}", context.id());
                let noted = history::annotate(&context, &days[0], &text).await;
                if noted.is_ok() {
                    self.served.notes.fetch_add(1, Ordering::Relaxed);
                }
                noted
            }
        };
        let outcome = end(&context, outcome).await;
        self.served.count(Database::Postgresql, &outcome);
    }

    /// One request about stocks.
    async fn quotes(&self, operation: &'static str, quote: &Quote) {
        let context = OperationContext::create("quotes", operation).container(&self.container);
        let outcome = match operation {
            "price" => quotes::price(&context, quote).await.map(drop),
            "latest" => {
                let of_symbol = self.market.quotes_of(&quote.symbol);
                quotes::latest(&context, of_symbol).await
            }
            _ => {
                let recorded = quotes::record(&context, quote).await;
                if recorded.is_ok() {
                    self.served.ticks.fetch_add(1, Ordering::Relaxed);
                }
                recorded
            }
        };
        let outcome = end(&context, outcome).await;
        self.served.count(Database::Mongodb, &outcome);
    }

    /// One request that needs both, the way the handler of a real service does.
    async fn compare(&self, quote: &Quote) {
        let context = OperationContext::create("comparison", "write").container(&self.container);
        let price = quotes::price(&context, quote).await;
        let month = format!("{}-{:02}-01", quote.year, quote.month);
        match price {
            Err(error) => {
                let outcome = end(&context, Err(error)).await;
                self.served.count(Database::Mongodb, &outcome);
            }
            Ok(price) => {
                self.served.count(Database::Mongodb, &Ok(()));
                let written = history::compare(&context, &quote.symbol, &month, &price).await;
                if written.is_ok() {
                    self.served.comparisons.fetch_add(1, Ordering::Relaxed);
                }
                let outcome = end(&context, written).await;
                self.served.count(Database::Postgresql, &outcome);
            }
        }
    }
}

impl Market {
    /// A stock's quotes, oldest first; they stand together.
    fn quotes_of(&self, symbol: &str) -> &[Quote] {
        self.quotes
            .chunk_by(|one, next| one.symbol == next.symbol)
            .find(|quotes| quotes[0].symbol == symbol)
            .unwrap_or_default()
    }
}

/// Disposes of an operation; an error names it.
async fn end<T>(context: &OperationContext, outcome: Result<T>) -> Result<T> {
    let named = || format!("operation {}.{}", context.handler(), context.operation());
    let disposed = context.dispose().await;
    let value = outcome.with_context(named)?;
    disposed.with_context(named)?;
    Ok(value)
}
