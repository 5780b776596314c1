//! The lists of static initialisers and finalisers of a module, before they become object code.

use std::ffi::CStr;

use inkwell::AddressSpace;
use inkwell::context::{AsContextRef, Context};
use inkwell::llvm_sys::LLVMLinkage;
use inkwell::llvm_sys::core::{
    LLVMAddGlobal, LLVMConstArray2, LLVMConstInt, LLVMConstPointerNull, LLVMConstStructInContext,
    LLVMDeleteGlobal, LLVMGetAggregateElement, LLVMGetArrayLength2, LLVMGetInitializer,
    LLVMGetNamedGlobal, LLVMInt32TypeInContext, LLVMIsAFunction, LLVMPointerTypeInContext,
    LLVMSetInitializer, LLVMSetLinkage, LLVMTypeOf,
};
use inkwell::llvm_sys::prelude::LLVMValueRef;
use inkwell::module::Module;
use inkwell::values::{AsValueRef, FunctionValue};

/// LLVM's lists: priority, function, and the object that it initialises.
const LISTS: [&CStr; 2] = [c"llvm.global_ctors", c"llvm.global_dtors"];

/// The operators that a program may replace, in the order in which the image's runtime knows them
/// (`kiln_replace_operators`).
const OPERATORS: [&str; 12] = [
    "_Znwm",
    "_ZnwmSt11align_val_t",
    "_Znam",
    "_ZnamSt11align_val_t",
    "_ZdlPv",
    "_ZdlPvm",
    "_ZdlPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t",
    "_ZdaPv",
    "_ZdaPvm",
    "_ZdaPvSt11align_val_t",
    "_ZdaPvmSt11align_val_t",
];

/// Makes one table of each list, in the list's order.
///
/// An entry of a template's or an inline variable names that object, which would give it a table of
/// its own, to be dropped with the object: a choice that was made when the modules were linked. The
/// linker that follows keeps no order among such tables.
pub(crate) fn order(context: &Context, module: &Module<'_>) {
    for name in LISTS {
        rewrite(context, module, name, None);
    }
}

/// Whether the module has an `operator new` or `delete` of its own.
pub(crate) fn replaces_operators(module: &Module<'_>) -> bool {
    OPERATORS
        .iter()
        .any(|name| module.get_function(name).is_some_and(|found| found.count_basic_blocks() > 0))
}

/// If a program defines `operator new` or `delete`, makes it tell the runtime before anything else:
/// the C++ library is the host's, and what it allocates the program may free.
pub(crate) fn announce_operators<'ctx>(context: &'ctx Context, module: &Module<'ctx>) {
    let pointer = context.ptr_type(AddressSpace::default());
    let own = OPERATORS.map(|name| {
        let found = module.get_function(name).filter(|found| found.count_basic_blocks() > 0);
        found.map(|found| found.as_global_value().as_pointer_value())
    });
    if own.iter().all(Option::is_none) {
        return;
    }
    let own = own.map(|found| found.unwrap_or_else(|| pointer.const_null()));
    let table = module.add_global(pointer.array_type(OPERATORS.len() as u32), None, "operators");
    table.set_initializer(&pointer.const_array(&own));

    let void = context.void_type();
    let replace = void.fn_type(&[pointer.into()], false);
    let replace = module.add_function("kiln_replace_operators", replace, None);
    let announce = module.add_function("kiln_announce_operators", void.fn_type(&[], false), None);
    let builder = context.create_builder();
    builder.position_at_end(context.append_basic_block(announce, ""));
    let built = "the builder is positioned";
    builder.build_call(replace, &[table.as_pointer_value().into()], "").expect(built);
    builder.build_return(None).expect(built);
    rewrite(context, module, LISTS[0], Some(announce));
}

/// Writes a list anew without the objects, and with a function of the highest priority before it.
fn rewrite(context: &Context, module: &Module<'_>, name: &CStr, first: Option<FunctionValue<'_>>) {
    // SAFETY: module and context are alive, and every value that is used belongs to them. Nothing but
    // the module refers to the list that is replaced.
    unsafe {
        let context = context.as_ctx_ref();
        let nothing = LLVMConstPointerNull(LLVMPointerTypeInContext(context, 0));
        let entry = |priority: LLVMValueRef, function: LLVMValueRef| {
            let mut parts = [priority, function, nothing];
            LLVMConstStructInContext(context, parts.as_mut_ptr(), parts.len() as u32, 0)
        };
        let mut entries = Vec::new();
        if let Some(first) = first {
            let highest = LLVMConstInt(LLVMInt32TypeInContext(context), 0, 0);
            entries.push(entry(highest, first.as_value_ref()));
        }
        let before = LLVMGetNamedGlobal(module.as_mut_ptr(), name.as_ptr());
        if !before.is_null() {
            let list = LLVMGetInitializer(before);
            for index in 0..LLVMGetArrayLength2(LLVMTypeOf(list)) as u32 {
                let listed = LLVMGetAggregateElement(list, index);
                let function = LLVMGetAggregateElement(listed, 1);
                if !LLVMIsAFunction(function).is_null() {
                    entries.push(entry(LLVMGetAggregateElement(listed, 0), function));
                }
            }
            LLVMDeleteGlobal(before);
        }
        if entries.is_empty() {
            return;
        }
        let list =
            LLVMConstArray2(LLVMTypeOf(entries[0]), entries.as_mut_ptr(), entries.len() as u64);
        let after = LLVMAddGlobal(module.as_mut_ptr(), LLVMTypeOf(list), name.as_ptr());
        LLVMSetLinkage(after, LLVMLinkage::LLVMAppendingLinkage);
        LLVMSetInitializer(after, list);
    }
}
