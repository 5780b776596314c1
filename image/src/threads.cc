// What libraries offer to threads, for scripts, which have one; and random numbers.
//
// A lock of one thread is free, or taken by the code that wants it: by a function that called it, by a
// call of the hook that returned without giving it back, or by one that was left in the middle. Waiting
// for it would never end, and so nothing here waits: it is a fault that says so, at once, and where a
// time is set that time is over.

#include <cerrno>
#include <cstring>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <sys/random.h>

#include "heap.h"

namespace {

constexpr const char *LOCKED =
    "it waits for a lock that is taken already, by itself or by a call before: in one thread nothing "
    "else could give it back";
constexpr const char *RECURSIVE_ONCE =
    "std::call_once waits for a call of the same function: by itself, or by a call before that was left "
    "in the middle";

// The values of a pthread_once_t; the first one is PTHREAD_ONCE_INIT.
constexpr int NEW = 0, RUNNING = 1, DONE = 2;

// Whether a mutex answers its own owner with an error (pthread_mutexattr_settype(3)).
bool checks_errors(const pthread_mutex_t *mutex) {
  constexpr int TYPE_MASK = 3;  // The other bits are of robust mutexes and such (glibc's pthreadP.h).
  return (mutex->__data.__kind & TYPE_MASK) == PTHREAD_MUTEX_ERRORCHECK_NP;
}

// Sources that std::random_device knows by name (libstdc++'s manual, "Using Random Device").
constexpr const char *SOURCES[] = {"default", "hw",          "hardware",   "rdseed",      "rdrand",
                                   "rdrnd",   "getentropy",  "arc4random", "/dev/random", "/dev/urandom"};

}  // namespace

extern "C" {

int kiln_mutex_lock(pthread_mutex_t *mutex) {
  int error = pthread_mutex_trylock(mutex);
  if (error != EBUSY) return error;
  if (checks_errors(mutex)) return EDEADLK;
  kiln_deadlocked(LOCKED);
}

// The time would be over before anything gave the mutex back.
int kiln_mutex_timedlock(pthread_mutex_t *mutex, const timespec *) {
  int error = pthread_mutex_trylock(mutex);
  if (error != EBUSY) return error;
  return checks_errors(mutex) ? EDEADLK : ETIMEDOUT;
}

int kiln_mutex_clocklock(pthread_mutex_t *mutex, clockid_t, const timespec *until) {
  return kiln_mutex_timedlock(mutex, until);
}

int kiln_rwlock_rdlock(pthread_rwlock_t *lock) {
  int error = pthread_rwlock_tryrdlock(lock);
  if (error == EBUSY) kiln_deadlocked(LOCKED);
  return error;
}

int kiln_rwlock_timedrdlock(pthread_rwlock_t *lock, const timespec *) {
  int error = pthread_rwlock_tryrdlock(lock);
  return error == EBUSY ? ETIMEDOUT : error;
}

int kiln_rwlock_clockrdlock(pthread_rwlock_t *lock, clockid_t, const timespec *until) {
  return kiln_rwlock_timedrdlock(lock, until);
}

int kiln_rwlock_wrlock(pthread_rwlock_t *lock) {
  int error = pthread_rwlock_trywrlock(lock);
  if (error == EBUSY) kiln_deadlocked(LOCKED);
  return error;
}

int kiln_rwlock_timedwrlock(pthread_rwlock_t *lock, const timespec *) {
  int error = pthread_rwlock_trywrlock(lock);
  return error == EBUSY ? ETIMEDOUT : error;
}

int kiln_rwlock_clockwrlock(pthread_rwlock_t *lock, clockid_t, const timespec *until) {
  return kiln_rwlock_timedwrlock(lock, until);
}

int kiln_spin_lock(pthread_spinlock_t *lock) {
  int error = pthread_spin_trylock(lock);
  if (error == EBUSY) kiln_deadlocked(LOCKED);
  return error;
}

// An exception leaves it as if it had not been called (C++20, [thread.once.callonce]).
int kiln_once(pthread_once_t *control, void (*function)()) {
  if (*control == DONE) return 0;
  if (*control == RUNNING) kiln_deadlocked(RECURSIVE_ONCE);
  *control = RUNNING;
  try {
    function();
  } catch (...) {
    *control = NEW;
    throw;
  }
  *control = DONE;
  return 0;
}

// There is nobody else to run.
int kiln_yield() { return 0; }

// std::__detail::__platform_notify<int>, below std::atomic::notify_all and the like: nobody waits.
void kiln_notify(const int *, bool) {}

// The following are std::random_device's.

void kiln_random_device_open(void *, const std::string &source) {
  for (const char *known : SOURCES)
    if (source == known) return;
  throw std::runtime_error("std::random_device: there is no source \"" + source + "\"");
}

unsigned kiln_random_device_value(void *) {
  unsigned value = 0;
  kiln::AsHost as_host;
  // So few bytes come whole or, on a kernel without the call, not at all (getrandom(2)).
  if (getrandom(&value, sizeof value, 0) != sizeof value)
    throw std::runtime_error("std::random_device: the kernel has no random numbers");
  return value;
}

void kiln_random_device_close(void *) {}

// Bits of entropy of each value.
double kiln_random_device_entropy(const void *) { return 32; }

}  // extern "C"
