//! The timeline as one picture: phases and faults above, then throughput, latency, leadership and
//! memory, all over the same seconds.

use std::io;

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::{
    ChartBuilder, Color, DrawingArea, IntoDrawingArea, IntoFont, IntoLogRange, LabelAreaPosition,
    PathElement, Polygon, RGBColor, Rectangle, SVGBackend, Text, TextStyle,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::clock::Moment;
use crate::history::{FaultState, History};

use super::colours::{self, COMPLETED, FAINT_INK, FAULT, GRID, INK, MAX, P50, P99, PAPER, UNKNOWN};
use super::lanes;
use super::series::{Series, Step};

/// Units of the picture, which scales with the page.
const WIDTH: u32 = 1200;
pub(super) const LEFT: i32 = 76;
const RIGHT: i32 = 16;
const TITLE_HEIGHT: i32 = 30;
const THROUGHPUT_HEIGHT: i32 = 190;
const LATENCY_HEIGHT: i32 = 220;
const RESIDENT_HEIGHT: i32 = 200;
const AXIS_HEIGHT: i32 = 30;
/// About one character of a label.
pub(super) const CHARACTER_WIDTH: i32 = 7;
/// The least of the axis of latencies, in milliseconds.
const LATENCY_MIN: f64 = 0.05;
/// The least height of a bar, as a share of the whole.
const BAR_SHARE_MIN: f64 = 0.04;
const MEBIBYTE: f64 = 1024.0 * 1024.0;

pub(super) type DrawError = DrawingAreaErrorKind<io::Error>;
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, Y>>;
/// A curve: a colour, a name, and a value for each step that has one.
type Curve<'a> = (RGBColor, &'a str, Vec<Option<f64>>);

/// Draws the timeline of a history.
pub(super) fn draw(history: &History, series: &Series) -> Result<String, DrawError> {
    let mut svg = String::new();
    let rows = lanes::rows_of(history, series);
    let leaders_height = lanes::leaders_height(series);
    let lanes_height = lanes::height_of(&rows);
    let height = lanes_height
        + THROUGHPUT_HEIGHT
        + LATENCY_HEIGHT
        + leaders_height
        + RESIDENT_HEIGHT
        + AXIS_HEIGHT;
    {
        let height = u32::try_from(height).expect("a height is above zero");
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        root.fill(&PAPER.light)?;
        let (top, rest) = root.split_vertically(lanes_height);
        let (throughput, rest) = rest.split_vertically(THROUGHPUT_HEIGHT);
        let (latency, rest) = rest.split_vertically(LATENCY_HEIGHT);
        let (leaders, resident) = rest.split_vertically(leaders_height);
        lanes::draw_events(&top, history, series, &rows)?;
        draw_throughput(&throughput, history, series)?;
        draw_latency(&latency, history, series)?;
        lanes::draw_leaders(&leaders, history, series)?;
        draw_resident(&resident, history, series)?;
        root.present()?;
    }
    Ok(with_style(&svg))
}

/// Where a moment is on every part of the picture.
pub(super) fn x_of(at: Moment, series: &Series) -> i32 {
    let width = f64::from(WIDTH_OF_PLOTS);
    let share = seconds(at) / series.end_seconds();
    LEFT + (share * width).round() as i32
}

pub(super) const WIDTH_OF_PLOTS: i32 = WIDTH as i32 - LEFT - RIGHT;

/// Text of a size and colour, by where its position is.
pub(super) fn text(size: i32, colour: RGBColor, side: HPos) -> TextStyle<'static> {
    let font = ("sans-serif", size).into_font();
    TextStyle { font, color: colour.to_backend_color(), pos: Pos::new(side, VPos::Center) }
}

fn draw_throughput(area: &Area<'_>, history: &History, series: &Series) -> Result<(), DrawError> {
    let per_second = |count: u64| count as f64 / series.step as f64;
    let curve = |of: fn(&Step) -> u64| -> Vec<Option<f64>> {
        series.steps.iter().map(|step| Some(per_second(of(step)))).collect()
    };
    let curves: [Curve<'_>; 2] = [
        (COMPLETED.light, "answered", curve(|step| step.completed)),
        (UNKNOWN.light, "unknown", curve(|step| step.unknown)),
    ];
    draw_title(area, "Commands per second", &curves)?;
    let y = 0.0..greatest(&curves).max(1.0) * 1.1;
    let mut chart = builder(area, 0).build_cartesian_2d(0.0..series.end_seconds(), y.clone())?;
    draw_mesh(&mut chart, &|value| format!("{value:.0}"))?;
    draw_bands(&mut chart, history, series, (y.start, y.end))?;
    fill_below(&mut chart, series, &curves[0])?;
    draw_curves(&mut chart, series, &curves[..1])?;
    draw_bars(&mut chart, series, &curves[1], y.end)
}

