//! A processor for each thread that is measured.
//!
//! The scheduler often puts two new threads on one processor and moves one of them some milliseconds
//! later, when a measurement is over: each thread would wait for the other, and that would look as if
//! they shared something.

/// Keeps the calling thread on one processor, which differs for as many numbers as there are
/// processors. Where the system refuses, the thread stays where it is.
pub(crate) fn keep_to(number: usize) {
    let processors = core_affinity::get_core_ids().unwrap_or_default();
    if !processors.is_empty() {
        core_affinity::set_for_current(processors[number % processors.len()]);
    }
}
