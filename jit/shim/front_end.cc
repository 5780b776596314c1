// Clang: source to module or precompiled header, over a file system that callbacks answer for.

#include "crash.h"
#include "hooks.h"

#include <clang/AST/ASTConsumer.h>
#include <clang/AST/Decl.h>
#include <clang/AST/DeclCXX.h>
#include <clang/AST/Mangle.h>
#include <clang/AST/RecursiveASTVisitor.h>
#include <clang/Basic/DiagnosticOptions.h>
#include <clang/Basic/SourceManager.h>
#include <clang/CodeGen/CodeGenAction.h>
#include <clang/CodeGen/ModuleBuilder.h>
#include <clang/Frontend/CompilerInstance.h>
#include <clang/Frontend/CompilerInvocation.h>
#include <clang/Frontend/FrontendActions.h>
#include <clang/Frontend/MultiplexConsumer.h>
#include <clang/Frontend/TextDiagnosticPrinter.h>
#include <clang/Frontend/Utils.h>
#include <clang/Lex/Lexer.h>
#include <clang/Sema/Sema.h>
#include <clang/Sema/SemaConsumer.h>
#include <clang/Serialization/PCHContainerOperations.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/StringMap.h>
#include <llvm/ADT/StringSet.h>
#include <llvm/IR/Function.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/Path.h>
#include <llvm/Support/VirtualFileSystem.h>

#include <functional>
#include <optional>

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
      return std::make_error_code(std::errc::file_too_large);
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
    // Below a link, the parent is another one than the text of the path says. What cannot be followed is
    // not there, or an embedded header's folder.
    size_t up = (StringRef(path) + "/").str().rfind("/../");
    llvm::SmallString<256> parent;
    if (files.follows_links && up != StringRef::npos &&
        !llvm::sys::fs::real_path(StringRef(path).take_front(up + 3), parent)) {
      parent += StringRef(path).drop_front(up + 3);
      path = parent;
    }
    llvm::sys::path::remove_dots(path, /*remove_dot_dot=*/true);
    return std::string(path);
  }

  const kshim_files &files;
};

// A place as `#line` and includes make it appear, which lives as long as the source manager.
kshim_place presumed(const SourceManager &sources, SourceLocation location) {
  PresumedLoc place;
  if (location.isValid()) place = sources.getPresumedLoc(location);
  if (place.isInvalid()) return {};
  return {borrow(place.getFilename()), place.getLine(), place.getColumn()};
}

// Hands every diagnostic over twice: its parts, and the text that Clang's own printer makes of it.
class Reporter final : public DiagnosticConsumer {
public:
  Reporter(const kshim_diagnostics &sink, DiagnosticOptions *options)
      : sink(sink), stream(text), printer(stream, options) {}

  void BeginSourceFile(const LangOptions &of, const Preprocessor *preprocessor) override {
    language = &of;
    printer.BeginSourceFile(of, preprocessor);
  }
  void EndSourceFile() override {
    printer.EndSourceFile();
    language = nullptr;
  }