fn draw_latency(area: &Area<'_>, history: &History, series: &Series) -> Result<(), DrawError> {
    let curve = |of: fn(&crate::workload::Latency) -> std::time::Duration| -> Vec<Option<f64>> {
        let milliseconds =
            |step: &Step| step.latency.map(|latency| of(&latency).as_secs_f64() * 1e3);
        let at_least = |value: f64| value.max(LATENCY_MIN);
        series.steps.iter().map(|step| milliseconds(step).map(at_least)).collect()
    };
    let curves: [Curve<'_>; 3] = [
        (MAX.light, "slowest", curve(|latency| latency.max)),
        (P99.light, "p99", curve(|latency| latency.p99)),
        (P50.light, "p50", curve(|latency| latency.p50)),
    ];
    draw_title(area, "Latency, waiting reserves left out", &curves)?;
    let y = LATENCY_MIN..greatest(&curves).max(LATENCY_MIN * 100.0) * 1.5;
    let x = 0.0..series.end_seconds();
    let mut chart = builder(area, 0).build_cartesian_2d(x, y.clone().log_scale())?;
    draw_mesh(&mut chart, &|milliseconds| match milliseconds {
        ..1000.0 => format!("{milliseconds} ms"),
        _ => format!("{} s", milliseconds / 1000.0),
    })?;
    draw_bands(&mut chart, history, series, (y.start, y.end))?;
    draw_curves(&mut chart, series, &curves)
}

fn draw_resident(area: &Area<'_>, history: &History, series: &Series) -> Result<(), DrawError> {
    let limits =
        [("budget", history.head.memory_budget), ("limit of the group", history.head.memory_limit)];
    let limits =
        limits.into_iter().filter_map(|(name, bytes)| Some((name, bytes? as f64 / MEBIBYTE)));
    let limits: Vec<(&str, f64)> = limits.collect();
    let names: Vec<(u32, String)> =
        series.resident.keys().map(|&place| (place, format!("member {place}"))).collect();
    let curves: Vec<Curve<'_>> = names
        .iter()
        .map(|(place, name)| {
            (colours::of_member(*place), name.as_str(), series.resident[place].clone())
        })
        .collect();
    draw_title(area, "Resident size", &curves)?;
    let most = limits.iter().map(|(_, limit)| *limit).fold(greatest(&curves), f64::max);
    let y = 0.0..most.max(10.0) * 1.1;
    let x = 0.0..series.end_seconds();
    let mut chart = builder(area, AXIS_HEIGHT).build_cartesian_2d(x, y.clone())?;
    draw_mesh(&mut chart, &|size| format!("{size:.0} MiB"))?;
    draw_bands(&mut chart, history, series, (y.start, y.end))?;
    for (name, limit) in limits {
        let line = vec![(0.0, limit), (series.end_seconds(), limit)];
        chart.draw_series([PathElement::new(line, UNKNOWN.light.mix(0.7))])?;
        let style = text(13, UNKNOWN.light, HPos::Left).pos(Pos::new(HPos::Left, VPos::Bottom));
        chart.draw_series([Text::new(name, (series.end_seconds() * 0.005, limit), style)])?;
    }
    draw_curves(&mut chart, series, &curves)
}

fn builder<'a, 'b>(area: &'a Area<'b>, axis_height: i32) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_top(TITLE_HEIGHT)
        .margin_right(RIGHT)
        .margin_bottom(if axis_height == 0 { 6 } else { 0 })
        .set_label_area_size(LabelAreaPosition::Left, LEFT)
        .set_label_area_size(LabelAreaPosition::Bottom, axis_height);
    builder
}

/// A title at the left, and at the right the names of the curves in their colours.
fn draw_title(area: &Area<'_>, title: &str, curves: &[Curve<'_>]) -> Result<(), DrawError> {
    let middle = TITLE_HEIGHT / 2 + 2;
    area.draw(&Text::new(title, (LEFT, middle), text(16, INK.light, HPos::Left)))?;
    let mut right = LEFT + WIDTH_OF_PLOTS;
    for (colour, name, _) in curves.iter().rev() {
        area.draw(&Text::new(*name, (right, middle), text(14, FAINT_INK.light, HPos::Right)))?;
        right -= CHARACTER_WIDTH * i32::try_from(name.len()).expect("a short name") + 6;
        let line = vec![(right - 16, middle), (right, middle)];
        area.draw(&PathElement::new(line, colour.stroke_width(3)))?;
        right -= 32;
    }
    Ok(())
}

