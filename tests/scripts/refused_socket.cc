// Are sockets refused?
// refused: refused_socket.cc:9:24: error: a script may not use `socket` in a worker

#include <kiln.h>

#include <sys/socket.h>

kiln::Action on_request(kiln::Request&) {
    return kiln::reply(socket(AF_INET, SOCK_STREAM, 0));
}
