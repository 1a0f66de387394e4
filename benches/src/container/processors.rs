//! A processor for each thread that is measured.
//!
//! The scheduler often begins with two new threads on one processor and moves one of them at its
//! next tick, which is as long as a whole measurement: each thread would wait for the other, and that
//! would look as if they shared something.

/// Keeps the calling thread on its own processor: the one with this number, counted anew where there
/// are fewer. Where the system refuses, the thread stays where it is.
pub(crate) fn keep_to(number: usize) {
    let processors = core_affinity::get_core_ids().unwrap_or_default();
    if !processors.is_empty() {
        core_affinity::set_for_current(processors[number % processors.len()]);
    }
}
