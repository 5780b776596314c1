//! Whether the variables of the scripts fit their slot, before anybody allocates memory for them.
//!
//! `char table[8ull << 30] = {1}` is a line of IR; the object file that the code generator would make
//! of it is the size of the array.

use std::path::Path;

use heritage::{Diagnostic, Severity};
use image::Slot;
use inkwell::module::Module;
use inkwell::targets::TargetMachine;
use inkwell::values::{AsValueRef, GlobalValue};

use crate::files::ScriptFiles;
use crate::{demangled, far, place, told};

/// A part of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Code, and what it reaches.
    Near,
    /// Large variables that start as zeroes.
    Far,
}

/// A refusal that names the largest variable of a part, if all of them together take more than the
/// slot has there.
pub(crate) fn check(
    part: Part,
    module: &Module<'_>,
    machine: &TargetMachine,
    slot: Slot,
    named: &Path,
    files: &ScriptFiles,
) -> Option<Diagnostic> {
    let far = far::movable(module, machine);
    let is_meant =
        |it: &GlobalValue<'_>| far.contains_key(&it.as_value_ref()) == (part == Part::Far);
    let bytes_max = match part {
        Part::Near => slot.size,
        Part::Far => slot.far_size,
    };
    let (bytes, global) = largest(module, machine, bytes_max, is_meant)?;
    let name = global.get_name().to_string_lossy();
    let message = match part {
        Part::Near => format!(
            "`{}` takes {} MiB, and all code and data together may have {} MiB",
            demangled(&name),
            bytes >> 20,
            bytes_max >> 20
        ),
        Part::Far => far::too_large(&name, bytes, slot),
    };
    let place = place::of_variable(global.as_value_ref());
    Some(told::found(files, place.as_ref(), named, Severity::Error, message))
}

/// The largest of these variables with its size, if all of them together take more than `bytes_max`.
fn largest<'ctx>(
    module: &Module<'ctx>,
    machine: &TargetMachine,
    bytes_max: u64,
    is_meant: impl Fn(&GlobalValue<'ctx>) -> bool,
) -> Option<(u64, GlobalValue<'ctx>)> {
    let data = machine.get_target_data();
    let meant = module.get_globals().filter(|global| !global.is_declaration() && is_meant(global));
    let sizes = meant.map(|global| (data.get_abi_size(&global.get_value_type()), global));
    let (mut total, mut largest) = (0_u64, None);
    for (bytes, global) in sizes {
        total = total.saturating_add(bytes);
        if largest.is_none_or(|(most, _)| bytes > most) {
            largest = Some((bytes, global));
        }
    }
    largest.filter(|_| total > bytes_max)
}
