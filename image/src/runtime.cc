// What an image needs of a C++ runtime beside libstdc++ and memory: guarded entry, and static and
// thread-local objects whose life is their image's and not the process's.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <exception>
#include <link.h>
#include <locale>
#include <mutex>
#include <new>
#include <pthread.h>
#include <typeinfo>
#include <unistd.h>
#include <unwind.h>
#include <utility>
#include <vector>

#include "heap.h"

namespace {

using kiln::AsHost;
using kiln::Destructor;
using kiln::Heap;
using kiln::Running;

// Most destructors that one generation may have registered: function-local statics register once
// each, so a script that reaches this registers one a request, and would grow for ever.
constexpr size_t DESTRUCTORS_MAX = 65536;

int add(Destructor **list, void (*function)(void *), void *argument) {
  if (kiln_heap->destructors_count >= DESTRUCTORS_MAX) return -1;
  void *place = kiln_heap_allocate(kiln_heap, sizeof(Destructor), 0);
  if (place == nullptr) return -1;
  *list = new (place) Destructor{*list, function, argument};
  kiln_heap->destructors_count++;
  return 0;
}

// The addresses that an image occupies.
struct Range {
  uintptr_t start, end;
  bool has(const void *pointer) const {
    auto address = reinterpret_cast<uintptr_t>(pointer);
    return start <= address && address < end;
  }
};

// Emulated thread-locals, as compilers call them: one control block a variable, in the image.
struct Control {
  size_t size;
  size_t align;
  uintptr_t index;      // 0 until first use
  const void *initial;  // null: zeroes
};

// Storage of one thread, by index. Plain data: its life is managed by hand, because thread-local
// destructors of the image still use it when the thread's own objects are gone.
struct Table {
  size_t count;
  unsigned rounds;  // of pthread's destructors that it has survived
  void *values[];
};

std::mutex controls_lock;
std::vector<Control *> controls;  // by index - 1; null where the image is gone
thread_local Table *table;
pthread_key_t table_key;
bool has_table_key;
std::once_flag table_key_made;

// Frees a thread's storage in the last round, so that other keys' destructors may still use it.
void drop_table(void *value) {
  auto *dropped = static_cast<Table *>(value);
  if (++dropped->rounds < 4) {
    pthread_setspecific(table_key, dropped);
    return;
  }
  for (size_t i = 0; i < dropped->count; i++) std::free(dropped->values[i]);
  std::free(dropped);
  table = nullptr;
}

uintptr_t index_of(Control *control) {
  uintptr_t index = __atomic_load_n(&control->index, __ATOMIC_ACQUIRE);
  if (index != 0) return index;
  AsHost as_host;
  std::lock_guard<std::mutex> guard(controls_lock);
  if (control->index != 0) return control->index;
  // The list outlives the generation that is running.
  Running host(nullptr);
  size_t place = 0;
  while (place < controls.size() && controls[place] != nullptr) place++;
  if (place == controls.size()) controls.push_back(nullptr);
  controls[place] = control;
  __atomic_store_n(&control->index, place + 1, __ATOMIC_RELEASE);
  return place + 1;
}

void grow_table(size_t count) {
  AsHost as_host;
  // The key frees the table of a thread that ends. A worker's is never freed, and so a script that has
  // used up all keys does no harm.
  std::call_once(table_key_made,
                 [] { has_table_key = pthread_key_create(&table_key, drop_table) == 0; });
  size_t before = table ? table->count : 0;
  void *grown = std::realloc(table, sizeof(Table) + count * sizeof(void *));
  if (grown == nullptr) std::abort();
  if (table == nullptr) static_cast<Table *>(grown)->rounds = 0;
  table = static_cast<Table *>(grown);
  std::memset(table->values + before, 0, (count - before) * sizeof(void *));
  table->count = count;
  if (has_table_key) pthread_setspecific(table_key, table);
}

void *new_value(const Control *control) {
  size_t align = control->align < sizeof(void *) ? sizeof(void *) : control->align;
  void *value = nullptr;
  if (kiln_heap != nullptr) {
    value = kiln_heap_allocate(kiln_heap, control->size, align);
    if (value == nullptr) kiln_heap_fault("there is no memory left for a thread_local variable");
  } else if (posix_memalign(&value, align, control->size ? control->size : 1) != 0) {
    std::abort();
  }
  if (control->initial)
    std::memcpy(value, control->initial, control->size);
  else
    std::memset(value, 0, control->size);
  return value;
}

// Longest message of an exception that is passed on.
constexpr int MESSAGE_BYTES_MAX = 1000;

// The type and the message of the exception being handled, for the caller to free().
char *describe(const char *message) {
  const std::type_info *type = abi::__cxa_current_exception_type();
  int status = 0;
  char *name = type ? abi::__cxa_demangle(type->name(), nullptr, nullptr, &status) : nullptr;
  char *text = nullptr;
  int length = asprintf(&text, "%s%s%.*s", name ? name : "an exception", message ? ": " : "",
                        MESSAGE_BYTES_MAX, message ? message : "");
  std::free(name);
  if (length < 0) std::abort();
  return text;
}

// Calls; null, or a description of the exception that came out.
template <typename Call> char *guarded(Call call) {
  try {
    call();
    return nullptr;
  } catch (const std::exception &error) {
    return describe(error.what());
  } catch (...) {
    return describe(nullptr);
  }
}

// Calls that were found on a stack: addresses of code, innermost first. Of very many the innermost half
// is kept, where it went wrong, and the outermost, which is the script's own also when a library
// recurses.
struct Trace {
  static constexpr size_t HALF = 16;
  size_t found;
  uintptr_t innermost[HALF];
  uintptr_t outermost[HALF];  // a ring: the call with number n is at n % HALF

