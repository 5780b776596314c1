// The C boundary between Rust and the C++ of Clang and ORC.
//
// Everything that LLVM's C API cannot do, and nothing that it can: no policy lives here. Functions
// return false after they have reported why; exceptions never cross; the only LLVM type that Rust
// sees is the module, which inkwell owns.
#pragma once

#include <llvm-c/Types.h>

#include <cstddef>
#include <cstdint>

extern "C" {

// Bytes that the callee of a callback only borrows, unless a comment says otherwise.
struct kshim_bytes {
  const char *data;
  size_t size;
};

// The file system that Clang sees: whatever these callbacks answer, and nothing else.
struct kshim_files {
  void *context;
  kshim_bytes working_folder;  // absolute; where relative paths start
  bool follows_links;          // whether `..` is the parent of what a link leads to
  // 0: absent, 1: file (its size in *size), 2: folder.
  int (*status)(void *context, kshim_bytes path, uint64_t *size);
  // Content that stays valid for the process, followed by a NUL byte. False: absent or unreadable.
  bool (*read)(void *context, kshim_bytes path, kshim_bytes *content);
};

// A place in a file; line and column are from 1, and 0 when unknown.
struct kshim_place {
  kshim_bytes file;
  uint32_t line;
  uint32_t column;
};

// A replacement of what stands from `from` up to line `to_line`, column `to_column`.
struct kshim_edit {
  kshim_place from;
  uint32_t to_line;
  uint32_t to_column;
  kshim_bytes text;
};

// One diagnostic: severity is 0 note, 1 warning, 2 error.
struct kshim_diagnostic {
  int severity;
  kshim_place place;
  uint32_t end_line;  // behind what it is about; 0 when unknown
  uint32_t end_column;
  kshim_bytes message;
  kshim_bytes option;    // "unused-variable"; empty for what no option switches
  kshim_bytes category;  // "Semantic Issue"
  kshim_bytes rendered;  // as Clang prints it, without colours
  const kshim_place *includes;  // where the file is included, innermost first
  size_t includes_count;
  const kshim_edit *edits;  // that would mend it
  size_t edits_count;
};

// A function or variable of the author's own that the module defines for others, or wants of them.
struct kshim_name {
  kshim_bytes symbol;   // as linkers know it
  kshim_bytes written;  // as authors do: "shop::price(std::string_view)"
  kshim_bytes type;     // what both sides must agree on: a variable's type, a function's result
  kshim_place place;
  bool defined;
  bool internal;  // static, or in an anonymous namespace
  bool variable;
};

// Who hears what Clang finds.
struct kshim_diagnostics {
  void *context;
  void (*report)(void *context, const kshim_diagnostic *);
  void (*name)(void *context, const kshim_name *);
};

// A sink for one run of bytes.
struct kshim_sink {
  void *context;
  void (*write)(void *context, kshim_bytes bytes);
};

// Functions that are compiled already.
struct kshim_library {
  const void *context;
  bool (*has)(const void *context, kshim_bytes symbol);
};

// Runs cc1 with `arguments`, the last of which is the file, over `files` and hands over the module,
// unoptimised. Assembly outside of functions has lines of the form `# LINE "FILE"` in it. Of a
// script's hooks it reports what is nearly one. Functions that templates make and that `library` has are
// called there, and never compiled; it may be null.
bool kshim_compile(const char *const *arguments, size_t arguments_count, const kshim_files *files,
                   const kshim_diagnostics *diagnostics, bool is_script,
                   const kshim_library *library, LLVMContextRef context, LLVMModuleRef *module);

// Runs cc1 with `arguments`, among them -o, over `files` and writes a precompiled header. Functions
// that templates have made and that have a name in `elsewhere` are called there, and never compiled.
bool kshim_precompile(const char *const *arguments, size_t arguments_count,
                      const kshim_files *files, const kshim_bytes *elsewhere,
                      size_t elsewhere_count, const kshim_diagnostics *diagnostics);

// Makes a declaration of a function's definition; false, and nothing done, if an alias needs it.
bool kshim_drop_body(LLVMValueRef function);

// Generates position-independent code with emulated thread-locals for `cpu` and `features`
// (comma-separated, each with + or -), and writes the object file to `object`, errors to `error`.
bool kshim_generate(LLVMModuleRef module, const char *cpu, const char *features,
                    const kshim_sink *object, const kshim_sink *error);

// Whether `name` is a processor that LLVM knows, and this machine has every feature of it; writes to
// `error` what is wrong.
bool kshim_check_cpu(const char *name, const kshim_sink *error);

// From now on whatever LLVM says about this module goes to `sink` and not to standard error (errors
// would end the process). Its text is not printed: `rendered` is the line of assembly it is about. Of
// names nothing is said.
void kshim_listen(LLVMModuleRef module, const kshim_diagnostics *sink);

// From now on a crash of this process, and the end of its memory, is reported to `pipe` in a line that
// heritage's CompileNews can read. Then it ends as it would have.
void kshim_report_crashes(int pipe);

// There is no more memory: reports that and ends the process.
[[noreturn]] void kshim_out_of_memory();

struct kshim_symbol {
  kshim_bytes name;
  uint64_t address;
};

// Protection bits of a section, as in ELF: 1 executable, 2 writable, 4 readable.
// A section that is not loaded (debug information) has address 0 and protection 0.
struct kshim_section {
  kshim_bytes name;
  uint64_t address;
  uint64_t size;
  uint32_t protection;
  bool zero_fill;
  kshim_bytes content;  // of a section that is not loaded, fixed up; else empty
};

// A defined symbol at its final address.
struct kshim_definition {
  kshim_bytes name;
  uint64_t address;
  uint64_t size;
  bool callable;
  bool local;
};

// A run of pages of one protection: `content_size` bytes, then zeroes up to `size`.
struct kshim_segment {
  uint64_t address;
  uint64_t content_size;
  uint64_t size;
  uint32_t protection;
};

// Where an image goes, and who hears of what was put there.
struct kshim_target {
  uint64_t base;       // first address that may be used, page-aligned
  uint64_t size;       // bytes from there
  uint64_t page_size;  // what segments are aligned to: a page, or more if a section wants more
  char *alias;         // where this process can write what will be at `base`
  void *context;
  void (*segment)(void *context, const kshim_segment *);
  void (*section)(void *context, const kshim_section *);
  void (*definition)(void *context, const kshim_definition *);
};

// Links one object file at `target`. `roots` are the symbols that must be there; all that the object
// leaves undefined must be among `symbols`.
bool kshim_link(kshim_bytes object, const kshim_symbol *symbols, size_t symbols_count,
                const kshim_bytes *roots, size_t roots_count, const kshim_target *target,
                const kshim_sink *error);

}  // extern "C"
