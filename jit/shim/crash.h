// What the shim's own files need of crash.cc: which thread is compiling what.
#pragma once

#include "shim.h"

#include <csignal>
#include <memory>

// A stack for handlers of signals, for the calling thread, as long as it lives; and lets Clang know
// where that thread's own stack begins, so that it goes on in another thread where it nests deeply.
class CrashStack {
public:
  CrashStack();
  ~CrashStack();
  CrashStack(const CrashStack &) = delete;

private:
  std::unique_ptr<char[]> memory;
  stack_t before;
};

// A crash of the calling thread is one over this file, as long as it lives.
class NowCompiling {
public:
  explicit NowCompiling(const char *script);
  ~NowCompiling();
  NowCompiling(const NowCompiling &) = delete;
};
