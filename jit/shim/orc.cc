// ORC and JITLink: module to object file, object file to linked code at a fixed address.
//
// The one C++ file that knows ORC's API, which changes with every release of LLVM.

#include "shim.h"

#include <llvm-c/Core.h>
#include <llvm/ExecutionEngine/JITLink/JITLink.h>
#include <llvm/ExecutionEngine/Orc/CompileUtils.h>
#include <llvm/ExecutionEngine/Orc/JITTargetMachineBuilder.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/ExecutionEngine/Orc/MapperJITLinkMemoryManager.h>
#include <llvm/ExecutionEngine/Orc/MemoryMapper.h>
#include <llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/IR/Module.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Target/TargetMachine.h>

using namespace llvm;
using namespace llvm::orc;

namespace {

kshim_bytes borrow(StringRef text) { return {text.data(), text.size()}; }

bool fail(const kshim_sink *sink, Error error) {
  std::string text = toString(std::move(error));
  sink->write(sink->context, borrow(text));
  return false;
}

uint32_t elf_protection(MemProt protection) {
  uint32_t bits = 0;
  if ((protection & MemProt::Exec) != MemProt::None) bits |= 1;
  if ((protection & MemProt::Write) != MemProt::None) bits |= 2;
  if ((protection & MemProt::Read) != MemProt::None) bits |= 4;
  return bits;
}

// The target of all code: position-independent, small code model, emulated thread-locals (native
// ones would need a TLS module of the host's loader), no executable stack, no jump tables in text.
JITTargetMachineBuilder target_builder(StringRef cpu, StringRef features) {
  JITTargetMachineBuilder builder(Triple("x86_64-pc-linux-gnu"));
  builder.setCPU(cpu.str());
  builder.addFeatures(SubtargetFeatures(features).getFeatures());
  builder.setRelocationModel(Reloc::PIC_);
  builder.setCodeModel(CodeModel::Small);
  builder.setCodeGenOptLevel(CodeGenOptLevel::Default);
  builder.getOptions().EmulatedTLS = true;
  builder.getOptions().UseInitArray = true;
  return builder;
}

// Answers the slot for every reservation and lets JITLink write through the alias.
//
// Nothing is protected, synchronised or run here: the image is mapped by other processes.
class SlotMapper final : public MemoryMapper {
public:
  explicit SlotMapper(const kshim_target &target) : target(target) {}

  unsigned getPageSize() override { return target.page_size; }

  void reserve(size_t bytes, OnReservedFunction reserved) override {
    size_t start = alignTo(target.base + used, getPageSize()) - target.base;
    if (bytes > target.size || start > target.size - bytes)
      return reserved(make_error<StringError>(
          "the linked code needs more than the " + Twine(target.size >> 20) + " MiB of a slot",
          inconvertibleErrorCode()));
    used = start + bytes;
    ExecutorAddr base(target.base + start);
    reserved(ExecutorAddrRange(base, base + bytes));
  }

  char *prepare(ExecutorAddr address, size_t) override {
    return target.alias + (address.getValue() - target.base);
  }

  void initialize(AllocInfo &allocation, OnInitializedFunction initialized) override {
    for (auto &segment : allocation.Segments) {
      kshim_segment record{(allocation.MappingBase + segment.Offset).getValue(),
                           segment.ContentSize, segment.ContentSize + segment.ZeroFillSize,
                           elf_protection(segment.AG.getMemProt())};
      if (record.size) target.segment(target.context, &record);
    }
    initialized(allocation.MappingBase);
  }

  void deinitialize(ArrayRef<ExecutorAddr>, OnDeinitializedFunction done) override {
    done(Error::success());
  }
  void release(ArrayRef<ExecutorAddr>, OnReleasedFunction done) override {
    done(Error::success());
  }

private:
  const kshim_target &target;
  size_t used = 0;
};

// Keeps alive what nothing refers to but Kiln needs, and reports what was linked where.
class Recorder final : public ObjectLinkingLayer::Plugin {
public:
  explicit Recorder(const kshim_target &target) : target(target) {}

  void modifyPassConfig(MaterializationResponsibility &, jitlink::LinkGraph &,
                        jitlink::PassConfiguration &passes) override {
    passes.PrePrunePasses.push_back([](jitlink::LinkGraph &graph) { return keep(graph); });
    passes.PostFixupPasses.push_back([this](jitlink::LinkGraph &graph) { return record(graph); });
  }

  Error notifyFailed(MaterializationResponsibility &) override { return Error::success(); }
  Error notifyRemovingResources(JITDylib &, ResourceKey) override { return Error::success(); }
  void notifyTransferringResources(JITDylib &, ResourceKey, ResourceKey) override {}

private:
  // A section whose name is an identifier is a table that is gathered from wherever its parts stand,
  // and reached through __start_NAME and __stop_NAME.
  static bool is_gathered(StringRef name) {
    return !name.empty() && !isDigit(name.front()) &&
           all_of(name, [](char c) { return isAlnum(c) || c == '_'; });
  }