  void add(uintptr_t address) {
    (found < HALF ? innermost : outermost)[found % HALF] = address;
    found++;
  }
};

// As runtime.rs has it.
static_assert(Trace::HALF == 16 && sizeof(Trace) == 33 * sizeof(uintptr_t));

// Where an exception was thrown that no code of an image has caught. Noted before anything is unwound.
Trace thrown_at;

// Code of the unwinder's library, and of the other libraries, whose locks that one takes: who interrupts
// it must not call it.
Range unwinder{0, 0};
constexpr size_t LIBRARIES_MAX = 32;
Range libraries[LIBRARIES_MAX];
size_t libraries_count;

// Words of a stack among which the unwinder's return address is, if what was interrupted is a function
// that it called: those that take and release locks have small frames.
constexpr size_t UNWINDER_WORDS_MAX = 64;

// Frames that are looked at, 0.3 us each: as many as a hook's stack has room for. A ruined one may lead
// round in a circle.
constexpr size_t STEPS_MAX = 1 << 19;

// A walk over the frames of code that an image's entry has called, innermost first.
struct Walk {
  uintptr_t begin;  // the first one is at this address; 0: all are wanted
  bool has_begun;
  bool begins_at_call;  // the address is that of an instruction behind a call
  bool is_throw;        // frames of the C++ library that throw are left out
  Trace *trace;
  size_t steps;
};

}  // namespace

// Calls code of an image: below all its frames is this one. An exception that gets so far is caught by
// nobody in the image, and at that moment nothing is unwound yet (Itanium C++ ABI, level II, "search
// phase"), so this function has a personality of its own, kiln_watch, which C++ has no words for.
//
// kiln_selector says whose code runs, and in strict mode whether system calls are made: fence/src/strict.rs.
extern "C" __attribute__((noinline)) void kiln_watched(const void *function, const void *a,
                                                       const void *b, const void *c) {
  using Function = void (*)(const void *, const void *, const void *);
  asm(".cfi_personality 0x1b, kiln_watch");  // 0x1b: DW_EH_PE_pcrel | DW_EH_PE_sdata4
  kiln_selector = 1;
  reinterpret_cast<Function>(function)(a, b, c);
  kiln_selector = 0;
  // They are kept until here for debuggers, which find the request of a script whose optimised code
  // has let go of it by what this frame called with what.
  asm volatile("" : : "r"(function), "r"(a), "r"(b));
}

