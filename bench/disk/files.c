/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a disk does to everybody else on the loop.
 *
 * First a file (1,024 MiB, or the argument), which is not in the page cache where the file system lets go of it, is read
 * through a service and sent to a socket that another thread empties; a timer of a millisecond in the same loop tells
 * how late it was, and how long the loop itself had worked since it fired last (which no neighbour on the machine adds
 * to: what a busy machine makes late is not the loop's doing). Then a client in another thread sends 64 bytes to an echo on the loop and waits for them, 20,000
 * times: with nothing beside it, again with nothing (the control), and with a pool full of jobs that sleep for 20 ms,
 * as a slow disk or resolver would let them.
 */
#include "bench.h"
#include "disk.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define ECHO_BYTES 64
#define ECHOES 20000u
#define JOBS 16u
#define JOB_NS UINT64_C(20000000)
#define TICKS_MOST 2000000u

static double late_ns[TICKS_MOST], own_ns[TICKS_MOST];
static unsigned ticks;
static double ticked_ns, worked_ns;

void disk_on_tick(void)
{
    double now_ns = bench_ns(), work_ns = bench_cpu_ns();
    if (ticks < TICKS_MOST) {
        late_ns[ticks] = now_ns - ticked_ns - 1e6;
        own_ns[ticks++] = work_ns - worked_ns;
    }
    ticked_ns = now_ns;
    worked_ns = work_ns;
}

void disk_on_sent(void)
{
    disk_stop();
}

static void socket_pair(int fds[2])
{
    bench_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0, "socketpair");
}

/* ---- the file ---- */

static void make_file(char *path, size_t size, unsigned mib)
{
    static unsigned char block[1 << 20];
    const char *folder = getenv("TMPDIR");
    snprintf(path, size, "%s/ior-files-XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    bench_must(fd < 0 ? -errno : 0, "mkstemp");
    for (unsigned i = 0; i < mib; i++) {
        memset(block, (int)(i * 7 + 1), sizeof(block));
        bench_must(write(fd, block, sizeof(block)) != (ssize_t)sizeof(block) ? -EIO : 0, "write");
    }
    bench_must(fsync(fd) < 0 ? -errno : 0, "fsync");
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

static void *drain(void *arg)
{
    static unsigned char buffer[1 << 18];
    uint64_t *bytes = arg;
    int fd = (int)*bytes;
    ssize_t n;
    *bytes = 0;
    while ((n = read(fd, buffer, sizeof(buffer))) > 0)
        *bytes += (uint64_t)n;
    shutdown(fd, SHUT_WR);
    return NULL;
}

/* Of the values for each tick. */
static void print_worst(const char *name, double *values)
{
    double p999 = bench_quantile(values, ticks, 0.999); /* which sorts them */
    printf("%s_p999_us=%.1f %s_most_us=%.1f ", name, p999 / 1e3, name, values[ticks - 1] / 1e3);
}

static void send_file(unsigned mib)
{
    char path[512];
    int fds[2];
    pthread_t thread;
    make_file(path, sizeof(path), mib);
    socket_pair(fds);
    uint64_t bytes = (uint64_t)fds[1];
    bench_must(-pthread_create(&thread, NULL, drain, &bytes), "pthread_create");
    disk_open();
    disk_tick();
    disk_send(path, fds[0]);
    ticked_ns = bench_ns();
    worked_ns = bench_cpu_ns();
    double began = ticked_ns;
    disk_run();
    double took_ns = bench_ns() - began;
    pthread_join(thread, NULL);
    close(fds[1]);
    unlink(path);
    bench_must(bytes == (uint64_t)mib << 20 ? 0 : -EIO, "the file did not arrive whole");
    bench_must(ticks == 0 ? -ETIME : 0, "the timer");
    printf("MBs=%.0f late_p50_us=%.1f ", (double)bytes / took_ns * 1e3, bench_quantile(late_ns, ticks, 0.5) / 1e3);
    print_worst("late", late_ns);
    print_worst("own", own_ns);
}

/* ---- the echo ---- */

static double echo_ns[ECHOES];

static void *ask(void *arg)
{
    char bytes[ECHO_BYTES] = {0};
    int fd = *(int *)arg;
    for (unsigned i = 0; i < ECHOES; i++) {
        double began = bench_ns();
        bench_must(write(fd, bytes, sizeof(bytes)) != ECHO_BYTES ? -EIO : 0, "write");
        for (size_t got = 0; got < sizeof(bytes);) {
            ssize_t n = read(fd, bytes, sizeof(bytes) - got);
            bench_must(n <= 0 ? -EIO : 0, "read");
            got += (size_t)n;
        }
        echo_ns[i] = bench_ns() - began;
    }
    shutdown(fd, SHUT_WR);
    return NULL;
}

static void echoes(const char *name, unsigned jobs)
{
    int fds[2];
    pthread_t thread;
    socket_pair(fds);
    disk_open();
    disk_echo(fds[0]);
    if (jobs > 0)
        disk_work(jobs, JOB_NS);
    bench_must(-pthread_create(&thread, NULL, ask, &fds[1]), "pthread_create");
    disk_run();
    pthread_join(thread, NULL);
    close(fds[1]);
    double p99 = bench_quantile(echo_ns, ECHOES, 0.99);
    printf("%s_p50_us=%.1f %s_p99_us=%.1f ", name, bench_quantile(echo_ns, ECHOES, 0.5) / 1e3, name, p99 / 1e3);
}

int main(int argc, char **argv)
{
    send_file(bench_number(argc, argv, 1024));
    echoes("alone", 0);
    echoes("again", 0);
    echoes("jobs", JOBS);
    printf("\n");
    return 0;
}
