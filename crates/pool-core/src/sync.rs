//! The locks of the engine, behind names, so that model checkers can take their place.

#[cfg(not(pool_loom))]
pub(crate) use self::real::{BriefGuard, BriefMutex};

#[cfg(pool_loom)]
pub(crate) use self::model::{BriefGuard, BriefMutex};

#[cfg(not(pool_loom))]
mod real {
    use std::marker::PhantomData;
    use std::ops::{Deref, DerefMut};
    use std::time::Duration;

    use spin::mutex::{SpinMutex, SpinMutexGuard};

    /// A lock for what takes a fraction of a microsecond and never waits, which a store frees.
    ///
    /// A lock in whose line threads sleep has to find out, when it is freed, whether one does. That takes
    /// a second atomic instruction, which waits until everything that was written under the lock has left
    /// the processor, even to memory that another one has at that moment.
    ///
    /// Who finds it taken looks again for a few times as long as it is held. If that does not do, the
    /// thread that has it was interrupted, and the processor is better left to it: by yielding, and at
    /// last by sleeping for a moment. Then it looks again as often as who comes now, so that it is not
    /// always too late.
    #[derive(Debug, Default)]
    pub(crate) struct BriefMutex<T>(SpinMutex<T>);

    /// How often who finds the lock taken looks again at once: for 2 to 6 µs.
    const LOOKS: u32 = 12;

    /// How many pauses there are between two looks, at most, as a power of two. A look takes the lock's cache
    /// line from who writes there, so there are fewer and fewer of them.
    const PAUSES: u32 = 4;

    /// How often it yields between looks thereafter.
    const YIELDS: u32 = 64;

    /// For how long it sleeps thereafter.
    const SLEEP: Duration = Duration::from_micros(50);

    /// The lock, held. It cannot be sent to another thread, so no future that has to be `Send` awaits
    /// with it in hand.
    pub(crate) struct BriefGuard<'a, T> {
        guard: SpinMutexGuard<'a, T>,
        stays: PhantomData<*const ()>,
    }

    impl<'a, T> BriefGuard<'a, T> {
        #[inline]
        const fn new(guard: SpinMutexGuard<'a, T>) -> Self {
            let stays = PhantomData;
            Self { guard, stays }
        }
    }

    impl<T> Deref for BriefGuard<'_, T> {
        type Target = T;

        #[inline]
        fn deref(&self) -> &T {
            &self.guard
        }
    }

    impl<T> DerefMut for BriefGuard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            &mut self.guard
        }
    }

    impl<T> BriefMutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(SpinMutex::new(value))
        }

        #[inline]
        pub(crate) fn lock(&self) -> BriefGuard<'_, T> {
            match self.0.try_lock() {
                Some(guard) => BriefGuard::new(guard),
                None => self.lock_taken(),
            }
        }

        #[cold]
        fn lock_taken(&self) -> BriefGuard<'_, T> {
            loop {
                for look in 0..LOOKS {
                    for _ in 0..1 << look.min(PAUSES) {
                        std::hint::spin_loop();
                    }
                    if let Some(guard) = self.look() {
                        return guard;
                    }
                }
                for _ in 0..YIELDS {
                    std::thread::yield_now();
                    if let Some(guard) = self.look() {
                        return guard;
                    }
                }
                std::thread::sleep(SLEEP);
            }
        }

        /// Reads before it writes: who only reads leaves the line to others who wait.
        #[inline]
        fn look(&self) -> Option<BriefGuard<'_, T>> {
            if self.0.is_locked() {
                return None;
            }
            self.0.try_lock().map(BriefGuard::new)
        }
    }

    /// What the state begins with has a fixed distance from the lock's byte.
    #[cfg(target_pointer_width = "64")]
    const _: () = assert!(size_of::<SpinMutex<u128>>() == size_of::<u128>() + 16);
}

#[cfg(pool_loom)]
mod model {
    pub(crate) use loom::sync::MutexGuard as BriefGuard;

    /// loom's mutex with the signature of the other.
    #[derive(Debug, Default)]
    pub(crate) struct BriefMutex<T>(loom::sync::Mutex<T>);

    impl<T> BriefMutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> BriefGuard<'_, T> {
            self.0
                .lock()
                .expect("no thread of a model panics while it holds the lock")
        }
    }
}

#[cfg(all(test, not(pool_loom)))]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::{BriefGuard, BriefMutex};

    /// Which of the two is meant is only clear where one does not apply.
    trait Sendable<How> {
        fn is_sendable() {}
    }

    impl<T> Sendable<()> for T {}

    struct Yes;

    impl<T: Send> Sendable<Yes> for T {}

    /// This does not compile if a guard can be sent. A future that is `Send` awaits with none in hand.
    #[test]
    fn a_guard_stays_in_its_thread() {
        <BriefGuard<'static, u8> as Sendable<_>>::is_sendable();
    }

    #[test]
    fn nothing_is_lost_between_threads_that_take_turns() {
        const THREADS: u32 = 4;
        const TURNS: u32 = if cfg!(miri) { 50 } else { 20_000 };
        let count = BriefMutex::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..TURNS).for_each(|_| *count.lock() += 1));
            }
        });
        assert_eq!(*count.lock(), THREADS * TURNS);
    }

    /// As where the thread that holds the lock is interrupted: longer than looking and yielding last.
    #[test]
    fn who_waits_for_long_gets_its_turn() {
        let (held, is_held) = mpsc::channel();
        let value = BriefMutex::new(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut value = value.lock();
                held.send(()).expect("the test listens");
                thread::sleep(Duration::from_millis(20));
                *value = 2;
            });
            is_held.recv().expect("the thread holds the lock");
            assert_eq!(*value.lock(), 2);
        });
    }

    #[test]
    fn a_panic_under_the_lock_frees_it() {
        let value = BriefMutex::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _value = value.lock();
            panic!("under the lock");
        }));
        assert!(panicked.is_err());
        assert_eq!(*value.lock(), 1);
    }
}
