//! The IR stage: every script's module becomes one, with one entry point, for this machine's CPU.
//!
//! Linking at this level is what lets a chain of scripts inline, and what makes an inline variable
//! that two scripts share one variable.

use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::debug_info::{
    AsDIScope, DIFlags, DIFlagsConstants, DWARFEmissionKind, DWARFSourceLanguage,
};
use inkwell::module::{Linkage, Module};
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{
    CodeModel, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple,
};
use inkwell::values::{FunctionValue, PointerValue};
use inkwell::{AddressSpace, IntPredicate, OptimizationLevel};

use crate::SymbolTable;
use crate::ffi;

/// Linker name of `kiln::Action on_request(kiln::Request&)`.
pub(crate) const ON_REQUEST: &str = "_Z10on_requestRN4kiln7RequestE";
/// Name of the chain that asks each script in turn.
pub(crate) const CHAIN: &str = "kiln_on_request";
/// `KILN_ACTION_NEXT` of `abi.h`.
const ACTION_NEXT: u64 = 1;

/// What stands for the CPU of this machine.
const HOST: &str = "host";

/// CPU and features that code is made for.
pub(crate) struct Cpu {
    pub(crate) name: String,
    pub(crate) features: String,
}

impl Cpu {
    /// The CPU of this machine, for `host`, or the one of this name, with all that it has.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        if name == HOST {
            return Ok(Self::host());
        }
        ffi::check_cpu(name)?;
        Ok(Self { name: name.to_owned(), features: String::new() })
    }

    /// The CPU of this machine.
    fn host() -> Self {
        let text = |string: inkwell::support::LLVMString| string.to_string();
        Self {
            name: text(TargetMachine::get_host_cpu_name()),
            features: text(TargetMachine::get_host_cpu_features()),
        }
    }
}

/// How a hook is called from here on, up to the script's number.
const HOOK_NAME: &str = "on_request.";

/// Finds a script's hook, if it has one, and gives it a name of its own, so that scripts can be
/// linked together.
pub(crate) fn take_hook(module: &Module, number: usize) -> Option<String> {
    let hook = module.get_function(ON_REQUEST).filter(|hook| hook.count_basic_blocks() > 0)?;
    let name = format!("{HOOK_NAME}{number}");
    hook.as_global_value().set_name(&name);
    Some(name)
}

/// What LLVM says, with hooks called as their authors do.
pub(crate) fn in_their_words(message: &str) -> String {
    let mut parts = message.split(HOOK_NAME);
    let mut words = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        words.push_str("on_request");
        words.push_str(part.trim_start_matches(|character: char| character.is_ascii_digit()));
    }
    words
}

/// Makes the entry point. One hook is its own; several become a chain that asks each in turn:
///
///     void kiln_on_request(kiln_action *answer, kiln_request *request) {
///         hook_0(answer, request);  if (answer->kind != NEXT) return;
///         hook_1(answer, request);  ...
///     }
pub(crate) fn build_chain<'ctx>(context: &'ctx Context, module: &Module<'ctx>, hooks: &[String]) {
    let find = |hook: &String| module.get_function(hook).expect("take_hook named it");
    let hooks: Vec<FunctionValue> = hooks.iter().map(find).collect();
    if let [hook] = hooks[..] {
        hook.as_global_value().set_name(CHAIN);
        return;
    }
    let pointer = context.ptr_type(AddressSpace::default());
    let signature = context.void_type().fn_type(&[pointer.into(), pointer.into()], false);
    let chain = module.add_function(CHAIN, signature, None);
    // The answer is returned through memory: the caller wants its address back in a register.
    let returned = Attribute::get_named_enum_kind_id("sret");
    let place = AttributeLoc::Param(0);
    let attribute = hooks.first().and_then(|hook| hook.get_enum_attribute(place, returned));
    if let Some(attribute) = attribute {
        chain.add_attribute(place, attribute);
    }
    let frame_pointer = context.create_string_attribute("frame-pointer", "all");
    chain.add_attribute(AttributeLoc::Function, frame_pointer);

    let builder = context.create_builder();
    describe_chain(context, module, chain, &builder);
    let built = "the builder is positioned";
    let answer = chain.get_nth_param(0).expect("it has two parameters").into_pointer_value();
    let request = chain.get_nth_param(1).expect("it has two parameters");
    let done = context.append_basic_block(chain, "done");
    for hook in hooks {
        let ask = context.prepend_basic_block(done, "ask");
        if let Some(before) = ask.get_previous_basic_block() {
            // What the hook before leaves open, this one decides.
            builder.position_at_end(before);
            let kind = context.i32_type();
            let found = builder.build_load(kind, answer, "kind").expect(built).into_int_value();
            let next = kind.const_int(ACTION_NEXT, false);
            let goes_on = builder.build_int_compare(IntPredicate::EQ, found, next, "next");
            builder.build_conditional_branch(goes_on.expect(built), ask, done).expect(built);
        }
        builder.position_at_end(ask);
        builder.build_call(hook, &[answer.into(), request.into()], "").expect(built);
    }
    builder.build_unconditional_branch(done).expect(built);
    builder.position_at_end(done);
    keep(context, &builder, request.into_pointer_value());
    builder.build_return(None).expect(built);
}