namespace {

_Unwind_Reason_Code step(_Unwind_Context *context, void *argument) {
  auto &walk = *static_cast<Walk *>(argument);
  int is_before = 0;
  uintptr_t at = _Unwind_GetIPInfo(context, &is_before);
  auto function = reinterpret_cast<void *>(_Unwind_GetRegionStart(context));
  if (function == reinterpret_cast<void *>(kiln_watched)) return _URC_END_OF_STACK;
  if (++walk.steps > STEPS_MAX) return _URC_END_OF_STACK;
  if (!walk.has_begun) {
    if (at != walk.begin) return _URC_NO_REASON;
    walk.has_begun = true;
    if (walk.begins_at_call) is_before = 0;
  }
  if (walk.is_throw && (function == reinterpret_cast<void *>(abi::__cxa_throw) ||
                        function == reinterpret_cast<void *>(abi::__cxa_rethrow))) {
    walk.trace->found = 0;
    walk.is_throw = false;
    return _URC_NO_REASON;
  }
  // What calls stands before the address to which it returns, and may be the last of its function.
  walk.trace->add(is_before ? at : at - 1);
  return _URC_NO_REASON;
}

// Notes where the code of a library is; the first one that is told is the program itself.
int note_library(dl_phdr_info *info, size_t, void *is_program) {
  if (std::exchange(*static_cast<bool *>(is_program), false)) return 0;
  Range range{UINTPTR_MAX, 0};
  for (int i = 0; i < info->dlpi_phnum; i++) {
    auto &segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD) continue;
    uintptr_t first = info->dlpi_addr + segment.p_vaddr;
    range.start = std::min<uintptr_t>(range.start, first);
    range.end = std::max<uintptr_t>(range.end, first + segment.p_memsz);
  }
  if (range.has(reinterpret_cast<void *>(&_Unwind_RaiseException)))
    unwinder = range;
  else if (libraries_count < LIBRARIES_MAX)
    libraries[libraries_count++] = range;
  return 0;
}

// GDB's JIT interface ("JIT Compilation Interface" in its manual): a list of ELF files in memory, and
// a function on which GDB has a breakpoint.
struct DebuggedFile {
  DebuggedFile *next;
  DebuggedFile *previous;
  const void *file;
  uint64_t size;
};

struct DebuggedFiles {
  uint32_t version;
  uint32_t action;  // 0 none, 1 registered, 2 unregistered
  DebuggedFile *relevant;
  DebuggedFile *first;
};

// A program's finalisers (.fini_array), which run after all that it registered for its exit.
struct Finalisers {
  void (*const *table)();
  size_t count;
};
std::vector<Finalisers> finalisers;

// Ends a program's process. What the host has registered for its own exit is not run: it would free
// with the program's operators what they have not made.
void finish(int status, void *) noexcept {
  for (size_t i = finalisers.size(); i-- > 0;)
    for (size_t k = finalisers[i].count; k-- > 0;)
      if (finalisers[i].table[k] != nullptr) finalisers[i].table[k]();
  std::fflush(nullptr);
  _exit(status);
}

}  // namespace

// libstdc++'s only two thread-locals. An image refers to them through these control blocks.
namespace std {
extern __thread void *__once_callable;
extern __thread void (*__once_call)();
}  // namespace std

