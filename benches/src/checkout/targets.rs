//! What pool-core promises.

use benches::{Bound, Of, Series, Target};

pub const TARGETS: &[Target] = &[
    Target {
        ours: Series {
            benchmark: "checkout/uncontended",
            subject: "pool-core",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 0.35,
        of: Of::Subject("deadpool"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/uncontended",
            subject: "pool-core",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 0.28,
        of: Of::Subject("bb8"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/uncontended",
            subject: "pool-core",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 0.01,
        of: Of::Subject("sqlx"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/uncontended",
            subject: "pool-core",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 1.50,
        of: Of::Subject("floor"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/64x8",
            subject: "pool-core",
            metric: "ops_per_s",
        },
        bound: Bound::AtLeast,
        factor: 1.40,
        of: Of::Subject("deadpool"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/64x8",
            subject: "pool-core",
            metric: "p99_us",
        },
        bound: Bound::AtMost,
        factor: 0.70,
        of: Of::Subject("deadpool"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/1000x50",
            subject: "pool-core",
            metric: "p999_us",
        },
        bound: Bound::AtMost,
        factor: 5.00,
        of: Of::Metric("p50_us"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/scale",
            subject: "10000 connections, 100000 waiters",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 1.50,
        of: Of::Subject("10 connections, 100 waiters"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/listeners",
            subject: "a listener sleeps",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 1.10,
        of: Of::Subject("nobody listens"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/listeners",
            subject: "a listener fails",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 1.10,
        of: Of::Subject("nobody listens"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/listeners",
            subject: "a listener panics",
            metric: "ns_per_op",
        },
        bound: Bound::AtMost,
        factor: 1.10,
        of: Of::Subject("nobody listens"),
    },
    Target {
        ours: Series {
            benchmark: "checkout/scraped",
            subject: "scraped every second",
            metric: "ops_per_s",
        },
        bound: Bound::AtLeast,
        factor: 0.98,
        of: Of::Subject("nobody scrapes"),
    },
];
