//! Resolving what exists: each thread a service of its own, and all of them the same one.

use std::sync::Barrier;
use std::time::Instant;

use benches::Report;

use crate::subjects::{
    Borrowed, BorrowedInScope, Counted, DependencyInjector, Erased, ErasedShare, Floor, ReadyShare,
    Shaku, Shared, Subject,
};
use crate::{APART, per_op, processors};

const BENCHMARK: &str = "container/resolve";

pub(crate) fn measure(report: &mut Report, threads: usize, ops: u32) {
    one::<Counted>(report, threads, ops);
    one::<Erased>(report, threads, ops);
    one::<ErasedShare>(report, threads, ops);
    one::<Floor>(report, threads, ops);
    one::<Borrowed>(report, threads, ops);
    one::<BorrowedInScope>(report, threads, ops);
    one::<Shared>(report, threads, ops);
    one::<ReadyShare>(report, threads, ops);
    one::<Shaku>(report, threads, ops);
    one::<DependencyInjector>(report, threads, ops);
}

fn one<S: Subject>(report: &mut Report, threads: usize, ops: u32) {
    let subject = S::new();
    let each_its_own = time(threads, |thread| {
        if thread == 0 {
            subject.repeat::<0>(ops)
        } else {
            subject.repeat::<1>(ops)
        }
    });
    let mut add = |metric, nanos: f64| {
        report.add(BENCHMARK, S::NAME, metric, "ns", nanos / f64::from(ops));
    };
    add(per_op(threads), each_its_own);
    if threads > 1 {
        // The reference count is one cache line, whoever counts.
        let the_same = time(threads, |_| subject.repeat::<0>(ops));
        add("ns_per_op_two_threads_same", the_same);
        let other = S::new();
        let apart = time(threads, |thread| {
            if thread == 0 {
                subject.repeat::<0>(ops)
            } else {
                other.repeat::<1>(ops)
            }
        });
        add(APART, apart);
    }
}

/// How many nanoseconds the slowest thread took.
fn time(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    processors::keep_to(thread);
                    start.wait();
                    let began = Instant::now();
                    work(thread);
                    began.elapsed().as_secs_f64() * 1e9
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no subject panics"))
            .fold(0.0, f64::max)
    })
}
