//! How many servers a load needs: Little's law and Erlang's C.

/// The share of callers that find all of `servers` busy, with `load` busy on average.
///
/// A. K. Erlang's formula for Poisson arrivals, through his B by the recurrence
/// `B(0) = 1; B(k) = a·B(k−1) / (k + a·B(k−1))`, which neither overflows nor cancels. One when the
/// servers cannot carry the load.
#[must_use]
pub fn erlang_c(servers: u32, load: f64) -> f64 {
    if load >= f64::from(servers) {
        return 1.0;
    }
    wait_share(servers, load, blocking(servers, load))
}

fn blocking(servers: u32, load: f64) -> f64 {
    (1..=servers).fold(1.0, |b, k| load * b / (f64::from(k) + load * b))
}

fn wait_share(servers: u32, load: f64, blocking: f64) -> f64 {
    blocking / (1.0 - load / f64::from(servers) * (1.0 - blocking))
}

/// The wait that a share `quantile` of callers does not exceed, in units of the mean hold time.
/// Infinite when the servers cannot carry the load.
#[must_use]
pub fn wait_quantile(servers: u32, load: f64, quantile: f64) -> f64 {
    let servers_f = f64::from(servers);
    if load >= servers_f {
        return f64::INFINITY;
    }
    exceeded(servers, load, erlang_c(servers, load), quantile)
}

fn exceeded(servers: u32, load: f64, waits: f64, quantile: f64) -> f64 {
    let late = 1.0 - quantile;
    if waits <= late {
        return 0.0;
    }
    (waits / late).ln() / (f64::from(servers) - load)
}

/// The fewest servers, at most `most`, at which a share `quantile` of callers waits no longer than
/// `target`, in units of the mean hold time.
#[must_use]
pub fn servers_for(load: f64, target: f64, quantile: f64, most: u32) -> u32 {
    let mut blocking = 1.0;
    for servers in 1..=most {
        let servers_f = f64::from(servers);
        blocking = load * blocking / (servers_f + load * blocking);
        if servers_f <= load {
            continue;
        }
        let waits = wait_share(servers, load, blocking);
        if exceeded(servers, load, waits, quantile) <= target {
            return servers;
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(value: f64, expected: f64) {
        assert!((value - expected).abs() < 5e-4, "{value} is not {expected}");
    }

    /// Values of printed tables (e.g. L. Kleinrock, "Queueing Systems", volume 1, 3.5).
    #[test]
    fn the_formula_gives_the_tables_values() {
        close(erlang_c(1, 0.5), 0.5);
        close(erlang_c(2, 1.0), 1.0 / 3.0);
        close(erlang_c(10, 7.0), 0.2217);
        close(erlang_c(5, 5.0), 1.0);
    }

    #[test]
    fn one_server_waits_as_the_exponential_says() {
        // M/M/1: P(wait > t) = ρ·exp(−(1 − ρ)·t).
        close(wait_quantile(1, 0.5, 0.99), (0.5_f64 / 0.01).ln() / 0.5);
        close(wait_quantile(1, 0.5, 0.5), 0.0);
        assert!(wait_quantile(2, 2.0, 0.9).is_infinite());
    }

    #[test]
    fn the_fewest_servers_meet_the_target_and_one_less_does_not() {
        for load in [0.2, 1.0, 4.0, 10.0, 40.0, 400.0] {
            let servers = servers_for(load, 1.0, 0.99, 1_000);
            assert!(wait_quantile(servers, load, 0.99) <= 1.0);
            assert!(wait_quantile(servers - 1, load, 0.99) > 1.0, "{load}");
        }
        assert_eq!(servers_for(500.0, 1.0, 0.99, 100), 100);
        assert_eq!(servers_for(0.0, 1.0, 0.99, 100), 1);
    }
}
