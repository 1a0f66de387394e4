//! What pool-mongo promises.

use benches::{Bound, Of, Series, Target};

pub const TARGETS: &[Target] = &[
    Target {
        ours: Series {
            benchmark: "mongo/find-one-sequential",
            subject: "pool-mongo",
            metric: "added_us",
        },
        bound: Bound::AtMost,
        factor: 2.00,
        of: Of::Unit("µs"),
    },
    Target {
        ours: Series {
            benchmark: "mongo/find-one-50x10",
            subject: "pool-mongo",
            metric: "of_driver",
        },
        bound: Bound::AtLeast,
        factor: 99.00,
        of: Of::Unit("%"),
    },
    Target {
        ours: Series {
            benchmark: "mongo/insert-50x10",
            subject: "pool-mongo",
            metric: "of_driver",
        },
        bound: Bound::AtLeast,
        factor: 99.00,
        of: Of::Unit("%"),
    },
];
