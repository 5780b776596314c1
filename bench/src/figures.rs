//! What is measured, and figures from several rounds: the median, and how far the rounds lay apart.

use std::collections::BTreeMap;

use serde::Serialize;

/// A thing that is measured in each round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    RequestsPerS,
    P50Us,
    P99Us,
    /// CPU microseconds of the worker for each request.
    CpuUsPerRequest,
    BytesPerS,
    /// Bytes for each second that the worker was on a CPU.
    BytesPerCpuS,
}

/// What one round of one peer came to.
pub(crate) type Round = BTreeMap<Metric, f64>;

/// A figure for each metric, over the rounds.
pub(crate) type Spreads = BTreeMap<Metric, Spread>;

impl Metric {
    /// Heads its column.
    pub(crate) fn head(self) -> &'static str {
        match self {
            Metric::RequestsPerS => "requests/s",
            Metric::P50Us => "p50 us",
            Metric::P99Us => "p99 us",
            Metric::CpuUsPerRequest => "CPU us a request",
            Metric::BytesPerS => "MB/s",
            Metric::BytesPerCpuS => "MB a CPU second",
        }
    }

    /// In the unit of the head.
    pub(crate) fn scaled(self, value: f64) -> f64 {
        match self {
            Metric::BytesPerS | Metric::BytesPerCpuS => value / 1e6,
            _ => value,
        }
    }

    /// Digits behind the point that mean something.
    pub(crate) fn decimals(self) -> usize {
        if self == Metric::CpuUsPerRequest { 2 } else { 0 }
    }

    /// The other metrics are better when they are less.
    pub(crate) fn is_more_better(self) -> bool {
        matches!(self, Metric::RequestsPerS | Metric::BytesPerS | Metric::BytesPerCpuS)
    }

    /// Whether one figure is at least as good as another.
    pub(crate) fn is_as_good(self, one: f64, other: f64) -> bool {
        if self.is_more_better() { one >= other } else { one <= other }
    }
}

/// One figure over the rounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Spread { median, min: values[0], max: values[values.len() - 1] }
    }
}

/// All metrics over at least one round.
pub(crate) fn spreads(rounds: &[Round]) -> Spreads {
    let metrics = rounds[0].keys();
    metrics.map(|metric| (*metric, Spread::of(rounds.iter().map(|round| round[metric])))).collect()
}

/// How the first's figures stand to the second's in the same round; above 1 is more, whether that
/// is good or bad.
pub(crate) fn ratios(first: &[Round], second: &[Round]) -> Spreads {
    let in_round = |(first, second): (&Round, &Round)| {
        first.iter().map(|(metric, value)| (*metric, value / second[metric])).collect()
    };
    spreads(&first.iter().zip(second).map(in_round).collect::<Vec<Round>>())
}

/// A number of things.
pub(crate) fn counted(number: u32, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let rounds = |values: [f64; 3]| values.map(|value| Round::from([(Metric::P50Us, value)]));
        let ratios = ratios(&rounds([1.0, 4.0, 9.0]), &rounds([2.0, 4.0, 3.0]));
        assert_eq!(ratios[&Metric::P50Us], Spread { median: 1.0, min: 0.5, max: 3.0 });
    }

    #[test]
    fn good_is_more_bytes_and_less_time() {
        assert!(Metric::BytesPerCpuS.is_as_good(2.0, 1.0));
        assert!(!Metric::CpuUsPerRequest.is_as_good(2.0, 1.0));
        assert!(Metric::CpuUsPerRequest.is_as_good(1.0, 1.0));
    }

    #[test]
    fn a_number_is_followed_by_the_plural_unless_it_is_one() {
        assert_eq!([1, 2].map(|number| counted(number, "round")), ["1 round", "2 rounds"]);
    }
}
