/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a child comes to run its program.
 *
 * On Linux the child is made as vfork(2) makes it: it borrows the memory of this process, on a stack of its own, until it has
 * loaded its program or has failed, and this thread waits so long. A copy of the page tables of a large process would
 * hold up the loop for milliseconds. CLONE_PIDFD gives the fd of the process in the same step, so that no other process
 * can be meant, however soon the child is gone and whoever reaps it. Where the kernel has no such fds, a thread waits for
 * the child (waiter.c).
 *
 * Between here and there only system calls are made, and nothing is written but the child's own stack and the `plan`:
 * locks and memory belong to threads that do not exist in the child. All signals are blocked over it, so that no
 * handler of the program runs in the child; it gets its default effects and an empty mask last.
 *
 * What keeps the program from running is told through the plan, which both see. Where the child got a copy after all
 * (other systems, sanitizers that want a fork, and emulators that make one of everything) it is told through a pipe that the program's start
 * closes; `started`, which the child sets, tells the two apart.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os_processes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#endif

#include <ioreactor/child.h>

#include "engine/engine.h"
#include "util.h"
#include "waiter.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define COPIES_MEMORY 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__linux__)
#define COPIES_MEMORY 1
#endif

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif

#define P_PIDFD_ 3
#define STACK_BYTES ((size_t)64 * 1024)
#define FDS_MOST (IOR_CHILD_FDS_MAX + 3)

/* What the child does, and how far it came. */
struct plan {
    const struct ior_os_spawn *spawn;
    bool watched;         /* by a thread, without an fd of the process */
    int error_fd;         /* of the pipe, for a child that shares no memory */
    volatile int started; /* set by the child: it does share memory */
    volatile int error;   /* what failed in it */
    char path[PATH_MAX];
};

/* ---- in the child ---- */

/* No program's handler may run here, and what was ignored would stay ignored in the new program. */
static void default_signals(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &action, NULL); /* some cannot be changed, and need not */
}

/* A copy that is in nobody's way. */
static int move_up(int fd, int lowest)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, lowest);

    return moved < 0 && errno == EINVAL ? -EMFILE : moved < 0 ? -errno : moved; /* EINVAL: past RLIMIT_NOFILE */
}

static void close_between(int first, int last)
{
    if (first > last)
        return;
#if defined(SYS_close_range)
    if (syscall(SYS_close_range, (unsigned)first, (unsigned)last, 0u) == 0)
        return;
#endif
    struct rlimit limit; /* before Linux 5.9 */
    int end = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < INT_MAX ? (int)limit.rlim_cur : 65536;
    for (int fd = first; fd <= last && fd < end; fd++)
        (void)close(fd);
}

/* The child has its own fds and the one for errors, and nothing else. */
static void close_others(const struct ior_os_spawn *spawn, int error_fd)
{
    int done = -1;

    for (;;) {
        int next = error_fd;
        for (size_t i = 0; i < spawn->fd_count; i++) {
            if (spawn->fds[i].to > done && spawn->fds[i].to < next)
                next = spawn->fds[i].to;
        }
        close_between(done + 1, next - 1);
        done = next;
        if (next == error_fd)
            break;
    }
    close_between(done + 1, INT_MAX);
}

static int arrange_fds(struct plan *plan)
{
    const struct ior_os_spawn *spawn = plan->spawn;
    int moved[FDS_MOST];
    int lowest = 3;
    int null_fd = -1;

    for (size_t i = 0; i < spawn->fd_count; i++) {
        if (spawn->fds[i].to >= lowest)
            lowest = spawn->fds[i].to + 1;
    }
    int error_fd = move_up(plan->error_fd, lowest);
    if (error_fd < 0)
        return error_fd;
    plan->error_fd = error_fd;
    for (size_t i = 0; i < spawn->fd_count; i++) {
        int from = spawn->fds[i].from;
        if (from < 0 && null_fd < 0)
            null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (from < 0 && null_fd < 0)
            return -errno;
        moved[i] = move_up(from < 0 ? null_fd : from, lowest);
        if (moved[i] < 0)
            return moved[i];
    }
    for (size_t i = 0; i < spawn->fd_count; i++) {
        if (dup2(moved[i], spawn->fds[i].to) < 0)
            return -errno;
    }
    close_others(spawn, error_fd);
    return 0;
}

static void try_program(const char *path, const struct ior_os_spawn *spawn)
{
    (void)execve(path, spawn->argv, spawn->envp);
}

/* As execvp(3), but for a file without a #! line, which is not given to a shell. */
static int search_program(struct plan *plan)
{
    const struct ior_os_spawn *spawn = plan->spawn;
    size_t file_len = strlen(spawn->file);
    bool denied = false;

    for (const char *at = spawn->search_path;;) {
        const char *end = at + strcspn(at, ":");
        size_t len = (size_t)(end - at);
        if (len + file_len + 2 <= sizeof(plan->path)) {
            memcpy(plan->path, at, len);
            plan->path[len] = '/';
            memcpy(plan->path + len + (len > 0), spawn->file, file_len + 1); /* an empty one is the current folder */
            try_program(plan->path, spawn);
            denied = denied || errno == EACCES;
            if (errno != ENOENT && errno != ENOTDIR && errno != EACCES && errno != ESTALE && errno != ENODEV)
                return -errno;
        }
        if (*end == '\0')
            return denied ? -EACCES : -ENOENT;
        at = end + 1;
    }
}

