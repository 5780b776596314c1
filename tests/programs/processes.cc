// Can a program fork, wait, pipe, exec and popen?

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

struct Loud {
    const char* name;
    ~Loud() { std::printf("~%s in %s\n", name, name); }
} loud{"parent"};

int main() {
    std::fflush(stdout);
    int ends[2];
    if (pipe(ends) != 0) return 1;
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        loud.name = "child";
        try {
            throw std::string("thrown after fork");
        } catch (const std::string& text) {
            (void)!write(ends[1], text.data(), text.size());
        }
        std::exit(5);
    }
    close(ends[1]);
    char text[64] = {};
    (void)!read(ends[0], text, sizeof text - 1);
    int status = 0;
    waitpid(child, &status, 0);
    std::printf("%s, %d %d\n", text, WIFEXITED(status), WEXITSTATUS(status));
    std::fflush(stdout);

    child = fork();
    if (child == 0) std::abort();
    waitpid(child, &status, 0);
    std::printf("%d\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);

    FILE* shell = popen("echo from the shell; exit 3", "r");
    std::printf("%s", std::fgets(text, sizeof text, shell));
    std::printf("%d\n", WEXITSTATUS(pclose(shell)));
    std::fflush(stdout);
    std::printf("%d\n", WEXITSTATUS(std::system("exit 6")));
    std::fflush(stdout);
    child = fork();
    if (child == 0) {
        execl("/bin/echo", "echo", "executed", nullptr);
        _exit(127);
    }
    waitpid(child, &status, 0);
    std::printf("%d\n", status);
}
