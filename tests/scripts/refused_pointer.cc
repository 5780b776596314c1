// Is a function refused of which only the address is taken, in a table?
// refused: refused_pointer.cc:11:24: error: a script may not use `execve` in a worker

#include <kiln.h>

#include <unistd.h>

static int (*const table[])(const char*, char* const*, char* const*) = {execve};

kiln::Action on_request(kiln::Request& request) {
    return kiln::reply(table[request.header_count() - 1]("/bin/sh", nullptr, nullptr));
}
