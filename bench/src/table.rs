//! The report as tables.

use std::fmt::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};

use crate::cases::{Compared, Figures};
use crate::figures::Spread;
use crate::report::Report;
use crate::start::Start;

/// Load average up to which a machine counts as quiet: less than one process beside this program.
const LOAD_AVERAGE_MAX: f64 = 0.8;

/// The whole report.
pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |content: &str| writeln!(text, "{content}").expect("a String takes every byte");
    let machine = &report.machine;
    line(&format!("\n{}, {} cores, {}", machine.cpu, machine.cores, machine.kernel));
    line(&format!("{}; {}; {}", machine.kiln, machine.nginx, machine.wrk));
    for command in &report.commands {
        line(&format!("  {command}"));
    }
    if machine.load_average > LOAD_AVERAGE_MAX {
        line(&format!(
            "This machine was busy (load average {:.1}): its figures are not to be quoted, \
             and its ratios only with care.",
            machine.load_average
        ));
    }
    if !report.cases.is_empty() {
        line(&format!(
            "{} keep-alive connections, 12-byte body; {} rounds of {} s a peer, in turns; \
             median (least-most)",
            report.connections, report.rounds, report.round_s
        ));
        for case in &report.cases {
            let [kiln, nginx] = [case.kiln.what, case.nginx.what];
            line(&format!("  {}: Kiln with {kiln}; nginx with {nginx}", case.name));
        }
        line("");
        line(&compared(&report.cases).to_string());
    }
    if let Some(start) = &report.start {
        line("Starting beside compiling; median (least-most)\n");
        line(&started(start).to_string());
    }
    text
}

fn compared(cases: &[Compared]) -> Table {
    let mut table = plain();
    let head = ["", "", "requests/s", "p50 us", "p99 us", "CPU us a request"];
    table.set_header(head.map(|name| right(name).add_attribute(Attribute::Bold)));
    for case in cases {
        table.add_row(row_of(case.name, &case.kiln));
        table.add_row(row_of("", &case.nginx));
        let ratio = &case.ratio;
        table.add_row(vec![
            Cell::new(""),
            Cell::new("ratio"),
            judged(ratio.requests_per_s, true),
            judged(ratio.p50_us, false),
            judged(ratio.p99_us, false),
            judged(ratio.cpu_us, false),
        ]);
        table.add_row([""]);
    }
    table
}

fn row_of(name: &str, figures: &Figures) -> Vec<Cell> {
    vec![
        Cell::new(name).add_attribute(Attribute::Bold),
        Cell::new(figures.peer),
        right(shown(figures.requests_per_s, 0)),
        right(shown(figures.p50_us, 0)),
        right(shown(figures.p99_us, 0)),
        right(shown(figures.cpu_us, 2)).add_attribute(Attribute::Bold),
    ]
}

/// A ratio: green where Kiln is no worse.
fn judged(ratio: Spread, more_is_better: bool) -> Cell {
    let is_good = if more_is_better { ratio.median >= 1.0 } else { ratio.median <= 1.0 };
    right(shown(ratio, 2)).fg(if is_good { Color::Green } else { Color::Red })
}

fn started(start: &Start) -> Table {
    let mut table = plain();
    let rows = [
        ("compile: front end", start.front_end_ms),
        ("compile: optimise", start.optimise_ms),
        ("compile: code", start.code_ms),
        ("compile: link", start.link_ms),
        ("reload, all of it", start.reload_ms),
        ("a worker maps the image", start.map_ms),
        ("a killed worker's replacement answers", start.replace_ms),
        ("cold start to the first answer", start.cold_start_ms),
    ];
    for (what, spread) in rows {
        table.add_row(vec![Cell::new(what), right(format!("{} ms", shown(spread, 2)))]);
    }
    for (what, bytes) in
        [("binary", start.binary_bytes), ("binary, stripped", start.stripped_bytes)]
    {
        table.add_row(vec![Cell::new(what), right(format!("{:.1} MB", bytes as f64 / 1e6))]);
    }
    table
}

fn shown(spread: Spread, decimals: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.decimals$} ({min:.decimals$}-{max:.decimals$})")
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
