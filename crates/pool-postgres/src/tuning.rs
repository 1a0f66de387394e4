//! What can change about a pool that runs, beside its size, and whether its server is there.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{ConnectionManager as _, RuntimeSettings, SharedError};
use sqlx::postgres::PgConnectOptions;

use crate::builder::engine_timeout;
use crate::error::{PostgresConfigError, PostgresConnectError};
use crate::target::Target;
use crate::{PgHosts, PostgresPool, clean};

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
        let manager = self.engine().manager();
        let mut of_the_engine = settings;
        of_the_engine.connect_timeout =
            engine_timeout(settings.connect_timeout, manager.target().attempts());
        self.engine().set_runtime_settings(of_the_engine)?;
        manager.set_connect_timeout(settings.connect_timeout);
        Ok(())
    }

    /// Asks the server whether it is there, over a connection of the pool, for a health check.
    ///
    /// # Errors
    ///
    /// No connection, as an [`AcquireError`](pool_core::AcquireError); no answer; or all of it took
    /// longer than `within`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ping(&self, within: Duration) -> Result<(), SharedError> {
        // An acquire that ends first says more than the end of the whole.
        let for_one = within.mul_f64(0.9);
        let ping = async {
            let acquired = self.engine().acquire_timeout(for_one).await;
            let mut connection = acquired.map_err(|error| Arc::new(error) as SharedError)?;
            let answer = clean::prove(&mut connection).await;
            answer.map_err(|error| Arc::new(error) as SharedError)
        };
        match tokio::time::timeout(within, ping).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Arc::new(NoAnswer(within))),
        }
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
        self.try_hosts(&PgHosts(options.into())).await
    }

    /// As [`try_connect_options`](Self::try_connect_options), for one host or several: whether one
    /// of them is as it must be and lets the pool in.
    ///
    /// # Errors
    ///
    /// As a connect of the pool's own, within its `connect_timeout` for each host.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connection is dropped.
    pub async fn try_hosts(&self, hosts: &PgHosts) -> Result<(), PostgresConnectError> {
        let target = hosts.0.clone().map(|options| self.named(options));
        let manager = self.engine().manager();
        let connection = manager.connect_to(target).await?;
        manager.close(connection).await;
        Ok(())
    }

    /// Changes where and as whom the next connections are opened. Existing ones stay; follow
    /// with [`soft_evict`](Self::soft_evict) to replace them. The host takes the place of all
    /// hosts; `target_session_attrs` stays in force.
    ///
    /// When `options` set no `application_name`, it is the pool's name.
    pub fn set_connect_options(&self, options: PgConnectOptions) {
        let attrs = self.engine().manager().target().attrs;
        let hosts = vec![options];
        self.set_hosts(PgHosts(Target {
            hosts,
            attrs,
            tls_by_default: false,
        }));
    }

    /// As [`set_connect_options`](Self::set_connect_options), for one host or several;
    /// `target_session_attrs` changes as well.
    pub fn set_hosts(&self, hosts: PgHosts) {
        let target = hosts.0.map(|options| self.named(options));
        self.engine().manager().set_target(target);
        // The engine's time for a connect is for all hosts together.
        let settings = self.runtime_settings();
        if let Err(error) = self.set_runtime_settings(settings) {
            tracing::error!(pool = self.name(), %error, "settings in force were turned down");
        }
    }

    /// The options with the name that the server is to show.
    fn named(&self, options: PgConnectOptions) -> PgConnectOptions {
        match options.get_application_name() {
            Some(_) => options,
            None => options.application_name(self.name()),
        }
    }
}

/// The server did not say anything in time.
#[derive(Debug, thiserror::Error)]
#[error("the server did not answer within {0:?}")]
struct NoAnswer(Duration);
