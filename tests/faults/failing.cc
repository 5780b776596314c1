// A script that fails in a way of its own for each path: what a worker has to survive. Anything else
// is answered with "fine".
#include <kiln.h>

#include <cassert>
#include <coroutine>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <regex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <xmmintrin.h>

namespace {

volatile int zero = 0;
int* volatile nowhere = nullptr;

[[gnu::noinline]] int write_to(int* place) {
  *place = 1;  // line: write
  return *place;
}

// Inlined into whoever calls it, and still a frame of its own.
inline int inlined(int* place) { return write_to(place) + 1; }

std::mutex kept;

[[gnu::noinline]] void lock(std::mutex& mutex) { mutex.lock(); }

[[gnu::noinline]] void call_again() {
  static std::once_flag flag;
  std::call_once(flag, [] { call_again(); });
}

[[gnu::noinline]] int recurse(int depth) {
  volatile char room[1024];
  room[depth % 1024] = 1;
  return recurse(depth + 1) + room[0];
}

struct Base {
  Base() { call(); }
  virtual ~Base() = default;
  [[gnu::noinline]] void call() { pure(); }
  virtual void pure() = 0;
};
struct Derived : Base {
  void pure() override {}
};

struct Node {
  std::unique_ptr<Node> next;
  std::shared_ptr<Node> shared;
};

struct Task {
  struct promise_type {
    Task get_return_object() {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_always initial_suspend() { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { throw; }
  };
  std::coroutine_handle<promise_type> handle;
};

Task failing_coroutine() {
  co_await std::suspend_always{};
  write_to(nowhere);
}

Task throwing_coroutine() {
  co_await std::suspend_always{};
  throw std::runtime_error("from a coroutine");
}

void spin() {
  for (volatile int i = 0;; i = i + 1) {
  }
}

[[gnu::noinline]] void throw_deep(int depth) {
  if (depth == 0) throw std::runtime_error("deep");
  throw_deep(depth - 1);
  zero = zero + 0;
}

struct Thrower {
  ~Thrower() noexcept(false) { throw std::runtime_error("from a destructor"); }
};

std::vector<std::unique_ptr<char[]>> leaked;

// Sets the flags AC and DF once the answer is written: the compiler's own code may fail under them.
struct LeavesFlags {
  bool is_wanted;
  ~LeavesFlags() {
    if (is_wanted) asm volatile("pushfq; orl $0x40400, (%%rsp); popfq" : : : "cc", "memory");
  }
};

struct Failure {
  std::string_view path;
  void (*fail)();
};

const Failure FAILURES[] = {
      // Exceptions.
      {"throw", [] { throw_deep(3); }},
      {"throw-int", [] { throw 7; }},
      {"throw-library", [] { std::vector<int>().at(1); }},
      {"throw-coroutine",
       [] {
         auto task = throwing_coroutine();
         task.handle.resume();
         task.handle.resume();
       }},
      {"throw-noexcept", [] { [](int n) noexcept { throw n; }(1); }},
      {"throw-twice",
       [] {
         try {
           Thrower thrower;
           throw 1;
         } catch (...) {
         }
       }},
      {"rethrow-nothing", [] { throw; }},
      // Signals of the CPU.
      {"segv", [] { write_to(nowhere); }},
      {"segv-inlined", [] { zero = inlined(nowhere); }},
      {"segv-read", [] { zero = *reinterpret_cast<volatile int*>(0x1234567890); }},
      {"segv-wild", [] { zero = *reinterpret_cast<volatile int*>(0x8000000000000000); }},
      {"segv-call", [] { reinterpret_cast<void (*volatile)()>(nowhere)(); }},
      {"segv-constant",
       [] {
         static const volatile int constant[] = {1, 2};
         *const_cast<volatile int*>(&constant[zero]) = 3;
       }},
      {"segv-memcpy", [] { std::memcpy(nowhere, "12345678", 8); }},
      {"segv-strlen", [] { zero = std::strlen(reinterpret_cast<char*>(nowhere)); }},
      {"segv-string", [] { std::string text(reinterpret_cast<char*>(0x10), 100); }},
      {"segv-coroutine",
       [] {
         auto task = failing_coroutine();
         task.handle.resume();
         task.handle.resume();
       }},
      {"segv-catching",
       [] {
         try {
           throw 1;
         } catch (int) {
           write_to(nowhere);
         }
       }},
      {"segv-log", [] { kiln::log(std::string_view(reinterpret_cast<char*>(0x20), 64)); }},
      {"fpe", [] { zero = 100 / zero; }},
      {"wild-jump", [] { reinterpret_cast<void (*volatile)()>(0x8000000000000000)(); }},
      {"wild-return", [] { asm volatile("movabs $0x8000000000000000, %%rax; push %%rax; ret" : : : "rax"); }},
      {"wild-stack",
       [] { asm volatile("movabs $0x8000000000000000, %%rax; movl (%%rsp, %%rax), %%eax" : : : "rax"); }},
      {"run-data",
       [] {
         static int data[] = {1};
         reinterpret_cast<void (*volatile)()>(&data[zero])();
       }},
      {"unaligned-vector",
       [] {
         alignas(16) static float place[8];
         auto* volatile byte = reinterpret_cast<char*>(place) + 4;
         _mm_store_ps(reinterpret_cast<float*>(byte), _mm_set1_ps(1));
       }},
      {"privileged", [] { asm volatile("hlt"); }},
      {"interrupt", [] { asm volatile("int $0x20"); }},
      {"overflow-trap", [] { asm volatile("int $4"); }},
      {"fpe-float",
       [] {
         static volatile double divisor = 0, quotient;
         _mm_setcsr(_mm_getcsr() & ~_MM_MASK_DIV_ZERO);
         quotient = 1 / divisor;
       }},
      {"ill", [] { __builtin_trap(); }},
      {"ill-check", [] { asm volatile("ud1l 1(%eax), %eax"); }},
      {"ill-unknown", [] { asm volatile(".byte 0x06"); }},
      {"trap", [] { asm volatile("int3"); }},
      {"single-step", [] { asm volatile("pushfq; orl $0x100, (%rsp); popfq; nop; nop"); }},
      {"unaligned",
       [] {
         alignas(8) static volatile char place[16];
         asm volatile("pushfq; orl $0x40000, (%%rsp); popfq; movl 1(%0), %%eax" : : "r"(place) : "rax");
       }},
      // Calls that end.
      {"abort", [] { std::abort(); }},
      {"terminate", [] { std::terminate(); }},
      {"assert", [] { assert(zero == 1); }},
      {"pure", [] { Derived derived; }},
      {"overflow", [] { zero = recurse(0); }},
      {"overflow-regex",
       [] {
         std::string text(1 << 16, 'a');
         zero = std::regex_match(text, std::regex("a*"));
       }},
      {"overflow-pattern", [] { std::regex pattern(std::string(1 << 17, '(')); }},
      {"overflow-list",
       [] {
         std::unique_ptr<Node> head;
         for (int i = 0; i < 1 << 19; i++) head.reset(new Node{std::move(head), nullptr});
       }},
      {"overflow-shared",
       [] {
         std::shared_ptr<Node> head;
         for (int i = 0; i < 1 << 19; i++) head = std::make_shared<Node>(nullptr, std::move(head));
       }},
      // Memory.
      {"double-free",
       [] {
         auto* block = static_cast<char*>(std::malloc(40));
         char* volatile again = block;
         std::free(block);
         std::free(again);
       }},
      {"free-wild", [] { std::free(const_cast<int*>(&zero)); }},
      {"overrun",
       [] {
         auto* block = static_cast<volatile char*>(std::malloc(40));
         void* volatile next = std::malloc(40);
         for (int i = 0; i < 200; i++) block[i] = 0x5a;
         std::free(next);
         std::free(const_cast<char*>(block));
       }},
      {"overrun-arena",
       [] { std::memset(const_cast<char*>(kiln::detail::keep("x").data), 0x5a, 1 << 20); }},
      {"ruin-arena",
       [] {
         kiln_current->arena_next -= 1 << 20;
         kiln::detail::host().edit(KILN_EDIT_SET, {"x-a", 3}, {"b", 1});
       }},
      // Locks, of which each is waited for in the thread that has it.
      {"deadlock",
       [] {
         std::mutex mutex;
         lock(mutex);
         lock(mutex);
       }},
      {"deadlock-shared",
       [] {
         std::shared_mutex mutex;
         std::shared_lock reader(mutex);
         mutex.lock();
       }},
      {"deadlock-once", [] { call_again(); }},
      {"segv-with-lock",
       [] {
         std::lock_guard guard(kept);
         write_to(nowhere);
       }},
      {"lock-kept", [] { std::lock_guard guard(kept); }},
      // Budgets.
      {"loop", [] { spin(); }},
      {"loop-library",
       [] {
         std::string text(1 << 20, 'a');
         for (;;) zero = text.find("aaaaaaaab") != std::string::npos;
       }},
      {"loop-regex",
       [] {
         std::string text(40, 'a');
         zero = std::regex_match(text, std::regex("(a+)+c"));
       }},
      {"loop-malloc", [] { for (;;) delete new int(zero); }},
      {"loop-throw",
       [] {
         for (;;) {
           try {
             throw 1;
           } catch (int) {
           }
         }
       }},
      {"memory", [] { for (;;) leaked.push_back(std::make_unique<char[]>(1 << 20)); }},
      {"regex-remedy",
       [] {
         using namespace std::regex_constants;
         std::string text(1 << 20, 'a');
         if (!std::regex_match(text, std::regex("(a|b)*", ECMAScript | __polynomial))) std::abort();
         if (std::regex_match(text, std::regex("(a+)+c", ECMAScript | __polynomial))) std::abort();
       }},
      {"leak", [] { leaked.push_back(std::make_unique<char[]>(1 << 20)); }},
      {"log-flood", [] { for (int i = 0; i < 100'000; i++) kiln::log("again"); }},
};

}  // namespace

kiln::Action on_request(kiln::Request& request) {
  std::string_view path = request.path().substr(1);
  LeavesFlags flags{path == "leave-flags"};
  if (path == "bad-answer")
    return kiln::reply(200, std::string_view(reinterpret_cast<char*>(0x30), 64));
  if (path == "bad-status") return kiln::reply(7, "");
  if (path == "bad-upstream")
    return kiln::forward(std::string_view(reinterpret_cast<char*>(0x40), 16));
  if (path == "bad-edit")
    request.set_header("x-bad", std::string_view(reinterpret_cast<char*>(0x50), 16));
  // Made before: one of them leaves the CPU checking that addresses are aligned, and text need not be.
  kiln::Action fine = kiln::reply(200, "fine");
  for (const Failure& failure : FAILURES) {
    if (failure.path != path) continue;
    failure.fail();
    break;
  }
  return fine;
}
