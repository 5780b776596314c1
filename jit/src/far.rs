//! Large variables that start as zeroes: out of the slot, to its far part.
//!
//! A slot must lie within reach of calls, so it cannot hold hundreds of megabytes. Such a variable
//! becomes one that is defined elsewhere, at an address that is chosen here; position-independent code
//! loads the address of what is defined elsewhere from a table, however far it is. That costs a load
//! where the variable is used, which is why small ones stay.

use std::collections::{HashMap, HashSet};

use image::{Slot, Symbol, Writer};
use inkwell::llvm_sys::LLVMLinkage;
use inkwell::llvm_sys::core::{
    LLVMAddGlobal, LLVMAliasGetAliasee, LLVMDeleteGlobal, LLVMDisposeValueMetadataEntries,
    LLVMGetAlignment, LLVMGetFirstGlobalAlias, LLVMGetInitializer, LLVMGetLinkage,
    LLVMGetNextGlobalAlias, LLVMGetOperand, LLVMGetSection, LLVMGetValueName2,
    LLVMGlobalCopyAllMetadata, LLVMGlobalGetValueType, LLVMGlobalSetMetadata, LLVMIsAConstantExpr,
    LLVMIsGlobalConstant, LLVMIsNull, LLVMIsThreadLocal, LLVMReplaceAllUsesWith, LLVMSetAlignment,
    LLVMSetValueName2, LLVMValueMetadataEntriesGetKind, LLVMValueMetadataEntriesGetMetadata,
};
use inkwell::llvm_sys::prelude::{LLVMModuleRef, LLVMValueRef};
use inkwell::llvm_sys::target::{LLVMABISizeOfType, LLVMPreferredAlignmentOfGlobal};
use inkwell::module::Module;
use inkwell::targets::TargetMachine;
use inkwell::values::AsValueRef;

use crate::demangled;

/// From this size on a variable is far. Many smaller ones fit a slot, and their use costs no load.
const FAR_BYTES_MIN: u64 = 1 << 20;

/// How the symbol of one begins: `kiln.far.OFFSET.BYTES.NAME`. All that must be known of it stands in
/// its name, since an object file is linked again from the cache, for another slot.
const PREFIX: &str = "kiln.far.";

/// Moves them. To be called when the optimiser is done: it knows more of what is defined here.
pub(crate) fn move_out(module: &Module<'_>, machine: &TargetMachine) {
    let movable = movable(module, machine);
    let layout = machine.get_target_data();
    let mut used: u64 = 0;
    for variable in variables(module) {
        let Some(bytes) = movable.get(&variable) else { continue };
        // SAFETY: the variable is alive until it is replaced, and none is asked for afterwards.
        unsafe {
            let align = match LLVMGetAlignment(variable) {
                0 => LLVMPreferredAlignmentOfGlobal(layout.as_mut_ptr(), variable),
                align => align,
            };
            let offset = used.next_multiple_of(align.into());
            used = offset.saturating_add(*bytes);
            let prefix = format!("{PREFIX}{offset}.{bytes}.");
            replace(module.as_mut_ptr(), variable, align, &prefix);
        }
    }
}

/// Those that would be moved now, with their sizes in bytes.
pub(crate) fn movable(module: &Module<'_>, machine: &TargetMachine) -> HashMap<LLVMValueRef, u64> {
    let layout = machine.get_target_data();
    // SAFETY: the module is alive.
    let aliased = unsafe { aliased(module.as_mut_ptr()) };
    let sizes = variables(module).into_iter().map(|variable| {
        // SAFETY: the variable belongs to the module.
        let bytes =
            unsafe { LLVMABISizeOfType(layout.as_mut_ptr(), LLVMGlobalGetValueType(variable)) };
        (variable, bytes)
    });
    let movable = sizes.filter(|(variable, bytes)| {
        // SAFETY: as above.
        *bytes >= FAR_BYTES_MIN && unsafe { is_movable(*variable) } && !aliased.contains(variable)
    });
    movable.collect()
}

/// Global variables, in the order of the module.
fn variables(module: &Module<'_>) -> Vec<LLVMValueRef> {
    module.get_globals().map(|variable| variable.as_value_ref()).collect()
}

/// Why a variable finds no room.
pub(crate) fn too_large(name: &str, bytes: u64, slot: Slot) -> String {
    format!(
        "`{}` has {bytes} bytes, and all large variables of the scripts together may have {} MiB{}",
        demangled(name),
        slot.far_size >> 20,
        if slot.far_size == 0 {
            ": this process may not have more addresses (ulimit -v)"
        } else {
            ""
        },
    )
}

