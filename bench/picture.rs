//! The results as a picture: bars of CPU cost per system, for light and dark pages.

use std::fmt::Write;

use crate::{
    session::Comparison,
    systems::System,
    target::{Met, Target},
};

/// Colors of a page.
pub(crate) struct Theme {
    pub(crate) name: &'static str,
    background: &'static str,
    text: &'static str,
    faint: &'static str,
    ours: &'static str,
    peer: &'static str,
    limit: &'static str,
}

/// Light and dark.
pub(crate) const THEMES: &[Theme] = &[
    Theme {
        name: "light",
        background: "#ffffff",
        text: "#1f2933",
        faint: "#6b7785",
        ours: "#0f766e",
        peer: "#b45309",
        limit: "#9aa5b1",
    },
    Theme {
        name: "dark",
        background: "#0d1117",
        text: "#e6edf3",
        faint: "#8b949e",
        ours: "#2dd4bf",
        peer: "#f59e0b",
        limit: "#56616d",
    },
];

const WIDTH: f64 = 860.0;
const NAME: f64 = 290.0;
const BAR: f64 = 350.0;
const ROW: f64 = 24.0;

struct Pen<'a> {
    out: String,
    y: f64,
    theme: &'a Theme,
}

impl Pen<'_> {
    fn text(&mut self, x: f64, size: u32, color: &str, words: &str) {
        let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let y = self.y;
        // Writing into memory does not fail.
        let _ok = writeln!(
            self.out,
            r#"<text x="{x}" y="{y}" font-size="{size}" fill="{color}">{words}</text>"#
        );
    }

    fn bar(&mut self, width: f64, color: &str) {
        let y = self.y - 13.0;
        let _ok = writeln!(
            self.out,
            r#"<rect x="{NAME}" y="{y}" width="{width:.1}" height="16" rx="2" fill="{color}"/>"#
        );
    }

    fn comparison(&mut self, comparison: &Comparison) {
        self.y += ROW * 1.5;
        self.text(16.0, 15, self.theme.text, &comparison.title);
        let mut shown: Vec<(System, u64)> = Vec::new();
        for run in &comparison.runs {
            if !shown.contains(&(run.system, run.epoch_ms)) {
                shown.push((run.system, run.epoch_ms));
            }
        }
        let cost = |(system, epoch): &(System, u64)| comparison.cost(*system, *epoch);
        let most = shown.iter().map(cost).fold(1e-9, f64::max);
        for (system, epoch_ms) in shown {
            self.y += ROW;
            let cost = comparison.cost(system, epoch_ms);
            // Without a figure there is no bar, and the words say so.
            let length = if cost.is_finite() { cost / most * BAR } else { 0.0 };
            let color = match system {
                System::Tidemill => self.theme.ours,
                System::Streams { .. } => self.theme.peer,
                _ => self.theme.limit,
            };
            self.text(16.0, 13, self.theme.text, &format!("{system}, E = {epoch_ms} ms"));
            self.bar(length.max(1.0), color);
            let speed = comparison.speed(system, epoch_ms) / 1e3;
            let words = format!("{cost:.2}  ({speed:.0} k records/CPU-s)");
            self.text(NAME + length + 6.0, 12, self.theme.faint, &words);
        }
    }

    fn target(&mut self, target: &Target) {
        self.y += ROW * 0.85;
        let color = match target.met {
            Met::Pass => self.theme.ours,
            Met::Miss => self.theme.peer,
            Met::Invalid | Met::NotJudged => self.theme.faint,
        };
        let sign = if target.at_least { "≥" } else { "≤" };
        let met = target.met.word();
        let Target { workload, what, found, bound, unit, .. } = target;
        self.text(16.0, 12, self.theme.text, &format!("{workload}  {what}"));
        self.text(640.0, 12, color, &format!("{found:.2} {unit} ({sign} {bound}) {met}"));
    }
}

/// The picture as SVG.
pub(crate) fn draw(comparisons: &[Comparison], targets: &[Target], theme: &Theme) -> String {
    let mut pen = Pen { out: String::new(), y: 30.0, theme };
    pen.text(16.0, 18, theme.text, "Tidemill on one broker, exactly-once");
    pen.y += ROW;
    let unit = "CPU-seconds per million input records (less is better), and records per CPU-second";
    pen.text(16.0, 12, theme.faint, unit);
    for comparison in comparisons {
        pen.comparison(comparison);
    }
    pen.y += ROW * 1.5;
    pen.text(16.0, 15, theme.text, "Targets");
    for target in targets {
        pen.target(target);
    }
    let height = pen.y + ROW;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n{}</svg>\n",
        theme.background, pen.out
    )
}