  void HandleDiagnostic(DiagnosticsEngine::Level level, const Diagnostic &info) override {
    DiagnosticConsumer::HandleDiagnostic(level, info);
    llvm::SmallString<256> message;
    info.FormatDiagnostic(message);
    text.clear();
    printer.HandleDiagnostic(level, info);
    stream.flush();

    kshim_diagnostic found{};
    found.severity = level >= DiagnosticsEngine::Error ? 2 : level == DiagnosticsEngine::Warning;
    found.message = borrow(message);
    found.rendered = borrow(text);
    StringRef option = DiagnosticIDs::getWarningOptionForDiag(info.getID());
    found.option = borrow(option);
    bool is_ours = info.getID() >= diag::DIAG_UPPER_LIMIT;
    unsigned category = is_ours ? 0 : DiagnosticIDs::getCategoryNumberForDiag(info.getID());
    found.category =
        borrow(is_ours ? "Hook" : DiagnosticIDs::getCategoryNameFromID(category));
    std::vector<kshim_place> includes;
    std::vector<kshim_edit> edits;
    if (info.hasSourceManager() && info.getLocation().isValid() && language)
      locate(info, found, includes, edits);
    found.includes = includes.data();
    found.includes_count = includes.size();
    found.edits = edits.data();
    found.edits_count = edits.size();
    sink.report(sink.context, &found);
  }

private:
  void locate(const Diagnostic &info, kshim_diagnostic &found, std::vector<kshim_place> &includes,
              std::vector<kshim_edit> &edits) {
    const SourceManager &sources = info.getSourceManager();
    found.place = presumed(sources, info.getLocation());
    // Behind the token, or the range that it begins or is in.
    SourceLocation at = sources.getExpansionLoc(info.getLocation());
    SourceLocation end = Lexer::getLocForEndOfToken(at, 0, sources, *language);
    for (const CharSourceRange &range : info.getRanges()) {
      CharSourceRange whole = Lexer::makeFileCharRange(range, sources, *language);
      if (whole.isValid() && sources.isWrittenInSameFile(at, whole.getBegin()) &&
          !(at < whole.getBegin()) && end < whole.getEnd())
        end = whole.getEnd();
    }
    kshim_place behind = presumed(sources, end);
    found.end_line = behind.line;
    found.end_column = behind.column;

    PresumedLoc place = sources.getPresumedLoc(info.getLocation());
    while (place.isValid() && place.getIncludeLoc().isValid()) {
      kshim_place include = presumed(sources, place.getIncludeLoc());
      // What the command line includes is included nowhere that the author knows.
      if (include.line && include.file.data[0] != '<') includes.push_back(include);
      place = sources.getPresumedLoc(place.getIncludeLoc());
    }
    for (const FixItHint &hint : info.getFixItHints()) {
      CharSourceRange range = Lexer::makeFileCharRange(hint.RemoveRange, sources, *language);
      if (range.isInvalid() || hint.InsertFromRange.isValid()) continue;
      kshim_place to = presumed(sources, range.getEnd());
      edits.push_back({presumed(sources, range.getBegin()), to.line, to.column,
                       borrow(hint.CodeToInsert)});
    }
  }

  const kshim_diagnostics &sink;
  const LangOptions *language = nullptr;
  std::string text;
  llvm::raw_string_ostream stream;
  TextDiagnosticPrinter printer;
};

// Notes where each piece of assembly stands that is outside of functions: LLVM keeps only its text.
class AssemblyNotes final : public ASTConsumer {
public:
  AssemblyNotes(std::string &plain, std::string &marked) : plain(plain), marked(marked) {}

  void Initialize(ASTContext &ready) override { context = &ready; }

  bool HandleTopLevelDecl(DeclGroupRef group) override {
    for (Decl *declaration : group) note(declaration);
    return true;
  }

private:
  void note(Decl *declaration) {
    if (auto *block = dyn_cast<LinkageSpecDecl>(declaration))
      for (Decl *inner : block->decls()) note(inner);
    if (auto *space = dyn_cast<NamespaceDecl>(declaration))
      for (Decl *inner : space->decls()) note(inner);
    auto *assembly = dyn_cast<FileScopeAsmDecl>(declaration);
    if (!assembly) return;
    for (StringRef rest = assembly->getAsmString()->getString(); !rest.empty();) {
      auto [line, after] = rest.split('\n');
      mark(*assembly->getAsmString(), line);
      for (std::string *all : {&plain, &marked}) (*all += line) += '\n';
      rest = after;
    }
    // The assembler counts on from what was marked.
    expected = 0;
  }

  // Says where the next line stands, as the C preprocessor does and the assembler understands.
  void mark(const StringLiteral &text, StringRef line) {
    auto &source = context->getSourceManager();
    unsigned offset = line.data() - text.getString().data();
    auto place = source.getPresumedLoc(text.getLocationOfByte(
        offset, source, context->getLangOpts(), context->getTargetInfo()));
    if (place.isInvalid()) return;
    StringRef file = place.getFilename();
    if (place.getLine() != expected && file.find_first_of("\"\\\n") == StringRef::npos)
      marked += ("# " + Twine(place.getLine()) + " \"" + file + "\"\n").str();
    expected = place.getLine() + 1;
  }

  std::string &plain, &marked;
  unsigned expected = 0;  // where the assembler believes that the next line stands; 0: anywhere
  ASTContext *context = nullptr;
};

// Notes the first virtual function of each class that is neither pure nor inline: where that is defined
// the tables of the class are made (Itanium C++ ABI, section 5.2.3). A table that nobody makes is a
// function that nobody defines.
class KeyFunctions final : public ASTConsumer {
public:
  explicit KeyFunctions(std::vector<CXXRecordDecl *> &classes) : classes(classes) {}

