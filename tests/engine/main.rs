//! Black-box tests of the engine: what becomes of C++ under `kiln run` and in a worker.
//!
//! Cases are files: `programs/` is compared with what `clang++` makes of the same source, `scripts/`
//! says in its leading comment what a client and an upstream see.

mod case;
mod check;
mod debuggers;
mod foreign;
mod heap;
mod hermetic;
mod image;
mod lowered;
mod processor;
mod profilers;
mod programs;
mod run;
mod scripts;
mod statics;
