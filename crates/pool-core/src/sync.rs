//! The one lock of the engine, behind a name, so that model checkers can take its place.

#[cfg(not(pool_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

#[cfg(pool_loom)]
pub(crate) use self::model::{Mutex, MutexGuard};

#[cfg(pool_loom)]
mod model {
    pub(crate) use loom::sync::MutexGuard;

    /// loom's mutex with the signature of `parking_lot`'s.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0
                .lock()
                .expect("no thread of a model panics while it holds the lock")
        }
    }
}
