// Finds in a script what is nearly a hook.
#pragma once

#include <clang/AST/ASTConsumer.h>
#include <clang/Basic/Diagnostic.h>

#include <memory>

// Watches the declarations of a script go by. If none of them is the hook, it reports each that may
// have been meant: an error where Kiln would have to guess, a warning where the file may be another
// script's helpers.
std::unique_ptr<clang::ASTConsumer> make_hook_finder(clang::DiagnosticsEngine &diagnostics);
