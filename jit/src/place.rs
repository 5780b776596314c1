//! Where a script uses a symbol: the file and line to name in a refusal.
//!
//! Asked before the optimiser runs, while calls still are where the author wrote them. A use in a
//! standard header (`std::thread`'s constructor uses `pthread_create`) is followed to its callers,
//! until one is in the author's own file.

use std::collections::HashSet;
use std::ffi::{c_char, c_uint};
use std::path::Path;

use inkwell::llvm_sys::core::{
    LLVMDisposeValueMetadataEntries, LLVMGetBasicBlockParent, LLVMGetDebugLocColumn,
    LLVMGetDebugLocDirectory, LLVMGetDebugLocFilename, LLVMGetDebugLocLine, LLVMGetFirstUse,
    LLVMGetInstructionParent, LLVMGetNextUse, LLVMGetUser, LLVMGetValueName2,
    LLVMGlobalCopyAllMetadata, LLVMIsAConstant, LLVMIsAInstruction,
    LLVMValueMetadataEntriesGetKind, LLVMValueMetadataEntriesGetMetadata,
};
use inkwell::llvm_sys::debuginfo::{
    LLVMDIFileGetDirectory, LLVMDIFileGetFilename, LLVMDIGlobalVariableExpressionGetVariable,
    LLVMDIVariableGetFile, LLVMDIVariableGetLine,
};
use inkwell::llvm_sys::prelude::{LLVMMetadataRef, LLVMValueRef};
use serde::{Deserialize, Serialize};

use crate::names::Names;

/// The kind of metadata that is debug information; LLVM's enumeration of kinds begins with it.
const DEBUG_KIND: c_uint = 0;

/// Most values visited for one symbol.
const VISITED_MAX: usize = 10_000;

/// A place in a file: its absolute path, line and column from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The first use of `symbol` in a file that `is_own` accepts; where there is none, as in a table of
/// addresses, the place of what holds it.
pub(crate) fn first_use(
    symbol: LLVMValueRef,
    is_own: impl Fn(&str) -> bool,
    names: &Names,
) -> Option<Place> {
    let mut holder = None;
    let mut seen = HashSet::from([symbol]);
    let mut queue = std::collections::VecDeque::from([symbol]);
    while let Some(value) = queue.pop_front() {
        for user in users(value) {
            // SAFETY: `user` belongs to the module, which outlives this search.
            let (instruction, constant) =
                unsafe { (!LLVMIsAInstruction(user).is_null(), !LLVMIsAConstant(user).is_null()) };
            let next = if instruction {
                if let Some(place) = place_of(user)
                    && is_own(&place.file)
                {
                    return Some(place);
                }
                // SAFETY: it is an instruction.
                unsafe { function_of(user) }
            } else if constant {
                holder = holder.or_else(|| names.place(&name_of(user)));
                user
            } else {
                continue;
            };
            if seen.len() < VISITED_MAX && seen.insert(next) {
                queue.push_back(next);
            }
        }
    }
    holder.cloned()
}

/// The name of a function or variable; empty for a constant that has none.
fn name_of(value: LLVMValueRef) -> String {
    let mut length = 0;
    // SAFETY: the name belongs to the value, which belongs to a live module.
    let name = unsafe {
        let name = LLVMGetValueName2(value, &mut length);
        if length == 0 {
            return String::new();
        }
        std::slice::from_raw_parts(name.cast::<u8>(), length)
    };
    String::from_utf8_lossy(name).into_owned()
}

/// The function that an instruction is in.
///
/// # Safety
///
/// It is an instruction of a live module.
pub(crate) unsafe fn function_of(instruction: LLVMValueRef) -> LLVMValueRef {
    // SAFETY: the caller upholds it; an instruction is in a block, and a block is in a function.
    unsafe { LLVMGetBasicBlockParent(LLVMGetInstructionParent(instruction)) }
}

/// Instructions and constants that use a value.
pub(crate) fn users(value: LLVMValueRef) -> Vec<LLVMValueRef> {
    let mut users = Vec::new();
    // SAFETY: the value belongs to a live module, and its list of uses is not changed meanwhile.
    unsafe {
        let mut place = LLVMGetFirstUse(value);
        while !place.is_null() {
            users.push(LLVMGetUser(place));
            place = LLVMGetNextUse(place);
        }
    }
    users
}

fn place_of(instruction: LLVMValueRef) -> Option<Place> {
    // SAFETY: the value is an instruction; the names belong to its debug information.
    let (line, column, folder, file) = unsafe {
        let text = |read: unsafe extern "C" fn(LLVMValueRef, *mut c_uint) -> *const c_char| {
            let mut length = 0;
            let bytes = read(instruction, &mut length);
            if bytes.is_null() {
                return String::new();
            }
            let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize);
            String::from_utf8_lossy(bytes).into_owned()
        };
        let (line, column) = (LLVMGetDebugLocLine(instruction), LLVMGetDebugLocColumn(instruction));
        (line, column, text(LLVMGetDebugLocDirectory), text(LLVMGetDebugLocFilename))
    };
    // Clang splits a path where it parts from the working folder's.
    let file = Path::new(&folder).join(file).to_string_lossy().into_owned();
    (line > 0 && !file.is_empty()).then_some(Place { file, line, column })
}

/// Where a global variable is defined.
pub(crate) fn of_variable(variable: LLVMValueRef) -> Option<Place> {
    // SAFETY: the value is a global variable of a live module, and so is its debug information; the
    // list of its metadata is this function's own.
    unsafe {
        let mut count = 0;
        let entries = LLVMGlobalCopyAllMetadata(variable, &mut count);
        let debug = (0..count as c_uint)
            .find(|index| LLVMValueMetadataEntriesGetKind(entries, *index) == DEBUG_KIND)
            .map(|index| LLVMValueMetadataEntriesGetMetadata(entries, index));
        LLVMDisposeValueMetadataEntries(entries);
        let described = LLVMDIGlobalVariableExpressionGetVariable(debug?);
        let (line, file) = (LLVMDIVariableGetLine(described), LLVMDIVariableGetFile(described));
        if line == 0 || file.is_null() {
            return None;
        }
        type Read = unsafe extern "C" fn(LLVMMetadataRef, *mut c_uint) -> *const c_char;
        let text = |read: Read| {
            let mut length = 0;
            let bytes = read(file, &mut length);
            let bytes = match bytes.is_null() {
                true => &[],
                false => std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize),
            };
            String::from_utf8_lossy(bytes).into_owned()
        };
        let file = Path::new(&text(LLVMDIFileGetDirectory)).join(text(LLVMDIFileGetFilename));
        Some(Place { file: file.to_string_lossy().into_owned(), line, column: 0 })
    }
}
