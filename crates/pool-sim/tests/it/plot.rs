//! Runs as pictures.

use pool_sim::{Subject, Workload, plot, run};

/// Size and demand, callers in line, and waits: three panels of curves with their axes.
#[test]
fn a_run_is_drawn_with_its_waits() {
    let mut spike = Workload::all().remove(1);
    spike.lasts = 10.0;
    let run = run(&spike, Subject::ThresholdReactive, 5, 1);
    // Fifty callers within a second, of whom one waited longest.
    let [(at, wait)] = run.waits[..] else {
        panic!("{:?}", run.waits)
    };
    assert_eq!(at, 5.0);
    assert!((wait - 0.018).abs() < 0.001, "{wait}");

    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let draw = |name: &str, waits: &[(f64, f64)]| {
        let file = folder.join(name);
        plot::plot_waits("spike50: ours", spike.lasts, &run.curve, waits, &file).unwrap();
        std::fs::read_to_string(&file).unwrap()
    };
    let (with, without) = (draw("with.svg", &run.waits), draw("without.svg", &[]));
    let refused = plot::plot("x", 1.0, &run.curve, &folder.join("no/such/folder.svg"));
    assert!(refused.unwrap_err().to_string().contains("folder.svg"));

    for text in ["spike50: ours", "connections", "in line", "seconds", "open"] {
        assert!(with.contains(text) && without.contains(text), "`{text}`");
    }
    assert!(with.contains("p99 wait in ms") && !without.contains("p99 wait"));
    let curves = |svg: &str| svg.matches("<polyline").count();
    assert!(curves(&with) > curves(&without));
    assert!(with.trim_end().ends_with("</svg>"));
}