/// A variable that was moved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Far<'a> {
    offset: u64,
    bytes: u64,
    /// As the author has it.
    name: &'a str,
}

impl<'a> Far<'a> {
    /// What the name of a symbol says, if it is of one.
    pub(crate) fn of_symbol(symbol: &'a str) -> Option<Self> {
        let mut parts = symbol.strip_prefix(PREFIX)?.splitn(3, '.');
        let mut number = || parts.next()?.parse().ok();
        let (offset, bytes) = (number()?, number()?);
        Some(Self { offset, bytes, name: parts.next()? })
    }

    /// Where it is in an image for this slot.
    pub(crate) fn address(&self, slot: Slot) -> Result<u64, String> {
        let fits = self.offset.checked_add(self.bytes).is_some_and(|end| end <= slot.far_size);
        if !fits {
            return Err(too_large(self.name, self.bytes, slot));
        }
        Ok(slot.far + self.offset)
    }
}

/// Tells the image's writer of those among these symbols.
pub(crate) fn describe(symbols: &[(String, u64)], slot: Slot, writer: &mut Writer) {
    let mut end = slot.far;
    for (symbol, address) in symbols {
        let Some(far) = Far::of_symbol(symbol) else { continue };
        end = end.max(address + far.bytes);
        let (name, address, size) = (far.name.to_owned(), *address, far.bytes);
        writer.symbol(Symbol { name, address, size, function: false, local: true });
    }
    if end > slot.far {
        writer.far_zeroes(end - slot.far);
    }
}

/// Whether it is one that an image defines, writes, and finds as zeroes, and has no place of its own.
///
/// # Safety
///
/// It is a global variable of a live module.
unsafe fn is_movable(variable: LLVMValueRef) -> bool {
    // SAFETY: the caller upholds it.
    unsafe {
        let initial = LLVMGetInitializer(variable);
        let section = LLVMGetSection(variable);
        !initial.is_null()
            && LLVMIsNull(initial) != 0
            && LLVMIsGlobalConstant(variable) == 0
            && LLVMIsThreadLocal(variable) == 0
            && LLVMGetLinkage(variable) != LLVMLinkage::LLVMAvailableExternallyLinkage
            && (section.is_null() || *section == 0)
    }
}

/// Variables that have a second name: that must be defined where the first is.
///
/// # Safety
///
/// The module is alive.
unsafe fn aliased(module: LLVMModuleRef) -> HashSet<LLVMValueRef> {
    let mut found = HashSet::new();
    // SAFETY: the caller upholds it; a constant expression has an operand.
    unsafe {
        let mut alias = LLVMGetFirstGlobalAlias(module);
        while !alias.is_null() {
            let mut value = LLVMAliasGetAliasee(alias);
            while !LLVMIsAConstantExpr(value).is_null() {
                value = LLVMGetOperand(value, 0);
            }
            found.insert(value);
            alias = LLVMGetNextGlobalAlias(alias);
        }
    }
    found
}

/// Puts a declaration in the place of a definition, with its debug information, and its name behind a
/// prefix.
///
/// # Safety
///
/// It is a global variable of this live module, which no alias names.
unsafe fn replace(module: LLVMModuleRef, variable: LLVMValueRef, align: u32, prefix: &str) {
    // SAFETY: the caller upholds it; the name is copied before its owner is deleted.
    unsafe {
        let mut length = 0;
        let name = LLVMGetValueName2(variable, &mut length);
        let name = std::slice::from_raw_parts(name.cast::<u8>(), length);
        let name = [prefix.as_bytes(), name].concat();
        let declared = LLVMAddGlobal(module, LLVMGlobalGetValueType(variable), c"".as_ptr());
        LLVMSetAlignment(declared, align);
        let mut count = 0;
        let entries = LLVMGlobalCopyAllMetadata(variable, &mut count);
        for index in 0..count as u32 {
            let kind = LLVMValueMetadataEntriesGetKind(entries, index);
            let metadata = LLVMValueMetadataEntriesGetMetadata(entries, index);
            LLVMGlobalSetMetadata(declared, kind, metadata);
        }
        LLVMDisposeValueMetadataEntries(entries);
        LLVMReplaceAllUsesWith(variable, declared);
        LLVMDeleteGlobal(variable);
        LLVMSetValueName2(declared, name.as_ptr().cast(), name.len());
    }
}
