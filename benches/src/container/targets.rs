//! What service-container and operation-context promise.

use benches::{Bound, Of, Series, Target};

use crate::{APART, per_op};

/// The most that a thread may take longer for an operation when another does the same.
const FLAT: f64 = 1.10;

pub const TARGETS: &[Target] = &[
    resolve("service-container/borrowed", 5.00, Of::Unit("ns")),
    resolve("service-container/arc", 20.00, Of::Unit("ns")),
    resolve("service-container/arc", 1.00, Of::Subject("shaku")),
    resolve(
        "service-container/arc",
        1.00,
        Of::Subject("dependency-injector"),
    ),
    flat("container/resolve", "service-container/borrowed"),
    unshared("container/resolve", "service-container/borrowed"),
    flat("container/resolve", "service-container/arc"),
    unshared("container/resolve", "service-container/arc"),
    flat("container/scope", "service-container/empty"),
    unshared("container/scope", "service-container/empty"),
    flat("container/scope", "service-container/five"),
    unshared("container/scope", "service-container/five"),
    flat("container/context", "operation-context/untouched"),
    unshared("container/context", "operation-context/untouched"),
    flat("container/context", "operation-context/both-pools"),
    unshared("container/context", "operation-context/both-pools"),
];

const fn resolve(subject: &'static str, factor: f64, of: Of) -> Target {
    Target {
        ours: Series {
            benchmark: "container/resolve",
            subject,
            metric: per_op(1),
        },
        bound: Bound::AtMost,
        factor,
        of,
    }
}

/// What one thread takes with another beside it, against what it takes alone.
const fn flat(benchmark: &'static str, subject: &'static str) -> Target {
    Target {
        ours: Series {
            benchmark,
            subject,
            metric: per_op(2),
        },
        bound: Bound::AtMost,
        factor: FLAT,
        of: Of::Metric(per_op(1)),
    }
}

/// What one thread takes with another at the same container, against what it takes with another at
/// a container of its own: by how much they are in each other's way.
const fn unshared(benchmark: &'static str, subject: &'static str) -> Target {
    Target {
        of: Of::Metric(APART),
        ..flat(benchmark, subject)
    }
}
