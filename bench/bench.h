/* SPDX-License-Identifier: Apache-2.0 */
/* What the measuring programs share: time, and giving up. They print lines of NAME=VALUE words. */
#ifndef IOR_BENCH_H
#define IOR_BENCH_H

#include <ioreactor.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* Ends the program where a call failed. */
static inline void bench_must(int err, const char *what)
{
    if (err < 0) {
        fprintf(stderr, "%s: %s\n", what, ior_strerror(err));
        exit(1);
    }
}

static inline double bench_clock(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* Time that passed. */
static inline double bench_ns(void)
{
    return bench_clock(CLOCK_MONOTONIC);
}

/* Time this thread had a core: on a quiet machine the same, on a busy one that of the work alone. */
static inline double bench_cpu_ns(void)
{
    return bench_clock(CLOCK_THREAD_CPUTIME_ID);
}

/* The one argument of these programs, a number; `preset` where there is none. */
static inline unsigned bench_number(int argc, char **argv, unsigned preset)
{
    char *end;
    if (argc < 2)
        return preset;
    unsigned long value = strtoul(argv[1], &end, 10);
    if (argc > 2 || *end != '\0' || value == 0 || value > 10000000) {
        fprintf(stderr, "usage: %s [NUMBER]   (%u)\n", argv[0], preset);
        exit(2);
    }
    return (unsigned)value;
}

static inline void bench_raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values; answers the one below which `part` of them lie. */
static inline double bench_quantile(double *values, size_t n, double part)
{
    qsort(values, n, sizeof *values, bench_compare);
    size_t at = (size_t)((double)n * part);
    return values[at < n ? at : n - 1];
}

#endif
