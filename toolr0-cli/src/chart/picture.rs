//! A chart's file as pixels: as much of SVG as charts are made of, and no more.
//!
//! Elements are groups with a shift, rectangles, circles, paths of straight lines, and text; colours come from the rules of
//! `figure.css`. The letters are part of the program, so that a picture is the same on every machine.

use std::collections::BTreeMap;

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};
use anyhow::{Context, Result, bail};

use super::{figure::STYLE, png};

/// Latin, Greek and Cyrillic of DejaVu Sans.
const PLAIN: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans.ttf");
const BOLD: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-Bold.ttf");

/// What an element is drawn with: the properties of its rules and attributes.
type Style = BTreeMap<String, String>;

/// The SVG file `svg` as PNG, with `scale` pixels to a unit.
///
/// # Errors
///
/// If it holds what charts do not.
pub(crate) fn picture(svg: &str, scale: f32) -> Result<Vec<u8>> {
    let mut canvas = Canvas::new(scale)?;
    let mut groups: Vec<Group> = Vec::new();
    let mut rest = svg;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').context("an element has no end")?;
        let (content, _) = after.split_once('<').unwrap_or((after, ""));
        rest = after;
        if tag.starts_with('/') {
            if matches!(tag, "/g" | "/svg") {
                groups.pop();
            }
            continue;
        }
        let element = Element::read(tag);
        let group = groups.last().copied().unwrap_or(Group { x: 0.0, y: 0.0, seen: true });
        match element.name {
            "svg" => canvas.open(element.number("width"), element.number("height")),
            "style" | "title" => continue,
            _ if !group.seen && element.name != "g" => continue,
            "g" => {}
            "rect" => canvas.rect(&element, group),
            "circle" => canvas.circle(&element, group),
            "path" => canvas.path(&element, group)?,
            "text" => canvas.text(&element, &unescape(content), group)?,
            other => bail!("charts have no <{other}>"),
        }
        if matches!(element.name, "g" | "svg") && !element.closed {
            let (dx, dy) = element.shift();
            let seen = group.seen && element.style.get("opacity").is_none_or(|opacity| opacity != "0");
            groups.push(Group { x: group.x + dx, y: group.y + dy, seen });
        }
    }
    Ok(png::encode(&canvas.pixels, canvas.width))
}

/// Where a group's own zero lies, and whether its elements are seen.
#[derive(Clone, Copy)]
struct Group {
    x: f32,
    y: f32,
    seen: bool,
}

/// One element with its style.
struct Element<'a> {
    name: &'a str,
    attributes: BTreeMap<&'a str, &'a str>,
    style: Style,
    /// Whether it has no content.
    closed: bool,
}

impl<'a> Element<'a> {
    fn read(tag: &'a str) -> Self {
        let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, mut rest) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
        let mut attributes = BTreeMap::new();
        while let Some((key, after)) = rest.split_once("=\"") {
            let (value, after) = after.split_once('"').unwrap_or((after, ""));
            attributes.insert(key.trim(), value);
            rest = after;
        }
        let mut style = Style::new();
        for key in ["fill", "stroke", "fill-opacity", "stroke-dasharray", "text-anchor"] {
            if let Some(value) = attributes.get(key) {
                style.insert(key.to_owned(), (*value).to_owned());
            }
        }
        let classes: Vec<&str> = attributes.get("class").map_or(Vec::new(), |all| all.split(' ').collect());
        for (selectors, rules) in STYLE.split('}').filter_map(|rule| rule.split_once('{')) {
            if selectors.split(',').any(|selector| is_meant(selector, name, &classes)) {
                let rules = rules.split(';').filter_map(|rule| rule.split_once(':'));
                style.extend(rules.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())));
            }
        }
        Self { name, attributes, style, closed }
    }

    /// A number of an attribute; 0 where there is none.
    fn number(&self, key: &str) -> f32 {
        self.attributes.get(key).and_then(|text| text.parse().ok()).unwrap_or(0.0)
    }

    /// `transform="translate(x y)"`.
    fn shift(&self) -> (f32, f32) {
        let inside =
            self.attributes.get("transform").and_then(|t| t.strip_prefix("translate(")?.strip_suffix(')'));
        let mut numbers = inside.unwrap_or("").split(' ').filter_map(|n| n.parse().ok());
        (numbers.next().unwrap_or(0.0), numbers.next().unwrap_or(0.0))
    }

    /// A colour and how much of it; `None` for none.
    fn paint(&self, key: &str, default: Option<&str>) -> Option<([u8; 3], f32)> {
        let colour = self.style.get(key).map(String::as_str).or(default)?;
        let hex = u32::from_str_radix(colour.strip_prefix('#')?, 16).ok()?;
        let opacity = self.style.get(&format!("{key}-opacity")).and_then(|text| text.parse().ok());
        Some(([hex >> 16, hex >> 8, hex].map(|part| part as u8), opacity.unwrap_or(1.0)))
    }

    /// Pixels, or units, of a length such as `12px`.
    fn length(&self, key: &str) -> Option<f32> {
        self.style.get(key)?.split(' ').find_map(|part| part.trim_end_matches("px").parse().ok())
    }
}

