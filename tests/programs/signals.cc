// Do handlers run in the program: raise, alarms, an alternate stack, and a jump out of a fault?

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

static volatile std::sig_atomic_t seen, ticks;
static sigjmp_buf back;

[[gnu::noinline]] static int forever(volatile int* place) {
    volatile int here[256] = {*place};
    return forever(here) + here[1];
}

int main() {
    std::signal(SIGUSR1, [](int signal) { seen = signal; });
    std::raise(SIGUSR1);
    std::printf("%d\n", seen == SIGUSR1);

    struct sigaction action {};
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    action.sa_sigaction = [](int signal, siginfo_t* info, void*) {
        siglongjmp(back, signal == SIGSEGV && info->si_addr == reinterpret_cast<void*>(16) ? 1 : 2);
    };
    static char stack[65536];
    stack_t alternate{};
    alternate.ss_sp = stack, alternate.ss_size = sizeof stack;
    sigaltstack(&alternate, nullptr);
    sigaction(SIGSEGV, &action, nullptr);
    for (int i = 0; i < 3; ++i) {
        int how = sigsetjmp(back, 1);
        if (how == 0) *reinterpret_cast<volatile int*>(16) = 1;
        std::printf("recovered %d\n", how);
    }
    if (int how = sigsetjmp(back, 1)) {
        std::printf("recovered from overflow %d\n", how);
    } else {
        volatile int start = 0;
        forever(&start);
    }
    action.sa_sigaction = [](int, siginfo_t*, void*) { siglongjmp(back, 3); };
    sigaction(SIGFPE, &action, nullptr);
    volatile int zero = 0;
    if (int how = sigsetjmp(back, 1))
        std::printf("division %d\n", how);
    else
        zero = 1 / zero;

    std::signal(SIGALRM, [](int) { ticks = ticks + 1; });
    itimerval timer{{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &timer, nullptr);
    while (ticks < 5) pause();
    timer = {};
    setitimer(ITIMER_REAL, &timer, nullptr);
    std::printf("ticked %d\n", ticks >= 5);
    sigset_t blocked, pending;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_BLOCK, &blocked, nullptr);
    std::raise(SIGUSR2);
    sigpending(&pending);
    int got = 0;
    sigwait(&blocked, &got);
    std::printf("pending %d, waited %d\n", sigismember(&pending, SIGUSR2), got == SIGUSR2);
    // Nothing that ran this program has left signals ignored.
    struct sigaction pipe {};
    sigaction(SIGPIPE, nullptr, &pipe);
    std::printf("%d\n", pipe.sa_handler == SIG_DFL);
}
