// Is a program that a signal of its own ends seen by the shell as ended by that signal?
// signal: SIGTERM

#include <csignal>
#include <cstdio>
#include <unistd.h>

int main() {
    std::puts("going");
    std::fflush(stdout);
    kill(getpid(), SIGTERM);
    pause();
}
