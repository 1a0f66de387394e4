//! What is shown while the service runs: a table that is drawn anew, or a line a second.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table};
use connection_factory::{Database, FactoryEvents};
use console::Term;
use parking_lot::Mutex;
use pool_core::{Histograms, PoolCounts, PoolEvent};
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;
use tokio_util::sync::CancellationToken;

use crate::output::say;
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
    pub(crate) fn show(
        &mut self,
        elapsed: Duration,
        total: Duration,
        load: Load,
        stop: &CancellationToken,
    ) -> io::Result<()> {
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
                say(stop, format_args!("{head} | {}", rows.join(" | ")))?;
            }
            Some(terminal) => {
                let decisions = rows.each_ref().map(Row::decision);
                let rows = rows.each_ref().map(Row::cells);
                let (_, width) = terminal.size();
                let text = format!("{head}\n{}", table(&rows, &decisions, width));
                // A terminal that goes away takes the table with it, not the service.
                let _ = terminal.clear_last_lines(self.drawn);
                let _ = terminal.write_line(&text);
                self.drawn = text.lines().count();
            }
        }
        Ok(())
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

    /// What stands in the table, below [`HEADER`].
    fn cells(&self) -> [String; 10] {
        let counts = &self.counts;
        [
            self.database.to_string(),
            counts.total.to_string(),
            format!("{}..={}", counts.min, counts.max),
            counts.active.to_string(),
            self.at_server.to_string(),
            counts.waiting.to_string(),
            format!("{:.1}", self.wait_p99),
            self.per_second.to_string(),
            self.errors.to_string(),
            self.events.clone(),
        ]
    }

    fn decision(&self) -> (String, String) {
        let decision = self.last_decision.as_deref();
        let decision = decision.unwrap_or("no change of size yet");
        (self.database.to_string(), decision.to_owned())
    }
}

/// What is above each column; short, so that a terminal of eighty columns has room for all.
const HEADER: [&str; 10] = [
    "database", "open", "limits", "in use", "server", "queue", "p99 ms", "op/s", "errors", "events",
];

/// A table that is no wider than `width`, and below it each database's last decision.
fn table(rows: &[[String; 10]], decisions: &[(String, String)], width: u16) -> String {
    let within = |mut table: Table| {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
        table
    };
    let mut numbers = within(Table::new());
    numbers.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    numbers.set_header(HEADER);
    for row in rows {
        numbers.add_row(row);
    }
    for (at, column) in numbers.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if at > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut words = within(Table::new());
    words.load_style(comfy_table::presets::NOTHING);
    for (database, decision) in decisions {
        words.add_row([database, decision]);
    }
    for column in words.column_iter_mut() {
        column.set_padding((0, 1));
    }
    format!("{numbers}\n{words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a run shows, and the most that it can.
    #[test]
    fn a_terminal_of_eighty_columns_has_room_for_the_table() {
        let usual = [
            "postgresql",
            "24",
            "2..=24",
            "24",
            "24",
            "18",
            "131.5",
            "1042",
            "0",
            "+39 -15",
        ];
        let most = [
            "postgresql",
            "100",
            "100..=100",
            "100",
            "102",
            "156",
            "10000.0",
            "98765",
            "12345",
            "+12345 -12345 !1234",
        ];
        let reason =
            "utilisation 96 % (15.5 of 16.1 in use) is at or above 70 %, but 16 is the maximum";
        for row in [usual, most] {
            let decision = ("postgresql".to_owned(), reason.to_owned());
            let text = table(&[row.map(str::to_owned)], &[decision], 80);
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
            // What a usual second has is in one line.
            let whole = text
                .lines()
                .any(|line| row.iter().all(|cell| line.contains(cell)));
            assert_eq!(whole, row == usual, "{text}");
            assert!(text.contains("the maximum"), "{text}");
        }
    }
}
