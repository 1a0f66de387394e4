//! What can change about a pool that runs, beside its size.

use pool_core::{ConnectionManager as _, RuntimeSettings};
use sqlx::postgres::PgConnectOptions;

use crate::PostgresPool;
use crate::builder::engine_timeout;
use crate::error::{PostgresConfigError, PostgresConnectError};

impl PostgresPool {
    /// The settings in force that can change while the pool runs.
    #[must_use]
    pub fn runtime_settings(&self) -> RuntimeSettings {
        let mut settings = self.engine().runtime_settings();
        settings.connect_timeout = self.engine().manager().connect_timeout();
        settings
    }

    /// Puts other settings in force while the pool runs. No connection is closed for it, except
    /// those that have been idle for longer than a new `idle_timeout`; see
    /// [`Pool::set_runtime_settings`](pool_core::Pool::set_runtime_settings).
    ///
    /// # Errors
    ///
    /// Settings that cannot be used, all of them together; what was in force stays.
    pub fn set_runtime_settings(
        &self,
        settings: RuntimeSettings,
    ) -> Result<(), PostgresConfigError> {
        let mut of_the_engine = settings;
        of_the_engine.connect_timeout = engine_timeout(settings.connect_timeout);
        self.engine().set_runtime_settings(of_the_engine)?;
        let manager = self.engine().manager();
        manager.set_connect_timeout(settings.connect_timeout);
        Ok(())
    }

    /// Opens one connection with `options`, prepares it as the pool would, and closes it: whether
    /// the server lets the pool in that way, before
    /// [`set_connect_options`](Self::set_connect_options) makes it so. For that moment there is
    /// one connection beside the pool's own.
    ///
    /// # Errors
    ///
    /// As a connect of the pool's own, within its `connect_timeout`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connection is dropped.
    pub async fn try_connect_options(
        &self,
        options: PgConnectOptions,
    ) -> Result<(), PostgresConnectError> {
        let manager = self.engine().manager();
        let connection = manager.connect_with(&self.named(options)).await?;
        manager.close(connection).await;
        Ok(())
    }
}
