//! What is compared: in each case its peers have the same duty under the same load.

use crate::Part;
use crate::bodies::{Direction, Transfers};
use crate::demands::Demand;
use crate::figures::Metric;
use crate::load::Pace;
use crate::peers::{FLOOR, HAPROXY, KILN, NGINX, Peer};

/// A case.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) part: Part,
    pub(crate) name: &'static str,
    pub(crate) is_forwarded: bool,
    pub(crate) traffic: Traffic,
    /// Kiln is the first.
    pub(crate) peers: &'static [&'static Peer],
    pub(crate) demand: Demand,
}

/// What the load does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Traffic {
    /// Requests without a body, answered with 12 bytes.
    Requests(Pace),
    /// Bodies that a connection takes or sends one after the other.
    Bodies(Transfers),
}

/// All cases.
pub(crate) const ALL: [Case; 7] = [
    Case {
        part: Part::Reply,
        name: "reply",
        is_forwarded: false,
        traffic: Traffic::Requests(Pace::Saturating),
        peers: &[&KILN, &NGINX, &HAPROXY],
        demand: Demand { metric: Metric::CpuUsPerRequest, beside: &[&NGINX], bound: 1.0 },
    },
    Case {
        part: Part::Proxied,
        name: "proxied",
        is_forwarded: true,
        traffic: Traffic::Requests(Pace::Saturating),
        peers: &[&KILN, &NGINX, &HAPROXY, &FLOOR],
        demand: Demand { metric: Metric::CpuUsPerRequest, beside: &[&NGINX, &HAPROXY], bound: 1.0 },
    },
    Case {
        part: Part::Pipelined,
        name: "pipelined",
        is_forwarded: false,
        traffic: Traffic::Requests(Pace::Pipelined),
        peers: &[&KILN, &NGINX, &HAPROXY],
        demand: Demand { metric: Metric::CpuUsPerRequest, beside: &[&NGINX], bound: 0.25 },
    },
    bodies("download 1 MB", Direction::Download, Size::Megabyte),
    bodies("download 100 MB", Direction::Download, Size::HundredMegabytes),
    bodies("upload 1 MB", Direction::Upload, Size::Megabyte),
    bodies("upload 100 MB", Direction::Upload, Size::HundredMegabytes),
];

/// How long a body is.
enum Size {
    Megabyte,
    HundredMegabytes,
}

const fn bodies(name: &'static str, direction: Direction, size: Size) -> Case {
    // So many that some are always at the server, so few that a round of a second has whole ones.
    let (body_bytes, connections) = match size {
        Size::Megabyte => (1_000_000, 16),
        Size::HundredMegabytes => (100_000_000, 4),
    };
    Case {
        part: Part::Bodies,
        name,
        is_forwarded: true,
        traffic: Traffic::Bodies(Transfers { direction, body_bytes, connections }),
        peers: &[&KILN, &NGINX, &HAPROXY, &FLOOR],
        demand: Demand { metric: Metric::BytesPerCpuS, beside: &[&NGINX, &HAPROXY], bound: 1.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demand_is_beside_peers_of_its_case() {
        for case in &ALL {
            assert_eq!(case.peers[0].name, KILN.name, "{}", case.name);
            for beside in case.demand.beside {
                assert!(case.peers.iter().any(|peer| peer.name == beside.name), "{}", case.name);
            }
        }
    }
}
