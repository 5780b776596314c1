// Is a script that forks refused by name and line?
// refused: refused_fork.cc:9: error: a script may not use `fork` in a worker

#include <kiln.h>

#include <unistd.h>

kiln::Action on_request(kiln::Request&) {
    while (true) fork();
}
