//! Values along an axis: lines, points with intervals, a band that should be hit.

use std::fmt::Write as _;

use super::axis::{Scale, airy, range, ticks};
use super::{Drawing, LINE, Table, Tone, Unit, WIDTH, clip, escape, legend};

/// Height of the plot itself.
const PLOT: f64 = 168.0;
/// Room for the labels of the vertical axis.
const LEFT: f64 = 48.0;
/// Places that answer the pointer, at most: more of them are narrower than a finger and make the page heavy.
const PLACES: usize = 240;

/// Lines over one axis.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    /// What a row of the table is.
    pub(crate) x_label: &'static str,
    /// Of the vertical axis.
    pub(crate) unit: Unit,
    /// What is written under the axis, and where.
    pub(crate) x_ticks: Vec<(f64, String)>,
    /// What the horizontal axis shows beside the values.
    pub(crate) x_range: Option<(f64, f64)>,
    /// A range of values that should be hit.
    pub(crate) band: Option<(f64, f64)>,
    /// What is drawn.
    pub(crate) series: Vec<Series>,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) tone: Tone,
    /// Which of the dash patterns: parts of one whole share its tone and differ in this.
    pub(crate) dash: usize,
    /// Whether each value is marked with a dot.
    pub(crate) dots: bool,
    pub(crate) points: Vec<Point>,
}

/// One value.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) x: f64,
    /// What this place is called.
    pub(crate) label: String,
    /// `None` where nothing was measured, which breaks the line.
    pub(crate) y: Option<f64>,
    /// What is known of the true value.
    pub(crate) interval: Option<(f64, f64)>,
}

impl Series {
    fn stroke(&self) -> String {
        let dash = ["", "7 3", "2 3", "9 3 2 3"][self.dash % 4];
        match dash {
            "" => format!(r#"class="line {}""#, self.tone.class()),
            _ => format!(r#"class="line {}" stroke-dasharray="{dash}""#, self.tone.class()),
        }
    }

    fn values(&self) -> impl Iterator<Item = f64> + '_ {
        let interval = |p: &Point| p.interval.map_or([f64::NAN; 2], |(low, high)| [low, high]);
        self.points
            .iter()
            .filter(|p| p.y.is_some())
            .flat_map(move |p| p.y.into_iter().chain(interval(p)).collect::<Vec<_>>())
    }
}

impl Lines {
    /// The places in order, each with its name.
    fn places(&self) -> Vec<(f64, &str)> {
        let points = self.series.iter().flat_map(|s| &s.points);
        let mut places: Vec<(f64, &str)> =
            points.filter(|p| p.y.is_some()).map(|p| (p.x, p.label.as_str())).collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        places.dedup_by(|a, b| a.0 == b.0);
        places
    }

    fn at(&self, x: f64) -> impl Iterator<Item = (&Series, &Point)> {
        self.series.iter().filter_map(move |series| {
            let point = series.points.iter().find(|p| p.x == x && p.y.is_some())?;
            Some((series, point))
        })
    }

    fn show(&self, point: &Point) -> String {
        let value = point.y.map_or(String::new(), |y| self.unit.show(y));
        match point.interval {
            Some((low, high)) => format!("{value} ({} to {})", self.unit.show(low), self.unit.show(high)),
            None => value,
        }
    }

    pub(super) fn table(&self) -> Table {
        let head = std::iter::once(self.x_label.to_owned()).chain(self.series.iter().map(|s| s.name.clone()));
        let row = |(x, label): (f64, &str)| {
            let value = |series: &Series| {
                series.points.iter().find(|p| p.x == x).map_or(String::new(), |point| self.show(point))
            };
            std::iter::once(label.to_owned()).chain(self.series.iter().map(value)).collect()
        };
        Table { head: head.collect(), rows: self.places().into_iter().map(row).collect() }
    }

