//! `docs/sizing.md` says what the simulator prints.
//!
//! The workloads that cost little are run again, every subject of them. For the others:
//! `cargo xtask simulate --check docs/sizing.md`.

use pool_sim::{Subject, Workload, campaign_with, report};

fn document() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sizing.md");
    std::fs::read_to_string(file).unwrap()
}

/// What the document says of one workload.
fn part<'d>(document: &'d str, name: &str) -> &'d str {
    let headline = format!("### {name}\n");
    let (_, rest) = document
        .split_once(&headline)
        .unwrap_or_else(|| panic!("{name} is missing"));
    rest.split("\n#").next().unwrap()
}

/// The size that the document gives to hindsight: a search for it costs ten runs.
fn hindsight(part: &str) -> u32 {
    let (_, rest) = part.split_once("fixed-oracle (").unwrap();
    rest.split_once(')').unwrap().0.parse().unwrap()
}

#[test]
fn tables_are_what_the_command_prints() {
    let document = document();
    let mut workloads = Workload::all();
    workloads.retain(|workload| ["spike50", "heavy_tail", "trickle"].contains(&workload.name));
    assert_eq!(workloads.len(), 3);
    let outcomes = campaign_with(&workloads, &Subject::ALL, 1, |workload| {
        hindsight(part(&document, workload.name))
    });
    let printed = report::tables(&workloads, &outcomes);
    assert_eq!(report::missing(&document, &printed), [""; 0], "{printed}");
}

#[test]
fn every_workload_has_its_table() {
    let document = document();
    for workload in Workload::all() {
        let part = part(&document, workload.name);
        assert!(part.contains(workload.what), "{}", workload.name);
        for subject in Subject::ALL {
            let row = format!("| {} ", subject.name());
            assert!(part.contains(&row), "{} {row}", workload.name);
        }
    }
}

/// Figures outside of the tables are those of the tables.
#[test]
fn prose_says_what_the_tables_say() {
    let document = document();
    let words: Vec<_> = document.split_whitespace().collect();
    let prose = words.join(" ");
    let cell = |workload, subject: &str, column| {
        let row = part(&document, workload)
            .lines()
            .find(|line| line.starts_with(&format!("| {subject} ")))
            .unwrap();
        row.split('|').nth(column).unwrap().trim()
    };
    let timeouts = |subject| {
        let count = cell("fleet20", subject, 5);
        match count.len().checked_sub(3) {
            Some(at @ 1..) => format!("{},{}", &count[..at], &count[at..]),
            _ => count.to_owned(),
        }
    };
    for said in [
        format!(
            "hindsight's pool waits {} ms at p99",
            cell("step", "fixed-oracle", 3)
        ),
        format!(
            "It spends {} s in overload where a fixed hundred spends {} s",
            cell("db_knee", "adaptive+reactive", 12),
            cell("db_knee", "fixed-max", 12)
        ),
        format!(
            "{} callers time out, against {} the way of sqlx.",
            timeouts("threshold+reactive"),
            timeouts("sqlx-like")
        ),
        format!("samples and loses {};", timeouts("npgsql-median")),
        format!(
            "it is refused, and loses {}.",
            timeouts("adaptive+reactive")
        ),
    ] {
        assert!(prose.contains(&said), "{said}");
    }
}

#[test]
fn what_the_database_can_do_is_what_the_command_prints() {
    let best = report::best();
    assert!(document().contains(&best), "{best}");
}

#[test]
fn a_figure_that_is_another_one_is_found() {
    let printed = "### one\n\na table: 17\n\n### other\n\na table: 18\n\n";
    assert_eq!(report::missing(printed, printed), [""; 0]);
    let document = printed.replace("18", "19");
    assert_eq!(report::missing(&document, printed), ["other"]);
}
