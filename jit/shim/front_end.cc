// Clang: source to module or precompiled header, over a file system that callbacks answer for.

#include "shim.h"

#include <clang/Basic/DiagnosticOptions.h>
#include <clang/CodeGen/CodeGenAction.h>
#include <clang/Frontend/CompilerInstance.h>
#include <clang/Frontend/CompilerInvocation.h>
#include <clang/Frontend/FrontendActions.h>
#include <clang/Frontend/TextDiagnosticPrinter.h>
#include <clang/Serialization/PCHContainerOperations.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/Path.h>
#include <llvm/Support/VirtualFileSystem.h>

using namespace clang;
using llvm::StringRef;
using llvm::Twine;

namespace {

kshim_bytes borrow(StringRef text) { return {text.data(), text.size()}; }

// One entry of the callback file system.
class CallbackFile final : public llvm::vfs::File {
public:
  CallbackFile(const kshim_files &files, llvm::vfs::Status status)
      : files(files), entry(std::move(status)) {}

  llvm::ErrorOr<llvm::vfs::Status> status() override { return entry; }

  llvm::ErrorOr<std::unique_ptr<llvm::MemoryBuffer>>
  getBuffer(const Twine &name, int64_t, bool requires_nul, bool) override {
    kshim_bytes content;
    std::string path = entry.getName().str();
    if (!files.read(files.context, borrow(path), &content))
      return std::make_error_code(std::errc::permission_denied);
    return llvm::MemoryBuffer::getMemBuffer(StringRef(content.data, content.size), name.str(),
                                            requires_nul);
  }

  std::error_code close() override { return {}; }

private:
  const kshim_files &files;
  llvm::vfs::Status entry;
};

// A hermetic file system: a path exists if the callbacks say so.
class CallbackFileSystem final : public llvm::vfs::FileSystem {
public:
  explicit CallbackFileSystem(const kshim_files &files) : files(files) {}

  llvm::ErrorOr<llvm::vfs::Status> status(const Twine &twine) override {
    std::string path = normal(twine);
    uint64_t size = 0;
    int kind = files.status(files.context, borrow(path), &size);
    if (kind == 0) return std::make_error_code(std::errc::no_such_file_or_directory);
    // The path's hash serves as inode: Clang tells files apart by it.
    llvm::sys::fs::UniqueID id(0, llvm::hash_value(path));
    auto type = kind == 1 ? llvm::sys::fs::file_type::regular_file
                          : llvm::sys::fs::file_type::directory_file;
    return llvm::vfs::Status(path, id, {}, 0, 0, size, type, llvm::sys::fs::perms::all_read);
  }

  llvm::ErrorOr<std::unique_ptr<llvm::vfs::File>> openFileForRead(const Twine &path) override {
    auto entry = status(path);
    if (!entry) return entry.getError();
    if (!entry->isRegularFile()) return std::make_error_code(std::errc::is_a_directory);
    return std::make_unique<CallbackFile>(files, std::move(*entry));
  }

  llvm::vfs::directory_iterator dir_begin(const Twine &, std::error_code &error) override {
    error = std::make_error_code(std::errc::operation_not_permitted);
    return {};
  }

  std::error_code setCurrentWorkingDirectory(const Twine &) override { return {}; }
  llvm::ErrorOr<std::string> getCurrentWorkingDirectory() const override {
    return std::string(files.working_folder.data, files.working_folder.size);
  }

private:
  std::string normal(const Twine &twine) const {
    llvm::SmallString<256> path;
    twine.toVector(path);
    if (!llvm::sys::path::is_absolute(path)) {
      llvm::SmallString<256> absolute(
          StringRef(files.working_folder.data, files.working_folder.size));
      llvm::sys::path::append(absolute, path);
      path = absolute;
    }
    llvm::sys::path::remove_dots(path, /*remove_dot_dot=*/true);
    return std::string(path);
  }

  const kshim_files &files;
};

// Hands every diagnostic over twice: its parts, and the text that Clang's own printer makes of it.
class Reporter final : public DiagnosticConsumer {
public:
  Reporter(const kshim_diagnostics &sink, DiagnosticOptions *options)
      : sink(sink), stream(text), printer(stream, options) {}

  void BeginSourceFile(const LangOptions &language, const Preprocessor *preprocessor) override {
    printer.BeginSourceFile(language, preprocessor);
  }
  void EndSourceFile() override { printer.EndSourceFile(); }

  void HandleDiagnostic(DiagnosticsEngine::Level level, const Diagnostic &info) override {
    DiagnosticConsumer::HandleDiagnostic(level, info);
    llvm::SmallString<256> message;
    info.FormatDiagnostic(message);
    text.clear();
    printer.HandleDiagnostic(level, info);
    stream.flush();

    PresumedLoc place;
    if (info.hasSourceManager() && info.getLocation().isValid())
      place = info.getSourceManager().getPresumedLoc(info.getLocation());
    StringRef file = place.isValid() ? place.getFilename() : "";
    int severity = level >= DiagnosticsEngine::Error ? 2 : level == DiagnosticsEngine::Warning;
    sink.report(sink.context, severity, borrow(file), place.isValid() ? place.getLine() : 0,
                place.isValid() ? place.getColumn() : 0, borrow(message), borrow(text));
  }

private:
  const kshim_diagnostics &sink;
  std::string text;
  llvm::raw_string_ostream stream;
  TextDiagnosticPrinter printer;
};

bool run(const char *const *arguments, size_t count, const kshim_files *files,
         const kshim_diagnostics *sink, FrontendAction &action) {
  llvm::IntrusiveRefCntPtr<llvm::vfs::FileSystem> file_system(new CallbackFileSystem(*files));
  CompilerInstance compiler;
  auto &options = compiler.getDiagnosticOpts();
  Reporter reporter(*sink, &options);
  compiler.createDiagnostics(&reporter, /*ShouldOwnClient=*/false);
  compiler.setVerboseOutputStream(std::make_unique<llvm::raw_null_ostream>());
  if (!CompilerInvocation::CreateFromArgs(compiler.getInvocation(),
                                          llvm::ArrayRef(arguments, count),
                                          compiler.getDiagnostics()))
    return false;
  compiler.createFileManager(file_system);
  compiler.createSourceManager(compiler.getFileManager());
  return compiler.ExecuteAction(action) && !compiler.getDiagnostics().hasErrorOccurred();
}

}  // namespace

bool kshim_compile(const char *const *arguments, size_t arguments_count, const kshim_files *files,
                   const kshim_diagnostics *diagnostics, LLVMContextRef context,
                   LLVMModuleRef *module) {
  EmitLLVMOnlyAction action(llvm::unwrap(context));
  if (!run(arguments, arguments_count, files, diagnostics, action)) return false;
  std::unique_ptr<llvm::Module> made = action.takeModule();
  if (!made) return false;
  *module = llvm::wrap(made.release());
  return true;
}

bool kshim_precompile(const char *const *arguments, size_t arguments_count,
                      const kshim_files *files, const kshim_diagnostics *diagnostics) {
  GeneratePCHAction action;
  return run(arguments, arguments_count, files, diagnostics, action);
}
