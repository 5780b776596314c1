// What is nearly a hook: `onRequest`, a hook in a namespace, one that takes its request by value.
//
// A hook is found by its name and type, so that whatever is a little different is silently no hook.
// Only Clang's syntax tree knows what the author wrote and where; hence this is here and not in Rust.
// It decides nothing: with errors Clang makes no module, and the warnings about a file that may be
// another script's helpers become errors in Rust if no file has a hook.

#include "hooks.h"

#include <clang/AST/ASTContext.h>
#include <clang/AST/DeclCXX.h>
#include <clang/AST/DeclTemplate.h>
#include <clang/Basic/SourceManager.h>
#include <clang/Lex/Lexer.h>
#include <llvm/ADT/SmallString.h>
#include <llvm/ADT/StringExtras.h>

#include <string>
#include <vector>

using namespace clang;
using llvm::StringRef;
using llvm::Twine;

namespace {

constexpr StringRef HOOK = "on_request";
constexpr StringRef RIGHT = "`kiln::Action on_request(kiln::Request& request)`";

// Letters that a misspelling may lack, have too many or have otherwise.
constexpr unsigned DISTANCE_MAX = 2;

// `on_request`, `onRequest` and `OnRequest` are one name here.
std::string folded(StringRef name) {
  std::string letters;
  for (char letter : name.lower())
    if (letter != '_') letters += letter;
  return letters;
}

bool is_kiln(QualType type, StringRef name) {
  const CXXRecordDecl *record = type->getAsCXXRecordDecl();
  return record && record->getQualifiedNameAsString() == ("kiln::" + name).str();
}

// The request, however it is passed.
bool is_request(QualType type) {
  if (type->isPointerType() || type->isReferenceType()) type = type->getPointeeType();
  return is_kiln(type, "Request");
}

class HookFinder final : public ASTConsumer {
public:
  explicit HookFinder(DiagnosticsEngine &diagnostics) : diagnostics(diagnostics) {}

  void Initialize(ASTContext &context) override { ast = &context; }

  bool HandleTopLevelDecl(DeclGroupRef group) override {
    for (Decl *declaration : group) look(declaration);
    return true;
  }
  // Those of the precompiled header.
  void HandleInterestingDecl(DeclGroupRef) override {}

  void HandleTranslationUnit(ASTContext &) override {
    if (has_main)
      report(has_hook ? DiagnosticsEngine::Warning : DiagnosticsEngine::Error,
             has_main->getLocation(),
             "a script has no main(): Kiln calls its hook " + RIGHT +
                 "; `kiln run FILE.cc` runs a program");
    if (has_hook) return;
    for (const NamedDecl *candidate : candidates) judge(candidate);
  }

private:
  void look(Decl *declaration) {
    if (ast->getSourceManager().isInSystemHeader(declaration->getLocation())) return;
    // Namespaces, linkage specifications and classes: a hook may be hidden in them.
    if (auto *inner = dyn_cast<DeclContext>(declaration); inner && !isa<FunctionDecl>(declaration))
      for (Decl *member : inner->decls()) look(member);
    auto *named = dyn_cast<NamedDecl>(declaration);
    if (!named || named->isImplicit() || !named->getIdentifier()) return;
    // What is judged here is not called unused as well.
    if (named->getName() == HOOK) named->setIsUsed();
    if (auto *function = dyn_cast<FunctionDecl>(named)) {
      if (function->isMain()) has_main = function;
      if (is_hook(function)) has_hook = true;
    }
    if (folded(named->getName()).size() <= 2 * HOOK.size()) candidates.push_back(named);
  }

  static bool is_global(const NamedDecl *named) {
    return named->getDeclContext()->getRedeclContext()->isTranslationUnit();
  }

  bool is_hook(const FunctionDecl *function) const {
    return function->getName() == HOOK && is_global(function) && function->hasBody() &&
           function->isExternallyVisible() && !function->isExternC() && !function->isInlined() &&
           wrong_parameters(function).empty() && is_action(function->getReturnType());
  }

