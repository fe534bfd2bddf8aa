//! The parts of the picture that are bars and not curves: phases, faults, and who led.

use plotters::prelude::{Color, PathElement, Rectangle, Text};
use plotters::style::text_anchor::HPos;

use crate::clock::Moment;
use crate::history::{Fault, FaultState, History, PhaseName};

use super::colours::{self, FAINT_INK, FAULT, GRID, INK, PHASE};
use super::plot::{Area, CHARACTER_WIDTH, DrawError, LEFT, WIDTH_OF_PLOTS, text, x_of};
use super::series::Series;

const ROW_HEIGHT: i32 = 22;
const BAR_HEIGHT: i32 = 16;
const PHASES_HEIGHT: i32 = 30;
/// Rows of faults; those that find no place are in the table only.
const ROWS_MAX: usize = 14;
/// Between two bars, or a bar and its name.
const GAP: i32 = 5;
const LEADERS_TITLE_HEIGHT: i32 = 30;

/// A fault and its row.
pub(super) struct Bar<'a> {
    fault: &'a Fault,
    row: usize,
    name_x: i32,
}

/// Where each fault goes: the first row in which neither its bar nor its name meets another.
pub(super) fn rows_of<'a>(history: &'a History, series: &Series) -> Vec<Bar<'a>> {
    let mut ends: Vec<i32> = Vec::new();
    let mut bars = Vec::new();
    for fault in history.faults.iter().filter(|fault| fault.state != FaultState::Skipped) {
        let (from, to) = ends_of(fault, series);
        let name_width = width_of(&fault.name);
        // Beside the bar when it is short, before it when there is no room behind.
        let is_inside = name_width + 2 * GAP <= to - from;
        let has_room = to + GAP + name_width <= LEFT + WIDTH_OF_PLOTS;
        let (name_x, begin, end) = match (is_inside, has_room) {
            (true, _) => (from + GAP, from, to),
            (false, true) => (to + GAP, from, to + GAP + name_width),
            (false, false) => (from - GAP - name_width, from - GAP - name_width, to),
        };
        let row = ends.iter().position(|&busy| busy + GAP <= begin).unwrap_or(ends.len());
        if row == ROWS_MAX {
            continue;
        }
        ends.resize(ends.len().max(row + 1), i32::MIN / 2);
        ends[row] = end;
        bars.push(Bar { fault, row, name_x });
    }
    bars
}

