/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 64 random bits. The system call can be missing (an old kernel, a seccomp filter), and so can the device (a chroot,
 * no fd left). The interface has no error to answer, so the last resort never fails; but it is never silent either.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "random.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <ioreactor/time.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static bool from_system(void *bytes, size_t len)
{
#if defined(__linux__)
    ssize_t n;

    do
        n = getrandom(bytes, len, 0);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)len;
#else
    return getentropy(bytes, len) == 0;
#endif
}

static bool from_device(void *bytes, size_t len)
{
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    ssize_t n = read(fd, bytes, len);
    close(fd);
    return n == (ssize_t)len;
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;

    if (clock_gettime(id, &ts) < 0)
        return 0;
    return (uint64_t)ts.tv_sec * IOR_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Where there is no randomness at all, the log says so; the answers differ, but can be guessed. */
static uint64_t last_resort(void)
{
    static _Atomic uint64_t counter;
    uint64_t x = atomic_fetch_add(&counter, UINT64_C(0x9e3779b97f4a7c15));

    ior__log(IOR_LOG_ERROR, "random: neither getrandom nor /dev/urandom works, the clock is used instead");
    x += clock_ns(CLOCK_REALTIME) ^ (clock_ns(CLOCK_MONOTONIC) << 20) ^ ((uint64_t)getpid() << 44);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t ior__random64(void)
{
    uint64_t value;

    if (IOR_LIKELY(from_system(&value, sizeof(value))) || from_device(&value, sizeof(value)))
        return value;
    return last_resort();
}
