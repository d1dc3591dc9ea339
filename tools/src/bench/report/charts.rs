//! Charts as SVG text, for embedding in a page.

use plotters::coord::ranged1d::{
    AsRangedCoord, DefaultFormatting, KeyPointHint, Ranged, ValueFormatter,
};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

const SIZE: (u32, u32) = (960, 320);
const FONT: &str = "sans-serif";
const COLOURS: [RGBColor; 9] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(80, 80, 80),
    RGBColor(23, 190, 207),
    RGBColor(188, 143, 34),
    RGBColor(227, 119, 194),
];

/// A named line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Name in the legend.
    pub name: String,
    /// Points, by rising x. On a logarithmic axis the line is broken where y is 0: there is nothing.
    pub points: Vec<(f64, f64)>,
}

/// How the axes are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Axes<'a> {
    /// Text below.
    pub x: &'a str,
    /// Text to the left.
    pub y: &'a str,
    /// Logarithmic y.
    pub log_y: bool,
    /// Where the vertical lines stand; chosen by the range if empty.
    pub x_marks: &'a [f64],
    /// How x values are written.
    pub x_text: fn(&f64) -> String,
    /// How y values are written.
    pub y_text: fn(&f64) -> String,
}

/// A line chart; empty text when there is nothing to draw.
#[must_use]
pub fn lines(title: &str, axes: &Axes<'_>, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let positive = |value: f64| !axes.log_y || value > 0.0;
    let ys = || points().map(|(_, y)| *y).filter(|y| positive(*y));
    let x_least = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let x_most = points().map(|(x, _)| *x).fold(f64::NEG_INFINITY, f64::max);
    let y_least = ys().fold(f64::INFINITY, f64::min);
    let y_most = ys().fold(f64::NEG_INFINITY, f64::max);
    if !(x_least.is_finite() && y_most.is_finite()) {
        return String::new();
    }
    let x_range = x_least..x_most.max(x_least + 1e-9);
    let mut marks: Vec<f64> = axes.x_marks.to_vec();
    marks.retain(|x| x_range.contains(x));
    if axes.x_marks.is_empty() {
        marks = RangedCoordf64::from(x_range.clone()).key_points(12);
    }
    let x_range = Marked {
        range: x_range.into(),
        marks,
    };
    // Room above for the legend.
    let headroom = 0.1 + 0.09 * lines.len() as f64;
    let mut svg = String::new();
    let drawn = {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        if axes.log_y {
            let decades = (y_most / y_least).max(10.0);
            let range = (y_least * 0.8)..(y_most * decades.powf(headroom) * 1.2);
            draw(&root, title, axes, lines, x_range, range.log_scale())
        } else {
            draw(
                &root,
                title,
                axes,
                lines,
                x_range,
                0.0..(y_most * (1.05 + headroom)).max(1e-9),
            )
        }
    };
    match drawn {
        // The namespace is not needed inside HTML, and it looks like an external address.
        Some(()) => svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", ""),
        None => String::new(),
    }
}

/// A range whose vertical lines are given.
struct Marked {
    range: RangedCoordf64,
    marks: Vec<f64>,
}

impl Ranged for Marked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.range.range()
    }
}

fn draw<Y>(
    root: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    axes: &Axes<'_>,
    lines: &[Line],
    x_range: Marked,
    y_range: Y,
) -> Option<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    root.fill(&WHITE).ok()?;
    let mut chart = ChartBuilder::on(root)
        .caption(title, (FONT, 18))
        .margin(8)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(x_range, y_range)
        .ok()?;
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&axes.x_text)
        .y_label_formatter(&axes.y_text)
        .x_labels(12)
        .y_labels(7)
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style((FONT, 13))
        .draw()
        .ok()?;
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let drawable = |(_, y): &(f64, f64)| !axes.log_y || *y > 0.0;
        let pieces = line.points.split(|point| !drawable(point));
        for (number, piece) in pieces.filter(|piece| !piece.is_empty()).enumerate() {
            // A point alone is a line too short to be seen.
            let size = if piece.len() == 1 { 2 } else { 0 };
            let series =
                LineSeries::new(piece.iter().copied(), colour.stroke_width(2)).point_size(size);
            let drawn = chart.draw_series(series).ok()?;
            if number == 0 {
                drawn.label(&line.name).legend(move |(x, y)| {
                    PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2))
                });
            }
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .label_font((FONT, 13))
        .draw()
        .ok()?;
    root.present().ok()
}
