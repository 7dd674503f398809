//! A small chart as SVG: panels of lines over one axis.
//!
//! Contract: [`Chart::svg`] is a whole file; colours follow the reader's light or dark mode. Values are at whole steps from 0;
//! each panel begins at zero and ends at a round number above all it shows.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 52.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 66.0;
const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 15px }
  .grid { stroke: #d1d9e0; stroke-width: 1 } .band { fill: #0969da; fill-opacity: .08 }
  .line { fill: none; stroke-width: 1.6 } .s0 { stroke: #0969da } .s1 { stroke: #bc4c00; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .grid { stroke: #3d444d } .band { fill: #4493f8; fill-opacity: .16 }
    .s0 { stroke: #4493f8 } .s1 { stroke: #f0883e }
  }
";

/// See the module.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What the axis shows.
    pub(crate) across: String,
    /// Steps that are marked on it.
    pub(crate) marks: Vec<(usize, String)>,
    /// Stretches of steps that are set off.
    pub(crate) bands: Vec<(usize, usize, String)>,
    pub(crate) panels: Vec<Panel>,
}

/// Lines over one height.
pub(crate) struct Panel {
    pub(crate) title: String,
    /// At most two.
    pub(crate) series: Vec<Series>,
}

/// A line.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
}

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let height = TOP + self.panels.len() as f64 * (PANEL + GAP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"{0}\">\n<style>{STYLE}</style>\n<text class=\"title\" x=\"{LEFT}\" y=\"22\">{0}</text>\n",
            escaped(&self.title)
        );
        for (number, panel) in self.panels.iter().enumerate() {
            self.panel(&mut svg, panel, TOP + 14.0 + number as f64 * (PANEL + GAP));
        }
        text(&mut svg, WIDTH / 2.0, height - 8.0, "middle", &self.across);
        svg + "</svg>\n"
    }

    fn panel(&self, svg: &mut String, panel: &Panel, top: f64) {
        let steps = panel.series.iter().map(|series| series.values.len()).max().unwrap_or(0).max(2);
        let most = panel.series.iter().flat_map(|series| &series.values).fold(0.0_f64, |most, value| most.max(*value));
        let full = round_above(most);
        let x = |step: usize| LEFT + (WIDTH - LEFT - RIGHT) * step as f64 / steps as f64;
        let y = |value: f64| top + PANEL * (1.0 - value / full);
        text(svg, LEFT, top - 8.0, "start", &panel.title);
        for (from, to, name) in &self.bands {
            let (left, width) = (x(*from), x(*to) - x(*from));
            put(
                svg,
                &format!("<rect class=\"band\" x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{PANEL}\"/>"),
            );
            text(svg, left + width / 2.0, top + 16.0, "middle", name);
        }
        for part in 0..=4 {
            let value = full * f64::from(part) / 4.0;
            rule(svg, (LEFT, y(value)), (WIDTH - RIGHT, y(value)));
            text(svg, LEFT - 8.0, y(value) + 4.0, "end", &format!("{value}"));
        }
        for (step, name) in &self.marks {
            rule(svg, (x(*step), top + PANEL), (x(*step), top + PANEL + 5.0));
            text(svg, x(*step), top + PANEL + 20.0, "middle", name);
        }
        for (number, series) in panel.series.iter().enumerate() {
            let points: Vec<String> = series
                .values
                .iter()
                .enumerate()
                .map(|(step, value)| format!("{:.1},{:.1}", x(step), y(*value)))
                .collect();
            put(svg, &format!("<polyline class=\"line s{number}\" points=\"{}\"/>", points.join(" ")));
            let left = WIDTH - RIGHT - 420.0 + 250.0 * number as f64;
            put(svg, &format!("<path class=\"line s{number}\" d=\"M{left} {} h24\"/>", top - 12.0));
            text(svg, left + 30.0, top - 8.0, "start", &series.name);
        }
    }
}

/// The next of 1, 2, 4, 6, 8, 10 × a power of ten.
fn round_above(value: f64) -> f64 {
    let power = 10.0_f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(10.0 * power)
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    put(svg, &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(words)));
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((left, top), (right, bottom)) = (from, to);
    put(svg, &format!("<path class=\"grid\" d=\"M{left:.1} {top:.1} L{right:.1} {bottom:.1}\"/>"));
}

fn put(svg: &mut String, element: &str) {
    writeln!(svg, "{element}").expect("a string takes everything");
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
