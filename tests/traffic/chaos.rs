//! A little chaos; `make chaos` has more.

use std::time::Duration;

use tests::Chaos;

use crate::alone;

#[test]
fn whatever_happens_at_once_every_answer_is_right_and_nothing_leaks() {
    let _alone = alone();
    let report = Chaos { seed: 7, duration: Duration::from_secs(20) }.run();
    println!("{report}");
    assert!(report.violations.is_empty(), "{report}");
}
