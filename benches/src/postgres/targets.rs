//! What pool-postgres promises.

use benches::{Bound, Of, Series, Target};

pub const TARGETS: &[Target] = &[
    Target {
        ours: Series {
            benchmark: "postgres/select1-50x10",
            subject: "pool-postgres",
            metric: "ops_per_s",
        },
        bound: Bound::AtLeast,
        factor: 2.00,
        of: Of::Subject("sqlx"),
    },
    Target {
        ours: Series {
            benchmark: "postgres/select1-50x10",
            subject: "pool-postgres",
            metric: "ops_per_s",
        },
        bound: Bound::AtLeast,
        factor: 1.50,
        of: Of::Subject("sqlx-no-ping"),
    },
    Target {
        ours: Series {
            benchmark: "postgres/select1-50x10",
            subject: "pool-postgres",
            metric: "ops_per_s",
        },
        bound: Bound::AtLeast,
        factor: 0.97,
        of: Of::Subject("pinned"),
    },
    Target {
        ours: Series {
            benchmark: "postgres/select1-sequential",
            subject: "pool-postgres",
            metric: "us_per_op",
        },
        bound: Bound::AtMost,
        factor: 0.55,
        of: Of::Subject("sqlx"),
    },
];
