//! A chart as a file of its own: SVG with its colours in it.

use super::{Chart, WIDTH, escape};

/// Height of the title.
const TITLE: f64 = 30.0;
/// White around everything.
const MARGIN: f64 = 14.0;
/// The colours of the page in its light form; what moves under the pointer is not seen on paper.
pub(super) const STYLE: &str = include_str!("figure.css");

/// A whole SVG file.
pub(crate) fn standalone(chart: &Chart, title: &str) -> String {
    let drawing = chart.draw();
    let (width, height) = (WIDTH + 2.0 * MARGIN, drawing.height + TITLE + 2.0 * MARGIN);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="chart" width="{width:.0}" height="{height:.0}" viewBox="0 0 {width:.0} {height:.0}">
<style>{STYLE}</style>
<rect class="paper" width="100%" height="100%"/>
<text class="title" x="{MARGIN}" y="{:.0}">{}</text>
<g transform="translate({MARGIN} {:.0})">{}</g>
</svg>
"#,
        MARGIN + 15.0,
        escape(title),
        MARGIN + TITLE,
        drawing.elements
    )
}
