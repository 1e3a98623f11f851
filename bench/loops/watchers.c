/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to stop and start all of 8,000 watches in one turn, where nothing comes of it: the library collects
 * changes and applies what is left of them at the end of the turn. Beside it, the same by hand: taking each fd out of
 * an epoll set and putting it back.
 */
#include "bench.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define ROUNDS 21

static double by_library(struct ior_runtime *rt, const ior_id *ids, unsigned n)
{
    struct ior_context *cx = ior_runtime_context(rt);
    double began = bench_cpu_ns();
    for (unsigned i = 0; i < n; i++)
        bench_must(ior_interest(cx, ids[i], IOR_NONE), "ior_interest");
    for (unsigned i = 0; i < n; i++)
        bench_must(ior_interest(cx, ids[i], IOR_READ), "ior_interest");
    bench_must(ior_runtime_turn(rt, 0), "ior_runtime_turn");
    return (bench_cpu_ns() - began) / 1e6;
}

static double by_pause(struct ior_runtime *rt, const ior_id *ids, unsigned n)
{
    struct ior_context *cx = ior_runtime_context(rt);
    double began = bench_cpu_ns();
    for (unsigned i = 0; i < n; i++)
        bench_must(ior_pause(cx, ids[i]), "ior_pause");
    for (unsigned i = 0; i < n; i++)
        bench_must(ior_resume(cx, ids[i]), "ior_resume");
    bench_must(ior_runtime_turn(rt, 0), "ior_runtime_turn");
    return (bench_cpu_ns() - began) / 1e6;
}

static double by_hand(int epoll_fd, const int *fds, unsigned n)
{
    struct epoll_event ev = {.events = EPOLLIN};
    double began = bench_cpu_ns();
    for (unsigned i = 0; i < n; i++)
        bench_must(epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fds[i], NULL), "epoll_ctl");
    for (unsigned i = 0; i < n; i++)
        bench_must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[i], &ev), "epoll_ctl");
    bench_must(epoll_wait(epoll_fd, &ev, 1, 0), "epoll_wait");
    return (bench_cpu_ns() - began) / 1e6;
}

static void measure(struct ior_runtime *rt, const ior_id *ids, const int *fds, unsigned n)
{
    double library[ROUNDS], paused[ROUNDS], hand[ROUNDS];
    struct epoll_event ev = {.events = EPOLLIN};
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bench_must(epoll_fd, "epoll_create1");
    for (unsigned i = 0; i < n; i++)
        bench_must(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[i], &ev), "epoll_ctl");
    for (unsigned i = 0; i < ROUNDS; i++) {
        library[i] = by_library(rt, ids, n);
        paused[i] = by_pause(rt, ids, n);
        hand[i] = by_hand(epoll_fd, fds, n);
    }
    printf("interest_ms=%.3f pause_ms=%.3f bare_ms=%.3f watchers=%u\n", bench_quantile(library, ROUNDS, 0.5),
           bench_quantile(paused, ROUNDS, 0.5), bench_quantile(hand, ROUNDS, 0.5), n);
    close(epoll_fd);
}

int main(int argc, char **argv)
{
    unsigned n = bench_number(argc, argv, 8000);
    struct ior_handler handler = {.struct_size = sizeof handler};
    struct ior_config config = {.struct_size = sizeof config, .engine = ior_engine_from_env()};
    struct ior_runtime *rt;
    struct rlimit limit;
    int *fds = calloc(n, sizeof *fds);
    ior_id *ids = calloc(n, sizeof *ids);
    bench_must(fds && ids ? 0 : -1, "calloc");
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    bench_must(ior_runtime_new(&config, &handler, NULL, &rt), "ior_runtime_new");
    for (unsigned i = 0; i < n; i++) {
        bench_must(fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
        bench_must(ior_watch(ior_runtime_context(rt), fds[i], IOR_READ, NULL, &ids[i]), "ior_watch");
    }
    bench_must(ior_runtime_turn(rt, 0), "ior_runtime_turn");
    measure(rt, ids, fds, n);
    ior_runtime_free(rt);
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
    free(ids);
    free(fds);
    return 0;
}
