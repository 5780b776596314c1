// Builds at build time, with the libraries that will run at run time, what scripts begin with.
//
//   pch_builder FOLDER precompile ELSEWHERE ARGUMENTS...
//   pch_builder FOLDER instantiate OBJECT ARGUMENTS...
//
// `precompile` writes a precompiled header. ELSEWHERE is a file that names, one a line, the functions
// of the C++ library that scripts call where they are, and do not compile again.
//
// `instantiate` writes an object file with all that a source file makes of templates in `std`, under
// names that begin with `kiln_usual.`.
//
// ARGUMENTS are cc1's. Files are read from the machine, but for `/kiln/include`, which is FOLDER:
// a precompiled header remembers paths, so they must be those that scripts will see.

#include "shim.h"

#include <llvm-c/Comdat.h>
#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <vector>

static std::string folder;

static std::string real_path(kshim_bytes path) {
  static const std::string prefix = "/kiln/include";
  std::string name(path.data, path.size);
  return name.rfind(prefix, 0) == 0 ? folder + name.substr(prefix.size()) : name;
}

static int status(void *, kshim_bytes path, uint64_t *size) {
  struct stat entry;
  if (stat(real_path(path).c_str(), &entry) != 0) return 0;
  *size = entry.st_size;
  return S_ISREG(entry.st_mode) ? 1 : S_ISDIR(entry.st_mode) ? 2 : 0;
}

static bool read_file(void *context, kshim_bytes path, kshim_bytes *content) {
  auto &cache = *static_cast<std::map<std::string, std::string> *>(context);
  std::string name = real_path(path);
  auto found = cache.find(name);
  if (found == cache.end()) {
    std::ifstream file(name, std::ios::binary);
    if (!file) return false;
    std::stringstream bytes;
    bytes << file.rdbuf();
    found = cache.emplace(name, bytes.str()).first;
  }
  *content = {found->second.data(), found->second.size()};
  return true;
}

static void report(void *, const kshim_diagnostic *found) {
  std::fwrite(found->rendered.data, 1, found->rendered.size, stderr);
}

static void name(void *, const kshim_name *) {}
static bool precompile(const char *list, char **arguments, size_t count, const kshim_files &files,
                       const kshim_diagnostics &diagnostics) {
  std::ifstream stream(list);
  if (!stream) return false;
  std::vector<std::string> names;
  for (std::string name; std::getline(stream, name);) names.push_back(name);
  std::vector<kshim_bytes> elsewhere;
  for (auto &name : names) elsewhere.push_back({name.data(), name.size()});
  return kshim_precompile(arguments, count, &files, elsewhere.data(), elsewhere.size(),
                          &diagnostics);
}

static std::string name_of(LLVMValueRef value) {
  size_t size = 0;
  const char *name = LLVMGetValueName2(value, &size);
  return {name, size};
}

// The function of the same name but for `C1` (or `D1`) in the place of `C2` (or `D2`), if it only calls
// this one: a constructor (or destructor) of a whole object, beside that of a base.
static LLVMValueRef of_whole_object(LLVMModuleRef module, LLVMValueRef of_base) {
  std::string name = name_of(of_base);
  for (size_t at = 1; at < name.size(); at++) {
    if (name[at] != '2' || (name[at - 1] != 'C' && name[at - 1] != 'D')) continue;
    std::string other = name;
    other[at] = '1';
    auto whole = LLVMGetNamedFunction(module, other.c_str());
    if (!whole || LLVMCountBasicBlocks(whole) != 1) continue;
    if (LLVMGlobalGetValueType(whole) != LLVMGlobalGetValueType(of_base)) continue;
    bool only_calls = false;
    auto block = LLVMGetEntryBasicBlock(whole);
    for (auto it = LLVMGetFirstInstruction(block); it; it = LLVMGetNextInstruction(it)) {
      auto called = LLVMIsACallInst(it) ? LLVMGetCalledValue(it) : nullptr;
      if (!called || (LLVMIsAFunction(called) && LLVMGetIntrinsicID(called))) continue;
      only_calls = called == of_base;
      if (!only_calls) break;
    }
    if (only_calls) return whole;
  }
  return nullptr;
}