/// Whether the last part of a selector, such as `.line.gen` or `.chart text`, means an element.
fn is_meant(selector: &str, name: &str, classes: &[&str]) -> bool {
    let last = selector.split_whitespace().last().unwrap_or_default();
    let mut parts = last.split('.');
    let element = parts.next().unwrap_or_default();
    (element.is_empty() || element == name) && parts.all(|class| classes.contains(&class))
}

/// What [`super::escape`] wrote, read back.
fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    text.replace("&amp;", "&")
}

/// The pixels, from the upper left.
struct Canvas {
    pixels: Vec<[u8; 3]>,
    width: usize,
    scale: f32,
    fonts: [FontRef<'static>; 2],
}

impl Canvas {
    fn new(scale: f32) -> Result<Self> {
        let font = |bytes| FontRef::try_from_slice(bytes).context("the program's own letters cannot be read");
        Ok(Self { pixels: Vec::new(), width: 0, scale, fonts: [font(PLAIN)?, font(BOLD)?] })
    }

    fn open(&mut self, width: f32, height: f32) {
        let [width, height] = [width, height].map(|units| (units * self.scale).round() as usize);
        self.width = width;
        self.pixels = vec![[255; 3]; width * height];
    }

    /// Puts `opacity` of a colour on a pixel, if there is one.
    fn blend(&mut self, x: i64, y: i64, colour: [u8; 3], opacity: f32) {
        let inside = (0..self.width as i64).contains(&x) && 0 <= y;
        let Some(pixel) = self.pixels.get_mut((y * self.width as i64 + x) as usize).filter(|_| inside) else {
            return;
        };
        for (old, new) in pixel.iter_mut().zip(colour) {
            let mixed = f32::from(*old) + (f32::from(new) - f32::from(*old)) * opacity.clamp(0.0, 1.0);
            *old = mixed.round() as u8;
        }
    }

    /// Fills a shape that is no wider anywhere than its edges say: `inside` tells of any point, in pixels, how far it is from
    /// the edge, positive within. The edge is smoothed over one pixel.
    fn fill(
        &mut self,
        bounds: [f32; 4],
        inside: impl Fn(f32, f32) -> f32,
        (colour, opacity): ([u8; 3], f32),
    ) {
        let [left, top, right, bottom] = bounds;
        for y in (top - 1.0).floor() as i64..=(bottom + 1.0).ceil() as i64 {
            for x in (left - 1.0).floor() as i64..=(right + 1.0).ceil() as i64 {
                let covered = (inside(x as f32 + 0.5, y as f32 + 0.5) + 0.5).clamp(0.0, 1.0);
                if 0.0 < covered {
                    self.blend(x, y, colour, covered * opacity);
                }
            }
        }
    }

