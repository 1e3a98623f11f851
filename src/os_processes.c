/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals and child processes of the real system, behind struct ior_os_processes.
 *
 * Both are file descriptors on Linux: signalfd(2) for signals that are blocked, pidfd_open(2) for a process. An fd of a
 * process is no number that another process may have tomorrow, and it stays readable once the process has exited,
 * whether anybody looked before or not. Where there is the one or the other not (other systems, old kernels, filters of
 * system calls), signals come by handlers (signal_pipe.c), and a thread waits for each child (waiter.c).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os_processes.h"

#include "engine/engine.h"
#include "signal_pipe.h"
#include "waiter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/signalfd.h>
#include <sys/syscall.h>
#endif

#include <ioreactor/child.h>
#include <ioreactor/signal.h>
#include <ioreactor/time.h>

#define P_PIDFD_ 3 /* P_PIDFD, an enumerator that older headers lack */

/* ---- signals ---- */

#if defined(__linux__)
static int open_signalfd(const int *numbers, size_t count)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < count; i++) {
        if (sigaddset(&set, numbers[i]) < 0)
            return -EINVAL;
    }
    return ior__above_stdio(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
}

static int read_signalfd(int fd, struct ior_signal *ret)
{
    struct signalfd_siginfo info;
    ssize_t n = read(fd, &info, sizeof(info));

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
#else
static int open_signalfd(const int *numbers, size_t count)
{
    (void)numbers;
    (void)count;
    return -ENOSYS;
}

static int read_signalfd(int fd, struct ior_signal *ret)
{
    (void)fd;
    (void)ret;
    return -ENOSYS;
}
#endif

static int signal_open(void *arg, const int *numbers, size_t count, struct ior_os_signals *ret)
{
    int fd = open_signalfd(numbers, count);

    if (ior__call_is_missing(fd))
        return ior__signal_pipe_open(arg, numbers, count, ret);
    if (fd < 0)
        return fd;
    *ret = (struct ior_os_signals){.fd = fd};
    return 0;
}

static int signal_read(void *arg, struct ior_os_signals *signals, struct ior_signal *ret)
{
    return signals->own ? ior__signal_pipe_read(arg, signals, ret) : read_signalfd(signals->fd, ret);
}

static void signal_take(void *arg, struct ior_os_signals *signals, bool on)
{
    if (signals->own)
        ior__signal_pipe_take(arg, signals, on);
}

static void signal_close(void *arg, struct ior_os_signals *signals)
{
    if (signals->own)
        ior__signal_pipe_close(arg, signals);
    else if (signals->fd >= 0)
        close(signals->fd);
}

/* ---- children ---- */

static int open_pipe(int fds[2])
{
#if defined(__APPLE__)
    if (pipe(fds) < 0)
        return -errno;
    (void)fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    (void)fcntl(fds[1], F_SETFD, FD_CLOEXEC);
    return 0;
#else
    return pipe2(fds, O_CLOEXEC) < 0 ? -errno : 0;
#endif
}

int ior__pipe(int fds[2])
{
    int made[2];
    int err = open_pipe(made);

    if (err < 0)
        return err;
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

static int os_pipe(void *arg, int fds[2])
{
    (void)arg;
    return ior__pipe(fds);
}

static uint64_t usage_ns(long sec, long usec)
{
    return (uint64_t)sec * IOR_NS_PER_SEC + (uint64_t)usec * (IOR_NS_PER_MS / 1000);
}

static void fill_exit(struct ior_exit *ret, const siginfo_t *info)
{
    bool by_signal = info->si_code != CLD_EXITED;

    *ret = (struct ior_exit){
        .pid = info->si_pid,
        .status = by_signal ? -1 : info->si_status,
        .signal = by_signal ? info->si_status : 0,
        .core = info->si_code == CLD_DUMPED,
    };
}

#if defined(__linux__)
/* struct rusage as the kernel fills it, also for programs whose time_t is longer than the kernel's `long`. */
struct raw_usage {
    struct {
        long sec, usec;
    } user, system;
    long max_rss_kib;
    long rest[13];
};

/* Whether it has exited, by its fd or its pid. */
static int look(const struct ior_os_process *process, bool reap, struct ior_exit *ret)
{
    siginfo_t info;
    struct raw_usage usage;
    int type = process->own ? P_PID : P_PIDFD_;
    int of = process->own ? (int)process->pid : process->fd;
    int options = WEXITED | WNOHANG | (reap ? 0 : WNOWAIT);

    memset(&info, 0, sizeof(info));
    memset(&usage, 0, sizeof(usage));
    if (syscall(SYS_waitid, type, of, &info, options, &usage) < 0)
        return -errno;
    if (info.si_pid == 0)
        return 0;
    fill_exit(ret, &info);
    ret->user_ns = usage_ns(usage.user.sec, usage.user.usec);
    ret->system_ns = usage_ns(usage.system.sec, usage.system.usec);
    ret->max_rss_bytes = (uint64_t)usage.max_rss_kib * 1024;
    return 1;
}
#else
#if defined(__APPLE__)
#define RSS_UNIT 1u
#else
#define RSS_UNIT 1024u
#endif

/* waitid(2) tells how, wait4(2) what it used. */
static int look(const struct ior_os_process *process, bool reap, struct ior_exit *ret)
{
    siginfo_t info;
    struct rusage usage;
    int status;

    memset(&info, 0, sizeof(info));
    if (waitid(P_PID, (id_t)process->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        return -errno;
    if (info.si_pid == 0)
        return 0;
    memset(&usage, 0, sizeof(usage));
    if (reap && wait4(process->pid, &status, WNOHANG, &usage) < 0)
        return -errno;
    fill_exit(ret, &info);
    ret->user_ns = usage_ns((long)usage.ru_utime.tv_sec, (long)usage.ru_utime.tv_usec);
    ret->system_ns = usage_ns((long)usage.ru_stime.tv_sec, (long)usage.ru_stime.tv_usec);
    ret->max_rss_bytes = (uint64_t)usage.ru_maxrss * RSS_UNIT;
    return 1;
}
#endif

/* Waits for the process, but not so long that a wrong clock would matter. */
static int await_readable(int fd, uint64_t timeout_ns)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    sigset_t all;
    int n;

    sigfillset(&all); /* the time is short, and begun anew by each signal it would be none */
#if defined(__APPLE__)
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, &all, &before);
    n = poll(&poll_fd, 1, ior__wait_ms(timeout_ns));
    int err = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = err;
#else
    struct timespec timeout = {(time_t)(timeout_ns / IOR_NS_PER_SEC), (long)(timeout_ns % IOR_NS_PER_SEC)};
    n = ppoll(&poll_fd, 1, &timeout, &all);
#endif
    return n < 0 ? -errno : n;
}

static int os_wait(void *arg, struct ior_os_process *process, uint64_t timeout_ns, bool reap, struct ior_exit *ret)
{
    (void)arg;
    if (timeout_ns > 0) {
        int n = await_readable(process->fd, timeout_ns);
        if (n <= 0)
            return n;
    }
    if (process->own && reap) {
        int r = look(process, false, ret);
        if (r <= 0)
            return r;
        ior__waiter_join(process);
    }
    return look(process, reap, ret);
}

/* By pid: while it was not reaped the number is its own. */
static int kill_by_pid(const struct ior_os_process *process, int signo)
{
    struct ior_exit exit;
    int r = look(process, false, &exit);

    if (r < 0)
        return r == -ECHILD ? -ESRCH : r;
    return kill(process->pid, signo) < 0 ? -errno : 0;
}

static int os_kill(void *arg, struct ior_os_process *process, bool group, int signo)
{
    (void)arg;
    if (group)
        return kill(-process->pid, signo) < 0 ? -errno : 0;
    if (process->own)
        return kill_by_pid(process, signo);
#if defined(__linux__)
    if (syscall(SYS_pidfd_send_signal, process->fd, signo, NULL, 0) == 0)
        return 0;
    if (!ior__call_is_missing(-errno))
        return -errno;
#endif
    return kill_by_pid(process, signo);
}

static void process_close(void *arg, struct ior_os_process *process)
{
    (void)arg;
    if (process->own)
        ior__waiter_free(process);
    if (process->fd >= 0)
        close(process->fd);
}

const struct ior_os_processes ior__os_processes = {
    .struct_size = sizeof(ior__os_processes),
    .signal_open = signal_open,
    .signal_read = signal_read,
    .signal_take = signal_take,
    .signal_close = signal_close,
    .pipe = os_pipe,
    .spawn = ior__spawn,
    .wait = os_wait,
    .kill = os_kill,
    .process_close = process_close,
};
