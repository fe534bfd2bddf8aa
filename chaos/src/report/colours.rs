//! Colours of a plot. Each means one thing, so that a style sheet can tell them apart and give each
//! another value on a dark page.

use std::fmt::Write;

use plotters::style::RGBColor;

/// A colour on a light page and on a dark one. No two are the same on a light one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Colour {
    pub(super) light: RGBColor,
    dark: RGBColor,
}

const fn colour(light: (u8, u8, u8), dark: (u8, u8, u8)) -> Colour {
    Colour { light: RGBColor(light.0, light.1, light.2), dark: RGBColor(dark.0, dark.1, dark.2) }
}

pub(super) const PAPER: Colour = colour((0xff, 0xff, 0xff), (0x11, 0x18, 0x27));
pub(super) const INK: Colour = colour((0x1f, 0x29, 0x37), (0xe5, 0xe7, 0xeb));
pub(super) const FAINT_INK: Colour = colour((0x6b, 0x72, 0x80), (0x9c, 0xa3, 0xaf));
pub(super) const GRID: Colour = colour((0xe5, 0xe7, 0xea), (0x27, 0x31, 0x41));
pub(super) const PHASE: Colour = colour((0xcb, 0xd5, 0xe1), (0x47, 0x55, 0x69));
pub(super) const FAULT: Colour = colour((0xd9, 0x77, 0x06), (0xfb, 0xbf, 0x24));
pub(super) const UNKNOWN: Colour = colour((0xdc, 0x26, 0x26), (0xf8, 0x71, 0x71));
pub(super) const COMPLETED: Colour = colour((0x25, 0x63, 0xeb), (0x60, 0xa5, 0xfa));
pub(super) const P50: Colour = colour((0x0d, 0x94, 0x88), (0x2d, 0xd4, 0xbf));
pub(super) const P99: Colour = colour((0x7c, 0x3a, 0xed), (0xa7, 0x8b, 0xfa));
pub(super) const MAX: Colour = colour((0x94, 0xa3, 0xb8), (0x64, 0x74, 0x8b));
/// Of members, by place; distinct also to those who see red and green alike (Okabe and Ito).
const MEMBERS: [Colour; 6] = [
    colour((0x00, 0x72, 0xb2), (0x5a, 0xb0, 0xe8)),
    colour((0xd5, 0x5e, 0x00), (0xf5, 0x94, 0x50)),
    colour((0x00, 0x9e, 0x73), (0x3c, 0xcf, 0xa0)),
    colour((0xcc, 0x79, 0xa7), (0xe6, 0xa6, 0xca)),
    colour((0xe6, 0x9f, 0x00), (0xf4, 0xc2, 0x4e)),
    colour((0x56, 0xb4, 0xe9), (0x8c, 0xcf, 0xf5)),
];

const OTHERS: [Colour; 11] =
    [PAPER, INK, FAINT_INK, GRID, PHASE, FAULT, UNKNOWN, COMPLETED, P50, P99, MAX];

/// The colour of a member.
pub(super) fn of_member(place: u32) -> RGBColor {
    let place = usize::try_from(place).expect("few members");
    MEMBERS[place % MEMBERS.len()].light
}

/// Rules that give every colour of a plot its dark value.
pub(super) fn dark_rules() -> String {
    let mut rules = String::new();
    for Colour { light, dark } in OTHERS.iter().chain(&MEMBERS) {
        let (light, dark) = (hex(*light), hex(*dark));
        for attribute in ["fill", "stroke"] {
            write!(rules, ".timeline [{attribute}=\"{light}\"]{{{attribute}:{dark}}}")
                .expect("writing to a string does not fail");
        }
    }
    rules
}

/// As the library writes it.
fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_colours_are_the_same() {
        let all = OTHERS.iter().chain(&MEMBERS);
        let distinct: BTreeSet<String> = all.map(|colour| hex(colour.light)).collect();
        assert_eq!(distinct.len(), OTHERS.len() + MEMBERS.len());
    }
}