    fn rect(&mut self, element: &Element<'_>, group: Group) {
        let size = |key| element.attributes.get(key).is_some_and(|value| *value == "100%");
        let (x, y) = (element.number("x") + group.x, element.number("y") + group.y);
        let (mut width, mut height) = (element.number("width"), element.number("height"));
        if size("width") && size("height") {
            let rows = self.pixels.len() / self.width.max(1);
            (width, height) = (self.width as f32 / self.scale, rows as f32 / self.scale);
        }
        let [left, top, right, bottom] = [x, y, x + width, y + height].map(|units| units * self.scale);
        if let Some(paint) = element.paint("fill", Some("#000000")) {
            // The share of a pixel that lies within, by side.
            let share =
                |at: f32, from: f32, to: f32| ((at + 0.5).min(to) - (at - 0.5).max(from)).clamp(0.0, 1.0);
            let inside = |px: f32, py: f32| share(px, left, right) * share(py, top, bottom) - 0.5;
            self.fill([left, top, right, bottom], inside, paint);
        }
        let corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)];
        self.stroke(element, &corners);
    }

    fn circle(&mut self, element: &Element<'_>, group: Group) {
        let (x, y) = (element.number("cx") + group.x, element.number("cy") + group.y);
        let [x, y, radius] = [x, y, element.number("r")].map(|units| units * self.scale);
        if let Some(paint) = element.paint("fill", Some("#000000")) {
            let inside = |px: f32, py: f32| radius - (px - x).hypot(py - y);
            self.fill([x - radius, y - radius, x + radius, y + radius], inside, paint);
        }
    }

    /// `d` of absolute `M`, `L`, `H`, `V` and relative `h`, `v`.
    fn path(&mut self, element: &Element<'_>, group: Group) -> Result<()> {
        let text = element.attributes.get("d").copied().unwrap_or_default();
        let (mut lines, mut at): (Vec<Vec<(f32, f32)>>, _) = (Vec::new(), (0.0, 0.0));
        let starts: Vec<usize> =
            text.match_indices(|c: char| c.is_ascii_alphabetic()).map(|(i, _)| i).collect();
        for (i, start) in starts.iter().enumerate() {
            let part = &text[*start..starts.get(i + 1).copied().unwrap_or(text.len())];
            let numbers: Vec<f32> = part[1..]
                .split([' ', ','])
                .filter(|n| !n.is_empty())
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            at = match (&part[..1], &numbers[..]) {
                ("M" | "L", [x, y]) => (*x, *y),
                ("H", [x]) => (*x, at.1),
                ("V", [y]) => (at.0, *y),
                ("h", [x]) => (at.0 + x, at.1),
                ("v", [y]) => (at.0, at.1 + y),
                _ => bail!("charts have no `{part}` in a path"),
            };
            if part.starts_with('M') {
                lines.push(Vec::new());
            }
            let line = lines.last_mut().context("a path does not begin with M")?;
            line.push((at.0 + group.x, at.1 + group.y));
        }
        lines.iter().for_each(|line| self.stroke(element, line));
        Ok(())
    }

    /// A line through points, in units, with round ends; in dashes where the style says so.
    fn stroke(&mut self, element: &Element<'_>, points: &[(f32, f32)]) {
        let Some(paint) = element.paint("stroke", None) else { return };
        let width = element.length("stroke-width").unwrap_or(1.0) * self.scale;
        let dashes: Vec<f32> = element.style.get("stroke-dasharray").map_or(Vec::new(), |text| {
            text.split([' ', ',']).filter_map(|n| n.parse().ok()).filter(|n| 0.0 < *n).collect()
        });
        let mut done = 0.0;
        for pair in points.windows(2) {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            let length = (x1 - x0).hypot(y1 - y0);
            for (from, to) in drawn(&dashes, done, length) {
                let place = |t: f32| {
                    let share = if length == 0.0 { 0.0 } else { t / length };
                    ((x0 + share * (x1 - x0)) * self.scale, (y0 + share * (y1 - y0)) * self.scale)
                };
                let (a, b) = (place(from), place(to));
                self.segment(a, b, width, paint);
            }
            done += length;
        }
    }

    /// A straight line between two pixels.
    fn segment(&mut self, (ax, ay): (f32, f32), (bx, by): (f32, f32), width: f32, paint: ([u8; 3], f32)) {
        let (dx, dy, half) = (bx - ax, by - ay, width / 2.0);
        let square = dx * dx + dy * dy;
        let inside = |px: f32, py: f32| {
            let along = if square == 0.0 { 0.0 } else { ((px - ax) * dx + (py - ay) * dy) / square };
            let along = along.clamp(0.0, 1.0);
            half - (px - ax - along * dx).hypot(py - ay - along * dy)
        };
        self.fill(
            [ax.min(bx) - half, ay.min(by) - half, ax.max(bx) + half, ay.max(by) + half],
            inside,
            paint,
        );
    }

    fn text(&mut self, element: &Element<'_>, text: &str, group: Group) -> Result<()> {
        let Some((colour, opacity)) = element.paint("fill", Some("#000000")) else { return Ok(()) };
        let size =
            element.length("font-size").or_else(|| element.length("font")).unwrap_or(12.0) * self.scale;
        let bold = element.style.get("font-weight").is_some_and(|weight| weight == "bold");
        let font = self.fonts[usize::from(bold)].clone();
        let em = font.units_per_em().context("the program's own letters have no size")?;
        let scaled = font.as_scaled(PxScale::from(size * font.height_unscaled() / em));
        let mut places = Vec::new();
        let (mut width, mut last) = (0.0, None);
        for letter in text.chars() {
            let id = scaled.glyph_id(letter);
            width += last.map_or(0.0, |last| scaled.kern(last, id));
            places.push((id, width));
            width += scaled.h_advance(id);
            last = Some(id);
        }
        let (x, y) = (element.number("x") + group.x, element.number("y") + group.y);
        let shift = match element.style.get("text-anchor").map(String::as_str) {
            Some("middle") => width / 2.0,
            Some("end") => width,
            _ => 0.0,
        };
        for (id, at) in places {
            let place = point(x * self.scale - shift + at, y * self.scale);
            if let Some(outline) = scaled.outline_glyph(id.with_scale_and_position(scaled.scale(), place)) {
                let (left, top) = (outline.px_bounds().min.x as i64, outline.px_bounds().min.y as i64);
                outline.draw(|px, py, covered| {
                    self.blend(left + i64::from(px), top + i64::from(py), colour, covered * opacity);
                });
            }
        }
        Ok(())
    }
}

