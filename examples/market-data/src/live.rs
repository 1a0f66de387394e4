//! What is shown while the service runs: a table that is drawn anew, or a line a second.

use std::sync::Arc;
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use connection_factory::{Database, FactoryEvents};
use console::Term;
use parking_lot::Mutex;
use pool_core::{Histograms, PoolCounts, PoolEvent};
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;

use crate::serve::{Load, Served};
use crate::subject::{PerSubject, SUBJECTS};
use crate::truth::Observer;

/// The pools whose numbers are shown.
#[derive(Clone, Debug)]
pub(crate) struct ShownPools {
    pub(crate) postgres: PostgresPool,
    pub(crate) mongodb: MongoPool,
}

impl ShownPools {
    pub(crate) fn counts(&self, database: Database) -> PoolCounts {
        match database {
            Database::Mongodb => self.mongodb.counts(),
            _ => self.postgres.counts(),
        }
    }

    pub(crate) fn histograms(&self, database: Database) -> Histograms {
        match database {
            Database::Mongodb => self.mongodb.histograms(),
            _ => self.postgres.histograms(),
        }
    }
}

/// What the pools have told of themselves.
#[derive(Debug, Default)]
pub(crate) struct Told {
    opened: u64,
    closed: u64,
    failures: u64,
    last_decision: Option<String>,
}

pub(crate) type Heard = Arc<Mutex<PerSubject<Told>>>;

/// Listens to both pools until they are gone.
pub(crate) async fn listen(mut events: FactoryEvents, heard: Heard) {
    while let Some(event) = events.next().await {
        let mut heard = heard.lock();
        let told = heard.of_mut(event.database);
        match event.event {
            PoolEvent::Connected { .. } => told.opened += 1,
            PoolEvent::Disconnected { .. } => told.closed += 1,
            PoolEvent::ConnectFailed { .. } | PoolEvent::ConnectionFailed { .. } => {
                told.failures += 1;
            }
            PoolEvent::TargetChanged { reason, .. } => {
                told.last_decision = Some(reason.to_string());
            }
            PoolEvent::LimitsChanged { from, to } => {
                told.last_decision = Some(format!("limits {from} → {to}"));
            }
            _ => {}
        }
    }
}

/// Shows the state once a second.
pub(crate) struct Live {
    terminal: Option<Term>,
    drawn: usize,
    pools: ShownPools,
    served: Arc<Served>,
    observer: Arc<Observer>,
    heard: Heard,
    before: PerSubject<(u64, Histograms)>,
}

/// One database in one second.
struct Row {
    database: Database,
    counts: PoolCounts,
    wait_p99: f64,
    per_second: u64,
    errors: u64,
    at_server: u32,
    events: String,
    last_decision: Option<String>,
}

impl Live {
    /// Draws a table when standard output is a terminal and `headless` is not asked for.
    pub(crate) fn new(
        headless: bool,
        pools: ShownPools,
        served: Arc<Served>,
        observer: Arc<Observer>,
        heard: Heard,
    ) -> Self {
        let terminal = Term::stdout();
        let before = PerSubject::new(|database| (0, pools.histograms(database)));
        Self {
            terminal: (!headless && terminal.is_term()).then_some(terminal),
            drawn: 0,
            pools,
            served,
            observer,
            heard,
            before,
        }
    }

    /// Shows the last second.
    pub(crate) fn show(&mut self, elapsed: Duration, total: Duration, load: Load) {
        let rows = SUBJECTS.map(|database| self.row(database));
        let head = format!(
            "{:>3} of {} s  {:<6} {:>2} operations at once",
            elapsed.as_secs(),
            total.as_secs(),
            load.phase.name(),
            load.concurrency
        );
        match &self.terminal {
            None => {
                let rows: Vec<_> = rows.iter().map(Row::line).collect();
                println!("{head} | {}", rows.join(" | "));
            }
            Some(terminal) => {
                let text = format!("{head}\n{}", table(&rows));
                // A terminal that goes away takes the table with it, not the service.
                let _ = terminal.clear_last_lines(self.drawn);
                let _ = terminal.write_line(&text);
                self.drawn = text.lines().count();
            }
        }
    }

    fn row(&mut self, database: Database) -> Row {
        let histograms = self.pools.histograms(database);
        let operations = self.served.operations(database);
        let before = self.before.of_mut(database);
        let since = histograms.clone().since(&before.1);
        let per_second = operations.saturating_sub(before.0);
        *before = (operations, histograms);
        let heard = self.heard.lock();
        let told = heard.of(database);
        let mut events = format!("+{} -{}", told.opened, told.closed);
        if told.failures > 0 {
            events.push_str(&format!(" !{}", told.failures));
        }
        Row {
            database,
            counts: self.pools.counts(database),
            wait_p99: since.wait().p99,
            per_second,
            errors: self.served.errors(database),
            at_server: self.observer.counts(database).now(),
            events,
            last_decision: told.last_decision.clone(),
        }
    }
}

impl Row {
    fn line(&self) -> String {
        let Self {
            database,
            counts,
            wait_p99,
            per_second,
            errors,
            at_server,
            events,
            last_decision: _,
        } = self;
        format!(
            "{database}: {:>2} open in {}..={} ({at_server} at the server), {:>2} in use, {:>2} \
             waiting, p99 {wait_p99:.1} ms, {per_second} op/s, {errors} errors, {events}",
            counts.total, counts.min, counts.max, counts.active, counts.waiting,
        )
    }
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "database",
        "open",
        "limits",
        "in use",
        "at server",
        "waiting",
        "wait p99",
        "op/s",
        "errors",
        "events",
    ]);
    for row in rows {
        let counts = &row.counts;
        table.add_row([
            row.database.to_string(),
            counts.total.to_string(),
            format!("{}..={}", counts.min, counts.max),
            counts.active.to_string(),
            row.at_server.to_string(),
            counts.waiting.to_string(),
            format!("{:.1} ms", row.wait_p99),
            row.per_second.to_string(),
            row.errors.to_string(),
            row.events.clone(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let mut text = table.to_string();
    for row in rows {
        let decision = row
            .last_decision
            .as_deref()
            .unwrap_or("no change of size yet");
        text.push_str(&format!("\n{:<10} {decision}", row.database));
    }
    text
}
