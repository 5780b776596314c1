//! Hooks that are a few instructions: what is caught needs no compiler.

use std::path::Path;

use heritage::{FaultKind, InheritedImage};
use hook::{Arena, Decision, Names, RequestView, Scripts};

/// `mov dword ptr [rdi], 4; mov rax, rdi; ret`: closes the connection.
const CLOSES: &[u8] = &[0xc7, 0x07, 4, 0, 0, 0, 0x48, 0x89, 0xf8, 0xc3];

struct Case {
    does: &'static str,
    code: &'static [u8],
    kind: FaultKind,
    message: &'static str,
}

const CASES: &[Case] = &[
    Case {
        does: "ud2",
        code: &[0x0f, 0x0b],
        kind: FaultKind::IllegalInstruction,
        message: "an instruction",
    },
    Case {
        does: "mov [0x10], eax",
        code: &[0x89, 0x04, 0x25, 0x10, 0, 0, 0],
        kind: FaultKind::SegmentationFault,
        message: "it writes at address 0x10 (a null pointer)",
    },
    Case {
        does: "xor ecx, ecx; div ecx",
        code: &[0x31, 0xc9, 0xf7, 0xf1],
        kind: FaultKind::ArithmeticError,
        message: "divided by zero",
    },
    Case {
        does: "movaps xmm0, [rsp + 1]",
        code: &[0x0f, 0x28, 0x44, 0x24, 0x01],
        kind: FaultKind::SegmentationFault,
        message: "which is not aligned to 16 bytes",
    },
    Case {
        does: "mov rax, 1 << 63; mov eax, [rax]",
        code: &[0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8b, 0x00],
        kind: FaultKind::SegmentationFault,
        message: "it uses address 0x8000000000000000, which can't exist",
    },
    Case {
        does: "hlt",
        code: &[0xf4],
        kind: FaultKind::SegmentationFault,
        message: "it runs the instruction `hlt`",
    },
    Case { does: "int3", code: &[0xcc], kind: FaultKind::Trap, message: "a breakpoint" },
    Case {
        does: "call itself",
        code: &[0xe8, 0xfb, 0xff, 0xff, 0xff],
        kind: FaultKind::StackOverflow,
        message: "the stack of 8 MiB is used up",
    },
    Case {
        does: "jmp itself",
        code: &[0xeb, 0xfe],
        kind: FaultKind::CpuBudget,
        message: "it has computed for 20 ms",
    },
    Case {
        does: "xor eax, eax; jmp rax",
        code: &[0x31, 0xc0, 0xff, 0xe0],
        kind: FaultKind::SegmentationFault,
        message: "it runs at address 0x0",
    },
    Case {
        does: "std; or [rsp], AC; ruins rbx, rbp, r12 to r15 and the rounding; ud2",
        code: &[
            0xfd, // std
            0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0,
            0x9d, // pushfq; or dword ptr [rsp], 1 << 18; popfq
            0xd9, 0xe8, 0xd9, 0xe8, // fld1; fld1
            0x6a, 0, 0xd9, 0x2c, 0x24, // push 0; fldcw [rsp]
            0x31, 0xdb, 0x31, 0xed, 0x4d, 0x31, 0xe4, 0x4d, 0x31, 0xed, 0x4d, 0x31, 0xf6, 0x4d,
            0x31, 0xff, // xor of each with itself
            0x0f, 0x0b,
        ],
        kind: FaultKind::IllegalInstruction,
        message: "an instruction",
    },
    Case {
        does: "ret, without an answer",
        code: &[0xc3],
        kind: FaultKind::InvalidAnswer,
        message: "its answer is not an action",
    },
    Case {
        does: "a reply of 16 bytes at address 0x20",
        code: &[
            0xc7, 0x07, 3, 0, 0, 0, // kind
            0xc7, 0x47, 4, 200, 0, 0, 0, // status
            0x48, 0xc7, 0x47, 8, 0x20, 0, 0, 0, // text
            0x48, 0xc7, 0x47, 16, 16, 0, 0, 0, // its size
            0xc3,
        ],
        kind: FaultKind::SegmentationFault,
        message: "it reads at address 0x20",
    },
];

fn request() -> RequestView<'static> {
    RequestView {
        method: b"GET",
        target: b"/",
        path: b"/",
        query: b"",
        authority: b"a",
        fields: &[],
        client: "192.0.2.1:1".parse().expect("an address"),
    }
}

/// The only test of this file: handlers, timer and stack are the process's, and hooks run on one thread.
#[test]
fn what_code_does_wrong_ends_its_call_and_nothing_else() {
    let arena = Arena::reserve().expect("addresses");
    let names = Names {
        function: Box::new(|_| None),
        is_header: |_| false,
        demangled: |name| Path::new(name).display().to_string(),
    };
    let mut scripts = Scripts::new(arena, names).expect("a stack");
    let faults = settings::Faults { hook_cpu_ms: 20, ..settings::Faults::default() };
    scripts.configure(&faults);
    let mut generation = 0;
    let mut load = |scripts: &mut Scripts, code: &[u8]| {
        generation += 1;
        let slot = (generation % u64::from(Arena::SLOTS)) as u8;
        let file = image::Writer::hook_of(arena.slot(slot), code).expect("an image");
        image::seal(&file, arena.slot(slot)).expect("a good one");
        let image = InheritedImage { generation, slot, file };
        scripts.load(image, 1 << 20).expect("it has no initialisers");
    };
    for Case { does, code, kind, message } in CASES {
        // Once more, after whatever the first one left: all together fewer than are told in a second.
        for _ in 0..2 {
            load(&mut scripts, code);
            let (held, decision) = scripts.on_request(&request());
            assert_eq!(decision, Decision::Failed, "{does}");
            scripts.release(held);
            let fault = scripts.next_fault().expect("there are fewer than may be told at once");
            assert_eq!(fault.kind, *kind, "{does}: {}", fault.message);
            assert!(fault.message.contains(message), "{does}: {}", fault.message);
            load(&mut scripts, CLOSES);
            let (held, decision) = scripts.on_request(&request());
            assert_eq!(decision, Decision::Close, "after {does}");
            scripts.release(held);
            assert_eq!(1.0_f64 / std::hint::black_box(3.0), 1.0 / 3.0, "it rounds as ever");
        }
    }
    assert!(scripts.is_tainted());
}
