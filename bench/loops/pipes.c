/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The classic of libevent's own benchmark: N pairs of sockets are watched, a byte is written to each of 100 of them, and
 * whoever reads a byte writes one to its neighbour, until 1,000 more have been written. What is measured is the time
 * from the first write to the last read, for each byte. (The original also adds all events anew for each run; watchers.c
 * measures that apart.)
 */
#include "bench.h"
#include "loop.h"
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROUNDS 25
#define ACTIVE 100
#define WRITES 1000

static unsigned pairs_n, writes_left, written, seen;
static int (*pairs)[2];

void loop_on_timer(unsigned index)
{
    (void)index;
}

static void write_to(unsigned index)
{
    bench_must(write(pairs[index][1], "e", 1) == 1 ? 0 : -errno, "write");
    written++;
}

void loop_on_readable(unsigned index, int fd)
{
    char byte;
    bench_must(read(fd, &byte, 1) == 1 && byte == 'e' ? 0 : -EBADMSG, "read");
    seen++;
    if (writes_left > 0) {
        writes_left--;
        write_to((index + 1) % pairs_n);
    }
}

static double run(unsigned active)
{
    written = seen = 0;
    writes_left = WRITES;
    double began = bench_cpu_ns();
    for (unsigned i = 0; i < active; i++)
        write_to(i * (pairs_n / active));
    while (seen < written)
        loop_turn();
    return (bench_cpu_ns() - began) / written;
}

int main(int argc, char **argv)
{
    double took[ROUNDS];
    pairs_n = bench_number(argc, argv, 1000);
    pairs = calloc(pairs_n, sizeof *pairs);
    bench_must(pairs ? 0 : -ENOMEM, "calloc");
    bench_raise_fd_limit();
    loop_open(pairs_n, 0);
    for (unsigned i = 0; i < pairs_n; i++) {
        bench_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pairs[i]) < 0 ? -errno : 0,
                   "socketpair");
        loop_watch(i, pairs[i][0]);
    }
    loop_turn();
    for (unsigned i = 0; i < ROUNDS; i++)
        took[i] = run(pairs_n < ACTIVE ? pairs_n : ACTIVE);
    printf("ns=%.1f pairs=%u\n", bench_quantile(took, ROUNDS, 0.5), pairs_n);
    loop_close();
    for (unsigned i = 0; i < pairs_n; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    free(pairs);
    return 0;
}
