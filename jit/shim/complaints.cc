// What LLVM has to say about code after the front end: its optimiser, code generator and assembler.

#include "shim.h"

#include <llvm-c/Core.h>
#include <llvm/ADT/SmallString.h>
#include <llvm/IR/Constants.h>
#include <llvm/IR/DebugInfoMetadata.h>
#include <llvm/IR/DiagnosticHandler.h>
#include <llvm/IR/DiagnosticInfo.h>
#include <llvm/IR/DiagnosticPrinter.h>
#include <llvm/IR/InlineAsm.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/Path.h>
#include <llvm/Support/SourceMgr.h>

using namespace llvm;

namespace {

kshim_bytes borrow(StringRef text) { return {text.data(), text.size()}; }

struct Place {
  std::string file;
  unsigned line = 0;
  unsigned column = 0;
};

Place place_of(const DILocation *location) {
  if (!location) return {};
  SmallString<256> path(location->getFilename());
  if (!sys::path::is_absolute(path)) {
    path = location->getDirectory();
    sys::path::append(path, location->getFilename());
  }
  return {std::string(path), location->getLine(), location->getColumn()};
}

Place place_in(const DiagnosticInfo &info) {
  const DiagnosticInfoWithLocationBase *located = nullptr;
  if (auto *limit = dyn_cast<DiagnosticInfoResourceLimit>(&info)) located = limit;
  if (auto *unsupported = dyn_cast<DiagnosticInfoUnsupported>(&info)) located = unsupported;
  if (auto *pass = dyn_cast<DiagnosticInfoOptimizationBase>(&info)) located = pass;
  if (!located || !located->isLocationAvailable()) return {};
  Place place;
  StringRef relative;
  located->getLocation(relative, place.line, place.column);
  place.file = located->getAbsolutePath();
  return place;
}

class Listener final : public DiagnosticHandler {
public:
  Listener(const Module &module, const kshim_diagnostics &sink) : module(module), sink(sink) {}

  bool handleDiagnostics(const DiagnosticInfo &info) override {
    if (info.getSeverity() == DS_Remark) return true;
    std::string message, code;
    Place place;
    if (auto *assembly = dyn_cast<DiagnosticInfoSrcMgr>(&info)) {
      const SMDiagnostic &diagnostic = assembly->getSMDiag();
      message = diagnostic.getMessage().str();
      code = diagnostic.getLineContents().str() + "\n";
      place = {diagnostic.getFilename().str(), unsigned(std::max(diagnostic.getLineNo(), 0)), 0};
      if (auto cookie = assembly->getLocCookie()) place = find(cookie, code);
    } else if (auto *constraint = dyn_cast<DiagnosticInfoInlineAsm>(&info)) {
      message = constraint->getMsgStr().str();
      if (auto *instruction = constraint->getInstruction())
        place = place_of(instruction->getDebugLoc());
      else
        place = find(constraint->getLocCookie(), "");
    } else {
      raw_string_ostream stream(message);
      DiagnosticPrinterRawOStream printer(stream);
      info.print(printer);
      place = place_in(info);
    }
    kshim_diagnostic found{};
    found.severity = info.getSeverity() == DS_Error ? 2 : info.getSeverity() == DS_Warning;
    found.place = {borrow(place.file), place.line, place.column};
    found.message = borrow(message);
    found.category = borrow("Backend Issue");
    found.rendered = borrow(code);
    sink.report(sink.context, &found);
    return true;
  }

private:
  // The statement whose assembly has this cookie, which is one only within a script: of several, one
  // that has the line of code.
  Place find(uint64_t cookie, StringRef code) const {
    Place found;
    for (const Function &function : module)
      for (const Instruction &instruction : instructions(function)) {
        auto *call = dyn_cast<CallBase>(&instruction);
        auto *source = call ? call->getMetadata("srcloc") : nullptr;
        if (!source || !has(source, cookie)) continue;
        auto *assembly = dyn_cast<InlineAsm>(call->getCalledOperand());
        bool exact = assembly && StringRef(assembly->getAsmString()).contains(code.trim());
        if (exact || found.line == 0) found = place_of(instruction.getDebugLoc());
        if (exact) return found;
      }
    return found;
  }

  static bool has(const MDNode *source, uint64_t cookie) {
    for (const MDOperand &operand : source->operands())
      if (auto *value = mdconst::dyn_extract<ConstantInt>(operand))
        if (value->getZExtValue() == cookie) return true;
    return false;
  }

  const Module &module;
  kshim_diagnostics sink;
};

}  // namespace

void kshim_listen(LLVMModuleRef module, const kshim_diagnostics *sink) {
  Module &listened = *unwrap(module);
  listened.getContext().setDiagnosticHandler(std::make_unique<Listener>(listened, *sink));
}

// Instead of SourceMgr::AddIncludeFile, through which alone the assembler opens files, however
// `.include` and `.incbin` are written: there is no file. The linker puts it in place (--wrap).
extern "C" unsigned
__wrap__ZN4llvm9SourceMgr14AddIncludeFileERKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEENS_5SMLocERS6_(
    SourceMgr *, const std::string &, SMLoc, std::string &) {
  return 0;
}
