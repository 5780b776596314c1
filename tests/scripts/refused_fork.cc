// Is a script that forks refused by name and line?
// refused: refused_fork.cc:11:18: error: a script may not use `fork` in a worker: how many processes there are is the master's affair
// refused:    11 |     while (true) fork();
// refused:       |                  ^

#include <kiln.h>

#include <unistd.h>

kiln::Action on_request(kiln::Request&) {
    while (true) fork();
}
