//! Plots, as SVG: recovery by scheme and attack, by layer, and of ReMO by rank.

use std::path::Path;

use plotters::prelude::*;

use super::Report;
use super::table::{content, schemes};
use crate::attacks::best;
use crate::baselines::RANKS;
use crate::error::AdversaryError;
use crate::metrics::{Measure, Outcome, Verdict};

/// Writes recovery.svg, layers.svg and remo-rank.svg.
///
/// # Errors
/// The file system's.
pub fn write(report: &Report, out: &Path) -> Result<(), AdversaryError> {
    let draw = |name: &str, draw: &dyn Fn(&Path) -> Drawn| {
        let path = out.join(name);
        draw(&path).map_err(|error| AdversaryError::Plot {
            message: error.to_string(),
            path,
        })
    };
    draw("recovery.svg", &|path| recovery(report, path))?;
    draw("layers.svg", &|path| layers(report, path))?;
    draw("remo-rank.svg", &|path| remo(report, path))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A matrix of schemes and attacks; darker is more.
fn recovery(report: &Report, path: &Path) -> Drawn {
    const CELL: i32 = 22;
    const LEFT: i32 = 230;
    const TOP: i32 = 200;
    let schemes = schemes(report);
    let mut attacks: Vec<&str> = Vec::new();
    for outcome in report.outcomes.iter().filter(|o| content(o)) {
        if !attacks.contains(&outcome.attack) {
            attacks.push(outcome.attack);
        }
    }
    let width = LEFT + CELL * attacks.len() as i32 + 20;
    let height = TOP + CELL * schemes.len() as i32 + 50;
    let area = SVGBackend::new(path, (width as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let small = ("sans-serif", 12).into_font().color(&BLACK);
    let upright = ("sans-serif", 12)
        .into_font()
        .transform(FontTransform::Rotate270)
        .color(&BLACK);
    for (x, attack) in (0..).zip(&attacks) {
        area.draw(&Text::new(
            *attack,
            (LEFT + x * CELL + 4, TOP - 6),
            upright.clone(),
        ))?;
    }
    for (y, scheme) in (0..).zip(&schemes) {
        let top = TOP + y * CELL;
        area.draw(&Text::new(scheme.as_str(), (8, top + 5), small.clone()))?;
        for (x, attack) in (0..).zip(&attacks) {
            let of = |o: &&Outcome| o.scheme == *scheme && o.attack == *attack;
            let left = LEFT + x * CELL;
            let corners = [(left, top), (left + CELL - 2, top + CELL - 2)];
            if let Some(outcome) = best(report.outcomes.iter().filter(of)) {
                area.draw(&Rectangle::new(corners, colour(outcome).filled()))?;
            }
            area.draw(&Rectangle::new(
                corners,
                RGBColor(200, 200, 200).stroke_width(1),
            ))?;
        }
    }
    let legend = "white: not tried; green: at chance; orange to red: leaks, the more the redder";
    area.draw(&Text::new(legend, (8, height - 24), small))?;
    area.present()?;
    Ok(())
}

fn colour(outcome: &Outcome) -> RGBColor {
    let share = match outcome.measure {
        Measure::Statistic { .. } => 1.0,
        _ => outcome.recovery().unwrap_or(0.0).abs().clamp(0.0, 1.0),
    };
    match outcome.verdict {
        Verdict::AtChance => RGBColor(190, 225, 190),
        _ => RGBColor(245, (190.0 * (1.0 - share)) as u8 + 20, 30),
    }
}

/// Best token attack at each layer, for each recorded scheme and two baselines.
fn layers(report: &Report, path: &Path) -> Drawn {
    let shown = |scheme: &String| {
        let hidden = ["additive", "mixed", "remo modulo q"];
        !hidden.iter().any(|start| scheme.starts_with(start))
            && (!scheme.contains("rank") || scheme.ends_with("rank 0.5"))
    };
    let series = schemes(report)
        .into_iter()
        .filter(shown)
        .filter_map(|scheme| {
            let mut points = Vec::new();
            let layers = report.outcomes.iter().filter_map(|o| o.layer).max();
            for layer in 0..=layers.unwrap_or(0) {
                let at = |o: &&Outcome| {
                    let tokens = matches!(o.measure, Measure::Tokens(_) | Measure::Bags { .. });
                    o.scheme == scheme && o.layer == Some(layer) && tokens
                };
                // Not every layer need have been attacked.
                let Some(outcome) = best(report.outcomes.iter().filter(at)) else {
                    continue;
                };
                points.push((f64::from(layer), outcome.recovery().unwrap_or(0.0)));
            }
            (!points.is_empty()).then_some((scheme, points))
        });
    chart(
        path,
        "tokens recovered by the best attack",
        "layer",
        &series.collect::<Vec<_>>(),
    )
}

/// Null-space recovery of ReMO by rank, in floats and exactly.
fn remo(report: &Report, path: &Path) -> Drawn {
    let series = |label: &str, attack: &str| {
        let point = |rank: f64| {
            let scheme = format!("{label}, rank {rank}");
            let of = |o: &&Outcome| o.scheme == scheme && o.attack == attack;
            let outcome = best(report.outcomes.iter().filter(of))?;
            Some((rank, outcome.recovery()?))
        };
        (
            label.to_owned(),
            RANKS.into_iter().filter_map(point).collect::<Vec<_>>(),
        )
    };
    let all = [
        series("remo in floats", "null space, floats"),
        series("remo modulo q", "null space, exact"),
    ];
    chart(
        path,
        "tokens recovered from layer 0 by the null space",
        "m / k",
        &all,
    )
}

/// A named line.
type Series = (String, Vec<(f64, f64)>);

fn chart(path: &Path, title: &str, x_label: &str, series: &[Series]) -> Drawn {
    let area = SVGBackend::new(path, (760, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let xs = || {
        series
            .iter()
            .flat_map(|(_, points)| points.iter().map(|(x, _)| *x))
    };
    let (low, high) = (xs().fold(f64::INFINITY, f64::min), xs().fold(0.0, f64::max));
    let low = if low.is_finite() { low } else { 0.0 };
    // One a layer, and none between two.
    let x_labels = if high > 1.0 { high as usize + 1 } else { 10 };
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(low..high.max(low + 1e-9), -0.02f64..1.05)?;
    chart
        .configure_mesh()
        .x_desc(x_label)
        .y_desc("share of tokens")
        .light_line_style(TRANSPARENT)
        .x_labels(x_labels)
        .draw()?;
    for (i, (label, points)) in series.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        // Points that coincide stay visible around each other.
        let size = 3 + 2 * (series.len() - i) as u32;
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(size);
        chart
            .draw_series(line)?
            .label(label.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    let labels = chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE.mix(0.8))
        .draw();
    labels?;
    area.present()?;
    Ok(())
}
