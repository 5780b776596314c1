//! Curves over reloads: as characters for a terminal, and as an SVG file.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::*;
use textplots::{Chart, Plot, Shape};

use crate::retirement::{Curve, Quantity};

/// Pixels of the picture, and of one of its panels.
const WIDTH: u32 = 1000;
const PANEL: u32 = 320;
/// Dots of a chart in a terminal: two of them are as wide as a character, four as high.
const DOTS: (u32, u32) = (150, 32);
const COLOURS: [RGBColor; 4] = [BLACK, BLUE, RED, GREEN];

/// A quantity's curves in one chart of characters.
pub(crate) fn text(curves: &[&Curve]) -> String {
    let (reloads, most) = bounds(curves);
    let shapes: Vec<Shape<'_>> = curves.iter().map(|curve| Shape::Lines(&curve.samples)).collect();
    let mut chart = Chart::new_with_y_range(DOTS.0, DOTS.1, 0.0, reloads, 0.0, most);
    let chart = shapes.iter().fold(&mut chart, |chart, shape| chart.lineplot(shape));
    chart.axis();
    chart.figures();
    chart.to_string()
}

/// Draws every quantity, one below the other.
pub(crate) fn draw(path: &Path, curves: &[Curve]) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let panels = Quantity::ALL.len();
    let area = SVGBackend::new(path, (WIDTH, PANEL * panels as u32)).into_drawing_area();
    // The errors of this library hold what cannot be sent to another thread.
    let wrong = |error: &dyn std::error::Error| anyhow!("{error}");
    area.fill(&WHITE).map_err(|error| wrong(&error))?;
    for (panel, quantity) in area.split_evenly((panels, 1)).iter().zip(Quantity::ALL) {
        let of_it: Vec<&Curve> = curves.iter().filter(|curve| curve.quantity == quantity).collect();
        panel_of(panel, quantity, &of_it).map_err(|error| wrong(&*error))?;
    }
    area.present().map_err(|error| wrong(&error))
}

fn panel_of(
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    quantity: Quantity,
    curves: &[&Curve],
) -> Result<(), Box<dyn std::error::Error>> {
    let (reloads, most) = bounds(curves);
    let mut chart = ChartBuilder::on(panel)
        .caption(quantity.name(), ("sans-serif", 20))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..reloads, 0.0..most)?;
    chart.configure_mesh().x_desc("reloads").draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.into_iter().cycle()) {
        let line = LineSeries::new(curve.samples.iter().copied(), colour);
        let series = chart.draw_series(line)?;
        series
            .label(&curve.process)
            .legend(move |(x, y)| Rectangle::new([(x, y - 1), (x + 16, y + 1)], colour.filled()));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    Ok(())
}

/// The largest of both axes, which begin at zero: what grows should look as it grows.
fn bounds(curves: &[&Curve]) -> (f32, f32) {
    let samples = || curves.iter().flat_map(|curve| &curve.samples);
    let reloads = samples().map(|(reloads, _)| *reloads).fold(1.0, f32::max);
    let most = samples().map(|(_, held)| *held).fold(1.0, f32::max);
    (reloads, most * 1.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(quantity: Quantity, held: f32) -> Curve {
        let samples = (0..20).map(|number| (number as f32, held)).collect();
        let process = "master".to_owned();
        Curve { process, quantity, samples, per_1000_reloads: 0.0, limit: 0.0, is_met: true }
    }

    #[test]
    fn every_quantity_is_drawn_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target/picture.svg");
        let curves: Vec<Curve> = Quantity::ALL.map(|quantity| curve(quantity, 7.0)).into();
        draw(&path, &curves).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        for part in ["<svg", "polyline", "private memory, KB", "mappings", "descriptors", "master"]
        {
            assert!(svg.contains(part), "expected {part:?} in {svg}");
        }
    }

    #[test]
    fn a_chart_of_characters_has_its_scale_beside_it() {
        let text = text(&[&curve(Quantity::Mappings, 50.0)]);
        assert!(text.contains("60.0") && text.contains("19.0"), "{text}");
    }
}