  void HandleTagDeclDefinition(TagDecl *declaration) override {
    auto *record = dyn_cast<CXXRecordDecl>(declaration);
    if (record && !record->isDependentContext() && record->isDynamicClass())
      classes.push_back(record);
  }

private:
  std::vector<CXXRecordDecl *> &classes;
};

// Functions of templates that are compiled elsewhere already: they are declared instantiated there, as
// `extern template` would, and kept from being inlined. Then Clang makes a call of each use, and
// nothing of the function itself. `extern template` alone would not do, for what is constexpr, or
// defined in its class, is inline as well.
//
// Constant expressions still see the bodies.
class Elsewhere {
public:
  using Has = std::function<bool(StringRef)>;

  Elsewhere(ASTContext &context, Has has)
      : has_symbol(std::move(has)), mangler(context.createMangleContext()) {}

  // Whether the function is called elsewhere from now on.
  bool take(FunctionDecl *function) {
    auto kind = function->getTemplateSpecializationKind();
    if (kind == TSK_ExplicitInstantiationDeclaration) return function->hasAttr<NoInlineAttr>();
    if (kind != TSK_ImplicitInstantiation || function->isDependentContext() ||
        !is_of_library(function) || !is_listed(function))
      return false;
    function->setTemplateSpecializationKind(TSK_ExplicitInstantiationDeclaration,
                                            function->getPointOfInstantiation());
    if (!function->hasAttr<NoInlineAttr>())
      function->addAttr(NoInlineAttr::CreateImplicit(function->getASTContext()));
    return true;
  }

private:
  // Of namespace std, or one in it. Mangling the names of all others would take longer.
  static bool is_of_library(const FunctionDecl *function) {
    bool is_std = false;
    for (const DeclContext *around = function->getDeclContext(); around;
         around = around->getParent())
      if (around->isNamespace()) is_std = around->isStdNamespace();
    return is_std;
  }

  // Constructors and destructors have two names, one for use as a base; a virtual destructor has one
  // more, for `delete`.
  bool is_listed(FunctionDecl *function) {
    if (auto *constructor = dyn_cast<CXXConstructorDecl>(function))
      return has(GlobalDecl(constructor, Ctor_Complete)) && has(GlobalDecl(constructor, Ctor_Base));
    if (auto *destructor = dyn_cast<CXXDestructorDecl>(function))
      return has(GlobalDecl(destructor, Dtor_Complete)) &&
             has(GlobalDecl(destructor, Dtor_Base)) &&
             (!destructor->isVirtual() || has(GlobalDecl(destructor, Dtor_Deleting)));
    return mangler->shouldMangleDeclName(function) && has(GlobalDecl(function));
  }

  bool has(GlobalDecl declaration) {
    llvm::SmallString<256> name;
    llvm::raw_svector_ostream stream(name);
    mangler->mangleName(declaration, stream);
    return has_symbol(name);
  }

  Has has_symbol;
  std::unique_ptr<MangleContext> mangler;
};

// Sees to it, while a script is compiled, that what the library has is not made of its templates.
//
// What only that would use is then not made either, and this is what most of a front end's time can go
// into: the parts of a regular expression, of a hash table, of a stream.
class CallsLibrary final : public SemaConsumer {
public:
  explicit CallsLibrary(const kshim_library &library) : library(library) {}

  void Initialize(ASTContext &context) override {
    elsewhere.emplace(context, [this](StringRef name) {
      return library.has(library.context, borrow(name));
    });
  }
  void InitializeSema(Sema &ready) override { sema = &ready; }
  void ForgetSema() override { sema = nullptr; }

  // A function is used that Clang means to make later: it has just been put on the list.
  void HandleCXXImplicitFunctionInstantiation(FunctionDecl *function) override {
    if (!elsewhere->take(function) || !sema) return;
    auto &pending = sema->PendingInstantiations;
    if (pending.empty() || pending.back().first != function) return;
    pending.pop_back();
    function->setInstantiationIsPending(false);
  }

  // What is constexpr was made at once. No code needs to be.
  bool HandleTopLevelDecl(DeclGroupRef group) override {
    for (Decl *declaration : group)
      if (auto *function = dyn_cast<FunctionDecl>(declaration)) elsewhere->take(function);
    return true;
  }

private:
  const kshim_library &library;
  std::optional<Elsewhere> elsewhere;
  Sema *sema = nullptr;
};

