/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it costs to stop and start all of 8,000 watches in one turn, where nothing comes of it: a loop that collects
 * changes and applies what is left of them at the end of the turn has nothing to do.
 */
#include "bench.h"
#include "loop.h"
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ROUNDS 21

void loop_on_timer(unsigned index)
{
    (void)index;
}

void loop_on_readable(unsigned index, int fd)
{
    (void)index, (void)fd;
    bench_must(-EBADMSG, "nothing was written");
}

static double stop_and_start(unsigned n)
{
    double began = bench_cpu_ns();
    for (unsigned i = 0; i < n; i++)
        loop_stop(i);
    for (unsigned i = 0; i < n; i++)
        loop_start(i);
    loop_turn();
    return (bench_cpu_ns() - began) / 1e6;
}

int main(int argc, char **argv)
{
    unsigned n = bench_number(argc, argv, 8000);
    double took[ROUNDS];
    int *fds = calloc(n, sizeof *fds);
    bench_must(fds ? 0 : -ENOMEM, "calloc");
    bench_raise_fd_limit();
    loop_open(n, 0);
    for (unsigned i = 0; i < n; i++) {
        bench_must((fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 ? -errno : 0, "eventfd");
        loop_watch(i, fds[i]);
    }
    loop_turn();
    for (unsigned i = 0; i < ROUNDS; i++)
        took[i] = stop_and_start(n);
    printf("ms=%.3f watchers=%u\n", bench_quantile(took, ROUNDS, 0.5), n);
    loop_close();
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
    free(fds);
    return 0;
}
