//! Charts: SVG without colours of its own, and the same numbers as a table.
//!
//! A chart names what it shows by classes ([`Tone`]); the page's style sheet, or the one that [`figure`] puts into a
//! file, gives them their colours, so one drawing serves light, dark and paper. Under the pointer every chart tells its
//! values: each place has a `<title>`, which browsers show by themselves.

mod axis;
mod bars;
mod figure;
mod heat;
mod lines;
mod picture;
mod png;

pub(crate) use bars::{Bars, Row};
pub(crate) use figure::standalone;
pub(crate) use heat::{Cell, Heat};
pub(crate) use lines::{Lines, Point, Series};
pub(crate) use picture::picture;

/// Width of every drawing: narrow, so that its letters stay readable on a phone.
const WIDTH: f64 = 440.0;
/// Height of a line of a legend or of labels.
const LINE: f64 = 17.0;
/// Mean width of a letter at the size of the charts' text.
const LETTER: f64 = 6.9;

/// One chart.
#[derive(Clone, Debug)]
pub(crate) enum Chart {
    /// Values along an axis.
    Lines(Lines),
    /// Horizontal bars.
    Bars(Bars),
    /// A matrix of shades.
    Heat(Heat),
}

/// A chart as it is drawn: elements, and the height they take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drawing {
    elements: String,
    height: f64,
}

/// The numbers behind a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Chart {
    /// The drawing as an element of an HTML page.
    pub(crate) fn svg(&self, title: &str) -> String {
        let Drawing { elements, height } = self.draw();
        let title = escape(title);
        format!(
            r#"<svg class="chart" viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-label="{title}">{elements}</svg>"#
        )
    }

    /// The numbers.
    pub(crate) fn table(&self) -> Table {
        match self {
            Self::Lines(chart) => chart.table(),
            Self::Bars(chart) => chart.table(),
            Self::Heat(chart) => chart.table(),
        }
    }

    /// Whether there is nothing to be drawn.
    pub(crate) fn is_empty(&self) -> bool {
        self.table().rows.is_empty()
    }

    fn draw(&self) -> Drawing {
        match self {
            Self::Lines(chart) => chart.draw(),
            Self::Bars(chart) => chart.draw(),
            Self::Heat(chart) => chart.draw(),
        }
    }
}

/// What a mark stands for, and so its colour: one accent to each role, greys for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Generator,
    Solver,
    Muted,
    Easy,
    Medium,
    Hard,
}

impl Tone {
    /// The class of its elements.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Generator => "gen",
            Self::Solver => "sol",
            Self::Muted => "mut",
            Self::Easy => "easy",
            Self::Medium => "med",
            Self::Hard => "hard",
        }
    }
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// From 0 to 1, shown as per cent.
    Share,
    /// Any number.
    Number,
    /// A whole number.
    Count,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// A value with all the digits that say something.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.1} %", 100.0 * value),
            Self::Count => format!("{value:.0}"),
            Self::Seconds => format!("{value:.1} s"),
            Self::Number => number(value),
        }
    }

    /// A value beside an axis.
    fn tick(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.0} %", 100.0 * value),
            Self::Seconds => format!("{} s", number(value)),
            Self::Count | Self::Number => number(value),
        }
    }
}

fn number(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if size == 0.0 || 1000.0 <= size => 0,
        _ if size < 0.001 => return format!("{value:.1e}"),
        _ if size < 0.1 => 4,
        _ if size < 10.0 => 3,
        _ => 1,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Text that is safe in an element and in an attribute, and that an XML reader takes: what a model wrote may hold
/// anything.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(letter),
            // Control characters are no XML, and marks that turn the direction of a text hide what it says.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => {
                safe.push('\u{fffd}')
            }
            _ if letter.is_control() => safe.push('\u{fffd}'),
            _ => safe.push(letter),
        }
    }
    safe
}

/// Cuts a label that would run into its neighbour.
fn clip(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

/// Names with their marks, in as many lines as they need; returns the height. `mark` draws at a place.
fn legend(entries: &[(&str, String)], out: &mut String) -> f64 {
    use std::fmt::Write as _;
    let (mut x, mut y) = (0.0, LINE - 5.0);
    for (name, mark) in entries {
        let name = clip(name, 40);
        let width = 24.0 + LETTER * name.chars().count() as f64 + 14.0;
        if 0.0 < x && WIDTH < x + width {
            (x, y) = (0.0, y + LINE);
        }
        let _ = write!(
            out,
            r#"<g transform="translate({x:.1} {y:.1})">{mark}<text x="24">{}</text></g>"#,
            escape(&name)
        );
        x += width;
    }
    if entries.is_empty() { 0.0 } else { y + 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_harmless() {
        let text = escape("<script>alert('\"&\")</script>\u{202e}\u{0}\u{1b}[2J\n");
        assert_eq!(
            text,
            "&lt;script&gt;alert(&#39;&quot;&amp;&quot;)&lt;/script&gt;\u{fffd}\u{fffd}\u{fffd}[2J\n"
        );
    }

    #[test]
    fn numbers_keep_what_says_something() {
        let shown = [0.0, 1e-4, 0.0125, 0.5, 2.0, 12.34, 1234.5].map(|x| Unit::Number.show(x));
        assert_eq!(shown, ["0", "1.0e-4", "0.0125", "0.5", "2", "12.3", "1234"]);
        assert_eq!((Unit::Share.show(0.4833), Unit::Share.tick(0.5)), ("48.3 %".into(), "50 %".into()));
    }
}
