// Is everything that is not allowed told at once, with its line?
// refused: refused_several.cc:16:16: error: a script may not use `open` in a worker
// refused: refused_several.cc:17:21: error: a script may not use `dlopen` in a worker
// refused: refused_several.cc:18:5: error: a script may not use `sleep` in a worker
// refused: refused_several.cc:19:5: error: a script may not use `usleep` in a worker
// refused: refused_several.cc:20:29: error: a script may not use `exit` in a worker

#include <kiln.h>

#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

kiln::Action on_request(kiln::Request&) {
    int file = open("/etc/passwd", O_RDONLY);
    void* library = dlopen("libc.so.6", RTLD_NOW);
    sleep(1);
    usleep(1);
    if (library == nullptr) std::exit(file);
    return kiln::reply(200);
}
