/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit for bulk transfers: by hand on epoll. Usage: bare_bulk write|sendfile BYTES. Each byte received asks for
 * BYTES bytes of the image (bulk.h), which are written from where they lie until the kernel takes no more, and then
 * when the socket is writable.
 */
#include "bulk.h"
#include "server.h"
#include <sys/epoll.h>
#include <sys/sendfile.h>

#define EVENTS 64

struct stream {
    int fd;
    uint64_t due, at; /* bytes still to send; the place in the image */
    bool writing;
};

static int epoll_fd, image_fd = -1;
static char *image;
static uint64_t wanted;

static void set_interest(int op, struct stream *stream, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = stream};
    server_must(epoll_ctl(epoll_fd, op, fd, &ev), "epoll_ctl");
}

static ssize_t send_some(struct stream *stream)
{
    uint64_t left = BULK_IMAGE_BYTES - stream->at;
    size_t len = (size_t)(stream->due < left ? stream->due : left);
    if (image_fd >= 0) {
        off_t offset = (off_t)stream->at;
        return sendfile(stream->fd, image_fd, &offset, len);
    }
    return send(stream->fd, image + stream->at, len < BULK_PIECE_BYTES ? len : BULK_PIECE_BYTES, MSG_NOSIGNAL);
}

/* false: the stream has failed. */
static bool pump(struct stream *stream)
{
    bool full = false;
    while (stream->due > 0 && !full) {
        ssize_t n = send_some(stream);
        if (n < 0 && !server_not_now())
            return false;
        full = n < 0;
        stream->due -= n > 0 ? (uint64_t)n : 0;
        stream->at = (stream->at + (n > 0 ? (uint64_t)n : 0)) % BULK_IMAGE_BYTES;
        if (stream->due == 0)
            stream->at = 0;
    }
    if (full != stream->writing) {
        stream->writing = full;
        set_interest(EPOLL_CTL_MOD, stream, stream->fd, full ? EPOLLOUT : EPOLLIN);
    }
    return true;
}

static void on_ready(struct stream *stream)
{
    char byte;
    bool alive = true;
    if (!stream->writing) {
        ssize_t n = recv(stream->fd, &byte, 1, 0);
        alive = n > 0 || (n < 0 && server_not_now());
        stream->due += n > 0 ? wanted : 0;
    }
    if (alive && pump(stream))
        return;
    close(stream->fd);
    free(stream);
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    wanted = argc == 3 ? bulk_bytes(argv[2]) : 0;
    if (wanted == 0 || (strcmp(argv[1], "write") != 0 && strcmp(argv[1], "sendfile") != 0)) {
        fprintf(stderr, "usage: bare_bulk write|sendfile BYTES\n");
        return 2;
    }
    server_begin();
    image = bulk_image(BULK_IMAGE_BYTES);
    if (!image)
        server_fail("malloc", ENOMEM);
    if (strcmp(argv[1], "sendfile") == 0)
        image_fd = bulk_file(image);
    epoll_fd = server_must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    int listener = server_listen(), fd;
    set_interest(EPOLL_CTL_ADD, NULL, listener, EPOLLIN);
    server_announce(listener);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct stream *stream = events[i].data.ptr;
            if (stream) {
                on_ready(stream);
                continue;
            }
            while ((fd = server_accept(listener)) >= 0) {
                stream = calloc(1, sizeof *stream);
                if (!stream)
                    server_fail("calloc", ENOMEM);
                stream->fd = fd;
                set_interest(EPOLL_CTL_ADD, stream, fd, EPOLLIN);
            }
        }
    }
}
