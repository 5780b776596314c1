//! Counts while it runs, and at the end.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use crate::judge::Verdict;
use crate::packages::Program;

/// Where nobody watches, a line for so many programs.
const LINE_EVERY: usize = 25;

#[derive(Default)]
struct Counts {
    same: usize,
    both_refuse: usize,
    different: usize,
    not_drawn: usize,
    left_out: BTreeMap<&'static str, usize>,
}

/// What became of every program.
#[derive(Default)]
pub(crate) struct Report {
    packages: BTreeMap<&'static str, Counts>,
    differences: Vec<String>,
    done: usize,
}

impl Report {
    /// A rule leaves a program out.
    pub(crate) fn left_out(&mut self, package: &'static str, why: &'static str) {
        *self.packages.entry(package).or_default().left_out.entry(why).or_default() += 1;
    }

    /// So many were not drawn.
    pub(crate) fn not_drawn(&mut self, package: &'static str, count: usize) {
        self.packages.entry(package).or_default().not_drawn = count;
    }

    /// One of `total` was judged.
    pub(crate) fn judged(&mut self, program: &Program, verdict: Verdict, total: usize) {
        let counts = self.packages.entry(program.package).or_default();
        match verdict {
            Verdict::Same => counts.same += 1,
            Verdict::BothRefuse => counts.both_refuse += 1,
            Verdict::LeftOut(why) => *counts.left_out.entry(why).or_default() += 1,
            Verdict::Different(how) => {
                counts.different += 1;
                let (package, name) = (program.package, &program.name);
                let options = program.options.join(" ");
                let path = program.path.display();
                let told = format!("{package}: {name}\n  kiln run {options} {path}\n{how}");
                clear_line();
                eprintln!("different: {told}");
                self.differences.push(told);
            }
        }
        self.done += 1;
        self.progress(total, &program.name);
    }

    fn progress(&self, total: usize, name: &str) {
        let sum = |part: fn(&Counts) -> usize| self.packages.values().map(part).sum::<usize>();
        let line = format!(
            "{} of {total}: {} same, {} both refuse, {} different",
            self.done,
            sum(|it| it.same),
            sum(|it| it.both_refuse),
            sum(|it| it.different)
        );
        if std::io::stderr().is_terminal() {
            clear_line();
            eprint!("{line}; {name:.40}");
            let _ = std::io::stderr().flush();
        } else if self.done.is_multiple_of(LINE_EVERY) {
            eprintln!("{line}");
        }
    }

    /// Whether any program behaves differently.
    pub(crate) fn differs(&self) -> bool {
        !self.differences.is_empty()
    }

    /// The whole, by package.
    pub(crate) fn print(&self) {
        clear_line();
        let head = ["same", "both refuse", "different", "not drawn"];
        println!("{:26}{:>8}{:>13}{:>11}{:>11}", "package", head[0], head[1], head[2], head[3]);
        for (package, counts) in &self.packages {
            println!(
                "{package:26}{:>8}{:>13}{:>11}{:>11}",
                counts.same, counts.both_refuse, counts.different, counts.not_drawn
            );
            for (why, count) in &counts.left_out {
                println!("  left out {count:>6}: {why}");
            }
        }
        for told in &self.differences {
            println!("\ndifferent: {told}");
        }
    }
}

fn clear_line() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[2K");
    }
}
