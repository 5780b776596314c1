//! The report as tables.

use std::collections::BTreeSet;
use std::fmt::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};

use crate::chart;
use crate::costs::Cost;
use crate::demands::Verdict;
use crate::figures::{Metric, Spread, counted};
use crate::peers::FLOOR;
use crate::report::Report;
use crate::retirement::{Curve, Quantity, Retirement};
use crate::reuse::Reuse;
use crate::rounds::{Compared, Figures};
use crate::start::Start;

/// Load average up to which a machine counts as quiet: less than one process beside this program.
const LOAD_AVERAGE_MAX: f64 = 0.8;

/// The whole report.
pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |content: &str| writeln!(text, "{content}").expect("a String takes every byte");
    let machine = &report.machine;
    line(&format!("\n{}, {} cores, {}", machine.cpu, machine.cores, machine.kernel));
    line(&[&*machine.kiln, &machine.nginx, &machine.haproxy, &machine.wrk].join("; "));
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
    // Cases that are measured alike share a table.
    for cases in report.cases.chunk_by(|one, other| one.decisive == other.decisive) {
        line(&format!("\n{}", heading(report, cases)));
        line(&means(cases).to_string());
        line("");
        line(&compared(cases).to_string());
    }
    if !report.reuse.is_empty() {
        line(
            "\nConnections opened to the origin, from a cold start: all of them, and for each 1000 \
             requests.\nEach worker has a pool of its own; HAProxy's threads share theirs.\n",
        );
        line(&reused(&report.reuse).to_string());
    }
    if !report.fence.is_empty() {
        line("\nWhat the fences around a hook call cost; median (least-most)\n");
        line(&costs(&report.fence).to_string());
    }
    if !report.reloads.is_empty() {
        line("\nLatency while scripts are reloaded; median (least-most)\n");
        line(&costs(&report.reloads).to_string());
    }
    if let Some(start) = &report.start {
        line("\nStarting beside compiling; median (least-most)\n");
        line(&started(start).to_string());
        line(
            "\nWhat a script of usual length (bench/scripts/edge.cc) costs, and may cost on a quiet \
             machine;\nmedian (least-most), beside Facebook's system, which was the first\n",
        );
        line(&costs(&start.costs).to_string());
    }
    if let Some(retirement) = &report.retirement {
        let Retirement { reloads, reload_ms, picture, .. } = retirement;
        line(&format!(
            "\n{reloads} reloads of a script that leaks, each {} ms; curves: {}\n",
            shown(*reload_ms, 1),
            picture.display()
        ));
        for quantity in Quantity::ALL {
            let curves: Vec<&Curve> =
                retirement.curves.iter().filter(|curve| curve.quantity == quantity).collect();
            line(&format!("{}, of each process, over reloads", quantity.name()));
            line(&chart::text(&curves));
        }
        line(&grown(&retirement.curves).to_string());
    }
    if !report.cases.is_empty() {
        line("\nWhat is demanded of Kiln: its figure over the peer's, in the same round\n");
        line(&judged(report.cases.iter().map(|case| &case.verdict)).to_string());
    }
    text
}

fn heading(report: &Report, cases: &[Compared]) -> String {
    let load = match cases[0].decisive {
        Metric::BytesPerCpuS => {
            "Forwarded bodies; 16 connections of 1 MB bodies, 4 of 100 MB".to_owned()
        }
        _ => format!("{} keep-alive connections, 12-byte body", report.connections),
    };
    let rounds = counted(report.rounds, "round");
    format!("{load}; {rounds} of {} s a server, in turns; median (least-most)", report.round_s)
}

/// What makes each peer do its part.
fn means(cases: &[Compared]) -> Table {
    let of = |case: &Compared| case.peers.iter().map(|peer| peer.what).collect::<Vec<_>>();
    let mut table = plain();
    let peers = cases.iter().map(|case| &case.peers).max_by_key(|peers| peers.len());
    let names = peers.into_iter().flatten().map(|peer| peer.peer);
    table.set_header(std::iter::once("").chain(names));
    for alike in cases.chunk_by(|one, other| of(one) == of(other)) {
        let name = if alike.len() == 1 { alike[0].name } else { "each" };
        table.add_row(std::iter::once(name).chain(of(&alike[0])));
    }
    table
}

fn compared(cases: &[Compared]) -> Table {
    let figures = cases.iter().map(|case| &case.peers[0].figures);
    let metrics: BTreeSet<Metric> = figures.flat_map(|figures| figures.keys().copied()).collect();
    let mut table = plain();
    let mut head = vec![Cell::new("")];
    head.extend(metrics.iter().map(|metric| right(metric.head()).add_attribute(Attribute::Bold)));
    head.push(right("Kiln over it").add_attribute(Attribute::Bold));
    table.set_header(head);
    for case in cases {
        table.add_row([Cell::new(case.name).add_attribute(Attribute::Bold)]);
        for peer in &case.peers {
            table.add_row(row_of(&metrics, case, peer));
        }
        table.add_row([""]);
    }
    table
}