  static bool is_action(QualType type) {
    return is_kiln(type, "Action") && !type.hasQualifiers() && !type->isReferenceType();
  }

  // What is wrong with the parameters; empty if nothing is.
  static std::string wrong_parameters(const FunctionDecl *function) {
    unsigned count = function->getNumParams();
    if (count == 0) return "takes no request";
    if (count > 1 || function->isVariadic())
      return "takes more than the request";
    QualType type = function->getParamDecl(0)->getType();
    if (!is_request(type)) return "takes '" + type.getAsString(policy(function)) + "' and no request";
    if (type->isPointerType()) return "takes a pointer to its request, and not a reference";
    if (type->isRValueReferenceType()) return "takes its request by && and not by &";
    if (!type->isReferenceType()) return "takes its request by value, and a request is not copied";
    if (type->getPointeeType().hasQualifiers())
      return "takes its request by '" + type.getAsString(policy(function)) + "'";
    return {};
  }

  static PrintingPolicy policy(const Decl *of) {
    return PrintingPolicy(of->getASTContext().getLangOpts());
  }

  // Says what keeps a declaration from being the hook, if it is meant to be one.
  void judge(const NamedDecl *named) {
    StringRef name = named->getName();
    if (name == HOOK) return judge_namesake(named);
    const auto *function = dyn_cast<FunctionDecl>(named);
    std::string letters = folded(name);
    bool same = letters == folded(HOOK);
    bool near = StringRef(letters).edit_distance(folded(HOOK), true, DISTANCE_MAX) <= DISTANCE_MAX;
    bool alike = function && (is_kiln(function->getReturnType(), "Action") ||
                              (function->getNumParams() == 1 &&
                               is_request(function->getParamDecl(0)->getType())));
    bool called_on = alike && StringRef(letters).starts_with("on") && name.size() > 2 &&
                     (name[2] == '_' || llvm::isUpper(name[2]));
    if (!function || named->isReferenced() || !function->isThisDeclarationADefinition()) return;
    if (!same && !(near && alike) && !called_on) return;
    report(DiagnosticsEngine::Warning, named->getLocation(),
           ("Kiln calls no `" + name + "`; did you mean the hook " + RIGHT + "?").str(),
           replacement(named->getLocation(), HOOK));
  }

  void judge_namesake(const NamedDecl *named) {
    SourceLocation at = named->getLocation();
    auto error = DiagnosticsEngine::Error;
    if (isa<FunctionTemplateDecl>(named))
      return complain(error, at, "is a template, of which Kiln cannot know the arguments");
    if (named->getDeclContext()->isRecord()) {
      if (!named->isReferenced())
        complain(DiagnosticsEngine::Warning, at,
                 "is a member of `" + container(named) + "`, and Kiln calls a free function");
      return;
    }
    const auto *function = dyn_cast<FunctionDecl>(named);
    if (!is_global(named)) {
      if (function && !named->isReferenced())
        complain(DiagnosticsEngine::Warning, at,
                 "is in " + container(named) + ", and Kiln calls the one outside of any namespace");
      return;
    }
    if (isa<VarDecl>(named))
      return complain(error, at, "is a variable, and Kiln calls a function");
    if (!function || function->getDescribedFunctionTemplate()) return;
    if (function->isExternC())
      return complain(error, at, "is extern \"C\", and Kiln calls the C++ function");
    if (!function->isExternallyVisible())
      return complain(error, at, "is static, so that nobody outside of this file can call it",
                      removal(function, "static"));
    if (function->isInlined())
      return complain(error, at, "is inline or constexpr, so that there is none where nobody calls it",
                      removal(function, "inline"));
    judge_type(function);
  }

  void judge_type(const FunctionDecl *function) {
    std::string wrong = wrong_parameters(function);
    if (!wrong.empty()) return judge_parameters(function, wrong);
    if (!is_action(function->getReturnType())) return judge_result(function);
    if (!function->isDefined())
      complain(DiagnosticsEngine::Warning, function->getLocation(), "is declared and not defined");
  }

