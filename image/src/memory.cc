// Where C++ gets its memory: operators new and delete of the whole binary, the memory of exceptions,
// and the C library's functions that allocate on the side.
//
// While a generation runs all of it comes from its heap; else from the C library, or from the program
// that `kiln run` runs. What is given back is known by its address: a block of the running generation,
// or the host's own.

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <ext/concurrence.h>
#include <new>

#include "heap.h"

namespace {

// A program's operators new and delete, null where it has none. The host's forward to them, because
// libstdc++ is the host's: a string that it makes may be freed by the program.
struct Operators {
  void *(*new_object)(size_t);
  void *(*new_object_aligned)(size_t, std::align_val_t);
  void *(*new_array)(size_t);
  void *(*new_array_aligned)(size_t, std::align_val_t);
  void (*delete_object)(void *);
  void (*delete_object_sized)(void *, size_t);
  void (*delete_object_aligned)(void *, std::align_val_t);
  void (*delete_object_sized_aligned)(void *, size_t, std::align_val_t);
  void (*delete_array)(void *);
  void (*delete_array_sized)(void *, size_t);
  void (*delete_array_aligned)(void *, std::align_val_t);
  void (*delete_array_sized_aligned)(void *, size_t, std::align_val_t);
};
Operators replaced;

// Memory as operator new gives it; `align` is 0 for the alignment that everything has.
void *allocate(size_t size, size_t align) {
  if (kiln_heap != nullptr) {
    void *place = kiln_heap_allocate(kiln_heap, size, align);
    if (place == nullptr) throw std::bad_alloc();
    return place;
  }
  if (size == 0) size = 1;
  for (;;) {
    void *place = align == 0 ? std::malloc(size)
                             : std::aligned_alloc(align, (size + align - 1) & ~(align - 1));
    if (place != nullptr) return place;
    std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc();
    handler();
  }
}

// Gives back what the host, or the C++ library in it, does not need any more.
void release(void *place) {
  if (kiln_heap != nullptr && kiln_heap->has(place))
    kiln_heap_release(kiln_heap, place);
  else
    std::free(place);
}

// Memory for exceptions where there is no other, above all for a std::bad_alloc: as many as are
// likely to be in flight or kept at once, each with some words more than its header.
constexpr size_t EMERGENCY_BYTES = 1024;
constexpr size_t EMERGENCY_COUNT = 64;
alignas(16) char emergency[EMERGENCY_COUNT][EMERGENCY_BYTES];
uint64_t emergency_taken;
kiln::Heap *emergency_owners[EMERGENCY_COUNT];

// Programs may throw on several threads.
void *take_emergency(size_t size) {
  if (size > EMERGENCY_BYTES) return nullptr;
  for (;;) {
    uint64_t taken = __atomic_load_n(&emergency_taken, __ATOMIC_RELAXED);
    if (~taken == 0) return nullptr;
    size_t index = __builtin_ctzll(~taken);
    uint64_t next = taken | (uint64_t{1} << index);
    if (!__atomic_compare_exchange_n(&emergency_taken, &taken, next, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED))
      continue;
    emergency_owners[index] = kiln_heap;
    return emergency[index];
  }
}

bool release_emergency(void *place) {
  auto offset = reinterpret_cast<uintptr_t>(place) - reinterpret_cast<uintptr_t>(emergency);
  if (offset >= sizeof emergency) return false;
  __atomic_fetch_and(&emergency_taken, ~(uint64_t{1} << (offset / EMERGENCY_BYTES)),
                     __ATOMIC_RELEASE);
  return true;
}

// What libstdc++ puts before an exception object (`__cxa_refcounted_exception`), and what it takes
// for the reference to one that was rethrown (`__cxa_dependent_exception`, which is smaller). Part
// of the ABI; a test holds it against the library.
constexpr size_t EXCEPTION_HEADER_BYTES = 128;

void *allocate_exception(size_t size) {
  void *place = kiln_heap ? kiln_heap_allocate(kiln_heap, size, 0) : std::malloc(size);
  if (place == nullptr) place = take_emergency(size);
  if (place == nullptr) std::terminate();
  return std::memset(place, 0, EXCEPTION_HEADER_BYTES);
}

void release_exception(void *place) {
  if (!release_emergency(place)) release(place);
}

// Whether a format of scanf has the library allocate what it reads (`%ms`): with its own malloc.
bool allocates(const char *format) {
  for (; *format != '\0'; format++) {
    if (*format != '%') continue;
    format++;
    if (*format == '%') continue;
    bool is_dropped = false;
    for (; *format != '\0' && std::strchr("*'I0123456789$", *format); format++)
      if (*format == '*') is_dropped = true;
    if (*format == 'm' && !is_dropped) return true;
    if (*format == '\0') return false;
  }
  return false;
}

// Sorts `count` items with room for half of them. Stable, as the C library's is while memory lasts.
template <typename Compare>
void merge_sort(char *items, size_t count, size_t size, Compare compare, char *room) {
  if (count < 2) return;
  size_t left = count / 2;
  char *middle = items + left * size;
  merge_sort(items, left, size, compare, room);
  merge_sort(middle, count - left, size, compare, room);
  std::memcpy(room, items, left * size);
  char *one = room, *one_end = room + left * size;
  char *other = middle, *other_end = items + count * size;
  for (char *out = items; one != one_end; out += size) {
    char *&from = other != other_end && compare(other, one) < 0 ? other : one;
    std::memcpy(out, from, size);
    from += size;
  }
}

// The library's own would lose its room where the comparison throws.
template <typename Compare>
void sort(void *items, size_t count, size_t size, Compare compare) {
  struct Room {
    void *place;
    ~Room() { operator delete(place); }
  } room{operator new(count / 2 * size)};
  merge_sort(static_cast<char *>(items), count, size, compare, static_cast<char *>(room.place));
}

}  // namespace

