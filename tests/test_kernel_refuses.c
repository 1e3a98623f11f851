/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the real kernel refuses: no fd is left, stdio is closed, or a system call is unknown or forbidden, as it is on
 * an old kernel or behind a filter of a container. The library gets along, or says so and leaves nothing behind.
 *
 * Each story is told in a child, whose limits and filters end with it. It answers 0 where all went well.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"
#include "support/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__has_include)
#if __has_include(<linux/filter.h>) && __has_include(<linux/seccomp.h>)
#include <linux/filter.h>
#include <linux/seccomp.h>
#define CAN_FILTER 1
#endif
#endif

#include "engine/engine.h"
#include "random.h"

/* What a child exits with where no filter can be set. */
#define NO_FILTER 77

/* Ends a story, and says where. */
#define CHECK(holds)                                                          \
    do {                                                                      \
        if (!(holds)) {                                                       \
            fprintf(stderr, "line %d: %s does not hold\n", __LINE__, #holds); \
            return 1;                                                         \
        }                                                                     \
    } while (0)

static const struct ior_handler nothing = {.struct_size = sizeof(nothing)};
static unsigned complaints; /* lines of the log that are errors or warnings */

static void count_complaints(void *arg, int level, const char *line)
{
    (void)arg;
    (void)line;
    complaints += level <= IOR_LOG_WARN;
}

/* From now on this process gets `err` for a system call. False: it cannot be done here. */
static bool refuse(long call, int err)
{
#if defined(CAN_FILTER)
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(rules) / sizeof(rules[0]), .filter = rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
#else
    (void)call;
    (void)err;
    return false;
#endif
}

static void tell(int (*story)(void *), void *arg)
{
    int answer = net_in_child(story, arg);
    if (answer == NO_FILTER) {
        print_message("skipped: system calls cannot be filtered here\n");
        skip();
    }
    assert_int_equal(answer, 0);
}

static void limit_fds(rlim_t most)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = most;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static int new_runtime(struct ior_runtime **rt)
{
    struct ior_config config = probe_config();
    return ior_runtime_new(&config, &nothing, NULL, rt);
}

/* ---- fds ---- */

static int fds_run_out(void *arg)
{
    struct ior_runtime *rt = NULL;
    struct rlimit before;
    size_t fds = net_fd_count();
    int lowest = dup(STDERR_FILENO), err = -EMFILE;
    rlim_t room = 0;
    (void)arg;
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &before);
    for (; err < 0; room++) {
        limit_fds((rlim_t)lowest + room);
        err = new_runtime(&rt);
        limit_fds(before.rlim_cur);
        CHECK(err == 0 || err == -EMFILE);
        CHECK(err == 0 || net_fd_count() == fds);
    }
    CHECK(room >= 2); /* at least one was refused */
    CHECK(ior_runtime_turn(rt, 0) == 1);
    ior_runtime_free(rt);
    CHECK(net_fd_count() == fds);
    return 0;
}

static void a_runtime_without_fds_is_refused_and_leaves_none(void **state)
{
    (void)state;
    tell(fds_run_out, NULL);
}

static bool stdio_is_closed(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            return false;
    return true;
}

/* With stdio closed, new fds would be 0, 1 and 2, into which whoever prints would print. */
static int stdio_is_left_alone(void *arg)
{
    const struct ior_os *os = ior_os_default();
    struct ior_runtime *rt = NULL;
    struct ior__waker waker;
    struct rlimit before;
    int fds[2];
    (void)arg;
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        close(fd);
    CHECK(new_runtime(&rt) == 0 && ior_runtime_turn(rt, 0) == 1 && stdio_is_closed());
    CHECK(ior__waker_open(&waker, false) == 0 && stdio_is_closed());
    fds[0] = os->socket(os->arg, AF_INET, SOCK_STREAM, 0);
    fds[1] = os->dup(os->arg, fds[0]);
    CHECK(fds[0] > STDERR_FILENO && fds[1] > STDERR_FILENO && stdio_is_closed());
    ior__waker_close(&waker);
    ior_runtime_free(rt);
    close(fds[0]);
    close(fds[1]);

    /* Only those three are left: none can be moved out of the way. */
    getrlimit(RLIMIT_NOFILE, &before);
    limit_fds(STDERR_FILENO + 1);
    CHECK(new_runtime(&rt) < 0 && stdio_is_closed());
    CHECK(ior__waker_open(&waker, false) < 0 && stdio_is_closed());
    CHECK(os->socket(os->arg, AF_INET, SOCK_STREAM, 0) < 0 && stdio_is_closed());
    limit_fds(before.rlim_cur);
    return 0;
}

static void new_fds_are_never_those_of_stdio(void **state)
{
    (void)state;
    tell(stdio_is_left_alone, NULL);
}

/* ---- system calls that are unknown or forbidden ---- */

