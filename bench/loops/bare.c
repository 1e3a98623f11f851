/* SPDX-License-Identifier: Apache-2.0 */
/* The loop by hand: epoll_wait, and epoll_ctl for each change. It has no timers. */
#include "loop.h"
#include "bench.h"
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 256

static int epoll_fd;
static int *fds;

static void must(int result, const char *what)
{
    bench_must(result < 0 ? -errno : 0, what);
}

void loop_open(unsigned watches, unsigned timers)
{
    (void)timers;
    must(epoll_fd = epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    fds = calloc(watches ? watches : 1, sizeof *fds);
    bench_must(fds ? 0 : -ENOMEM, "calloc");
}

void loop_close(void)
{
    close(epoll_fd);
    free(fds);
}

void loop_turn(void)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, 0);
    must(n, "epoll_wait");
    for (int i = 0; i < n; i++)
        loop_on_readable(events[i].data.u32, fds[events[i].data.u32]);
}

void loop_watch(unsigned index, int fd)
{
    fds[index] = fd;
    loop_start(index);
}

void loop_stop(unsigned index)
{
    must(epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fds[index], NULL), "epoll_ctl");
}

void loop_start(unsigned index)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = index};
    must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[index], &ev), "epoll_ctl");
}

void loop_timer_set(unsigned index, uint64_t after_ns)
{
    (void)index, (void)after_ns;
    bench_must(-ENOSYS, "timers");
}

void loop_timer_move(unsigned index, uint64_t after_ns)
{
    loop_timer_set(index, after_ns);
}

void loop_timer_cancel(unsigned index)
{
    loop_timer_set(index, 0);
}