void *operator new(size_t size) {
  return replaced.new_object ? replaced.new_object(size) : allocate(size, 0);
}
void *operator new(size_t size, std::align_val_t align) {
  if (replaced.new_object_aligned) return replaced.new_object_aligned(size, align);
  return allocate(size, static_cast<size_t>(align));
}
void *operator new[](size_t size) {
  return replaced.new_array ? replaced.new_array(size) : operator new(size);
}
void *operator new[](size_t size, std::align_val_t align) {
  if (replaced.new_array_aligned) return replaced.new_array_aligned(size, align);
  return operator new(size, align);
}
void operator delete(void *place) noexcept {
  replaced.delete_object ? replaced.delete_object(place) : release(place);
}
void operator delete(void *place, size_t size) noexcept {
  if (replaced.delete_object_sized) return replaced.delete_object_sized(place, size);
  operator delete(place);
}
void operator delete(void *place, std::align_val_t align) noexcept {
  if (replaced.delete_object_aligned) return replaced.delete_object_aligned(place, align);
  release(place);
}
void operator delete(void *place, size_t size, std::align_val_t align) noexcept {
  if (replaced.delete_object_sized_aligned)
    return replaced.delete_object_sized_aligned(place, size, align);
  operator delete(place, align);
}
void operator delete[](void *place) noexcept {
  replaced.delete_array ? replaced.delete_array(place) : operator delete(place);
}
void operator delete[](void *place, size_t size) noexcept {
  if (replaced.delete_array_sized) return replaced.delete_array_sized(place, size);
  operator delete[](place);
}
void operator delete[](void *place, std::align_val_t align) noexcept {
  if (replaced.delete_array_aligned) return replaced.delete_array_aligned(place, align);
  operator delete(place, align);
}
void operator delete[](void *place, size_t size, std::align_val_t align) noexcept {
  if (replaced.delete_array_sized_aligned)
    return replaced.delete_array_sized_aligned(place, size, align);
  operator delete[](place, align);
}


// In the place of libstdc++'s (eh_alloc.cc), which would take the memory of exceptions from the host:
// a std::exception_ptr that a script forgets would outlive its generation.
extern "C" void *__cxa_allocate_exception(size_t size) noexcept {
  void *place = allocate_exception(size + EXCEPTION_HEADER_BYTES);
  return static_cast<char *>(place) + EXCEPTION_HEADER_BYTES;
}
extern "C" void __cxa_free_exception(void *object) noexcept {
  release_exception(static_cast<char *>(object) - EXCEPTION_HEADER_BYTES);
}
extern "C" void *__cxa_allocate_dependent_exception() noexcept {
  return allocate_exception(EXCEPTION_HEADER_BYTES);
}
extern "C" void __cxa_free_dependent_exception(void *place) noexcept { release_exception(place); }

// The rest of what that file of libstdc++ defines: the linker must not take it as well.
namespace __gnu_cxx {
void __freeres() {}
}  // namespace __gnu_cxx
[[gnu::used]] static void (*const lock_errors[])() = {__gnu_cxx::__throw_concurrence_lock_error,
                                                      __gnu_cxx::__throw_concurrence_unlock_error};

extern "C" {

void kiln_forget_heap(kiln::Heap *heap) {
  for (size_t i = 0; i < EMERGENCY_COUNT; i++) {
    if (emergency_owners[i] != heap) continue;
    emergency_owners[i] = nullptr;
    release_emergency(emergency[i]);
  }
}

// A program tells its operators before it runs any other code.
void kiln_replace_operators(const Operators *own) { replaced = *own; }

// The following are for scripts, while one of them runs.

// Operator new of the usual alignment, without a question of whom it is for.
void *kiln_new(size_t size) {
  void *place = kiln_heap_allocate(kiln_heap, size, 0);
  if (place == nullptr) throw std::bad_alloc();
  return place;
}

// std::pmr's default is a generation's and not the process's: it points to an object of a script.
std::pmr::memory_resource *kiln_default_resource() {
  auto *own = kiln_heap->default_resource;
  return own != nullptr ? own : std::pmr::new_delete_resource();
}
std::pmr::memory_resource *kiln_set_default_resource(std::pmr::memory_resource *resource) {
  auto *before = kiln_default_resource();
  kiln_heap->default_resource = resource;
  return before;
}

int kiln_vsscanf(const char *text, const char *format, va_list arguments) {
  if (!allocates(format)) return std::vsscanf(text, format, arguments);
  errno = EINVAL;
  return EOF;
}
int kiln_sscanf(const char *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int read = kiln_vsscanf(text, format, arguments);
  va_end(arguments);
  return read;
}

void kiln_qsort(void *items, size_t count, size_t size, int (*compare)(const void *, const void *)) {
  sort(items, count, size, compare);
}
void kiln_qsort_r(void *items, size_t count, size_t size,
                  int (*compare)(const void *, const void *, void *), void *argument) {
  auto with = [&](const void *one, const void *other) { return compare(one, other, argument); };
  sort(items, count, size, with);
}

}  // extern "C"
