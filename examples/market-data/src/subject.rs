//! One of something for each database.

use connection_factory::Database;

/// Both databases, in the order of tables and reports.
pub(crate) const SUBJECTS: [Database; 2] = [Database::Postgresql, Database::Mongodb];

/// A value for each database.
#[derive(Clone, Debug, Default)]
pub(crate) struct PerSubject<T> {
    postgresql: T,
    mongodb: T,
}

impl<T> PerSubject<T> {
    pub(crate) fn new(make: impl Fn(Database) -> T) -> Self {
        Self {
            postgresql: make(Database::Postgresql),
            mongodb: make(Database::Mongodb),
        }
    }

    pub(crate) const fn of(&self, database: Database) -> &T {
        match database {
            Database::Mongodb => &self.mongodb,
            _ => &self.postgresql,
        }
    }

    pub(crate) const fn of_mut(&mut self, database: Database) -> &mut T {
        match database {
            Database::Mongodb => &mut self.mongodb,
            _ => &mut self.postgresql,
        }
    }
}
