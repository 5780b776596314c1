// The floor under every proxy that copies: a relay that reads and writes, and knows no HTTP.
//
//     relay PORT ORIGIN_PORT
//
// Each connection accepted on 127.0.0.1:PORT gets one of its own to 127.0.0.1:ORIGIN_PORT, and
// bytes go both ways as they come. Nothing is parsed, pooled, counted or timed, so what it spends
// is what the kernel takes for moving the bytes. Level-triggered epoll makes that one read and one
// write for each piece; a piece that its receiver can't take waits, and nothing more is read.
//
// A proxy that splices large bodies from socket to socket goes below this floor, and should.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,           // of one epoll_wait: both sides of each of the load's connections
    PIECE_BYTES_MAX = 256 << 10 // of one read; what it saves over 64 KB is a quarter of all
};

// One end of a pair of connections, with the piece that was read from it and is not yet written.
struct side {
    struct side *other;
    struct side *next_dead;
    int fd;
    bool has_ended;
    uint32_t events;
    size_t begin, end;
    char piece[PIECE_BYTES_MAX];
};

static int epoll;
static struct side *dead; // closed, and perhaps named by a later event of the same epoll_wait

static struct sockaddr_in loopback(const char *port) {
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(port)),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static void watch(struct side *side, uint32_t events) {
    if (side->events == events) return;
    struct epoll_event event = {.events = events, .data.ptr = side};
    epoll_ctl(epoll, EPOLL_CTL_MOD, side->fd, &event);
    side->events = events;
}

static struct side *new_side(int fd) {
    struct side *side = malloc(sizeof *side);
    if (side == NULL || fd < 0) exit(1);
    side->fd = fd, side->begin = side->end = 0, side->has_ended = false, side->events = EPOLLIN;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = side};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) exit(1);
    return side;
}

static void close_pair(struct side *side) {
    for (int i = 0; i < 2; i++, side = side->other) {
        close(side->fd);
        side->fd = -1;
        side->next_dead = dead;
        dead = side;
    }
}

static void accept_pair(int listener, const struct sockaddr_in *origin) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return; // its client has gone already
    struct side *client = new_side(fd);
    struct side *server = new_side(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    client->other = server, server->other = client;
    // Until it is connected, writes fail with EAGAIN and wait for EPOLLOUT like any other.
    if (connect(server->fd, (const struct sockaddr *)origin, sizeof *origin) != 0
        && errno != EINPROGRESS)
        close_pair(client);
}

// Writes the piece of `from`, and sees to it that the rest of it is waited for.
static void flush(struct side *from) {
    struct side *to = from->other;
    ssize_t count = write(to->fd, from->piece + from->begin, from->end - from->begin);
    if (count < 0 && errno != EAGAIN) return close_pair(from);
    if (count > 0) from->begin += (size_t)count;
    bool is_written = from->begin == from->end;
    watch(to, is_written ? to->events & ~(uint32_t)EPOLLOUT : to->events | EPOLLOUT);
    watch(from, is_written ? from->events | EPOLLIN : from->events & ~(uint32_t)EPOLLIN);
}

static void fill(struct side *from) {
    if (from->begin != from->end) return; // it hung up, and its last piece still waits
    ssize_t count = read(from->fd, from->piece, sizeof from->piece);
    if (count < 0) return errno == EAGAIN ? (void)0 : close_pair(from);
    if (count == 0) {
        if (from->other->has_ended) return close_pair(from);
        from->has_ended = true;
        shutdown(from->other->fd, SHUT_WR);
        return watch(from, from->events & ~(uint32_t)EPOLLIN);
    }
    from->begin = 0, from->end = (size_t)count;
    flush(from);
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    signal(SIGPIPE, SIG_IGN); // a write to who has gone fails, and that is enough
    struct sockaddr_in address = loopback(arguments[1]), origin = loopback(arguments[2]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) return 1;
    if (listen(listener, 1024) != 0) return 1;
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) return 1;
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < ready; i++) {
            struct side *side = events[i].data.ptr;
            if (side == NULL) {
                accept_pair(listener, &origin);
                continue;
            }
            if (side->fd >= 0 && events[i].events & EPOLLOUT) flush(side->other);
            if (side->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT) fill(side);
        }
        while (dead != NULL) {
            struct side *next = dead->next_dead;
            free(dead);
            dead = next;
        }
    }
}
