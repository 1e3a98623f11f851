/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit for broadcasts: by hand on epoll. Usage: bare_broadcast BYTES. Everybody who connects is greeted with "+";
 * each BYTES bytes that come from anybody are a message and go to all connections, in the order in which they joined,
 * with one send each. A receiver that does not take all of it is waited for with what is left, a copy; one that has
 * something left already when the next message comes is too slow and is cut off.
 */
#include "server.h"
#include <sys/epoll.h>

#define EVENTS 256

struct member {
    int fd;
    char *rest;
    size_t at, len;
};

static struct member **members;
static unsigned members_n, members_room;
static int epoll_fd, listener_fd;
static char *message;
static size_t message_len, message_got;

static void set_interest(int op, struct member *member, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = member};
    server_must(epoll_ctl(epoll_fd, op, fd, &ev), "epoll_ctl");
}

/* Marks a member as gone; it is freed when the batch of events is over, where others may still name it. */
static void end(struct member *member)
{
    close(member->fd);
    member->fd = -1;
}

static void free_ended(void)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < members_n; i++) {
        struct member *member = members[i];
        if (member->fd >= 0) {
            members[kept++] = member;
        } else {
            free(member->rest);
            free(member);
        }
    }
    members_n = kept;
}

static bool send_to(struct member *member, const char *bytes, size_t len)
{
    ssize_t n = member->rest ? -1 : send(member->fd, bytes, len, MSG_NOSIGNAL);
    if (n == (ssize_t)len)
        return true;
    if (member->rest || (n < 0 && !server_not_now())) {
        end(member);
        return false;
    }
    member->at = 0;
    member->len = len - (n > 0 ? (size_t)n : 0);
    member->rest = malloc(member->len);
    if (!member->rest)
        server_fail("malloc", ENOMEM);
    memcpy(member->rest, bytes + len - member->len, member->len);
    set_interest(EPOLL_CTL_MOD, member, member->fd, EPOLLIN | EPOLLOUT);
    return true;
}

static bool on_writable(struct member *member)
{
    ssize_t n = send(member->fd, member->rest + member->at, member->len - member->at, MSG_NOSIGNAL);
    if (n < 0 && !server_not_now()) {
        end(member);
        return false;
    }
    member->at += n > 0 ? (size_t)n : 0;
    if (member->at < member->len)
        return true;
    free(member->rest);
    member->rest = NULL;
    set_interest(EPOLL_CTL_MOD, member, member->fd, EPOLLIN);
    return true;
}

/* Answers whether somebody has gone. */
static bool on_readable(struct member *member)
{
    ssize_t n = recv(member->fd, message + message_got, message_len - message_got, 0);
    bool gone = false;
    if (n <= 0) {
        if (n < 0 && server_not_now())
            return false;
        end(member);
        return true;
    }
    message_got += (size_t)n;
    if (message_got < message_len)
        return false;
    message_got = 0;
    for (unsigned i = 0; i < members_n; i++)
        if (members[i]->fd >= 0)
            gone = !send_to(members[i], message, message_len) || gone;
    return gone;
}

static void accept_all(void)
{
    int fd;
    while ((fd = server_accept(listener_fd)) >= 0) {
        struct member *member = calloc(1, sizeof *member);
        if (members_n == members_room) {
            members_room = members_room ? 2 * members_room : 64;
            members = realloc(members, members_room * sizeof *members);
        }
        if (!member || !members)
            server_fail("malloc", ENOMEM);
        *member = (struct member){.fd = fd};
        members[members_n++] = member;
        set_interest(EPOLL_CTL_ADD, member, fd, EPOLLIN);
        send_to(member, "+", 1);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    message_len = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (message_len == 0 || message_len > 1 << 20 || !(message = malloc(message_len))) {
        fprintf(stderr, "usage: bare_broadcast BYTES\n");
        return 2;
    }
    server_begin();
    epoll_fd = server_must(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    listener_fd = server_listen();
    set_interest(EPOLL_CTL_ADD, NULL, listener_fd, EPOLLIN);
    server_announce(listener_fd);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        bool gone = false;
        for (int i = 0; i < n; i++) {
            struct member *member = events[i].data.ptr;
            if (!member)
                accept_all();
            else if (member->fd >= 0 && member->rest && (events[i].events & EPOLLOUT))
                gone = !on_writable(member) || gone;
            else if (member->fd >= 0)
                gone = on_readable(member) || gone;
        }
        if (gone)
            free_ended();
    }
}
