// Processors by LLVM's names for them.

#include "shim.h"

#include <llvm/ADT/StringExtras.h>
#include <llvm/TargetParser/Host.h>
#include <llvm/TargetParser/X86TargetParser.h>

using namespace llvm;

bool kshim_check_cpu(const char *name, const kshim_sink *error) {
  auto fail = [&](const std::string &text) {
    error->write(error->context, {text.data(), text.size()});
    return false;
  };
  if (X86::parseArchX86(name, /*Only64Bit=*/true) == X86::CK_None) {
    SmallVector<StringRef, 128> known;
    X86::fillValidCPUArchList(known, /*Only64Bit=*/true);
    return fail("there is no processor " + std::string(name) + "; there are host, " +
                join(known, ", "));
  }
  SmallVector<StringRef, 64> wanted;
  X86::getFeaturesForCPU(name, wanted);
  StringMap<bool> here = sys::getHostCPUFeatures();
  std::string missing;
  for (StringRef feature : wanted) {
    // What the operating system has no part in is not asked for by LLVM: every x86-64 has it.
    auto found = here.find(feature);
    if (found != here.end() && !found->second) missing += (missing.empty() ? "" : ", ") + feature.str();
  }
  if (missing.empty()) return true;
  return fail("this machine is no " + std::string(name) + ": it has no " + missing);
}