/// The parts, from and to, of a line of this length that are drawn: the dashes go on where they ended `done` ago.
fn drawn(dashes: &[f32], done: f32, length: f32) -> Vec<(f32, f32)> {
    let period: f32 = dashes.iter().sum();
    if period <= 0.0 {
        return vec![(0.0, length)];
    }
    let (mut parts, mut at) = (Vec::new(), -(done % period));
    while at < length {
        for (i, dash) in dashes.iter().enumerate() {
            let (from, to) = (at.max(0.0), (at + dash).min(length));
            if i % 2 == 0 && from < to {
                parts.push((from, to));
            }
            at += dash;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(inside: &str) -> Result<Vec<u8>> {
        picture(
            &format!(
                r#"<svg xmlns="x" class="chart" width="200" height="40" viewBox="0 0 200 40"><style>{STYLE}</style>
<rect class="paper" width="100%" height="100%"/>{inside}</svg>"#
            ),
            2.0,
        )
    }

    /// How much larger the file is than that of white paper: what is drawn takes bytes.
    fn drawn_bytes(inside: &str) -> usize {
        canvas(inside).unwrap().len() - canvas("").unwrap().len()
    }

    #[test]
    fn everything_that_charts_are_made_of_is_drawn() {
        for (name, inside) in [
            ("rect", r#"<rect class="bar sol" x="10" y="10" width="50" height="9"/>"#),
            ("edge", r#"<rect class="edge" x="10" y="10" width="50" height="9"/>"#),
            ("circle", r#"<circle class="dot gen" cx="20" cy="20" r="3.5"/>"#),
            ("path", r#"<path class="line gen" d="M2 -4H18M3 5V20L40 30h8v4"/>"#),
            ("text", r#"<text class="tick" x="9" y="20" text-anchor="middle">β ≤ 5 &lt; 7</text>"#),
            ("group", r#"<g transform="translate(5 6)"><text>x</text></g>"#),
        ] {
            assert!(10 < drawn_bytes(inside), "{name}");
        }
        let nothing = r#"<g class="cur"><path class="axis" d="M4 5v9"/></g><g class="hit"><title>9</title>
            <rect x="0" y="1" width="30" height="9" fill="none" pointer-events="all"/></g>"#;
        assert_eq!(drawn_bytes(nothing), 0, "what is only seen under the pointer");
        assert!(
            drawn_bytes(r#"<text class="tick" x="9" y="20">A</text>"#)
                < drawn_bytes(r#"<text class="title" x="9" y="20">A</text>"#)
        );
        let dashed = r#"<path class="line gen" stroke-dasharray="4 3" d="M0 9H190"/>"#;
        assert_ne!(drawn_bytes(dashed), drawn_bytes(&dashed.replace(" stroke-dasharray=\"4 3\"", "")));
        for foreign in ["<image/>", r#"<path class="axis" d="M0 0C1 1 2 2 3 3"/>"#] {
            assert!(canvas(foreign).is_err(), "{foreign}");
        }
    }

    #[test]
    fn dashes_go_on_from_one_line_to_the_next() {
        assert_eq!(drawn(&[], 3.0, 9.0), [(0.0, 9.0)]);
        assert_eq!(drawn(&[4.0, 2.0], 0.0, 9.0), [(0.0, 4.0), (6.0, 9.0)]);
        assert_eq!(drawn(&[4.0, 2.0], 9.0, 5.0), [(0.0, 1.0), (3.0, 5.0)]);
    }

    #[test]
    fn colours_and_shares_of_pixels_are_those_of_the_style() {
        let mut canvas = Canvas::new(1.0).unwrap();
        canvas.open(4.0, 2.0);
        let bar = Element::read(r#"rect class="bar sol" x="1" y="0" width="1.5" height="1"/"#);
        canvas.rect(&bar, Group { x: 0.0, y: 0.0, seen: true });
        let half = [0x1f, 0x5f, 0xa8].map(|part| ((255 + part) as f32 / 2.0).round() as u8);
        assert_eq!(canvas.pixels[..4], [[255; 3], [0x1f, 0x5f, 0xa8], half, [255; 3]]);
        assert_eq!(canvas.pixels[4..], [[255; 3]; 4]);
    }
}