static int no_set(void *arg)
{
    const int *err = arg;
    struct ior_config config = {.struct_size = sizeof(config), .engine = "epoll"};
    struct ior_runtime *rt = NULL;
    size_t fds = net_fd_count();
    if (!refuse(SYS_epoll_create1, *err))
        return NO_FILTER;
#if defined(SYS_io_uring_setup)
    if (!refuse(SYS_io_uring_setup, *err))
        return NO_FILTER;
#endif
    CHECK(ior_runtime_new(&config, &nothing, NULL, &rt) == -*err && net_fd_count() == fds);
    config.engine = NULL;
    CHECK(ior_runtime_new(&config, &nothing, NULL, &rt) == 0);
    CHECK(strcmp(ior_runtime_engine(rt), "epoll") != 0 && ior_runtime_turn(rt, 0) == 1);
    ior_runtime_free(rt);
    CHECK(net_fd_count() == fds);
    return 0;
}

static void without_epoll_another_engine_is_taken(void **state)
{
    int unknown = ENOSYS, forbidden = EPERM;
    (void)state;
    tell(no_set, &unknown);
    tell(no_set, &forbidden);
}

static int no_watch(void *arg)
{
    struct ior_config config = {.struct_size = sizeof(config), .engine = "epoll"};
    struct ior_runtime *rt = NULL;
    size_t fds = net_fd_count();
    (void)arg;
    if (!refuse(SYS_epoll_ctl, ENOMEM))
        return NO_FILTER;
    CHECK(ior_runtime_new(&config, &nothing, NULL, &rt) == -ENOMEM && net_fd_count() == fds);
    return 0;
}

static void an_engine_that_cannot_watch_its_waker_is_none(void **state)
{
    (void)state;
    tell(no_watch, NULL);
}

static int no_eventfd(void *arg)
{
    struct ior_runtime *rt = NULL;
    struct ior_controller *ctl;
    (void)arg;
    if (!refuse(SYS_eventfd2, ENOSYS))
        return NO_FILTER;
    CHECK(new_runtime(&rt) == 0);
    ctl = ior_controller_of(ior_runtime_context(rt));
    CHECK(ior_runtime_turn(rt, 0) == 1);
    CHECK(ior_controller_shutdown(ctl, 0) == 0); /* wakes the loop, which would wait for ever */
    CHECK(ior_runtime_run(rt) == 0);
    ior_controller_unref(ctl);
    ior_runtime_free(rt);
    return 0;
}

static void without_eventfd_a_pair_of_sockets_wakes(void **state)
{
    (void)state;
    tell(no_eventfd, NULL);
}

static void on_time(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    (void)cx;
    (void)id;
    (void)user;
    *(uint64_t *)self = ior_os_default()->clock(ior_os_default()->arg);
}

/* As behind a filter that knows no call of Linux 5.11, or on a kernel before it. */
static int no_precise_wait(void *arg)
{
    const int *err = arg;
    const struct ior_handler handler = {.struct_size = sizeof(handler), .timer = on_time};
    struct ior_config config = probe_config();
    struct ior_runtime *rt = NULL;
    uint64_t fired_ns = 0, set_ns;
    ior_timer_id id;
#if defined(SYS_epoll_pwait2)
    if (!refuse(SYS_epoll_pwait2, *err))
        return NO_FILTER;
#else
    (void)err;
#endif
    CHECK(ior_runtime_new(&config, &handler, &fired_ns, &rt) == 0);
    set_ns = ior_os_default()->clock(ior_os_default()->arg);
    CHECK(ior_timer_set(ior_runtime_context(rt), 3 * IOR_NS_PER_MS, NULL, &id) == 0);
    for (int turn = 0; turn < 1000 && fired_ns == 0; turn++)
        CHECK(ior_runtime_turn(rt, IOR_NEVER) == 1);
    CHECK(fired_ns >= set_ns + 3 * IOR_NS_PER_MS);
    ior_runtime_free(rt);
    return 0;
}

static void without_a_precise_wait_timers_are_still_not_early(void **state)
{
    int unknown = ENOSYS, forbidden = EPERM;
    (void)state;
    tell(no_precise_wait, &unknown);
    tell(no_precise_wait, &forbidden);
}

/* A kernel, or a driver, that has no flag against SIGPIPE. The signal would end the child. */
static int no_flag(void *arg)
{
    const int *err = arg;
    const struct ior_os *os = ior_os_default();
    const struct iovec pieces[] = {{.iov_base = (char[]){"ab"}, .iov_len = 2},
                                   {.iov_base = (char[]){"c"}, .iov_len = 1}};
    char bytes[8];
    int fds[2];
    if (!refuse(SYS_pwritev2, *err))
        return NO_FILTER;
    CHECK(pipe(fds) == 0);
    for (int i = 0; i < 2; i++) { /* asked once, and then known */
        CHECK(os->write(os->arg, fds[1], pieces, 2) == 3);
        CHECK(read(fds[0], bytes, sizeof(bytes)) == 3 && memcmp(bytes, "abc", 3) == 0);
    }
    close(fds[0]);
    CHECK(os->write(os->arg, fds[1], pieces, 2) == -EPIPE);
    close(fds[1]);
    CHECK(os->write(os->arg, fds[1], pieces, 2) == -EBADF);
    return 0;
}

