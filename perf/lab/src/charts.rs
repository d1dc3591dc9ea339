//! Pictures of the results: for each figure a bar of etcd and one of reeve.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use reeve_tools::bench::report::number::number;

const FONT: &str = "sans-serif";
const ETCD: RGBColor = RGBColor(150, 150, 150);
const REEVE: RGBColor = RGBColor(31, 119, 180);
const WIDTH: u32 = 720;
/// Height of a figure's two bars with their gap.
const PAIR: u32 = 52;
/// Height of title and legend.
const HEAD: u32 = 84;
/// Width of the field, in widths of the longest bar: the rest is for the value behind it.
const ROOM: f64 = 1.38;

/// A figure of both servers; a value that is not known has no bar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bars {
    /// What it is.
    pub(crate) label: String,
    /// etcd's median.
    pub(crate) etcd: Option<f64>,
    /// reeve's median.
    pub(crate) reeve: Option<f64>,
    /// reeve to etcd, in the median of the rounds.
    pub(crate) ratio: Option<f64>,
}

/// Draws a chart as SVG text; `None` when there is nothing to draw.
pub(crate) fn bars(title: &str, all: &[Bars]) -> Option<String> {
    let values = all.iter().flat_map(|bars| [bars.etcd, bars.reeve]);
    let most = values.flatten().fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let mut svg = String::new();
    {
        let size = (WIDTH, HEAD + PAIR * all.len() as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE).ok()?;
        // Figures go from above down, so the axis runs against them; room to the right for values.
        let mut chart = ChartBuilder::on(&root)
            .caption(title, (FONT, 18))
            .margin(10)
            .margin_top(6)
            .x_label_area_size(0)
            .y_label_area_size(230)
            .build_cartesian_2d(0.0..most * ROOM, all.len() as f64..-0.45)
            .ok()?;
        for (index, bars) in all.iter().enumerate() {
            let top = index as f64 + 0.1;
            let ratio = bars.ratio.map(|ratio| format!(" (x {})", number(ratio)));
            let drawn = [
                (top, bars.etcd, ETCD, None),
                (top + 0.4, bars.reeve, REEVE, ratio),
            ];
            for (top, value, colour, ratio) in drawn {
                let Some(value) = value else { continue };
                let bar = [(0.0, top), (value, top + 0.36)];
                chart
                    .draw_series([Rectangle::new(bar, colour.filled())])
                    .ok()?;
                let style = text(HPos::Left);
                let shown = number(value) + &ratio.unwrap_or_default();
                let end = (value + most * 0.01, top + 0.18);
                chart.draw_series([Text::new(shown, end, style)]).ok()?;
            }
            let (x, y) = chart.backend_coord(&(0.0, index as f64 + 0.48));
            root.draw_text(&bars.label, &text(HPos::Right), (x - 8, y))
                .ok()?;
        }
        legend(&root)?;
        root.present().ok()?;
    }
    Some(svg)
}

fn text(side: HPos) -> TextStyle<'static> {
    (FONT, 13)
        .into_text_style(&(WIDTH, HEAD))
        .pos(Pos::new(side, VPos::Center))
}

fn legend(root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>) -> Option<()> {
    for (left, name, colour) in [(250, "etcd", ETCD), (330, "reeve", REEVE)] {
        let swatch = [(left, 36), (left + 16, 48)];
        root.draw(&Rectangle::new(swatch, colour.filled())).ok()?;
        root.draw_text(name, &text(HPos::Left), (left + 22, 42))
            .ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(etcd: Option<f64>, reeve: Option<f64>) -> Bars {
        let label = "puts".to_owned();
        let ratio = etcd.zip(reeve).map(|(etcd, reeve)| reeve / etcd);
        Bars {
            label,
            etcd,
            reeve,
            ratio,
        }
    }

    #[test]
    fn every_known_value_has_a_bar() {
        let all = [pair(Some(20.0), Some(5.0)), pair(Some(7.0), None)];
        let svg = bars("CPU", &all).unwrap_or_default();
        // The ground, three bars and two swatches.
        assert_eq!(svg.matches("<rect").count(), 6, "{svg}");
        for value in ["20.0", "5.00 (x 0.25)", "7.00"] {
            assert!(svg.contains(&format!("\n{value}\n")), "{value} in {svg}");
        }
    }

    #[test]
    fn nothing_is_no_picture() {
        assert_eq!(bars("CPU", &[]), None);
        assert_eq!(bars("CPU", &[pair(None, None)]), None);
    }
}
