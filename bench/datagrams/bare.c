/* SPDX-License-Identifier: Apache-2.0 */
/* The limit: by hand on epoll, with recvmmsg and sendmmsg. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench.h"
#include "echo.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 32, ROOM = 2048 };

static int fd, set;
static unsigned char room[MOST][ROOM];
static struct sockaddr_in peers[MOST];
static struct iovec iov[MOST], out_iov[MOST];
static struct mmsghdr in[MOST], out[MOST];

void echo_open(struct sockaddr_in *ret)
{
    struct epoll_event event = {.events = EPOLLIN};
    socklen_t len = sizeof *ret;
    memset(ret, 0, sizeof *ret);
    ret->sin_family = AF_INET;
    ret->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bench_must(fd < 0 || bind(fd, (const struct sockaddr *)ret, sizeof *ret) < 0 ? -errno : 0, "bind");
    bench_must(getsockname(fd, (struct sockaddr *)ret, &len) < 0 ? -errno : 0, "getsockname");
    set = epoll_create1(EPOLL_CLOEXEC);
    bench_must(set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0, "epoll_ctl");
    for (int i = 0; i < MOST; i++) {
        iov[i] = (struct iovec){room[i], ROOM};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1, .msg_name = &peers[i]};
    }
}

/* True: go on. */
static bool serve(void)
{
    unsigned n_out = 0;
    bool goes_on = true;
    for (int i = 0; i < MOST; i++)
        in[i].msg_hdr.msg_namelen = sizeof peers[i];
    int n = recvmmsg(fd, in, MOST, 0, NULL);
    for (int i = 0; i < n; i++) {
        int wish = wish_of(room[i], in[i].msg_len);
        goes_on = goes_on && wish != WANTS_END;
        if (wish != WANTS_ECHO)
            continue;
        out_iov[n_out] = (struct iovec){room[i], in[i].msg_len};
        out[n_out].msg_hdr = (struct msghdr){.msg_iov = &out_iov[n_out], .msg_iovlen = 1, .msg_name = &peers[i]};
        out[n_out++].msg_hdr.msg_namelen = sizeof peers[i];
    }
    for (unsigned done = 0; done < n_out;) {
        int sent = sendmmsg(fd, out + done, n_out - done, 0);
        bench_must(sent < 0 ? -errno : 0, "sendmmsg");
        done += (unsigned)sent;
    }
    return goes_on;
}

void echo_run(void)
{
    struct epoll_event event;
    do {
        bench_must(epoll_wait(set, &event, 1, -1) < 0 ? -errno : 0, "epoll_wait");
    } while (serve());
}

void echo_close(void)
{
    close(fd);
    close(set);
}
