//! What Kiln demands of itself in each case, and whether a run met it.
//!
//! A demand stands against the better of the peers that it names: the one whose median is better in
//! this run. The verdict is the median of the ratios taken round by round; where it lies on the
//! good side and a single round does not, it is met, and called near.

use serde::Serialize;

use crate::figures::{Metric, Round, Spread, ratios, spreads};
use crate::peers::Peer;

/// A bound for Kiln's figure over a peer's.
#[derive(Debug)]
pub(crate) struct Demand {
    pub(crate) metric: Metric,
    /// The bound stands against the best of these.
    pub(crate) beside: &'static [&'static Peer],
    /// At most this of a metric that is better when it is less, at least this of another.
    pub(crate) bound: f64,
}

/// Whether a demand is met.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) case: &'static str,
    pub(crate) metric: Metric,
    /// The peer that the ratio is to.
    pub(crate) beside: &'static str,
    /// Kiln's figure over the peer's, round by round.
    pub(crate) ratio: Spread,
    pub(crate) bound: f64,
    pub(crate) is_met: bool,
    /// All rounds agree.
    pub(crate) is_clear: bool,
}

impl Demand {
    /// Judges the rounds: Kiln's, and those of every peer that took part.
    pub(crate) fn judge(
        &self,
        case: &'static str,
        kiln: &[Round],
        rounds_of: impl Fn(&Peer) -> Vec<Round>,
    ) -> Verdict {
        let metric = self.metric;
        let peers = self.beside.iter().map(|peer| {
            let rounds = rounds_of(peer);
            (peer.name, spreads(&rounds)[&metric].median, rounds)
        });
        let best =
            peers.reduce(|best, peer| if metric.is_as_good(best.1, peer.1) { best } else { peer });
        let (beside, _, rounds) = best.expect("a demand names at least one peer");
        let ratio = ratios(kiln, &rounds)[&metric];
        let is_good = |ratio| metric.is_as_good(ratio, self.bound);
        let is_met = is_good(ratio.median);
        let is_clear = is_good(ratio.min) == is_met && is_good(ratio.max) == is_met;
        Verdict { case, metric, beside, ratio, bound: self.bound, is_met, is_clear }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{HAPROXY, NGINX};

    /// The verdict on Kiln's rounds beside nginx's 10 and HAProxy's 20 in every round: whether met,
    /// whether clear, and beside whom.
    fn check(metric: Metric, bound: f64, kiln: [f64; 3], expect: (bool, bool, &str)) {
        let rounds = |values: [f64; 3]| values.map(|value| Round::from([(metric, value)])).to_vec();
        let demand = Demand { metric, beside: &[&NGINX, &HAPROXY], bound };
        let verdict = demand.judge("case", &rounds(kiln), |peer| match peer.name {
            "nginx" => rounds([10.0; 3]),
            _ => rounds([20.0; 3]),
        });
        assert_eq!((verdict.is_met, verdict.is_clear, verdict.beside), expect, "{verdict:?}");
    }

    #[test]
    fn less_time_is_judged_beside_the_peer_that_takes_the_least() {
        check(Metric::CpuUsPerRequest, 1.0, [9.0, 10.0, 8.0], (true, true, "nginx"));
        check(Metric::CpuUsPerRequest, 1.0, [9.0, 11.0, 8.0], (true, false, "nginx"));
        check(Metric::CpuUsPerRequest, 1.0, [12.0, 11.0, 8.0], (false, false, "nginx"));
        check(Metric::CpuUsPerRequest, 0.25, [9.0, 9.0, 9.0], (false, true, "nginx"));
    }

    #[test]
    fn more_bytes_are_judged_beside_the_peer_that_moves_the_most() {
        check(Metric::BytesPerCpuS, 1.0, [21.0, 22.0, 20.0], (true, true, "haproxy"));
        check(Metric::BytesPerCpuS, 1.0, [11.0, 12.0, 13.0], (false, true, "haproxy"));
    }
}