    pub(super) fn draw(&self) -> Drawing {
        let mut out = String::new();
        let places = self.places();
        let names: Vec<(&str, String)> = self
            .series
            .iter()
            .map(|s| (s.name.as_str(), format!(r#"<path {} d="M2 -4H18"/>"#, s.stroke())))
            .collect();
        let top = 6.0 + if names.len() < 2 { 4.0 } else { legend(&names, &mut out) };
        let band = self.band.map_or([f64::NAN; 2], |(low, high)| [low, high]);
        let values = self.series.iter().flat_map(Series::values).chain(band);
        let y_range = airy(range(values).unwrap_or((0.0, 1.0)));
        let y_range = match self.unit {
            Unit::Share => (y_range.0.max(0.0), y_range.1.min(1.0)),
            _ => y_range,
        };
        let ends = self.x_range.into_iter().flat_map(|(low, high)| [low, high]);
        let x_range = range(places.iter().map(|p| p.0).chain(self.x_ticks.iter().map(|t| t.0)).chain(ends));
        let x_range = x_range.unwrap_or((0.0, 1.0));
        let x = Scale { from: x_range, to: (LEFT + 8.0, WIDTH - 14.0) };
        let y = Scale { from: y_range, to: (top + PLOT, top) };
        self.frame(x, y, y_range, top, &mut out);
        for series in &self.series {
            draw_series(series, x, y, &mut out);
        }
        self.hits(&places, x, y, top, &mut out);
        Drawing { elements: out, height: top + PLOT + LINE + 8.0 }
    }

    /// Band, grid and labels.
    fn frame(&self, x: Scale, y: Scale, y_range: (f64, f64), top: f64, out: &mut String) {
        let (left, right) = (LEFT, WIDTH - 6.0);
        if let Some((low, high)) = self.band {
            let (upper, lower) = (y.at(high.min(y_range.1)), y.at(low.max(y_range.0)));
            let _ = write!(
                out,
                r#"<rect class="band" x="{left}" y="{upper:.1}" width="{:.1}" height="{:.1}"/>"#,
                right - left,
                (lower - upper).max(0.0)
            );
        }
        for value in ticks(y_range, 4) {
            let at = y.at(value);
            let _ = write!(
                out,
                r#"<path class="rule" d="M{left} {at:.1}H{right}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                left - 6.0,
                at + 4.0,
                self.unit.tick(value)
            );
        }
        let n = self.x_ticks.len().max(1);
        let letters = ((right - left) / n as f64 / super::LETTER) as usize;
        for (value, label) in &self.x_ticks {
            let at = x.at(*value);
            let label = clip(label, letters.max(3));
            // A long label at the edge moves inwards.
            let middle = at.min(WIDTH - super::LETTER * label.chars().count() as f64 / 2.0);
            let _ = write!(
                out,
                r#"<path class="axis" d="M{at:.1} {:.1}v4"/><text class="tick" x="{middle:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                top + PLOT,
                top + PLOT + LINE,
                escape(&label)
            );
        }
        let _ = write!(out, r#"<path class="axis" d="M{left} {:.1}H{right}"/>"#, top + PLOT);
    }

    /// What the pointer finds: a strip for each place.
    fn hits(&self, places: &[(f64, &str)], x: Scale, y: Scale, top: f64, out: &mut String) {
        let every = places.len().div_ceil(PLACES).max(1);
        let places: Vec<&(f64, &str)> = places.iter().step_by(every).collect();
        for (i, (value, label)) in places.iter().enumerate() {
            let at = x.at(*value);
            let half =
                |other: Option<&&(f64, &str)>, edge: f64| other.map_or(edge, |o| (x.at(o.0) + at) / 2.0);
            let from = half(i.checked_sub(1).and_then(|i| places.get(i)), LEFT);
            let to = half(places.get(i + 1), WIDTH);
            let mut tip = label.to_string();
            let mut dots = String::new();
            for (series, point) in self.at(*value) {
                let _ = write!(tip, "\n{}: {}", series.name, self.show(point));
                let class = series.tone.class();
                let dot = y.at(point.y.unwrap_or_default());
                let _ = write!(dots, r#"<circle class="dot {class}" cx="{at:.1}" cy="{dot:.1}" r="3.5"/>"#);
            }
            let _ = write!(
                out,
                r#"<g class="hit"><title>{}</title><g class="cur"><path class="axis" d="M{at:.1} {top:.1}v{PLOT}"/>{dots}</g><rect x="{from:.1}" y="{top:.1}" width="{:.1}" height="{PLOT}" fill="none" pointer-events="all"/></g>"#,
                escape(&tip),
                (to - from).max(0.5)
            );
        }
    }
}

fn draw_series(series: &Series, x: Scale, y: Scale, out: &mut String) {
    let class = series.tone.class();
    let mut path = String::new();
    let mut pen_down = false;
    for point in &series.points {
        let Some(value) = point.y.filter(|y| y.is_finite()) else {
            pen_down = false;
            continue;
        };
        let _ = write!(path, "{}{:.1} {:.1}", if pen_down { "L" } else { "M" }, x.at(point.x), y.at(value));
        pen_down = true;
    }
    for point in series.points.iter().filter(|p| p.y.is_some()) {
        if let Some((low, high)) = point.interval {
            let (at, low, high) = (x.at(point.x), y.at(low), y.at(high));
            let _ = write!(
                out,
                r#"<path class="whisker {class}" d="M{at:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h8M{:.1} {high:.1}h8"/>"#,
                at - 4.0,
                at - 4.0
            );
        }
    }
    if !path.is_empty() {
        let _ = write!(out, r#"<path {} d="{path}"/>"#, series.stroke());
    }
    if series.dots {
        for point in &series.points {
            if let Some(value) = point.y.filter(|y| y.is_finite()) {
                let (at, value) = (x.at(point.x), y.at(value));
                let _ = write!(out, r#"<circle class="dot {class}" cx="{at:.1}" cy="{value:.1}" r="3.5"/>"#);
            }
        }
    }
}
