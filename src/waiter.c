/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that waits for one child, where the system has no fd of a process.
 *
 * It waits in waitid(2) for that child alone, which stays a zombie (WNOWAIT), and makes a pipe readable then. It is not
 * done with SIGCHLD: a handler would be the whole process's, in the way of the program's own and of those who have
 * blocked the signal to read it from a signalfd, and it would not run at all where all threads block it. See
 * docs/decisions/0018-without-fds-of-signals-and-processes.md.
 *
 * Invariants: the child is reaped only after the thread has ended, so that the thread never waits for another process
 * with its pid; the thread closes its end of the pipe before it ends, and touches nothing afterwards; who comes last of
 * the thread and ior__waiter_free frees the memory.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "waiter.h"

#include "os_processes.h"
#include "util.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)256 * 1024) /* not the 8 MiB of address space that are usual */

enum state { WAITS, HAS_ENDED, IS_ALONE };

struct ior__waiter {
    pthread_t thread;
    pid_t pid, owner;
    bool joined;
    _Atomic int state;
    _Atomic int write_fd; /* the thread's end of the pipe; -1: closed */
};

static void end_alone(struct ior__waiter *waiter)
{
    pthread_detach(pthread_self());
    ior__free(waiter, sizeof(*waiter));
}

/* All signals are blocked in it, SIGPIPE too, for a pipe whose reader is gone. */
static void *waiter_main(void *arg)
{
    struct ior__waiter *waiter = arg;
    siginfo_t info;
    const char byte = 0;

    while (waitid(P_PID, (id_t)waiter->pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    int fd = atomic_load(&waiter->write_fd);
    /* A byte, since a forked child of the program may hold the pipe open. */
    while (write(fd, &byte, 1) < 0 && errno == EINTR) {
    }
    atomic_store(&waiter->write_fd, -1); /* before the number is another's: a forked child would close that */
    close(fd);
    if (atomic_exchange(&waiter->state, HAS_ENDED) == IS_ALONE)
        end_alone(waiter);
    return NULL;
}

static int start_thread(struct ior__waiter *waiter)
{
    pthread_attr_t attr;
    int err = pthread_attr_init(&attr);

    if (err != 0)
        return -err;
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    err = pthread_create(&waiter->thread, &attr, waiter_main, waiter);
    pthread_attr_destroy(&attr);
    if (err == EINVAL) /* thread-local memory needs more than that */
        err = pthread_create(&waiter->thread, NULL, waiter_main, waiter);
    return -err;
}

int ior__waiter_new(pid_t pid, struct ior_os_process *ret)
{
    int ends[2];
    struct ior__waiter *waiter = ior__calloc(sizeof(*waiter));

    if (!waiter)
        return -ENOMEM;
    int err = ior__pipe(ends);
    if (err < 0)
        goto free_waiter;
    waiter->pid = pid;
    waiter->owner = getpid();
    atomic_init(&waiter->state, WAITS);
    atomic_init(&waiter->write_fd, ends[1]);
    err = start_thread(waiter);
    if (err < 0)
        goto close_pipe;
    *ret = (struct ior_os_process){.fd = ends[0], .pid = pid, .own = waiter};
    return 0;

close_pipe:
    close(ends[0]);
    close(ends[1]);
free_waiter:
    ior__free(waiter, sizeof(*waiter));
    return err;
}

void ior__waiter_join(struct ior_os_process *process)
{
    struct ior__waiter *waiter = process->own;

    if (!waiter->joined)
        (void)pthread_join(waiter->thread, NULL);
    waiter->joined = true;
}

/* It has seen the exit, and will end at once. */
static bool has_seen_it(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    return fd >= 0 && poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLIN);
}

void ior__waiter_free(struct ior_os_process *process)
{
    struct ior__waiter *waiter = process->own;

    process->own = NULL;
    if (waiter->owner != getpid()) { /* a forked child, where the thread is not */
        int fd = atomic_load(&waiter->write_fd);
        if (fd >= 0)
            close(fd);
    } else if (!waiter->joined) {
        if (!has_seen_it(process->fd) && atomic_exchange(&waiter->state, IS_ALONE) != HAS_ENDED)
            return; /* the thread frees it */
        (void)pthread_join(waiter->thread, NULL);
    }
    ior__free(waiter, sizeof(*waiter));
}