// Compiles a script or a program; says which names its module has for others, or wants of them, and
// puts lines into the assembly that is outside of functions.
class Compile final : public EmitLLVMOnlyAction {
public:
  Compile(llvm::LLVMContext *context, const kshim_diagnostics &sink, bool is_script,
          const kshim_library *library)
      : EmitLLVMOnlyAction(context), sink(sink), is_script(is_script), library(library) {}

  std::unique_ptr<llvm::Module> take() {
    auto module = takeModule();
    if (module && module->getModuleInlineAsm() == plain) module->setModuleInlineAsm(marked);
    return module;
  }

protected:
  std::unique_ptr<ASTConsumer> CreateASTConsumer(CompilerInstance &compiler,
                                                 StringRef file) override {
    std::vector<std::unique_ptr<ASTConsumer>> consumers;
    // Before the code generator, which makes nothing where there are errors.
    if (is_script) consumers.push_back(make_hook_finder(compiler.getDiagnostics()));
    consumers.push_back(std::make_unique<AssemblyNotes>(plain, marked));
    consumers.push_back(std::make_unique<KeyFunctions>(classes));
    if (library) consumers.push_back(std::make_unique<CallsLibrary>(*library));
    consumers.push_back(EmitLLVMOnlyAction::CreateASTConsumer(compiler, file));
    return std::make_unique<MultiplexConsumer>(std::move(consumers));
  }

  void EndSourceFileAction() override {
    CodeGenerator *generator = BEConsumer ? getCodeGenerator() : nullptr;
    if (llvm::Module *module = generator ? generator->GetModule() : nullptr) {
      llvm::StringMap<const Decl *> tables = key_functions();
      for (const llvm::GlobalValue &value : module->global_values()) {
        if (value.getName().starts_with("llvm.") || (value.isDeclaration() && value.use_empty()))
          continue;
        const Decl *declaration = generator->GetDeclForMangledName(value.getName());
        if (!declaration && value.isDeclaration()) declaration = tables.lookup(value.getName());
        tell(value, declaration);
      }
    }
    EmitLLVMOnlyAction::EndSourceFileAction();
  }

private:
  // What has to be defined for a class to have its table, its type's and the names of both.
  llvm::StringMap<const Decl *> key_functions() {
    llvm::StringMap<const Decl *> functions;
    if (classes.empty()) return functions;
    ASTContext &context = classes.front()->getASTContext();
    std::unique_ptr<MangleContext> mangler(context.createMangleContext());
    for (CXXRecordDecl *record : classes) {
      const CXXMethodDecl *key = context.getCurrentKeyFunction(record);
      if (!key || key->isDefined()) continue;
      llvm::SmallString<256> name;
      llvm::raw_svector_ostream stream(name);
      mangler->mangleCXXVTable(record, stream);
      // "_ZTV" and the class; its other symbols differ in the letter.
      for (char kind : {'V', 'T', 'I', 'S'}) {
        name[3] = kind;
        functions[name] = key;
      }
    }
    return functions;
  }

  void tell(const llvm::GlobalValue &value, const Decl *declaration) {
    const auto *named = dyn_cast_or_null<ValueDecl>(declaration);
    if (!named) return;
    const ASTContext &ast = named->getASTContext();
    const auto *variable = dyn_cast<VarDecl>(named);
    if (variable && variable->getDefinition()) named = variable->getDefinition();
    const SourceManager &sources = ast.getSourceManager();
    if (sources.isInSystemHeader(named->getLocation())) return;
    // What several files may define, one by one alike, is nobody's definition.
    bool shared = !value.isDeclaration() && !value.hasExternalLinkage() && !value.hasLocalLinkage();
    if (shared) return;

    PrintingPolicy policy(ast.getLangOpts());
    std::string written, type;
    llvm::raw_string_ostream out(written);
    named->getNameForDiagnostic(out, policy, /*Qualified=*/true);
    QualType agreed = named->getType();
    if (const auto *function = dyn_cast<FunctionDecl>(named)) {
      out << '(';
      llvm::ListSeparator comma;
      for (const ParmVarDecl *parameter : function->parameters())
        out << comma << parameter->getType().getAsString(policy);
      out << (function->isVariadic() ? ", ...)" : ")");
      agreed = function->getReturnType();
    }
    out.flush();
    // An array need not say its length in a declaration.
    agreed = agreed.getCanonicalType();
    if (const auto *array = ast.getAsArrayType(agreed)) agreed = array->getElementType();
    type = agreed.getAsString(policy);
    kshim_name name{borrow(value.getName()), borrow(written), borrow(type),
                    presumed(sources, named->getLocation()), !value.isDeclaration(),
                    value.hasLocalLinkage(), variable != nullptr};
    sink.name(sink.context, &name);
  }

