//! The one lock of the engine, behind a name, so that model checkers can take its place.

#[cfg(not(pool_loom))]
pub(crate) use self::real::{Mutex, MutexGuard};

#[cfg(pool_loom)]
pub(crate) use self::model::{Mutex, MutexGuard};

#[cfg(not(pool_loom))]
mod real {
    pub(crate) use parking_lot::MutexGuard;

    /// `parking_lot`'s mutex, with patience.
    ///
    /// The engine holds its lock for a fraction of a microsecond and never while it waits. So who
    /// finds it taken looks again for about as long as that, before it asks the system for a turn,
    /// which costs more.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    /// How often who finds the lock taken looks again: 1 to 3 µs.
    const LOOKS: u32 = 100;

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(parking_lot::Mutex::new(value))
        }

        #[inline]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.try_lock().unwrap_or_else(|| self.lock_taken())
        }

        #[cold]
        fn lock_taken(&self) -> MutexGuard<'_, T> {
            for _ in 0..LOOKS {
                std::hint::spin_loop();
                if !self.0.is_locked()
                    && let Some(guard) = self.0.try_lock()
                {
                    return guard;
                }
            }
            self.0.lock()
        }
    }
}

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
