// What C++ knows of a generation's heap; heap.rs has the rest of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory_resource>

namespace kiln {

// A destructor that a generation has registered: a block of its heap.
struct Destructor {
  Destructor *next;
  void (*function)(void *);
  void *argument;
};

// The first fields of heap.rs's structure.
struct Heap {
  uintptr_t base, end;
  Destructor *thread_destructors, *static_destructors;  // newest first
  size_t destructors_count;
  std::pmr::memory_resource *default_resource;

  bool has(const void *pointer) const {
    auto address = reinterpret_cast<uintptr_t>(pointer);
    return base <= address && address < end;
  }
};

}  // namespace kiln

extern "C" {

// The heap of the generation that is running, or null.
extern kiln::Heap *kiln_heap;

// Whose code runs: 1 a script's, 0 the host's.
extern volatile uint8_t kiln_selector;

[[noreturn]] void kiln_terminated(const char *sentence);
[[noreturn]] void kiln_deadlocked(const char *sentence);

void *kiln_heap_allocate(kiln::Heap *heap, size_t size, size_t align);
void kiln_heap_release(kiln::Heap *heap, void *place);
[[noreturn]] void kiln_heap_fault(const char *sentence);

// Forgets what a heap that goes away has taken outside of it.
void kiln_forget_heap(kiln::Heap *heap);

}  // extern "C"

namespace kiln {

// Makes a heap the running generation's; the one before is back at the end.
class Running {
 public:
  explicit Running(Heap *heap) : before_(kiln_heap) { kiln_heap = heap; }
  ~Running() { kiln_heap = before_; }
  Running(const Running &) = delete;
  Running &operator=(const Running &) = delete;

 private:
  Heap *before_;
};

// The host is at work for a script, as heap.rs has it: its own memory is taken, or a system call made.
class AsHost {
 public:
  AsHost() : before_(kiln_selector) { kiln_selector = 0; }
  ~AsHost() { kiln_selector = before_; }
  AsHost(const AsHost &) = delete;
  AsHost &operator=(const AsHost &) = delete;

 private:
  uint8_t before_;
};

}  // namespace kiln