/* Ends in the new program, or answers why not. */
static int become(struct plan *plan)
{
    const struct ior_os_spawn *spawn = plan->spawn;
    sigset_t none;

    default_signals();
    if (spawn->new_session && setsid() < 0)
        return -errno;
    if (spawn->new_group && !spawn->new_session && setpgid(0, 0) < 0)
        return -errno;
    if (spawn->cwd && chdir(spawn->cwd) < 0)
        return -errno;
    int err = arrange_fds(plan);
    if (err < 0)
        return err;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (spawn->search_path && !strchr(spawn->file, '/'))
        return search_program(plan);
    try_program(spawn->file, spawn);
    return -errno;
}

static int child_main(void *arg)
{
    struct plan *plan = arg;

    plan->started = 1;
    int err = become(plan);
    plan->error = err;
    while (write(plan->error_fd, &err, sizeof(err)) < 0 && errno == EINTR) {
    }
    _exit(127);
}

/* ---- in the parent ---- */

static int open_process(pid_t pid)
{
#if defined(SYS_pidfd_open)
    return ior__above_stdio((int)syscall(SYS_pidfd_open, pid, 0u));
#else
    (void)pid;
    return -ENOSYS;
#endif
}

static void await_end(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

/* Its fd: `fd`, where there is one already. A child that nobody could wait for would be lost. */
static pid_t keep(const struct plan *plan, pid_t pid, int fd, struct ior_os_process *ret)
{
    int err = plan->watched ? -ENOSYS : fd < 0 ? open_process(pid) : ior__above_stdio(fd);

    if (err >= 0) {
        *ret = (struct ior_os_process){.fd = err, .pid = pid};
        return pid;
    }
    if (ior__call_is_missing(err))
        err = ior__waiter_new(pid, ret);
    if (err == 0)
        return pid;
    (void)kill(pid, SIGKILL);
    await_end(pid);
    return err;
}

/*
 * A child with a copy of the memory. It waits at a gate until its fd is open: where SIGCHLD is ignored, its pid would be
 * free as soon as it is gone.
 */
static pid_t copied_child(struct plan *plan, struct ior_os_process *ret)
{
    int gate[2];
    char byte = 0;

    int err = ior__pipe(gate);
    if (err < 0)
        return err;
    pid_t pid = fork();
    if (pid == 0) {
        close(gate[1]); /* or the end of this process would not open it */
        while (read(gate[0], &byte, 1) < 0 && errno == EINTR) {
        }
        child_main(plan);
    }
    pid = pid < 0 ? -errno : keep(plan, pid, -1, ret);
    while (write(gate[1], &byte, 1) < 0 && errno == EINTR) {
    }
    close(gate[0]);
    close(gate[1]);
    return pid;
}

static pid_t borrowing_child(struct plan *plan, struct ior_os_process *ret)
{
#if defined(COPIES_MEMORY)
    return copied_child(plan, ret);
#else
    char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return -errno;
    int fd = -1;
    int flags = CLONE_VM | CLONE_VFORK | (plan->watched ? 0 : CLONE_PIDFD) | SIGCHLD;
    pid_t pid = clone(child_main, stack + STACK_BYTES, flags, plan, &fd, NULL, NULL);
    int err = errno;
    munmap(stack, STACK_BYTES);
    if (pid < 0 && err == EINVAL)
        return copied_child(plan, ret); /* emulators that do not know the flag */
    if (pid < 0)
        return -err;
    return keep(plan, pid, fd, ret);
#endif
}

/* What the child says it failed in; 0: it runs its program. */
static int outcome(const struct plan *plan, int read_fd)
{
    int err = 0;
    ssize_t n;

    if (plan->started)
        return plan->error;
    do {
        n = read(read_fd, &err, sizeof(err));
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(err) ? err : 0;
}

/* waitid(2) knows the fds of processes (Linux 5.4). */
static bool can_wait(void)
{
#if defined(__linux__)
    siginfo_t info;

    return syscall(SYS_waitid, P_PIDFD_, INT_MAX, &info, WEXITED | WNOHANG, NULL) < 0 && errno == EBADF;
#else
    return false;
#endif
}

/* The program did not run: the child has ended, or does so at once. */
static void bury(struct ior_os_process *process)
{
    if (process->own) {
        ior__waiter_join(process);
        await_end(process->pid);
        ior__waiter_free(process);
    } else {
#if defined(__linux__)
        siginfo_t info;
        while (syscall(SYS_waitid, P_PIDFD_, process->fd, &info, WEXITED, NULL) < 0 && errno == EINTR) {
        }
#endif
    }
    close(process->fd);
}

static int start(struct plan *plan, struct ior_os_process *ret)
{
    int errors[2];
    struct ior_os_process process;
    sigset_t all, before;

    int err = ior__pipe(errors);
    if (err < 0)
        return err;
    plan->error_fd = errors[1];
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = borrowing_child(plan, &process);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(errors[1]);
    err = pid < 0 ? (int)pid : outcome(plan, errors[0]);
    close(errors[0]);
    if (err == 0)
        *ret = process;
    else if (pid > 0)
        bury(&process);
    return err;
}

static int spawn_as(const struct ior_os_spawn *spawn, bool watched, struct ior_os_process *ret)
{
    if (spawn->fd_count > FDS_MOST)
        return -EINVAL;
    struct plan *plan = ior__calloc(sizeof(*plan));
    if (!plan)
        return -ENOMEM;
    plan->spawn = spawn;
    plan->watched = watched;
    int err = start(plan, ret);
    ior__free(plan, sizeof(*plan));
    return err;
}

int ior__spawn(void *arg, const struct ior_os_spawn *spawn, struct ior_os_process *ret)
{
    (void)arg;
    return spawn_as(spawn, !can_wait(), ret);
}

int ior__spawn_watched(void *arg, const struct ior_os_spawn *spawn, struct ior_os_process *ret)
{
    (void)arg;
    return spawn_as(spawn, true, ret);
}