static bool is_of_library(const std::string &name) {
  for (const char *prefix : {"_ZNSt", "_ZNKSt", "_ZSt", "_ZNOSt", "_ZNRSt", "_ZNKRSt"})
    if (name.rfind(prefix, 0) == 0) return true;
  return false;
}

// Gives the functions that templates of `std` made names of their own, which scripts are linked to:
// LLVM has some of them as well, compiled without exceptions, and the linker would choose. All else
// that could be chosen elsewhere becomes private.
static void keep_library_functions(LLVMModuleRef module) {
  std::vector<LLVMValueRef> functions;
  for (auto function = LLVMGetFirstFunction(module); function != nullptr;
       function = LLVMGetNextFunction(function))
    if (LLVMGetLinkage(function) == LLVMLinkOnceODRLinkage) functions.push_back(function);
  // One function under both names: by itself the one that only calls the other would be too small to
  // be worth a call.
  std::map<LLVMValueRef, std::string> other_names;
  for (auto function : functions)
    if (auto whole = of_whole_object(module, function)) {
      other_names[function] = name_of(whole);
      LLVMReplaceAllUsesWith(whole, function);
    }
  for (auto function : functions) {
    std::string name = name_of(function);
    bool library = is_of_library(name);
    LLVMSetComdat(function, nullptr);
    LLVMSetLinkage(function, library ? LLVMExternalLinkage : LLVMInternalLinkage);
    if (!library) continue;
    std::string own = "kiln_usual." + name, section = ".text." + own;
    LLVMSetValueName2(function, own.data(), own.size());
    LLVMSetVisibility(function, LLVMHiddenVisibility);
    // The linker drops what no table names.
    LLVMSetSection(function, section.c_str());
  }
  for (auto &[function, name] : other_names) {
    if (!is_of_library(name)) continue;
    LLVMDeleteFunction(LLVMGetNamedFunction(module, ("kiln_usual." + name).c_str()));
    auto alias = LLVMAddAlias2(module, LLVMGlobalGetValueType(function), 0, function,
                               ("kiln_usual." + name).c_str());
    LLVMSetVisibility(alias, LLVMHiddenVisibility);
  }
}

static void append(void *context, kshim_bytes bytes) {
  static_cast<std::string *>(context)->append(bytes.data, bytes.size);
}

static bool instantiate(const char *object, char **arguments, size_t count,
                        const kshim_files &files, const kshim_diagnostics &diagnostics) {
  auto context = LLVMContextCreate();
  LLVMModuleRef module = nullptr;
  if (!kshim_compile(arguments, count, &files, &diagnostics, /*is_script=*/false, /*library=*/nullptr,
                     context, &module))
    return false;
  keep_library_functions(module);

  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  const char *triple = "x86_64-pc-linux-gnu";
  LLVMTargetRef target = nullptr;
  if (LLVMGetTargetFromTriple(triple, &target, nullptr)) return false;
  auto machine = LLVMCreateTargetMachine(target, triple, "x86-64", "", LLVMCodeGenLevelDefault,
                                         LLVMRelocPIC, LLVMCodeModelSmall);
  auto options = LLVMCreatePassBuilderOptions();
  if (auto failed = LLVMRunPasses(module, "default<O2>", machine, options)) {
    std::fputs(LLVMGetErrorMessage(failed), stderr);
    return false;
  }
  std::string made, error;
  kshim_sink object_sink{&made, append}, error_sink{&error, append};
  if (!kshim_generate(module, "x86-64", "", &object_sink, &error_sink)) {
    std::fputs(error.c_str(), stderr);
    return false;
  }
  std::ofstream file(object, std::ios::binary);
  file.write(made.data(), static_cast<std::streamsize>(made.size()));
  return file.good();
}

int main(int count, char **arguments) {
  if (count < 5) return 2;
  folder = arguments[1];
  bool precompiles = std::strcmp(arguments[2], "precompile") == 0;
  std::map<std::string, std::string> cache;
  kshim_files files{&cache, {"/", 1}, false, status, read_file};
  kshim_diagnostics diagnostics{nullptr, report, name};
  auto act = precompiles ? precompile : instantiate;
  return act(arguments[3], arguments + 4, static_cast<size_t>(count - 4), files, diagnostics) ? 0
                                                                                              : 1;
}