/// The height of phases and faults.
pub(super) fn height_of(bars: &[Bar<'_>]) -> i32 {
    let rows = bars.iter().map(|bar| bar.row + 1).max().unwrap_or_default();
    PHASES_HEIGHT + ROW_HEIGHT * i32::try_from(rows).expect("few rows") + GAP
}

/// The height of who leads.
pub(super) fn leaders_height(series: &Series) -> i32 {
    let members = i32::try_from(series.members).expect("few members");
    LEADERS_TITLE_HEIGHT + ROW_HEIGHT * members + GAP
}

/// Phases in a line, faults below.
pub(super) fn draw_events(
    area: &Area<'_>,
    history: &History,
    series: &Series,
    bars: &[Bar<'_>],
) -> Result<(), DrawError> {
    let ends = history.phases.iter().skip(1).map(|phase| phase.at).chain([series.end]);
    for (phase, end) in history.phases.iter().zip(ends) {
        draw_phase(area, phase_name(phase.name), (x_of(phase.at, series), x_of(end, series)))?;
    }
    if !bars.is_empty() {
        let at = (LEFT - 8, PHASES_HEIGHT + BAR_HEIGHT / 2);
        area.draw(&Text::new("faults", at, text(14, FAINT_INK.light, HPos::Right)))?;
    }
    for bar in bars {
        draw_fault(area, series, bar)?;
    }
    Ok(())
}

fn draw_phase(area: &Area<'_>, name: &str, (from, to): (i32, i32)) -> Result<(), DrawError> {
    let middle = BAR_HEIGHT / 2 + 4;
    let corners = [(from, 4), ((to - 1).max(from + 1), 4 + BAR_HEIGHT)];
    area.draw(&Rectangle::new(corners, PHASE.light.mix(0.45).filled()))?;
    if width_of(name) + GAP <= to - from {
        area.draw(&Text::new(name, (from + GAP, middle), text(14, INK.light, HPos::Left)))?;
    }
    Ok(())
}

fn draw_fault(area: &Area<'_>, series: &Series, bar: &Bar<'_>) -> Result<(), DrawError> {
    let (from, to) = ends_of(bar.fault, series);
    let top = PHASES_HEIGHT + ROW_HEIGHT * i32::try_from(bar.row).expect("few rows");
    let corners = [(from, top), (to, top + BAR_HEIGHT)];
    let is_sure = bar.fault.state == FaultState::Installed;
    let style = if is_sure { FAULT.light.mix(0.55).filled() } else { FAULT.light.mix(0.9).into() };
    area.draw(&Rectangle::new(corners, style))?;
    let at = (bar.name_x, top + BAR_HEIGHT / 2);
    area.draw(&Text::new(bar.fault.name.as_str(), at, text(14, INK.light, HPos::Left)))
}

/// One row for each member, with a bar for each term in which it led.
pub(super) fn draw_leaders(
    area: &Area<'_>,
    history: &History,
    series: &Series,
) -> Result<(), DrawError> {
    let title_at = (LEFT, LEADERS_TITLE_HEIGHT / 2 + 2);
    area.draw(&Text::new("Who leads", title_at, text(16, INK.light, HPos::Left)))?;
    let top = |member: u32| {
        LEADERS_TITLE_HEIGHT + ROW_HEIGHT * i32::try_from(member).expect("few members")
    };
    let bottom = top(series.members);
    for fault in history.faults.iter().filter(|fault| fault.state == FaultState::Installed) {
        let (from, to) = ends_of(fault, series);
        let corners = [(from, LEADERS_TITLE_HEIGHT), (to, bottom)];
        area.draw(&Rectangle::new(corners, FAULT.light.mix(0.12).filled()))?;
    }
    for member in 0..series.members {
        let middle = top(member) + BAR_HEIGHT / 2;
        let name = format!("member {member}");
        area.draw(&Text::new(name, (LEFT - 8, middle), text(14, FAINT_INK.light, HPos::Right)))?;
        let line = vec![(LEFT, middle), (LEFT + WIDTH_OF_PLOTS, middle)];
        area.draw(&PathElement::new(line, GRID.light))?;
    }
    for reign in &series.reigns {
        let Some(member) = reign.member else { continue };
        let (from, to) =
            (x_of(reign.from, series), x_of(reign.to, series).max(x_of(reign.from, series) + 2));
        let corners = [(from, top(member)), (to, top(member) + BAR_HEIGHT)];
        let colour = colours::of_member(member);
        area.draw(&Rectangle::new(corners, colour.filled()))?;
        let term = format!("term {}", reign.term);
        if width_of(&term) + 2 * GAP <= to - from {
            let at = (from + GAP, top(member) + BAR_HEIGHT / 2);
            area.draw(&Text::new(term, at, text(14, colours::PAPER.light, HPos::Left)))?;
        }
    }
    Ok(())
}

/// A phase as it is called in pictures and tables.
pub(super) fn phase_name(name: PhaseName) -> &'static str {
    match name {
        PhaseName::Warm => "warm",
        PhaseName::Faults => "faults",
        PhaseName::Healed => "healed",
        PhaseName::Quiet => "quiet",
        PhaseName::Drain => "drain",
        PhaseName::Over => "over",
    }
}

/// From the left to the right end, at least wide enough to be seen.
fn ends_of(fault: &Fault, series: &Series) -> (i32, i32) {
    let end: Moment = fault.healed.unwrap_or(series.end);
    let (from, to) = (x_of(fault.began, series), x_of(end, series));
    (from, to.max(from + 3))
}

fn width_of(text: &str) -> i32 {
    CHARACTER_WIDTH * i32::try_from(text.chars().count()).unwrap_or(i32::MAX / 64)
}