  static Error keep(jitlink::LinkGraph &graph) {
    // Calls within a section need no symbol, and what nothing refers to would be dropped: but
    // debuggers and profilers want to know every function by its name.
    for (auto *symbol : graph.defined_symbols())
      if (symbol->isCallable()) symbol->setLive(true);
    for (auto &section : graph.sections()) {
      bool wanted = section.getMemLifetime() == MemLifetime::NoAlloc ||
                    section.getName().starts_with(".init_array") ||
                    section.getName().starts_with(".fini_array") || is_gathered(section.getName());
      if (!wanted) continue;
      for (auto *block : section.blocks()) {
        graph.addAnonymousSymbol(*block, 0, block->getSize(), false, /*IsLive=*/true);
        // The parts of a table stay in the order of the object file: layout goes by address, and
        // before it every block is at its section's, zero.
        if (is_gathered(section.getName()) && !block->isZeroFill())
          block->setAddress(ExecutorAddr::fromPtr(block->getContent().data()));
      }
    }
    return Error::success();
  }

  Error record(jitlink::LinkGraph &graph) {
    for (auto &section : graph.sections()) {
      if (section.getMemLifetime() == MemLifetime::NoAlloc)
        record_unloaded(section);
      else
        record_loaded(section);
    }
    return Error::success();
  }

  // Sections that are not loaded are one block each: JITLink splits only what it links.
  void record_unloaded(jitlink::Section &section) {
    for (auto *block : section.blocks()) {
      auto content = block->getContent();
      kshim_section record{borrow(section.getName()), 0, block->getSize(), 0, false,
                           {content.data(), content.size()}};
      target.section(target.context, &record);
    }
  }

  void record_loaded(jitlink::Section &section) {
    jitlink::SectionRange range(section);
    if (range.empty()) return;
    bool zero_fill = all_of(section.blocks(), [](auto *block) { return block->isZeroFill(); });
    kshim_section record{borrow(section.getName()), range.getStart().getValue(), range.getSize(),
                         elf_protection(section.getMemProt()), zero_fill, {nullptr, 0}};
    target.section(target.context, &record);
    for (auto *symbol : section.symbols()) {
      if (!symbol->hasName()) continue;
      kshim_definition definition{borrow(symbol->getName()), symbol->getAddress().getValue(),
                                  symbol->getSize(), symbol->isCallable(),
                                  symbol->getScope() == jitlink::Scope::Local};
      target.definition(target.context, &definition);
    }
  }

  const kshim_target &target;
};

void initialise_target() {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  LLVMInitializeX86AsmParser();
}

}  // namespace

bool kshim_generate(LLVMModuleRef module, const char *cpu, const char *features,
                    const kshim_sink *object, const kshim_sink *error) {
  initialise_target();
  auto machine = target_builder(cpu, features).createTargetMachine();
  if (!machine) return fail(error, machine.takeError());
  SimpleCompiler compile(**machine);
  auto made = compile(*unwrap(module));
  if (!made) return fail(error, made.takeError());
  object->write(object->context, borrow((*made)->getBuffer()));
  return true;
}

bool kshim_link(kshim_bytes object, const kshim_symbol *symbols, size_t symbols_count,
                const kshim_bytes *roots, size_t roots_count, const kshim_target *target,
                const kshim_sink *error) {
  initialise_target();
  LLJITBuilder builder;
  builder.setJITTargetMachineBuilder(target_builder("x86-64", ""))
      .setLinkProcessSymbolsByDefault(false)
      .setPlatformSetUp(setUpInactivePlatform)
      .setObjectLinkingLayerCreator(
          [&](ExecutionSession &session,
              const Triple &) -> Expected<std::unique_ptr<ObjectLayer>> {
            auto layer = std::make_unique<ObjectLinkingLayer>(
                session, std::make_unique<MapperJITLinkMemoryManager>(
                             target->page_size, std::make_unique<SlotMapper>(*target)));
            layer->setAutoClaimResponsibilityForObjectSymbols(true);
            layer->addPlugin(std::make_shared<Recorder>(*target));
            return layer;
          });
  auto jit = builder.create();
  if (!jit) return fail(error, jit.takeError());
  // Errors reach the caller through the lookup; nothing is printed behind its back.
  (*jit)->getExecutionSession().setErrorReporter([&](Error late) { fail(error, std::move(late)); });

  auto &code = (*jit)->getMainJITDylib();
  SymbolMap host;
  for (size_t i = 0; i < symbols_count; i++)
    host[(*jit)->getExecutionSession().intern(
        StringRef(symbols[i].name.data, symbols[i].name.size))] =
        {ExecutorAddr(symbols[i].address), JITSymbolFlags::Exported | JITSymbolFlags::Callable};
  if (!host.empty())
    if (Error failed = code.define(absoluteSymbols(std::move(host))))
      return fail(error, std::move(failed));

  auto buffer = MemoryBuffer::getMemBuffer(StringRef(object.data, object.size), "script", false);
  if (Error failed = (*jit)->addObjectFile(code, std::move(buffer)))
    return fail(error, std::move(failed));
  for (size_t i = 0; i < roots_count; i++) {
    auto found = (*jit)->lookupLinkerMangled(code, StringRef(roots[i].data, roots[i].size));
    if (!found) return fail(error, found.takeError());
  }
  return true;
}
