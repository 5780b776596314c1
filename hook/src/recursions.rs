//! Parts of the C++ library that call themselves as often as there is data: what they do to a stack or
//! a budget, and what to write instead.
//!
//! A backtrace of a hundred thousand calls of `std::__detail::_Executor` is right, and says nothing to
//! whoever has written `std::regex`. Only libstdc++'s recursions are here that data of a client can make
//! deep; a script's own recursion is in the backtrace under the names that its author gave it.

use heritage::{FaultKind, Frame};

/// Calls of a backtrace that have to be of one recursion: of fewer it may be a coincidence.
const CALLS_MIN: usize = 3;

/// A recursion, and what it does.
struct Recursion {
    /// Part of the names of its functions.
    function: &'static str,
    /// What is to be said where the stack is used up.
    deep: &'static str,
    /// What is to be said where it takes too long; empty where that is not its doing.
    long: &'static str,
}

/// The first that fits counts.
const RECURSIONS: [Recursion; 3] = [
    Recursion {
        function: "std::__detail::_Executor<",
        deep: "std::regex calls itself for each character that it matches; match pieces of some KB, \
               scan by hand, or give the pattern the flag std::regex_constants::__polynomial, which \
               does not recurse",
        long: "std::regex goes back and tries each way to match; avoid a repetition in a repetition, as \
               in (a+)+, match shorter pieces, or give the pattern the flag \
               std::regex_constants::__polynomial",
    },
    Recursion {
        function: "std::__detail::_Compiler<",
        deep: "std::regex calls itself for each group that a pattern has inside of another; limit the \
               length of patterns that clients have a say in",
        long: "",
    },
    Recursion {
        function: "::~",
        deep: "each object that is destroyed destroys the next one, one call deeper, as in a list of \
               std::unique_ptr; take it apart in a loop before it goes, or limit its length",
        long: "",
    },
];

/// What a library's recursion had to do with a fault, and what to do about it; none if it had nothing
/// to do with it.
pub(crate) fn explain(kind: FaultKind, backtrace: &[Frame]) -> Option<&'static str> {
    let calls = |recursion: &&Recursion| {
        let names = backtrace.iter().map(|frame| frame.function.as_str());
        names.filter(|name| name.contains(recursion.function)).count() >= CALLS_MIN
    };
    let recursion = RECURSIONS.iter().find(calls)?;
    let said = match kind {
        FaultKind::StackOverflow => recursion.deep,
        FaultKind::CpuBudget | FaultKind::WallBudget => recursion.long,
        _ => "",
    };
    (!said.is_empty()).then_some(said)
}

#[cfg(test)]
mod tests {
    use heritage::FAULT_TEXT_BYTES_MAX;

    use super::*;

    fn check(kind: FaultKind, functions: &[&str], expect: &str) {
        let frame = |function: &&str| Frame { function: (*function).into(), ..Frame::default() };
        let backtrace: Vec<Frame> = functions.iter().map(frame).collect();
        let said = explain(kind, &backtrace).unwrap_or_default();
        assert_eq!(said.split(' ').take(3).collect::<Vec<_>>().join(" "), expect, "{functions:?}");
    }

    #[test]
    fn a_recursion_of_the_library_is_told_by_its_functions() {
        let matcher =
            "std::__detail::_Executor<__gnu_cxx::__normal_iterator<char const*, std::st...";
        let compiler = "std::__detail::_Compiler<std::regex_traits<char> >::_M_atom()";
        let deep = FaultKind::StackOverflow;
        check(deep, &[matcher, matcher, matcher, "on_request"], "std::regex calls itself");
        check(FaultKind::CpuBudget, &[matcher, matcher, matcher], "std::regex goes back");
        check(FaultKind::WallBudget, &["bcmp", matcher, matcher, matcher], "std::regex goes back");
        check(deep, &["malloc", compiler, compiler, compiler], "std::regex calls itself");
        check(
            deep,
            &["std::unique_ptr<Node>::~unique_ptr()", "Node::~Node()", "Node::~Node()"],
            "each object that",
        );
    }

    #[test]
    fn what_has_nothing_to_do_with_it_is_not_explained() {
        let matcher = "std::__detail::_Executor<char const*>";
        check(FaultKind::StackOverflow, &["recurse(int)"; 9], "");
        check(FaultKind::StackOverflow, &[matcher, "recurse", "recurse", "on_request"], "");
        check(FaultKind::SegmentationFault, &[matcher; 9], "");
        check(FaultKind::CpuBudget, &["Node::~Node()"; 9], "");
    }

    #[test]
    fn no_explanation_is_cut_short() {
        let longest_message = "it has computed for 60000 ms and was stopped: ".len();
        for Recursion { deep, long, .. } in RECURSIONS {
            for said in [deep, long] {
                assert!(longest_message + said.len() <= FAULT_TEXT_BYTES_MAX, "{said}");
            }
        }
    }
}
