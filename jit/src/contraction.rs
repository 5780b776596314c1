//! `a * b + c` stays two roundings wherever Clang would have left it so.
//!
//! C++ lets a compiler fuse a product and a sum within one expression, and Clang says where it could
//! (`llvm.fmuladd`). Its own code for plain x86-64 never does, as that has no such instruction; the
//! host mostly has one, and a script would compute other digits than `clang++ -O2`, and other ones on
//! the next machine. So what Clang left open for a function is closed here, but where the author asked
//! for the instruction (`__attribute__((target("fma")))`).

use inkwell::attributes::AttributeLoc;
use inkwell::builder::Builder;
use inkwell::context::AsContextRef;
use inkwell::context::Context;
use inkwell::llvm_sys::core::{
    LLVMBuildCall2, LLVMBuildFAdd, LLVMBuildFMul, LLVMGetFastMathFlags,
    LLVMGetIntrinsicDeclaration, LLVMGetOperand, LLVMInstructionEraseFromParent,
    LLVMIntrinsicGetType, LLVMIsAInstruction, LLVMLookupIntrinsicID, LLVMPositionBuilderBefore,
    LLVMReplaceAllUsesWith, LLVMSetFastMathFlags, LLVMTypeOf,
};
use inkwell::llvm_sys::prelude::{LLVMModuleRef, LLVMValueRef};
use inkwell::module::Module;
use inkwell::values::{AsValueRef, FunctionValue};

use crate::place::{function_of, users};

const FUSED: &str = "llvm.fmuladd.";
/// The same where the program looks at rounding modes or exceptions (`#pragma STDC FENV_ACCESS ON`).
const FUSED_STRICT: &str = "llvm.experimental.constrained.fmuladd.";

/// Separates products and sums, in functions that do not ask for FMA. To be called while each function
/// has the features that Clang gave it.
pub(crate) fn separate(context: &Context, module: &Module<'_>) {
    let builder = context.create_builder();
    let named = |function: &FunctionValue| function.get_name().to_string_lossy().into_owned();
    let open: Vec<_> = module
        .get_functions()
        .map(|function| (named(&function), function))
        .filter(|(name, _)| name.starts_with(FUSED) || name.starts_with(FUSED_STRICT))
        .collect();
    for (name, fused) in open {
        let strict = name.starts_with(FUSED_STRICT);
        for call in users(fused.as_value_ref()) {
            // SAFETY: a user belongs to the live module; of an intrinsic, only calls are users.
            let asks = unsafe {
                !LLVMIsAInstruction(call).is_null()
                    && FunctionValue::new(function_of(call)).is_some_and(asks_for_fma)
            };
            if asks {
                continue;
            }
            // SAFETY: it is a call of this intrinsic, in this context.
            unsafe {
                if strict {
                    separate_strict(context, module.as_mut_ptr(), &builder, call);
                } else {
                    separate_one(&builder, call);
                }
            }
        }
    }
}

fn asks_for_fma(function: FunctionValue<'_>) -> bool {
    let features = function.get_string_attribute(AttributeLoc::Function, "target-features");
    features.is_some_and(|features| {
        features.get_string_value().to_bytes().split(|byte| *byte == b',').any(|it| it == b"+fma")
    })
}

/// # Safety
///
/// `call` is a call of `llvm.fmuladd` in the builder's context; it is gone afterwards.
unsafe fn separate_one(builder: &Builder<'_>, call: LLVMValueRef) {
    // SAFETY: the caller upholds it; the intrinsic has three operands.
    unsafe {
        let builder = builder.as_mut_ptr();
        LLVMPositionBuilderBefore(builder, call);
        let [a, b, c] = [0, 1, 2].map(|index| LLVMGetOperand(call, index));
        let product = LLVMBuildFMul(builder, a, b, c"".as_ptr());
        let sum = LLVMBuildFAdd(builder, product, c, c"".as_ptr());
        for part in [product, sum] {
            // Operands that are constants make a constant.
            if !LLVMIsAInstruction(part).is_null() {
                LLVMSetFastMathFlags(part, LLVMGetFastMathFlags(call));
            }
        }
        LLVMReplaceAllUsesWith(call, sum);
        LLVMInstructionEraseFromParent(call);
    }
}

/// # Safety
///
/// `call` is a call of `llvm.experimental.constrained.fmuladd` in this module; it is gone afterwards.
unsafe fn separate_strict(
    context: &Context,
    module: LLVMModuleRef,
    builder: &Builder<'_>,
    call: LLVMValueRef,
) {
    // SAFETY: the caller upholds it; the intrinsic has three numbers, a rounding mode and what is
    // thought of exceptions, and its parts have two numbers and the same.
    unsafe {
        let builder = builder.as_mut_ptr();
        LLVMPositionBuilderBefore(builder, call);
        let [a, b, c, rounding, exceptions] = [0, 1, 2, 3, 4].map(|at| LLVMGetOperand(call, at));
        let kind = LLVMTypeOf(a);
        let step = |name: &str, left, right| {
            let id = LLVMLookupIntrinsicID(name.as_ptr().cast(), name.len());
            let function = LLVMGetIntrinsicDeclaration(module, id, &mut { kind }, 1);
            let signature = LLVMIntrinsicGetType(context.as_ctx_ref(), id, &mut { kind }, 1);
            let mut operands = [left, right, rounding, exceptions];
            let count = operands.len() as u32;
            LLVMBuildCall2(builder, signature, function, operands.as_mut_ptr(), count, c"".as_ptr())
        };
        let product = step("llvm.experimental.constrained.fmul", a, b);
        let sum = step("llvm.experimental.constrained.fadd", product, c);
        LLVMReplaceAllUsesWith(call, sum);
        LLVMInstructionEraseFromParent(call);
    }
}
