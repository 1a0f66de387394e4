//! One metric of one benchmark as bars, as SVG.

use anyhow::{Result, ensure};
use plotters::prelude::*;

use super::figures::{Row, name, number};

const OURS: RGBColor = RGBColor(0x1f, 0x5f, 0xa8);
const OTHERS: RGBColor = RGBColor(0xa9, 0xb4, 0xc2);

/// A bar for each row, all of one metric of one benchmark; that of `ours` in a colour of its own.
pub(crate) fn bars(rows: &[&Row], ours: &str) -> Result<String> {
    ensure!(!rows.is_empty(), "there is nothing to draw");
    let mut svg = String::new();
    draw(rows, ours, &mut svg).map_err(|error| anyhow::anyhow!("{error}"))?;
    svg.push('\n');
    Ok(svg)
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(rows: &[&Row], ours: &str, svg: &mut String) -> Drawn {
    let most = rows.iter().map(|row| row.value).fold(0.0, f64::max);
    let height = 80 + 34 * u32::try_from(rows.len())?;
    let root = SVGBackend::with_string(svg, (760, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let Row {
        benchmark,
        metric,
        unit,
        ..
    } = rows[0];
    let title = format!("{benchmark}: {}, {unit}", name(metric));
    // The first on top; room on the right for the numbers.
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..most * 1.2, (0..rows.len()).into_segmented())?;
    let subject = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(at) if *at < rows.len() => rows[rows.len() - 1 - at].subject.clone(),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_mesh()
        .disable_x_axis()
        .y_labels(rows.len())
        .y_label_formatter(&subject)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (from_top, row) in rows.iter().enumerate() {
        let at = rows.len() - 1 - from_top;
        let colour = if row.subject == ours { OURS } else { OTHERS };
        let ends = [
            (0.0, SegmentValue::Exact(at)),
            (row.value, SegmentValue::Exact(at + 1)),
        ];
        let mut bar = Rectangle::new(ends, colour.filled());
        bar.set_margin(6, 6, 0, 0);
        chart.draw_series([bar])?;
        let place = (row.value + most * 0.01, SegmentValue::CenterOf(at));
        let style =
            ("sans-serif", 14)
                .into_text_style(&root)
                .pos(plotters::style::text_anchor::Pos::new(
                    plotters::style::text_anchor::HPos::Left,
                    plotters::style::text_anchor::VPos::Center,
                ));
        chart.draw_series([Text::new(number(row.value), place, style)])?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_has_a_bar_and_its_number() {
        let row = |subject: &str, value: f64| Row {
            benchmark: "checkout/a".to_owned(),
            subject: subject.to_owned(),
            metric: "ops_per_s".to_owned(),
            unit: "1/s".to_owned(),
            value,
            n: 3,
        };
        let rows = [
            row("us", 4_000.0),
            row("them", 1_000.0),
            row("others", 500.0),
        ];
        let rows: Vec<_> = rows.iter().collect();
        let svg = bars(&rows, "us").unwrap();
        for part in [
            "us",
            "them",
            "others",
            "4,000",
            "1,000",
            "500",
            "#1F5FA8",
            "operations",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        // The same figures draw the same picture.
        assert_eq!(svg, bars(&rows, "us").unwrap());
        bars(&[], "us").unwrap_err();
    }
}