static void without_a_flag_writes_are_fenced(void **state)
{
    int unknown = ENOSYS, no_such_flag = EOPNOTSUPP;
    (void)state;
    tell(no_flag, &unknown);
    tell(no_flag, &no_such_flag);
}

static int no_random(void *arg)
{
    const bool *no_device = arg;
    struct rlimit before;
    char byte;
    if (!refuse(SYS_getrandom, ENOSYS))
        return NO_FILTER;
    bool refused = getrandom(&byte, 1, 0) < 0; /* some C libraries have it without a system call */
    getrlimit(RLIMIT_NOFILE, &before);
    if (*no_device)
        limit_fds(0); /* nothing can be opened */
    complaints = 0;
    ior_set_log(count_complaints, NULL, IOR_LOG_WARN);
    uint64_t first = ior__random64(), second = ior__random64();
    ior_set_log(NULL, NULL, IOR_LOG_NONE);
    limit_fds(before.rlim_cur);
    CHECK(first != second);
    CHECK(complaints == (refused && *no_device ? 2 : 0));
    return 0;
}

static void without_getrandom_there_are_the_device_and_the_clock(void **state)
{
    bool no_device = false;
    (void)state;
    tell(no_random, &no_device);
    no_device = true;
    tell(no_random, &no_device);
}

static int no_wipe(void *arg)
{
    struct ior_runtime *rt = NULL;
    (void)arg;
    if (!refuse(SYS_madvise, EINVAL))
        return NO_FILTER;
    CHECK(new_runtime(&rt) == 0 && ior_runtime_turn(rt, 0) == 1);
    ior_runtime_free(rt);
    return 0;
}

static void a_kernel_that_cannot_wipe_at_fork_will_do(void **state)
{
    (void)state;
    tell(no_wipe, NULL);
}

static int no_thread(void *arg)
{
    struct ior_config config = probe_config();
    struct ior_reactor *reactor = NULL;
    size_t fds = net_fd_count();
    (void)arg;
#if defined(SYS_clone3)
    if (!refuse(SYS_clone3, EAGAIN))
        return NO_FILTER;
#endif
    if (!refuse(SYS_clone, EAGAIN))
        return NO_FILTER;
    CHECK(ior_reactor_new(&config, &nothing, NULL, &reactor) == -EAGAIN);
    CHECK(reactor == NULL && net_fd_count() == fds);
    return 0;
}

static void a_reactor_without_a_thread_is_refused_and_leaves_nothing(void **state)
{
    (void)state;
    tell(no_thread, NULL);
}

static int no_flags(void *arg)
{
    const struct ior_os *os = ior_os_default();
    int fds[2];
    (void)arg;
    CHECK(pipe(fds) == 0);
    if (!refuse(SYS_fcntl, EPERM))
        return NO_FILTER;
#if defined(SYS_fcntl64)
    if (!refuse(SYS_fcntl64, EPERM))
        return NO_FILTER;
#endif
    CHECK(os->set_nonblock(os->arg, fds[0], true) == -EPERM);
    CHECK(os->dup(os->arg, fds[0]) == -EPERM);
    return 0;
}

static void a_refused_flag_is_told(void **state)
{
    (void)state;
    tell(no_flags, NULL);
}

/* ---- signals ---- */

static int signals_refused(void *arg)
{
    struct probe *p = probe_new(NULL);
    const int number = SIGUSR1;
    size_t fds = net_fd_count();
    ior_id id = 0;
    if (!refuse(SYS_signalfd4, *(const int *)arg))
        return NO_FILTER;
    CHECK(ior_signals(p->cx, &number, 1, NULL, &id) == 0);
    CHECK(kill(getpid(), SIGUSR1) == 0); /* which would end this process */
    for (int i = 0; i < 100 && probe_of(p, id)->signals == 0; i++)
        probe_step(p);
    CHECK(probe_of(p, id)->signals == 1 && probe_of(p, id)->signal.number == SIGUSR1);
    CHECK(ior_close(p->cx, id, 0) == 0);
    probe_turns(p, 2);
    CHECK(net_fd_count() == fds);
    probe_free(p);
    return 0;
}

static void without_signalfd_there_are_handlers(void **state)
{
    static const int errors[] = {ENOSYS, EPERM};
    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        tell(signals_refused, (void *)(uintptr_t)&errors[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_runtime_without_fds_is_refused_and_leaves_none),
        cmocka_unit_test(new_fds_are_never_those_of_stdio),
        cmocka_unit_test(without_epoll_another_engine_is_taken),
        cmocka_unit_test(an_engine_that_cannot_watch_its_waker_is_none),
        cmocka_unit_test(without_eventfd_a_pair_of_sockets_wakes),
        cmocka_unit_test(without_a_precise_wait_timers_are_still_not_early),
        cmocka_unit_test(without_a_flag_writes_are_fenced),
        cmocka_unit_test(without_getrandom_there_are_the_device_and_the_clock),
        cmocka_unit_test(a_kernel_that_cannot_wipe_at_fork_will_do),
        cmocka_unit_test(a_reactor_without_a_thread_is_refused_and_leaves_nothing),
        cmocka_unit_test(a_refused_flag_is_told),
        cmocka_unit_test(without_signalfd_there_are_handlers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