fn draw_mesh<Y: Ranged<ValueType = f64> + ValueFormatter<f64>>(
    chart: &mut Chart<'_, '_, Y>,
    y_label: &dyn Fn(&f64) -> String,
) -> Result<(), DrawError> {
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(PAPER.light.mix(0.0))
        .bold_line_style(GRID.light)
        .axis_style(GRID.light)
        .x_labels(12)
        .y_labels(5)
        .x_label_formatter(&|seconds| format!("{seconds:.0} s"))
        .y_label_formatter(y_label)
        .label_style(TextStyle::from(("sans-serif", 14).into_font()).color(&FAINT_INK.light))
        .draw()
}

/// Faults as bands over the whole height, the begin of phases as lines.
fn draw_bands<Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, '_, Y>,
    history: &History,
    series: &Series,
    (low, high): (f64, f64),
) -> Result<(), DrawError> {
    let installed = history.faults.iter().filter(|fault| fault.state == FaultState::Installed);
    chart.draw_series(installed.map(|fault| {
        let to = fault.healed.unwrap_or(series.end);
        let corners = [(seconds(fault.began), low), (seconds(to), high)];
        Rectangle::new(corners, FAULT.light.mix(0.12).filled())
    }))?;
    let lines = history.phases.iter().map(|phase| {
        let line = vec![(seconds(phase.at), low), (seconds(phase.at), high)];
        PathElement::new(line, colours::PHASE.light)
    });
    chart.draw_series(lines)?;
    Ok(())
}

fn fill_below<Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, '_, Y>,
    series: &Series,
    (colour, _, values): &Curve<'_>,
) -> Result<(), DrawError> {
    for mut points in pieces(series, values) {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let (left, right) = (first.0, last.0);
        points.extend([(right, 0.0), (left, 0.0)]);
        chart.draw_series([Polygon::new(points, colour.mix(0.14))])?;
    }
    Ok(())
}

/// Bars for what is seldom: high enough to be seen, however few there are.
fn draw_bars<Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, '_, Y>,
    series: &Series,
    (colour, _, values): &Curve<'_>,
    highest: f64,
) -> Result<(), DrawError> {
    let step = series.step as f64;
    let bars = values.iter().enumerate().filter_map(|(index, value)| {
        let value = value.filter(|&value| value > 0.0)?;
        let from = index as f64 * step;
        let to = (from + step).min(series.end_seconds());
        let corners = [(from, 0.0), (to, value.max(highest * BAR_SHARE_MIN))];
        Some(Rectangle::new(corners, colour.mix(0.8).filled()))
    });
    chart.draw_series(bars)?;
    Ok(())
}

fn draw_curves<Y: Ranged<ValueType = f64>>(
    chart: &mut Chart<'_, '_, Y>,
    series: &Series,
    curves: &[Curve<'_>],
) -> Result<(), DrawError> {
    for (colour, _, values) in curves {
        for points in pieces(series, values) {
            chart.draw_series([PathElement::new(points, colour.stroke_width(2))])?;
        }
    }
    Ok(())
}

/// A curve without its holes. A step stands in its middle.
fn pieces(series: &Series, values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
    let step = series.step as f64;
    let end = series.end_seconds();
    let place = |index: usize| ((index as f64 + 0.5) * step).min(end);
    let mut pieces = vec![Vec::new()];
    for (index, value) in values.iter().enumerate() {
        match (value, pieces.last_mut()) {
            (Some(value), Some(piece)) => piece.push((place(index), *value)),
            (None, Some(piece)) if !piece.is_empty() => pieces.push(Vec::new()),
            _ => {}
        }
    }
    // One value alone is a point, and a line of no length is not seen.
    for piece in &mut pieces {
        if let [(x, y)] = piece[..] {
            *piece = vec![((x - step / 2.0).max(0.0), y), (x + step / 2.0, y)];
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

fn greatest(curves: &[Curve<'_>]) -> f64 {
    curves.iter().flat_map(|(_, _, values)| values).flatten().fold(0.0, |a, &b| f64::max(a, b))
}

fn seconds(at: Moment) -> f64 {
    at.since(Moment::default()).as_secs_f64()
}

/// Gives the picture a name for style sheets, and its colours for dark pages.
fn with_style(svg: &str) -> String {
    let rules = colours::dark_rules();
    let style = format!(
        "<style>.timeline text{{font-family:system-ui,\"Segoe UI\",Roboto,sans-serif}}\
         @media(prefers-color-scheme:dark){{{rules}}}</style>"
    );
    let svg = svg.replacen("<svg ", "<svg class=\"timeline\" role=\"img\" ", 1);
    let Some(head) = svg.split_inclusive('>').next() else { return svg };
    format!("{head}<title>What happened over time</title>{style}{}", &svg[head.len()..])
}
