/* SPDX-License-Identifier: Apache-2.0 */
/* What the built-in engines share: the table of them, the waker, and the time left until a deadline. */
#ifndef IOR_SRC_ENGINE_ENGINE_H
#define IOR_SRC_ENGINE_ENGINE_H

#include <ioreactor/engine.h>
#include <ioreactor/os.h>
#include <ioreactor/time.h>

/* One line for each engine file; src/engine/table.c puts them in order. */
extern const struct ior_engine_ops ior__engine_epoll;
extern const struct ior_engine_ops ior__engine_poll;
extern const struct ior_engine_ops ior__engine_uring; /* where IOR_URING is defined */

/* The longest single wait: what poll(2) takes as milliseconds in an int. Later deadlines are waited for again. */
#define IOR__WAIT_MAX_NS ((uint64_t)INT32_MAX * IOR_NS_PER_MS)

/* How long to wait now for a deadline that is neither 0 nor IOR_NEVER. */
static inline uint64_t ior__wait_ns(const struct ior_os *os, uint64_t deadline_ns)
{
    uint64_t left_ns = ior_time_sub(deadline_ns, os->clock(os->arg));

    return left_ns < IOR__WAIT_MAX_NS ? left_ns : IOR__WAIT_MAX_NS;
}

/* In milliseconds, rounded up: never early. */
static inline int ior__wait_ms(uint64_t wait_ns)
{
    return (int)((wait_ns + IOR_NS_PER_MS - 1) / IOR_NS_PER_MS);
}

/* An fd that becomes readable when another thread, or a signal handler, wants the loop's attention. */
struct ior__waker {
    int read_fd;
    int write_fd; /* the same as read_fd for an eventfd */
};

/* An eventfd where `try_eventfd` says so and there is one; else a pair of sockets. */
int ior__waker_open(struct ior__waker *waker, bool try_eventfd);
void ior__waker_close(struct ior__waker *waker);

/* Thread-safe and async-signal-safe; errno is kept. A waker that is full is as good as woken: 0. */
int ior__waker_wake(const struct ior__waker *waker);

/* Takes all wakes at once. A wake that comes later makes the fd readable again. */
void ior__waker_drain(const struct ior__waker *waker);

/* The fd, or a copy of it that is above stdio (close-on-exec), or -errno; `fd` < 0 answers -errno. */
int ior__above_stdio(int fd);

#endif