fn row_of(metrics: &BTreeSet<Metric>, case: &Compared, peer: &Figures) -> Vec<Cell> {
    let mut row = vec![Cell::new(format!("  {}", peer.peer))];
    for &metric in metrics {
        let figure = peer.figures.get(&metric);
        let text = figure.map(|spread| shown(scaled(metric, *spread), metric.decimals()));
        let cell = right(text.unwrap_or_default());
        row.push(if metric == case.decisive { cell.add_attribute(Attribute::Bold) } else { cell });
    }
    if peer.peer != case.peers[0].peer {
        let ratio = peer.kiln_over_it[&case.decisive];
        let cell = right(shown(ratio, 2));
        // Who reads what it copies can't cost what copying alone does: no reason for red.
        row.push(match peer.peer == FLOOR.name {
            true => cell,
            false => coloured(cell, case.decisive.is_as_good(ratio.median, 1.0)),
        });
    }
    row
}

fn judged<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Table {
    let mut table = plain();
    for verdict in verdicts {
        let (of, bound) = (verdict.metric.head(), verdict.bound);
        let side = if verdict.metric.is_more_better() { "at least" } else { "at most" };
        let word = match (verdict.is_met, verdict.is_clear) {
            (true, true) => "met",
            (true, false) => "met, but not in every round",
            (false, true) => "not met",
            (false, false) => "not met, but in some rounds",
        };
        table.add_row(vec![
            Cell::new(verdict.case).add_attribute(Attribute::Bold),
            Cell::new(format!("{of}, beside {}", verdict.beside)),
            right(shown(verdict.ratio, 2)),
            Cell::new(format!("{side} {bound}")),
            coloured(Cell::new(word), verdict.is_met).add_attribute(Attribute::Bold),
        ]);
    }
    table
}

fn reused(all: &[Reuse]) -> Table {
    let mut table = plain();
    let peers = || all.chunk_by(|one, other| one.peer == other.peer);
    let mut head = vec![Cell::new("")];
    head.extend(
        peers()
            .next()
            .into_iter()
            .flatten()
            .map(|reuse| right(counted(reuse.workers, "worker")).add_attribute(Attribute::Bold)),
    );
    table.set_header(head);
    for of_peer in peers() {
        let mut row = vec![Cell::new(format!("  {}", of_peer[0].peer))];
        row.extend(of_peer.iter().map(|reuse| {
            right(format!("{} ({:.2})", reuse.connections, reuse.connections_per_1000_requests))
        }));
        table.add_row(row);
    }
    table
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

fn grown(curves: &[Curve]) -> Table {
    let mut table = plain();
    table.set_header(["", "", "first", "last", "for each 1000 reloads", "at most", ""]);
    for curve in curves {
        let at = |sample: Option<&(f32, f32)>| right(sample.map_or(0.0, |(_, held)| *held));
        let word = if curve.is_met { "met" } else { "not met" };
        table.add_row(vec![
            Cell::new(curve.quantity.name()).add_attribute(Attribute::Bold),
            Cell::new(&curve.process),
            at(curve.samples.first()),
            at(curve.samples.last()),
            right(format!("{:+.2}", curve.per_1000_reloads)),
            right(format!("{:.2}", curve.limit)),
            coloured(Cell::new(word), curve.is_met).add_attribute(Attribute::Bold),
        ]);
    }
    table
}

fn costs(costs: &[Cost]) -> Table {
    let mut table = plain();
    let bold = |cell: Cell| cell.add_attribute(Attribute::Bold);
    let heads = ["measured", "limit", "first system"].map(|head| bold(right(head)));
    table.set_header([Cell::new("")].into_iter().chain(heads));
    for cost in costs {
        let unit = cost.unit;
        let word = if cost.is_met { "met" } else { "not met" };
        let first = cost.first_system.map(|first| format!("{first} {unit}"));
        table.add_row(vec![
            bold(Cell::new(cost.what)),
            right(format!("{} {unit}", shown(cost.measured, 2))),
            right(format!("{} {unit}", cost.limit)),
            right(first.unwrap_or_default()),
            bold(coloured(Cell::new(word), cost.is_met)),
        ]);
    }
    table
}

fn scaled(metric: Metric, spread: Spread) -> Spread {
    let Spread { median, min, max } = spread;
    Spread { median: metric.scaled(median), min: metric.scaled(min), max: metric.scaled(max) }
}

fn shown(spread: Spread, decimals: usize) -> String {
    let Spread { median, min, max } = spread;
    if min == max {
        return format!("{median:.decimals$}");
    }
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

fn coloured(cell: Cell, is_good: bool) -> Cell {
    cell.fg(if is_good { Color::Green } else { Color::Red })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: [f64; 3], expect: &str) {
        assert_eq!(shown(Spread::of(values), 1), expect);
    }

    #[test]
    fn a_spread_is_shown_unless_there_is_none() {
        check([2.0, 1.0, 3.04], "2.0 (1.0-3.0)");
        check([2.0, 2.0, 2.0], "2.0");
    }
}
