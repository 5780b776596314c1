// Is assembly refused that calls the kernel past the host?
// refused: refused_system_call.cc:9:5: error: a script may not make system calls: `syscall` in `kiln_on_request`
// refused:     9 |     asm volatile("syscall"

#include <kiln.h>

kiln::Action on_request(kiln::Request&) {
    long answer = 39;
    asm volatile("syscall" : "+a"(answer) : : "rcx", "r11", "memory");
    return kiln::reply(200, std::to_string(answer));
}
