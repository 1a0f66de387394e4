//! Size against demand and waits over time, as SVG.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;

use crate::score::Point;

/// How many points a curve has at the most.
const POINTS: usize = 600;

/// Draws one picture: above, connections open and wanted; below, callers in line. `lasts` is in
/// seconds.
///
/// # Errors
///
/// The file cannot be written.
pub fn plot(title: &str, lasts: f64, curve: &[Point], file: &Path) -> Result<()> {
    plot_waits(title, lasts, curve, &[], file)
}

/// The same with waits below: when, and what 99 % of the callers did not exceed then, both in
/// seconds.
///
/// # Errors
///
/// The file cannot be written.
pub fn plot_waits(
    title: &str,
    lasts: f64,
    curve: &[Point],
    waits: &[(f64, f64)],
    file: &Path,
) -> Result<()> {
    draw(title, lasts, curve, waits, file)
        .with_context(|| format!("could not draw {}", file.display()))
}

/// The SVG backend of the area.
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(title: &str, end: f64, curve: &[Point], waits: &[(f64, f64)], file: &Path) -> Result<()> {
    let height = if waits.is_empty() { 560 } else { 760 };
    let root = SVGBackend::new(file, (1_000, height)).into_drawing_area();
    let drawn = |error: DrawingAreaErrorKind<_>| anyhow::anyhow!("{error}");
    root.fill(&WHITE).map_err(drawn)?;
    let (above, below) = root.split_vertically(360);
    let (line, last) = below.split_vertically(200);
    let every = curve.len().div_ceil(POINTS).max(1);
    // The greatest of each part, so that no peak is lost.
    let parts: Vec<_> = curve
        .chunks(every)
        .map(|part| {
            let open = part
                .iter()
                .map(|point| f64::from(point.open))
                .fold(0.0, f64::max);
            let wanted = part
                .iter()
                .map(|point| count(point.holding + point.waiting));
            let waiting = part.iter().map(|point| count(point.waiting));
            (
                part[0].at,
                open,
                wanted.fold(0.0, f64::max),
                waiting.fold(0.0, f64::max),
            )
        })
        .collect();
    let most_open = parts.iter().map(|part| part.1).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&above)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..most_open * 1.3)
        .map_err(drawn)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .y_desc("connections")
        .draw()
        .map_err(drawn)?;
    let wanted = RGBColor(0xd9, 0x8b, 0x2b);
    chart
        .draw_series(AreaSeries::new(
            parts
                .iter()
                .map(|part| (part.0, part.2.min(most_open * 1.3))),
            0.0,
            wanted.mix(0.35),
        ))
        .map_err(drawn)?
        .label("wanted: holding and in line")
        .legend(move |(x, y)| {
            Rectangle::new([(x, y - 5), (x + 16, y + 5)], wanted.mix(0.5).filled())
        });
    let open = RGBColor(0x1f, 0x5f, 0xa8);
    chart
        .draw_series(LineSeries::new(
            parts.iter().map(|part| (part.0, part.1)),
            open.stroke_width(2),
        ))
        .map_err(drawn)?
        .label("open")
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], open.stroke_width(2)));
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .position(SeriesLabelPosition::UpperRight)
        .draw()
        .map_err(drawn)?;
    let in_line: Vec<_> = parts.iter().map(|part| (part.0, part.3)).collect();
    panel(&line, end, "in line", RGBColor(0xb0, 0x30, 0x30), &in_line).map_err(drawn)?;
    if !waits.is_empty() {
        let every = waits.len().div_ceil(POINTS).max(1);
        let worst: Vec<_> = waits
            .chunks(every)
            .map(|part| {
                let wait = part.iter().map(|(_, wait)| wait * 1e3);
                (part[0].0, wait.fold(0.0, f64::max))
            })
            .collect();
        let colour = RGBColor(0x5b, 0x3a, 0x8c);
        panel(&last, end, "p99 wait in ms", colour, &worst).map_err(drawn)?;
    }
    root.present().map_err(drawn)
}

/// One curve over the time of the run.
fn panel<'a>(
    area: &Area<'a>,
    end: f64,
    what: &str,
    colour: RGBColor,
    points: &[(f64, f64)],
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let most = points.iter().map(|point| point.1).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .y_labels(5)
        .x_desc("seconds")
        .y_desc(what)
        .draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), colour))?;
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "a count of callers")]
const fn count(callers: i64) -> f64 {
    callers as f64
}
