//! What service-container promises.

use benches::{Bound, Of, Series, Target};

pub const TARGETS: &[Target] = &[
    Target {
        ours: Series {
            benchmark: "container/resolve/1",
            subject: "service-container/borrowed",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 5.00,
        of: Of::Unit("ns"),
    },
    Target {
        ours: Series {
            benchmark: "container/resolve/1",
            subject: "service-container/arc",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 20.00,
        of: Of::Unit("ns"),
    },
    Target {
        ours: Series {
            benchmark: "container/resolve/1",
            subject: "service-container/arc",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 1.00,
        of: Of::Subject("shaku"),
    },
    Target {
        ours: Series {
            benchmark: "container/resolve/1",
            subject: "service-container/arc",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 1.00,
        of: Of::Subject("dependency-injector"),
    },
    Target {
        ours: Series {
            benchmark: "container/resolve/2",
            subject: "service-container/borrowed",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 1.10,
        of: Of::Benchmark("container/resolve/1"),
    },
    Target {
        ours: Series {
            benchmark: "container/resolve/2",
            subject: "service-container/arc",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 1.10,
        of: Of::Benchmark("container/resolve/1"),
    },
];