extern "C" {

// Of abi.h. Only named here: a debugger knows them from the script.
struct kiln_action;
struct kiln_request;

// Weak, since LLVM has the same two where it is linked.
__attribute__((weak)) DebuggedFiles __jit_debug_descriptor = {1, 0, nullptr, nullptr};
__attribute__((weak, noinline)) void __jit_debug_register_code() { asm volatile("" ::: "memory"); }

// Tells debuggers of an ELF file that stays mapped until it is unregistered.
DebuggedFile *kiln_debug_register(const void *file, uint64_t size) {
  auto &files = __jit_debug_descriptor;
  auto *entry = new (std::nothrow) DebuggedFile{files.first, nullptr, file, size};
  if (entry == nullptr) return nullptr;
  if (files.first) files.first->previous = entry;
  files.first = files.relevant = entry;
  files.action = 1;
  __jit_debug_register_code();
  return entry;
}

void kiln_debug_unregister(DebuggedFile *entry) {
  if (entry == nullptr) return;
  auto &files = __jit_debug_descriptor;
  (entry->previous ? entry->previous->next : files.first) = entry->next;
  if (entry->next) entry->next->previous = entry->previous;
  files.relevant = entry;
  files.action = 2;
  __jit_debug_register_code();
  delete entry;
}

// Marks of the two, never allocated.
Control kiln_once_callable = {sizeof(void *), alignof(void *), 0, nullptr};
Control kiln_once_call = {sizeof(void *), alignof(void *), 0, nullptr};

void *kiln_emutls_get_address(Control *control) {
  if (control == &kiln_once_callable) return &std::__once_callable;
  if (control == &kiln_once_call) return &std::__once_call;
  uintptr_t index = index_of(control);
  if (table == nullptr || table->count < index) grow_table(index + 16);
  void *&value = table->values[index - 1];
  if (value == nullptr) value = new_value(control);
  return value;
}

// Has a table of finalisers run at the end of the process; tables run last first.
void kiln_finalise_at_exit(void (*const *table)(), size_t count) {
  finalisers.push_back({table, count});
}

// To be called before a program registers anything: what is registered first runs last.
void kiln_finish_at_exit() { on_exit(finish, nullptr); }

int kiln_cxa_atexit(void (*function)(void *), void *argument, void *) {
  return add(&kiln_heap->static_destructors, function, argument);
}

int kiln_cxa_thread_atexit(void (*function)(void *), void *argument, void *) {
  return add(&kiln_heap->thread_destructors, function, argument);
}

// A function without an argument ignores the one it gets (System V ABI: it is in a register).
int kiln_atexit(void (*function)()) {
  return add(&kiln_heap->static_destructors, reinterpret_cast<void (*)(void *)>(function), nullptr);
}

// Forgets a script's image that occupied [start, end): which thread-locals it had. Their storage is
// its heap's.
void kiln_forget_image(uintptr_t start, uintptr_t end) {
  Range image{start, end};
  std::lock_guard<std::mutex> guard(controls_lock);
  for (size_t i = 0; i < controls.size(); i++) {
    if (!image.has(controls[i])) continue;
    controls[i] = nullptr;
    if (table != nullptr && i < table->count) table->values[i] = nullptr;
  }
}

// The personality of kiln_watched.
_Unwind_Reason_Code kiln_watch(int, _Unwind_Action actions, _Unwind_Exception_Class,
                               _Unwind_Exception *, _Unwind_Context *) {
  if (actions & _UA_SEARCH_PHASE) {
    // The destructors that run before the next phase comes by here are still the script's code.
    AsHost as_host;
    thrown_at.found = 0;
    Walk walk{0, true, false, true, &thrown_at, 0};
    _Unwind_Backtrace(step, &walk);
  } else {
    kiln_selector = 0;
  }
  return _URC_CONTINUE_UNWIND;
}

// Where the exception was thrown that the last call ended with.
const Trace *kiln_thrown_at() { return &thrown_at; }

// Adds where the code of an image is that calls, or that `begin` is in. A walk that faults leaves what
// it has found.
void kiln_backtrace(uintptr_t begin, bool is_call, Trace *trace) {
  Walk walk{begin, begin == 0, is_call, false, trace, 0};
  _Unwind_Backtrace(step, &walk);
}

// In the place of the library's handler, which would write to the log by itself.
[[noreturn]] void kiln_terminate() {
  const char *why = "it called std::terminate, or an exception met what throws none";
  char sentence[1200];
  if (abi::__cxa_current_exception_type() != nullptr) {
    char *thrown = guarded([] { std::rethrow_exception(std::current_exception()); });
    snprintf(sentence, sizeof sentence, "%s: %s", why, thrown ? thrown : "");
    std::free(thrown);
    why = sentence;
  }
  kiln_terminated(why);
}

// To be called once, before the first call that may be abandoned or fail: what the unwinder loads, it
// loads now. So does the library, which makes its locale once and then wakes whoever waits for that
// (futex(2)): in strict mode a script that formats text must not find itself doing so.
void kiln_prepare_for_faults() {
  std::set_terminate(kiln_terminate);
  std::locale::classic();
  bool is_program = true;
  libraries_count = 0;
  dl_iterate_phdr(note_library, &is_program);
  Trace trace{};
  kiln_backtrace(0, false, &trace);
}

// Whether code that was interrupted is the unwinder, or a function of another library that it called:
// one of its locks may be held. `stack` to `end` is what is on the stack.
bool kiln_is_unwinding(uintptr_t at, const uintptr_t *stack, const uintptr_t *end) {
  auto is_unwinder = [](uintptr_t word) {
    return unwinder.has(reinterpret_cast<const void *>(word));
  };
  if (is_unwinder(at)) return true;
  auto has_it = [at](Range range) { return range.has(reinterpret_cast<const void *>(at)); };
  if (std::none_of(libraries, libraries + libraries_count, has_it)) return false;
  size_t words = std::min<size_t>(end - stack, UNWINDER_WORDS_MAX);
  return std::any_of(stack, stack + words, is_unwinder);
}

// A call into an image was left in the middle: what its frames would have put back is put back.
void kiln_call_abandoned() {
  kiln_selector = 0;
  kiln_heap = nullptr;
  // __cxa_eh_globals of the Itanium C++ ABI: exceptions that are being handled, and how many are in
  // flight.
  struct Globals {
    void *caught;
    unsigned uncaught;
  };
  *reinterpret_cast<Globals *>(abi::__cxa_get_globals()) = Globals{nullptr, 0};
}

// The following enter an image. Unwinding must not reach Rust, so what is thrown ends here:
// an answer that is not null describes the exception that came out, and is for the caller to free().

// Runs a table of initialisers or finalisers; null entries are none.
char *kiln_run_functions(Heap *heap, void (*const *table)(int, char **, char **), size_t count,
                         int argc, char **argv, char **environment) {
  Running running(heap);
  return guarded([&] {
    for (size_t i = 0; i < count; i++)
      if (table[i] != nullptr)
        kiln_watched(reinterpret_cast<const void *>(table[i]),
                     reinterpret_cast<const void *>(intptr_t{argc}), argv, environment);
  });
}

// Runs the newest destructor that a generation has registered: first those of thread-local objects,
// then those of static ones, as exit() does. A worker has one thread: its objects are all there are.
// A destructor may register more; false when none is left.
bool kiln_run_destructor(Heap *heap, char **thrown) {
  auto **list = heap->thread_destructors ? &heap->thread_destructors : &heap->static_destructors;
  if (*list == nullptr) return false;
  Running running(heap);
  Destructor destructor = **list;
  kiln_heap_release(heap, *list);
  *list = destructor.next;
  heap->destructors_count--;
  *thrown = guarded([&] {
    kiln_watched(reinterpret_cast<const void *>(destructor.function), destructor.argument, nullptr,
                 nullptr);
  });
  return true;
}

// Calls a hook: kiln_action hook(kiln_request *), the action in memory. Hooks don't nest: before and
// after it no generation is running.
char *kiln_call_hook(Heap *heap, void *(*hook)(void *, void *), kiln_action *action,
                     kiln_request *request) {
  kiln_heap = heap;
  char *thrown = guarded([&] {
    kiln_watched(reinterpret_cast<const void *>(hook), action, request, nullptr);
  });
  kiln_heap = nullptr;
  return thrown;
}

// Runs a table of a program's initialisers; an exception that leaves one ends the process.
void kiln_initialise_program(void (*const *table)(int, char **, char **), size_t count, int argc,
                             char **argv, char **environment) noexcept {
  for (size_t i = 0; i < count; i++)
    if (table[i] != nullptr) table[i](argc, argv, environment);
}

// Calls a program's main; an exception that leaves it ends the process, as C++ has it.
int kiln_call_main(int (*main)(int, char **, char **), int argc, char **argv,
                   char **environment) noexcept {
  return main(argc, argv, environment);
}

}  // extern "C"