  void judge_parameters(const FunctionDecl *function, const std::string &wrong) {
    SourceLocation at = function->getLocation();
    if (function->getNumParams() > 0 && function->getParamDecl(0)->getBeginLoc().isValid())
      at = function->getParamDecl(0)->getBeginLoc();
    FixItHint hint;
    if (FunctionTypeLoc type = function->getFunctionTypeLoc()) {
      std::string name = "request";
      if (function->getNumParams() == 1) name = function->getParamDecl(0)->getName().str();
      auto between = CharSourceRange::getCharRange(type.getLParenLoc().getLocWithOffset(1),
                                                   type.getRParenLoc());
      std::string right = name.empty() ? "kiln::Request&" : "kiln::Request& " + name;
      if (!at.isMacroID()) hint = FixItHint::CreateReplacement(between, right);
    }
    complain(DiagnosticsEngine::Error, at, wrong, hint);
  }

  void judge_result(const FunctionDecl *function) {
    QualType type = function->getReturnType();
    SourceRange range = function->getReturnTypeSourceRange();
    SourceLocation from = function->getBeginLoc(), name = function->getLocation();
    FixItHint hint;
    // From the first word to the name stands the type, and its qualifiers, if nothing else does.
    bool simple = !function->hasAttrs() && function->getStorageClass() == SC_None &&
                  range.isValid() && range.getEnd() < name && !from.isMacroID() &&
                  !name.isMacroID();
    if (simple)
      hint = FixItHint::CreateReplacement(CharSourceRange::getCharRange(from, name),
                                          "kiln::Action ");
    std::string wrong = type->isVoidType()
                            ? "returns nothing, and so decides nothing"
                            : "returns '" + type.getAsString(policy(function)) + "'";
    complain(DiagnosticsEngine::Error, simple ? from : name, wrong, hint);
  }

  std::string container(const NamedDecl *named) const {
    const auto *outer = dyn_cast<NamedDecl>(named->getDeclContext()->getRedeclContext());
    std::string name = outer ? outer->getQualifiedNameAsString() : "";
    if (isa_and_nonnull<NamespaceDecl>(outer))
      return outer->getIdentifier() ? "the namespace `" + name + "`" : "an anonymous namespace";
    return name;
  }

  static FixItHint replacement(SourceLocation name, StringRef text) {
    return name.isMacroID() ? FixItHint() : FixItHint::CreateReplacement(SourceRange(name), text);
  }

  // The removal of the first word of a declaration, if it is this one.
  FixItHint removal(const FunctionDecl *function, StringRef word) const {
    SourceLocation begin = function->getBeginLoc();
    llvm::SmallString<16> buffer;
    const SourceManager &sources = ast->getSourceManager();
    if (begin.isMacroID() || Lexer::getSpelling(begin, buffer, sources, ast->getLangOpts()) != word)
      return {};
    auto end = begin.getLocWithOffset(static_cast<int>(word.size()) + 1);
    return FixItHint::CreateRemoval(CharSourceRange::getCharRange(begin, end));
  }

  void complain(DiagnosticsEngine::Level level, SourceLocation at, const Twine &wrong,
                const FixItHint &hint = {}) {
    report(level, at, ("this `on_request` " + wrong + ": the hook is " + RIGHT).str(), hint);
  }

  void report(DiagnosticsEngine::Level level, SourceLocation at, const Twine &message,
              const FixItHint &hint = {}) {
    diagnostics.Report(at, diagnostics.getDiagnosticIDs()->getCustomDiagID(
                               static_cast<DiagnosticIDs::Level>(level), "%0"))
        << message.str() << SourceRange(at) << hint;
  }

  DiagnosticsEngine &diagnostics;
  ASTContext *ast = nullptr;
  bool has_hook = false;
  const FunctionDecl *has_main = nullptr;
  std::vector<const NamedDecl *> candidates;
};

}  // namespace

std::unique_ptr<ASTConsumer> make_hook_finder(DiagnosticsEngine &diagnostics) {
  return std::make_unique<HookFinder>(diagnostics);
}