  const kshim_diagnostics &sink;
  bool is_script;
  const kshim_library *library;
  std::vector<CXXRecordDecl *> classes;  // with virtual functions
  std::string plain, marked;             // that assembly, as Clang has it and with lines
};

// Sees to it that what a precompiled header has made of templates is called elsewhere.
class TakenFromElsewhere final : public ASTConsumer,
                                 public RecursiveASTVisitor<TakenFromElsewhere> {
public:
  explicit TakenFromElsewhere(llvm::StringSet<> names) : names(std::move(names)) {}

  bool shouldVisitTemplateInstantiations() const { return true; }

  void HandleTranslationUnit(ASTContext &context) override {
    if (names.empty()) return;
    elsewhere.emplace(context, [this](StringRef name) { return names.contains(name); });
    TraverseAST(context);
  }

  bool VisitFunctionDecl(FunctionDecl *function) {
    elsewhere->take(function);
    return true;
  }

private:
  llvm::StringSet<> names;
  std::optional<Elsewhere> elsewhere;
};

class Precompile final : public GeneratePCHAction {
public:
  explicit Precompile(llvm::StringSet<> elsewhere) : elsewhere(std::move(elsewhere)) {}

protected:
  std::unique_ptr<ASTConsumer> CreateASTConsumer(CompilerInstance &compiler,
                                                 StringRef file) override {
    std::vector<std::unique_ptr<ASTConsumer>> consumers;
    consumers.push_back(std::make_unique<TakenFromElsewhere>(std::move(elsewhere)));
    consumers.push_back(GeneratePCHAction::CreateASTConsumer(compiler, file));
    if (!consumers.back()) return nullptr;
    return std::make_unique<MultiplexConsumer>(std::move(consumers));
  }

private:
  llvm::StringSet<> elsewhere;
};

bool run(const char *const *arguments, size_t count, const kshim_files *files,
         const kshim_diagnostics *sink, FrontendAction &action) {
  CrashStack stack;
  NowCompiling now(arguments[count - 1]);
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
  // The diagnostics were there before their options, the limit of errors among them: the arguments
  // are read with them.
  ProcessWarningOptions(compiler.getDiagnostics(), options);
  compiler.createFileManager(file_system);
  compiler.createSourceManager(compiler.getFileManager());
  return compiler.ExecuteAction(action) && !compiler.getDiagnostics().hasErrorOccurred();
}

}  // namespace

bool kshim_compile(const char *const *arguments, size_t arguments_count, const kshim_files *files,
                   const kshim_diagnostics *diagnostics, bool is_script,
                   const kshim_library *library, LLVMContextRef context, LLVMModuleRef *module) {
  Compile action(llvm::unwrap(context), *diagnostics, is_script, library);
  if (!run(arguments, arguments_count, files, diagnostics, action)) return false;
  std::unique_ptr<llvm::Module> made = action.take();
  if (!made) return false;
  *module = llvm::wrap(made.release());
  return true;
}

bool kshim_precompile(const char *const *arguments, size_t arguments_count,
                      const kshim_files *files, const kshim_bytes *elsewhere,
                      size_t elsewhere_count, const kshim_diagnostics *diagnostics) {
  llvm::StringSet<> names;
  for (size_t i = 0; i < elsewhere_count; i++)
    names.insert(StringRef(elsewhere[i].data, elsewhere[i].size));
  Precompile action(std::move(names));
  return run(arguments, arguments_count, files, diagnostics, action);
}

bool kshim_drop_body(LLVMValueRef value) {
  auto *function = llvm::unwrap<llvm::Function>(value);
  for (const llvm::User *user : function->users())
    if (llvm::isa<llvm::GlobalAlias>(user)) return false;
  function->deleteBody();
  function->setSubprogram(nullptr);
  function->setComdat(nullptr);
  return true;
}
