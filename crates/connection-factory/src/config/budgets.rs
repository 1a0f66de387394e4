//! The budgets of a configuration, and which pools share them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use figment::value::{Dict, Value};
use serde::Deserialize;

use super::read::Reader;
use super::spelling::BUDGETS;
use super::{ServiceConfig, below};
use crate::Database;

/// The number of connections for all pools that lead to one server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BudgetConfig {
    /// The server as the URLs of pools name it: `host:port`, or the host alone for every port.
    pub server: String,
    /// Connections that all its pools together never exceed.
    pub max_connections: NonZeroU32,
}

impl BudgetConfig {
    fn covers(&self, address: &str) -> bool {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        [address, host]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&self.server))
    }
}

/// A pool of the configuration, as far as a budget is concerned.
struct Sharer<'c> {
    service: &'c str,
    database: Database,
    addresses: Vec<String>,
    min: u32,
    budget: &'c mut Option<String>,
}

/// Reads the budgets, and notes at each pool the one that it shares.
pub(super) fn read(
    reader: &mut Reader<'_>,
    tables: Dict,
    services: &mut BTreeMap<String, ServiceConfig>,
) -> BTreeMap<String, BudgetConfig> {
    let mut sharers = sharers(services);
    let mut budgets = BTreeMap::new();
    for (name, value) in tables {
        let path = [BUDGETS.to_owned(), name.clone()];
        let Some(budget) = reader.section::<BudgetConfig>(&path, value.clone()) else {
            continue;
        };
        share(reader, &path, &value, &budget, &mut sharers);
        budgets.insert(name, budget);
    }
    budgets
}

fn sharers(services: &mut BTreeMap<String, ServiceConfig>) -> Vec<Sharer<'_>> {
    let mut sharers = Vec::new();
    for (service, databases) in services {
        if let Some(settings) = &mut databases.postgres {
            let pool = &settings.pool;
            sharers.push(Sharer {
                service,
                database: Database::Postgresql,
                addresses: pool.servers(),
                min: pool.dynamic.map_or_else(
                    || pool.min_connections.unwrap_or(0),
                    |sizing| sizing.min_size,
                ),
                budget: &mut settings.budget,
            });
        }
        if let Some(settings) = &mut databases.mongodb {
            let pool = &settings.pool;
            sharers.push(Sharer {
                service,
                database: Database::Mongodb,
                addresses: pool.servers(),
                min: pool
                    .dynamic
                    .map_or(pool.min_connections, |sizing| sizing.min_size),
                budget: &mut settings.budget,
            });
        }
    }
    sharers
}

fn share(
    reader: &mut Reader<'_>,
    path: &[String],
    value: &Value,
    budget: &BudgetConfig,
    sharers: &mut [Sharer<'_>],
) {
    let complete = reader.is_complete();
    let mut note = |key: &str, message: String| {
        let place = value.find_ref(key).unwrap_or(value);
        reader.note(&below(path, key), place, message);
    };
    let max = budget.max_connections.get();
    let name = &path[1];
    let known: Vec<_> = sharers
        .iter()
        .flat_map(|sharer| sharer.addresses.clone())
        .collect();
    let mut shared = false;
    for sharer in sharers.iter_mut().filter(|sharer| {
        sharer
            .addresses
            .iter()
            .any(|address| budget.covers(address))
    }) {
        shared = true;
        let (service, database, min) = (sharer.service, sharer.database.key(), sharer.min);
        if let Some(other) = sharer.budget.replace(name.clone()) {
            note(
                "server",
                format!("`services.{service}.{database}` has the budget `{other}` already"),
            );
        }
        if min > max {
            note(
                "max_connections",
                format!("{max} is below the minimum {min} of `services.{service}.{database}`"),
            );
        }
    }
    if !shared && complete {
        let known = match known.is_empty() {
            true => "no server".to_owned(),
            false => known.join(", "),
        };
        note(
            "server",
            format!("no pool leads there: pools lead to {known}"),
        );
    }
}