/// Keeps the request until here, for debuggers: what is inlined into the chain knows it by where it
/// is, and not by what the chain was called with. Every hook but the last one needs it kept anyway.
fn keep<'ctx>(context: &'ctx Context, builder: &Builder<'ctx>, request: PointerValue<'ctx>) {
    let pointer = context.ptr_type(AddressSpace::default());
    let signature = context.void_type().fn_type(&[pointer.into()], false);
    let nothing = String::new();
    let used = context.create_inline_asm(signature, nothing, "r".into(), true, false, None, false);
    let call = builder.build_indirect_call(signature, used, &[request.into()], "");
    call.expect("the builder is positioned");
}

/// `DINode::FlagAllCallsDescribed`, which LLVM's C API leaves out: a debugger finds the request of a
/// hook, whose optimised code has let go of it, by what the chain passed on.
const ALL_CALLS_DESCRIBED: DIFlags = 1 << 29;

/// Gives the chain debug information of its own: what is inlined into a function that has none loses
/// its lines.
fn describe_chain<'ctx>(
    context: &'ctx Context,
    module: &Module<'ctx>,
    chain: FunctionValue<'ctx>,
    builder: &Builder<'ctx>,
) {
    let (debug, unit) = module.create_debug_info_builder(
        true,
        DWARFSourceLanguage::CPlusPlus14,
        "<kiln>",
        "/",
        "kiln",
        true,
        "",
        0,
        "",
        DWARFEmissionKind::Full,
        0,
        true,
        false,
        "",
        "",
    );
    let file = unit.get_file();
    let signature = debug.create_subroutine_type(file, None, &[], DIFlags::ZERO);
    let scope = unit.as_debug_info_scope();
    let flags = ALL_CALLS_DESCRIBED;
    let function =
        debug.create_function(scope, CHAIN, None, file, 0, signature, true, true, 0, flags, true);
    chain.set_subprogram(function);
    let scope = function.as_debug_info_scope();
    builder.set_current_debug_location(debug.create_debug_location(context, 0, 0, scope, None));
    debug.finalize();
}

/// Lets go of what the C++ library in this process has already, compiled: functions that templates
/// and headers have made again for this module. Small ones stay, to be inlined.
///
/// By the one-definition rule they are the same, for they have the same names, which say of what type
/// they are, and come from the same headers. What a module defines for good (and not once for many) is
/// its own.
pub(crate) fn call_the_library(module: &Module, symbols: &SymbolTable) {
    let is_shared = |function: &FunctionValue| function.get_linkage() == Linkage::LinkOnceODR;
    for function in module.get_functions().filter(is_shared) {
        if function.get_name().to_str().is_ok_and(|name| symbols.is_called(name)) {
            ffi::drop_body(function);
        }
    }
}

/// Hides all but the entry, and drops what it does not reach. Functions that are chosen for the
/// machine (`target_clones`, ifuncs) become pointers that a static initialiser sets, as there is no
/// dynamic loader to ask.
pub(crate) fn keep_only(
    module: &Module,
    machine: &TargetMachine,
    entry: &str,
) -> Result<(), String> {
    run(
        module,
        machine,
        &format!("internalize<preserve-gv={entry}>,globaldce,lower-ifunc,globaldce"),
    )
}

/// Runs the optimiser as `clang -O2` does.
pub(crate) fn optimise(module: &Module, machine: &TargetMachine) -> Result<(), String> {
    run(module, machine, "default<O2>")
}

fn run(module: &Module, machine: &TargetMachine, passes: &str) -> Result<(), String> {
    let options = PassBuilderOptions::create();
    module.run_passes(passes, machine, options).map_err(|error| error.to_string())
}

/// The machine that the optimiser asks for costs.
pub(crate) fn target_machine(cpu: &Cpu) -> TargetMachine {
    Target::initialize_x86(&InitializationConfig::default());
    let triple = TargetTriple::create("x86_64-pc-linux-gnu");
    let target = Target::from_triple(&triple).expect("x86 is linked in");
    let level = OptimizationLevel::Default;
    target
        .create_target_machine(
            &triple,
            &cpu.name,
            &cpu.features,
            level,
            RelocMode::PIC,
            CodeModel::Small,
        )
        .expect("x86-64 has a machine")
}

/// Makes every function for this CPU: Clang has compiled for the precompiled header's level. What a
/// function asks for beside (`__attribute__((target("avx2")))`) it keeps.
pub(crate) fn set_cpu(context: &Context, module: &Module, cpu: &Cpu) {
    let here = AttributeLoc::Function;
    for function in module.get_functions().filter(|function| function.count_basic_blocks() > 0) {
        let own = function.get_string_attribute(here, "target-features");
        let own = own.map(|own| own.get_string_value().to_string_lossy().into_owned());
        let features = match own {
            Some(own) if cpu.features.is_empty() => own,
            Some(own) => format!("{},{own}", cpu.features),
            None => cpu.features.clone(),
        };
        for (key, value) in [("target-cpu", &cpu.name), ("target-features", &features)] {
            function.remove_string_attribute(here, key);
            function.add_attribute(here, context.create_string_attribute(key, value));
        }
        function.remove_string_attribute(here, "tune-cpu");
    }
}
