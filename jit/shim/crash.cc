// The last thing that a compile child says: how it crashes, and over which file.
//
// A handler of a signal may do little more than write(2), and so the record of a crash is made in a
// buffer of its own and written first. Only then LLVM is asked what it was doing, which may crash
// again, or wait for ever: the signals have their default effects by then, and an alarm is set.

#include "crash.h"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <new>

#include <sys/mman.h>
#include <unistd.h>

#include <clang/Basic/Stack.h>
#include <llvm/Support/ErrorHandling.h>
#include <llvm/Support/PrettyStackTrace.h>
#include <llvm/Support/raw_ostream.h>

namespace {

const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS};

// Stack of the handlers, which LLVM's printing shares: the thread's own may be used up.
constexpr size_t STACK_BYTES = 64 << 10;
// A process that does not get this much more is out of memory.
constexpr size_t PROBE_BYTES = 16 << 20;
// How far from the stack pointer a fault is one of the stack.
constexpr uintptr_t STACK_REACH_BYTES = 256 << 10;
// Entries and bytes of what LLVM says it was doing, innermost first.
constexpr int ENTRIES_MAX = 4;
constexpr size_t DETAIL_BYTES = 600;
// Seconds for that.
constexpr unsigned DETAIL_S = 2;

int report_pipe = -1;
volatile sig_atomic_t reporting;
thread_local const char *compiling;

// One line of JSON, short enough to be written at once.
class Line {
public:
  Line &text(const char *raw) {
    while (*raw) add(*raw++);
    return *this;
  }

  // As a string of JSON. What needs an escape is no loss.
  Line &quoted(const char *raw) {
    add('"');
    for (; *raw && used < sizeof buffer - 8; raw++) {
      unsigned char byte = *raw;
      if (byte == '\n' && raw[1])
        text("; ");
      else if (byte >= ' ')
        add(byte == '"' || byte == '\\' ? '\'' : *raw);
    }
    add('"');
    return *this;
  }

  Line &number(long value) {
    char digits[24];
    int count = 0;
    unsigned long rest = value < 0 ? -static_cast<unsigned long>(value) : value;
    do digits[count++] = '0' + rest % 10;
    while ((rest /= 10) != 0);
    if (value < 0) add('-');
    while (count > 0) add(digits[--count]);
    return *this;
  }

  void send() {
    // Nobody is left to hear of a failure.
    [[maybe_unused]] ssize_t sent = write(report_pipe, buffer, used);
  }

private:
  void add(char byte) {
    if (used < sizeof buffer) buffer[used++] = byte;
  }

  char buffer[2048];
  size_t used = 0;
};

// What LLVM prints, as far as it fits.
class Detail final : public llvm::raw_ostream {
public:
  Detail() : raw_ostream(/*unbuffered=*/true) {}
  const char *text() const { return buffer; }

private:
  void write_impl(const char *bytes, size_t size) override {
    size = std::min(size, sizeof buffer - 1 - used);
    memcpy(buffer + used, bytes, size);
    used += size;
  }
  uint64_t current_pos() const override { return used; }

  char buffer[DETAIL_BYTES] = {};
  size_t used = 0;
};

bool out_of_memory() {
  void *probe = mmap(nullptr, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0);
  if (probe == MAP_FAILED) return true;
  munmap(probe, PROBE_BYTES);
  return false;
}

void say_script(Line &line) {
  if (compiling) line.text(",\"script\":").quoted(compiling);
}

void say_detail() {
  struct sigaction plain = {};
  plain.sa_handler = SIG_DFL;
  for (int signal : crashes) sigaction(signal, &plain, nullptr);
  alarm(DETAIL_S);
  auto *entry = static_cast<const llvm::PrettyStackTraceEntry *>(llvm::SavePrettyStackState());
  if (!entry) return;
  Detail detail;
  for (int i = 0; entry && i < ENTRIES_MAX; i++, entry = entry->getNextEntry())
    entry->print(detail);
  Line line;
  line.text("\n{\"detail\":").quoted(detail.text()).text("}\n").send();
}

// Whoever crashes first reports; what crashes meanwhile waits to be ended with the process.
void report_alone() {
  if (__atomic_exchange_n(&reporting, 1, __ATOMIC_SEQ_CST))
    for (;;) pause();
}

void on_crash(int signal, siginfo_t *info, void *context) {
  report_alone();
  auto *registers = static_cast<ucontext_t *>(context)->uc_mcontext.gregs;
  auto fault = reinterpret_cast<uintptr_t>(info->si_addr);
  auto top = static_cast<uintptr_t>(registers[REG_RSP]);
  bool stack = signal == SIGSEGV && fault + STACK_REACH_BYTES > top &&
               fault < top + STACK_REACH_BYTES;
  Line line;
  line.text("\n{\"crashed\":{\"signal\":").number(signal);
  if (signal == SIGSYS) line.text(",\"call\":").number(info->si_syscall);
  if (stack) line.text(",\"stack\":true");
  if (signal != SIGSYS && out_of_memory()) line.text(",\"memory\":true");
  say_script(line);
  line.text("}}\n").send();
  say_detail();
  // With the default effect now; it is delivered when this handler returns.
  raise(signal);
}

[[noreturn]] void on_no_memory() {
  report_alone();
  Line line;
  line.text("\n{\"crashed\":{\"memory\":true");
  say_script(line);
  line.text("}}\n").send();
  _exit(EXIT_FAILURE);
}

void on_fatal(void *, const char *reason, bool) {
  report_alone();
  Line line;
  line.text("\n{\"crashed\":{\"fatal\":").quoted(reason);
  if (out_of_memory()) line.text(",\"memory\":true");
  say_script(line);
  line.text("}}\n").send();
  say_detail();
  _exit(EXIT_FAILURE);
}

}  // namespace

CrashStack::CrashStack() : memory(new char[STACK_BYTES]) {
  stack_t stack = {};
  stack.ss_sp = memory.get();
  stack.ss_size = STACK_BYTES;
  sigaltstack(&stack, &before);
  clang::noteBottomOfStack();
}

CrashStack::~CrashStack() { sigaltstack(&before, nullptr); }

NowCompiling::NowCompiling(const char *script) { compiling = script; }
NowCompiling::~NowCompiling() { compiling = nullptr; }

void kshim_report_crashes(int pipe) {
  report_pipe = pipe;
  // The main thread's, for as long as there is one.
  new CrashStack;
  struct sigaction action = {};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int signal : crashes) sigaction(signal, &action, nullptr);
  std::set_new_handler(on_no_memory);
  llvm::install_bad_alloc_error_handler([](void *, const char *, bool) { on_no_memory(); });
  llvm::install_fatal_error_handler(on_fatal);
}

void kshim_out_of_memory() { on_no_memory(); }
