//! Conformance: what RFC 9112 and RFC 9110 demand of a reverse proxy on the wire, as a server to its
//! clients and as a client to its origins.
//!
//! One module for each subject, one test for each demand, with the section that makes it. Hundreds of
//! messages go through one Kiln ([`site`]), since each of them is over in a millisecond and a Kiln of
//! its own would cost each a second. `smuggling` asks real servers whether they agree with Kiln.

mod connections;
mod corpus;
mod expectations;
mod fields;
mod framing;
mod interim;
mod intermediary;
mod origins;
mod request_line;
mod responses;
mod site;
mod smuggling;
mod strict;
mod targets;
mod upgrades;
