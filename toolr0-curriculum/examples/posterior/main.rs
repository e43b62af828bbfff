//! What probes buy: the error of a task's worth against the probes that were spent on it, simulated.
//!
//! ```sh
//! cargo run -p toolr0-curriculum --example posterior              # a table
//! cargo run -p toolr0-curriculum --example posterior -- FILE.svg  # and a figure
//! ```
//!
//! True success rates are spread as those of the default run are: the 1,143 candidates of three iterations (seed 1), by how
//! many of eight attempts solved them, from which the spread that explains these counts best is recovered.
#![allow(clippy::print_stdout, reason = "an example prints")]

mod simulation;

use std::fmt::Write as _;

use toolr0_curriculum::PosteriorConfig;

use self::simulation::{Outcome, Rule, simulate, spread};

fn main() -> anyhow::Result<()> {
    const TASKS: usize = 100_000;
    let spread = spread();
    let posterior = |batch, tolerance, most| {
        Rule::Posterior(PosteriorConfig { batch, tolerance, ..PosteriorConfig::default() }, most)
    };
    let lines: [(&str, Vec<Rule>); 3] = [
        ("rate of K probes", [2, 3, 4, 6, 8, 12, 16, 24].map(Rule::Rate).into()),
        ("posterior of K probes", [2, 3, 4, 6, 8, 12, 16, 24].map(|k| posterior(1, 0.0, k)).into()),
        (
            "posterior, batches of 4, at most 16",
            [0.45, 0.4, 0.375, 0.35, 0.3, 0.25, 0.2, 0.1].map(|tolerance| posterior(4, tolerance, 16)).into(),
        ),
    ];
    let told = |Outcome { probes, most, error }: Outcome| {
        println!("  probes {probes:6.2} (most {most:2})   mean squared error of the worth {error:.4}");
    };
    println!("posterior, single probes, at most 24");
    told(simulate(posterior(1, PosteriorConfig::default().tolerance, 24), &spread, TASKS, 1));
    println!("rates spread evenly: rate of 8 probes; posterior, batches of 4, at most 16");
    for rule in [Rule::Rate(8), Rule::Posterior(PosteriorConfig::default(), 16)] {
        told(simulate(rule, &[1.0; 101], TASKS, 1));
    }
    let mut drawn = Vec::new();
    for (name, rules) in lines {
        println!("{name}");
        let mut points = Vec::new();
        for rule in rules {
            let outcome = simulate(rule, &spread, TASKS, 1);
            told(outcome);
            points.push((outcome.probes, outcome.error));
        }
        drawn.push((name, points));
    }
    if let Some(path) = std::env::args().nth(1) {
        std::fs::write(path, figure(&drawn))?;
    }
    Ok(())
}

/// Error over probes, one line for each way of spending them.
fn figure(lines: &[(&str, Vec<(f64, f64)>)]) -> String {
    let x = |probes: f64| 60.0 + probes / 24.0 * 560.0;
    let y = |error: f64| 270.0 - error / 0.25 * 220.0;
    let mut svg = String::from(concat!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="640" height="320" viewBox="0 0 640 320" "##,
        r##"font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>"##,
        r##"<text x="60" y="24" font-size="14">Error of a task's worth over the probes that it took</text>"##,
    ));
    for probes in [0, 4, 8, 12, 16, 20, 24] {
        let at = x(f64::from(probes));
        let _ = write!(svg, r#"<text x="{at:.0}" y="290" text-anchor="middle">{probes}</text>"#);
    }
    for error in [0.0, 0.05, 0.1, 0.15, 0.2, 0.25] {
        let at = y(error);
        let _ = write!(
            svg,
            r##"<path d="M60 {at:.0}H620" stroke="#ddd"/><text x="52" y="{:.0}" text-anchor="end">{error}</text>"##,
            at + 4.0
        );
    }
    svg.push_str(r#"<text x="340" y="310" text-anchor="middle">mean probes of a task</text>"#);
    for ((i, (name, points)), colour) in (0..).zip(lines).zip(["#9a9a9a", "#c07c1c", "#2a66b8"]) {
        let path: Vec<String> = points.iter().map(|(p, e)| format!("{:.1} {:.1}", x(*p), y(*e))).collect();
        let _ =
            write!(svg, r#"<path d="M{}" fill="none" stroke="{colour}" stroke-width="2"/>"#, path.join("L"));
        for (p, e) in points {
            let _ = write!(svg, r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#, x(*p), y(*e));
        }
        let at = 60 + 18 * i;
        let _ = write!(svg, r#"<text x="610" y="{at}" text-anchor="end" fill="{colour}">{name}</text>"#);
    }
    svg + "</svg>\n"
}
