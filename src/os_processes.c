/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals and child processes of the real system, behind struct ior_os_processes.
 *
 * Both are file descriptors on Linux: signalfd(2) for signals that are blocked, pidfd_open(2) for a process. An fd of a
 * process is no number that another process may have tomorrow, and it stays readable once the process has exited,
 * whether anybody looked before or not. Where there is neither, the table is empty.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os_processes.h"

#include "engine/engine.h"

#if defined(__linux__)
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ioreactor/child.h>
#include <ioreactor/signal.h>
#include <ioreactor/time.h>

#define P_PIDFD_ 3 /* P_PIDFD, an enumerator that older headers lack */

/* ---- signals ---- */

static int signal_open(void *arg, const int *numbers, size_t count)
{
    sigset_t set;

    (void)arg;
    sigemptyset(&set);
    for (size_t i = 0; i < count; i++) {
        if (sigaddset(&set, numbers[i]) < 0)
            return -EINVAL;
    }
    return ior__above_stdio(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

static int signal_read(void *arg, int fd, struct ior_signal *ret)
{
    struct signalfd_siginfo info;
    ssize_t n = read(fd, &info, sizeof(info));

    (void)arg;
    if (n < 0)
        return -errno;
    if (n != (ssize_t)sizeof(info))
        return -EIO;
    *ret = (struct ior_signal){
        .number = (int)info.ssi_signo,
        .code = info.ssi_code,
        .pid = (pid_t)info.ssi_pid,
        .uid = info.ssi_uid,
        .value = info.ssi_int,
        .status = info.ssi_status,
    };
    return 0;
}

/* ---- children ---- */

static int os_pipe(void *arg, int fds[2])
{
    int made[2];

    (void)arg;
    if (pipe2(made, O_CLOEXEC) < 0)
        return -errno;
    int first = ior__above_stdio(made[0]);
    int second = ior__above_stdio(made[1]);
    if (first >= 0 && second >= 0) {
        fds[0] = first;
        fds[1] = second;
        return 0;
    }
    if (first >= 0)
        close(first);
    if (second >= 0)
        close(second);
    return first < 0 ? first : second;
}

/* struct rusage as the kernel fills it, also for programs whose time_t is longer than the kernel's `long`. */
struct raw_usage {
    struct {
        long sec, usec;
    } user, system;
    long max_rss_kib;
    long rest[13];
};

static uint64_t usage_ns(long sec, long usec)
{
    return (uint64_t)sec * IOR_NS_PER_SEC + (uint64_t)usec * (IOR_NS_PER_MS / 1000);
}

static void fill_exit(struct ior_exit *ret, const siginfo_t *info, const struct raw_usage *usage)
{
    bool by_signal = info->si_code != CLD_EXITED;

    *ret = (struct ior_exit){
        .pid = info->si_pid,
        .status = by_signal ? -1 : info->si_status,
        .signal = by_signal ? info->si_status : 0,
        .core = info->si_code == CLD_DUMPED,
        .user_ns = usage_ns(usage->user.sec, usage->user.usec),
        .system_ns = usage_ns(usage->system.sec, usage->system.usec),
        .max_rss_bytes = (uint64_t)usage->max_rss_kib * 1024,
    };
}

/* Waits for the process, but not so long that a wrong clock would matter. */
static int await_readable(int fd, uint64_t timeout_ns)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    struct timespec timeout = {(time_t)(timeout_ns / IOR_NS_PER_SEC), (long)(timeout_ns % IOR_NS_PER_SEC)};
    sigset_t all;

    sigfillset(&all); /* the time is short, and begun anew by each signal it would be none */
    int n = ppoll(&poll_fd, 1, &timeout, &all);
    return n < 0 ? -errno : n;
}

static int os_wait(void *arg, int fd, uint64_t timeout_ns, bool reap, struct ior_exit *ret)
{
    siginfo_t info;
    struct raw_usage usage;
    int options = WEXITED | WNOHANG | (reap ? 0 : WNOWAIT);

    (void)arg;
    if (timeout_ns > 0) {
        int n = await_readable(fd, timeout_ns);
        if (n <= 0)
            return n;
    }
    memset(&info, 0, sizeof(info));
    memset(&usage, 0, sizeof(usage));
    if (syscall(SYS_waitid, P_PIDFD_, fd, &info, options, &usage) < 0)
        return -errno;
    if (info.si_pid == 0)
        return 0;
    fill_exit(ret, &info, &usage);
    return 1;
}

static int os_kill(void *arg, int fd, pid_t pid, bool group, int signo)
{
    (void)arg;
    if (group)
        return kill(-pid, signo) < 0 ? -errno : 0;
    if (syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0) == 0)
        return 0;
    if (errno != ENOSYS)
        return -errno;
    return kill(pid, signo) < 0 ? -errno : 0; /* some emulators: what was not reaped has its pid still */
}

const struct ior_os_processes ior__os_processes = {
    .struct_size = sizeof(ior__os_processes),
    .signal_open = signal_open,
    .signal_read = signal_read,
    .pipe = os_pipe,
    .spawn = ior__spawn,
    .wait = os_wait,
    .kill = os_kill,
};

#else

const struct ior_os_processes ior__os_processes = {.struct_size = sizeof(ior__os_processes)};

#endif
