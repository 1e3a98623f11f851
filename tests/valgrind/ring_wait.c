/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the engine on io_uring under valgrind: preloaded, it takes liburing's place where a thread waits in
 * io_uring_enter(2). Valgrind (3.19) does not know that this call may block: no other thread runs meanwhile, and no
 * signal is delivered. So the call itself never waits here. What is to be waited for is looked for again and again, and
 * the thread sleeps in poll(2) in between, of which valgrind knows. Whoever called sees no difference: a wait ends with
 * a completion, at its time, or with a signal.
 *
 * The ring's fd is polled, which ends the sleep at once; but not on a deferred ring (seen on Linux 6.18), so that a sleep
 * is never longer than a slice.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <time.h>

#include <liburing.h>

#define SLICE_MS 1
#define NS_PER_SEC INT64_C(1000000000)

typedef int enter_call(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags, sigset_t *sig,
                       size_t size);
int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags, sigset_t *sig, size_t size);

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags, sigset_t *sig, size_t size)
{
    enter_call *next = (enter_call *)(uintptr_t)dlsym(RTLD_NEXT, "io_uring_enter2");
    struct __kernel_timespec soon = {.tv_nsec = 1};

    if (min_complete == 0 || !(flags & IORING_ENTER_EXT_ARG))
        return next(fd, to_submit, min_complete, flags, sig, size);
    struct io_uring_getevents_arg arg = *(const struct io_uring_getevents_arg *)(const void *)sig;
    const struct __kernel_timespec *wanted = (const struct __kernel_timespec *)(uintptr_t)arg.ts;
    int64_t end_ns = wanted ? now_ns() + wanted->tv_sec * NS_PER_SEC + wanted->tv_nsec : INT64_MAX;
    int taken = next(fd, to_submit, 0, flags, sig, size);
    if (taken < 0 || (unsigned)taken < to_submit)
        return taken; /* the kernel does not wait then either */
    arg.ts = (uint64_t)(uintptr_t)&soon;
    for (;;) {
        struct pollfd ring = {.fd = (int)fd, .events = POLLIN};
        int r = next(fd, 0, min_complete, flags, (sigset_t *)(void *)&arg, sizeof(arg));
        if (r == -ETIME && now_ns() < end_ns) {
            if (poll(&ring, 1, SLICE_MS) >= 0)
                continue;
            r = -errno;
        }
        return taken > 0 ? taken : r; /* so does the kernel */
    }
}
