/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Child processes, and what goes wrong: programs that cannot be run, arguments that cannot be, each step of ior_spawn
 * failing in turn, others who reap, kernels without this or that. After each failure there is no child, no zombie, no
 * fd and no resource more than before, and nothing was told.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__) && defined(__has_include)
#if __has_include(<linux/filter.h>) /* musl's compiler comes without the kernel's headers */
#define CAN_FILTER 1
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif
#endif

#include "support/check.h"
#include "support/family.h"
#include "support/live.h"
#include "support/probe.h"

/* The request fails with `err` and leaves nothing. */
static void refused_at(struct probe *p, const struct ior_spawn_options *opts, int err, int line)
{
    size_t fds = net_fd_count(), count = ior_count(p->cx), known = p->n;
    ior_id id = 4711;
    int answer = ior_spawn(p->cx, opts, &id);
    if (answer != err)
        fail_msg("line %d: %s in place of %s", line, ior_errname(answer), ior_errname(err));
    assert_int_equal(id, 4711);
    assert_int_equal(net_fd_count(), fds);
    assert_int_equal(ior_count(p->cx), count);
    probe_turns(p, 2);
    assert_int_equal(p->n, known);
    family_none_left();
}
#define refused(p, opts, err) refused_at((p), (opts), (err), __LINE__)

/* A child with pipes both ways. */
static void with_pipes(struct family_sh *sh, const char *script)
{
    family_sh(sh, script);
    family_fd(sh, 0, IOR_CHILD_READS, 0);
    family_fd(sh, 1, IOR_CHILD_WRITES, 0);
    family_fd(sh, 5, IOR_CHILD_NULL, 0);
    sh->fds[0].id = sh->fds[1].id = 4712;
}

static void untouched(const struct family_sh *sh)
{
    assert_int_equal(sh->fds[0].id, 4712);
    assert_int_equal(sh->fds[1].id, 4712);
}

/* ---- programs ---- */

static char *file_in(const char *dir, const char *name, const char *text, mode_t mode)
{
    char *path = malloc(512);
    snprintf(path, 512, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    assert_true(fd >= 0);
    net_write(fd, text, strlen(text));
    close(fd);
    return path;
}

static void programs_that_cannot_be_run(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    char *dir = net_temp_dir();
    char *plain = file_in(dir, "plain", "echo no\n", 0644), *no_header = file_in(dir, "noheader", "echo no\n", 0755),
         *lost = file_in(dir, "lost", "#!/nonexistent/interpreter\n", 0755);
    const struct {
        const char *file;
        int err;
    } cases[] = {{"/nonexistent/program", -ENOENT},
                 {"/dev/null/program", -ENOTDIR},
                 {dir, -EACCES},
                 {plain, -EACCES},
                 {no_header, -ENOEXEC},
                 {lost, -ENOENT}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (cases[i].file == lost && family_under_valgrind())
            continue; /* which dies of it */
        with_pipes(&sh, "");
        sh.opts.file = cases[i].file;
        refused(p, &sh.opts, cases[i].err);
        untouched(&sh);
    }
    with_pipes(&sh, "");
    sh.opts.file = "no-such-program-anywhere";
    refused(p, &sh.opts, -ENOENT);
    with_pipes(&sh, "exit 0");
    sh.opts.cwd = "/nonexistent";
    refused(p, &sh.opts, -ENOENT);
    sh.opts.cwd = plain;
    refused(p, &sh.opts, -ENOTDIR);
    untouched(&sh);

    size_t long_len = (size_t)1 << 20; /* past MAX_ARG_STRLEN */
    char *longest = malloc(long_len + 1);
    memset(longest, 'x', long_len);
    longest[long_len] = '\0';
    family_sh(&sh, longest);
    if (!family_under_valgrind())
        refused(p, &sh.opts, -E2BIG);
    free(longest);
    free(plain);
    free(no_header);
    free(lost);
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void fds_that_are_not(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    struct rlimit limit;
    int closed = fcntl(0, F_DUPFD_CLOEXEC, 300);
    (void)state;
    assert_true(closed >= 300);
    close(closed);
    with_pipes(&sh, "exit 0");
    family_fd(&sh, 7, IOR_CHILD_FD, closed);
    refused(p, &sh.opts, -EBADF);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 1 << 30) {
        with_pipes(&sh, "exit 0");
        family_fd(&sh, (int)limit.rlim_cur, IOR_CHILD_NULL, 0);
        refused(p, &sh.opts, -EMFILE);
    }
    untouched(&sh);
    probe_free(p);
}

static void arguments_that_cannot_be(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    struct ior_child_fd many[IOR_CHILD_FDS_MAX + 1];
    char *no_argv[] = {NULL};
    ior_id id = 4711;
    (void)state;
    family_sh(&sh, "exit 0");
    assert_int_equal(ior_spawn(p->cx, &sh.opts, NULL), -EINVAL);
    assert_int_equal(ior_spawn(p->cx, NULL, &id), -EINVAL);
    struct family_sh bad = sh;
    bad.opts.struct_size = 8, refused(p, &bad.opts, -EINVAL);
    bad.opts = sh.opts, bad.opts.argv = NULL, refused(p, &bad.opts, -EINVAL);
    bad.opts = sh.opts, bad.opts.argv = no_argv, refused(p, &bad.opts, -EINVAL);
    bad.opts = sh.opts, bad.opts.file = "", refused(p, &bad.opts, -EINVAL);
    bad.opts = sh.opts, bad.opts.search_path = NULL, refused(p, &bad.opts, -EINVAL);
    bad.opts = sh.opts, bad.opts.whole_group = true, refused(p, &bad.opts, -EINVAL);
    bad.opts = sh.opts, bad.opts.fds = NULL, bad.opts.fd_count = 1, refused(p, &bad.opts, -EINVAL);
    const struct ior_child_fd wrong[] = {
        {.number = -1},
        {.number = 3, .kind = (enum ior_child_fd_kind)4},
        {.number = 3, .kind = IOR_CHILD_READS, .stream = PROBE_STREAM(.low_bytes = SIZE_MAX)},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        with_pipes(&bad, "exit 0");
        bad.fds[bad.opts.fd_count++] = wrong[i];
        refused(p, &bad.opts, -EINVAL);
        untouched(&bad);
    }
    with_pipes(&bad, "exit 0");
    family_fd(&bad, 0, IOR_CHILD_NULL, 0); /* twice */
    refused(p, &bad.opts, -EINVAL);
    with_pipes(&bad, "exit 0");
    family_fd(&bad, 3, IOR_CHILD_FD, -1);
    refused(p, &bad.opts, -EBADF);

    memset(many, 0, sizeof(many));
    for (int i = 0; i <= IOR_CHILD_FDS_MAX; i++)
        many[i].number = i;
    sh.opts.fds = many;
    sh.opts.fd_count = IOR_CHILD_FDS_MAX + 1;
    refused(p, &sh.opts, -EINVAL);
    sh.opts.fd_count = IOR_CHILD_FDS_MAX;
    id = family_spawn(p, &sh);
    probe_until(p, probe_of(p, id)->end == 1);
    ior_stop(p->cx, 0);
    assert_int_equal(ior_spawn(p->cx, &sh.opts, &id), -ESHUTDOWN);
    probe_free(p);
}

/* ---- each step fails ---- */

static struct ior_os os;
static struct ior_os_processes processes;
static unsigned long calls, fail_at;
static int fail_with;

static bool fails(void)
{
    return ++calls == fail_at;
}

static int faulty_pipe(void *arg, int fds[2])
{
    return fails() ? -fail_with : ior_os_default()->processes->pipe(arg, fds);
}

static int faulty_spawn(void *arg, const struct ior_os_spawn *spawn, struct ior_os_process *ret)
{
    return fails() ? -fail_with : probe_os()->processes->spawn(arg, spawn, ret);
}

static int faulty_nonblock(void *arg, int fd, bool on)
{
    return fails() ? -fail_with : ior_os_default()->set_nonblock(arg, fd, on);
}

static struct probe *faulty_probe(void)
{
    struct ior_config config = probe_config();
    os = *family_os();
    processes = *os.processes;
    os.processes = &processes;
    os.set_nonblock = faulty_nonblock;
    processes.pipe = faulty_pipe;
    processes.spawn = faulty_spawn;
    config.os = &os;
    fail_at = 0;
    return probe_new(&config);
}

static void each_call_fails(void **state)
{
    static const int errors[] = {EMFILE, ENFILE, ENOMEM, EAGAIN};
    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct probe *p = faulty_probe();
        struct family_sh sh;
        fail_with = errors[i];
        for (fail_at = 1; fail_at <= 5; fail_at++) { /* twice a pipe and a flag, and the child */
            with_pipes(&sh, "exit 0");
            calls = 0;
            refused(p, &sh.opts, -errors[i]);
            untouched(&sh);
        }
        with_pipes(&sh, "exit 0");
        calls = 0;
        ior_id id = family_spawn(p, &sh);
        assert_int_equal(calls, 5);
        probe_until(p, probe_of(p, id)->end == 1);
        probe_free(p);
    }
}

static void no_memory_at_any_step(void **state)
{
    (void)state;
    for (int all = 0; all < 2; all++) {
        uint64_t nth = 1;
        for (int err = -ENOMEM; err < 0; nth++) {
            live_alloc_start();
            struct probe *p = family_probe();
            struct family_sh sh;
            size_t fds = net_fd_count();
            ior_id id = 4711;
            with_pipes(&sh, "read line; exit 3");
            live_alloc_fail(nth, all == 1);
            err = ior_spawn(p->cx, &sh.opts, &id);
            live_alloc_fail(0, false);
            if (err < 0) {
                assert_int_equal(err, -ENOMEM);
                assert_int_equal(id, 4711);
                assert_int_equal(net_fd_count(), fds);
                assert_int_equal(ior_count(p->cx), 0);
                untouched(&sh);
                probe_turns(p, 2);
                assert_int_equal(p->n, 0);
                family_none_left();
            } else {
                probe_of(p, id);
                assert_int_equal(ior_close(p->cx, sh.fds[0].id, 0), 0);
                probe_until(p, probe_of(p, id)->end == 1);
                assert_int_equal(probe_of(p, id)->exit.status, 3);
            }
            probe_free(p);
            live_alloc_stop();
        }
        assert_true(nth > 5);
    }
}

static void no_slot_for_all_of_it(void **state)
{
    struct ior_config config = probe_config();
    (void)state;
    for (uint32_t max = 1; max <= 3; max++) {
        struct family_sh sh;
        config.max_resources = max;
        struct probe *p = probe_new(&config);
        with_pipes(&sh, "exit 0");
        if (max < 3) {
            refused(p, &sh.opts, -ENOSPC);
        } else {
            ior_id id = family_spawn(p, &sh);
            probe_until(p, probe_of(p, id)->end == 1);
        }
        probe_free(p);
    }
}

/* No fds are left, one more each time. */
static void each_fd_is_the_last(void **state)
{
    struct probe *p = family_probe();
    struct rlimit before, limit;
    int taken[64], n = 0;
    int answer = -1;
    (void)state;
    if (family_under_valgrind()) { /* which needs some itself to make a child */
        probe_free(p);
        skip();
    }
    probe_turns(p, 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    limit.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int fd; n < 64 && (fd = fcntl(0, F_DUPFD_CLOEXEC, 3)) >= 0;)
        taken[n++] = fd;
    assert_true(n > 20);
    for (; n > 0 && answer != 0; n--) {
        struct family_sh sh;
        ior_id id = 4711;
        with_pipes(&sh, "exit 0");
        size_t count = ior_count(p->cx);
        answer = ior_spawn(p->cx, &sh.opts, &id);
        if (answer < 0) {
            assert_int_equal(answer, -EMFILE);
            assert_int_equal(id, 4711);
            assert_int_equal(ior_count(p->cx), count);
            family_none_left();
        } else {
            probe_until(p, probe_of(p, id)->end == 1);
        }
        close(taken[n - 1]);
    }
    assert_int_equal(answer, 0);
    while (n > 0)
        close(taken[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    probe_free(p);
    family_none_left();
}

/* ---- others who reap, and waits that fail ---- */

static void somebody_else_reaps_it(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    pid_t pid = 0;
    (void)state;
    family_sh(&sh, "exit 0");
    ior_id id = family_spawn(p, &sh);
    assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exited, 0);
    assert_int_equal(probe_of(p, id)->why, IOR_ERROR);
    assert_int_equal(probe_of(p, id)->error, ECHILD);

    struct sigaction ignore = {.sa_handler = SIG_IGN}, was;
    assert_int_equal(sigaction(SIGCHLD, &ignore, &was), 0);
    id = family_spawn(p, &sh);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->error, ECHILD);
    with_pipes(&sh, "exit 0");
    sh.opts.file = "/nonexistent/program";
    refused(p, &sh.opts, -ENOENT);
    assert_int_equal(sigaction(SIGCHLD, &was, NULL), 0);
    probe_free(p);
    family_none_left();
}

static int wait_answer;
static unsigned waits, kills;

static int scripted_wait(void *arg, struct ior_os_process *process, uint64_t timeout_ns, bool reap,
                         struct ior_exit *ret)
{
    int answer = wait_answer;
    waits++;
    if (answer == -EINTR)
        wait_answer = 1;
    return answer == 1 ? probe_os()->processes->wait(arg, process, timeout_ns, reap, ret) : answer;
}

static int scripted_kill(void *arg, struct ior_os_process *process, bool group, int signo)
{
    kills += signo == SIGKILL;
    return wait_answer == 1 ? family_os()->processes->kill(arg, process, group, signo) : 0;
}

static struct probe *scripted_probe(void)
{
    struct probe *p = faulty_probe();
    processes.wait = scripted_wait;
    processes.kill = scripted_kill;
    wait_answer = 1;
    waits = kills = 0;
    return p;
}

static unsigned calls_after_exit;

static void signal_after_exit(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type != IOR_EV_EXITED)
        return;
    kills = 0;
    assert_int_equal(ior_kill(p->cx, ev->id, SIGKILL), -ESRCH);
    assert_int_equal(ior_close(p->cx, ev->id, 0), 0);
    calls_after_exit = kills;
}

/* The number of a group that was reaped may be another's. */
static void a_group_that_is_gone_gets_no_signal(void **state)
{
    struct probe *p = scripted_probe();
    struct family_sh sh;
    (void)state;
    family_sh(&sh, "exit 0");
    sh.opts.new_group = sh.opts.whole_group = true;
    p->on_event = signal_after_exit;
    calls_after_exit = 4711;
    ior_id id = family_spawn(p, &sh);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(calls_after_exit, 0);
    probe_free(p);
    family_none_left();
}

/* Nor one whose first process somebody else reaped, before the loop saw it. */
static void a_group_that_others_reaped_gets_no_signal(void **state)
{
    struct probe *p = scripted_probe();
    struct family_sh sh;
    pid_t pid = 0;
    (void)state;
    family_sh(&sh, "exit 0");
    sh.opts.new_group = sh.opts.whole_group = true;
    ior_id id = family_spawn(p, &sh);
    assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(ior_kill(p->cx, id, SIGKILL), -ESRCH);
    assert_int_equal(ior_close(p->cx, id, 0), 0);
    assert_int_equal(kills, 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->error, ECHILD);
    probe_free(p);
    family_none_left();
}

static void an_interrupted_wait_is_repeated(void **state)
{
    struct probe *p = scripted_probe();
    struct family_sh sh;
    (void)state;
    family_sh(&sh, "exit 4");
    wait_answer = -EINTR;
    ior_id id = family_spawn(p, &sh);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exit.status, 4);
    assert_true(waits >= 2);
    probe_free(p);
    family_none_left();
}

/* Nobody looks again, where it is destroyed. */
static void an_interrupted_wait_leaves_no_child(void **state)
{
    struct probe *p = scripted_probe();
    struct family_sh sh;
    (void)state;
    family_sh(&sh, "exec sleep 1000");
    ior_id id = family_spawn(p, &sh);
    assert_int_equal(ior_unregister(p->cx, id), 0);
    wait_answer = -EINTR;
    probe_until(p, probe_of(p, id)->handover == 1); /* which frees it */
    assert_true(waits >= 2);
    family_none_left();
    probe_free(p);
}

/* A process that does not die: the close ends by time, the shutdown too, and the runtime goes its way. */
static void one_that_cannot_be_killed(void **state)
{
    (void)state;
    for (int shutdown = 0; shutdown < 2; shutdown++) {
        struct probe *p = scripted_probe();
        struct family_sh sh;
        pid_t pid = 0;
        probe_clock_stop(&os);
        family_sh(&sh, "exec sleep 1000");
        ior_id id = family_spawn(p, &sh);
        assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
        wait_answer = 0; /* no kill reaches it, no wait sees it go */
        if (shutdown)
            ior_stop(p->cx, 0);
        else
            assert_int_equal(ior_close(p->cx, id, 1), 0);
        probe_clock_move(1);
        probe_until(p, kills >= 1);
        probe_turns(p, 3);
        assert_int_equal(probe_of(p, id)->end, 0);
        probe_clock_move(IOR_NS_PER_SEC); /* which it waits for a killed process */
        if (shutdown) {
            assert_int_equal(ior_runtime_run(p->rt), 0);
            assert_int_equal(probe_of(p, id)->why, IOR_SHUTDOWN);
        } else {
            probe_until(p, probe_of(p, id)->end == 1);
            assert_int_equal(probe_of(p, id)->why, IOR_TIMEOUT);
            assert_int_equal(probe_of(p, id)->error, ETIMEDOUT);
            assert_int_equal(probe_of(p, id)->which, IOR_DEADLINE_DRAIN);
        }
        assert_int_equal(probe_of(p, id)->exited, 0);
        assert_true(kills >= 1);
        probe_free(p);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        family_none_left();
    }
}

/* The runtime is freed while it waits for a child that was killed, and that did not die yet. */
static void freed_while_a_killed_child_is_waited_for(void **state)
{
    struct probe *p = scripted_probe();
    struct family_sh sh;
    (void)state;
    family_sh(&sh, "exec sleep 1000");
    ior_id id = family_spawn(p, &sh);
    probe_turns(p, 2);
    wait_answer = 0;
    ior_stop(p->cx, 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ior_runtime_turn(p->rt, 0), 1);
    assert_int_equal(kills, 1);
    wait_answer = 1; /* now it is seen to be gone */
    struct ior_runtime *rt = p->rt;
    p->rt = NULL;
    ior_runtime_free(rt);
    assert_int_equal(probe_of(p, id)->exited, 1);
    assert_int_equal(probe_of(p, id)->end, 1);
    assert_int_equal(probe_of(p, id)->why, IOR_SHUTDOWN);
    probe_free(p);
    family_none_left();
}

static void without_the_calls(void **state)
{
    struct probe *p = faulty_probe();
    struct family_sh sh;
    (void)state;
    with_pipes(&sh, "exit 0");
    processes.wait = NULL, refused(p, &sh.opts, -ENOSYS);
    processes.wait = ior_os_default()->processes->wait, processes.kill = NULL, refused(p, &sh.opts, -ENOSYS);
    processes.kill = ior_os_default()->processes->kill, processes.pipe = NULL, refused(p, &sh.opts, -ENOSYS);
    processes.pipe = faulty_pipe, processes.process_close = NULL, refused(p, &sh.opts, -ENOSYS);
    processes.process_close = ior_os_default()->processes->process_close;
    processes.spawn = NULL, refused(p, &sh.opts, -ENOSYS);
    os.processes = NULL, refused(p, &sh.opts, -ENOSYS); /* as in a simulation */
    untouched(&sh);
    probe_free(p);
}

/* ---- the kernel refuses: each case in a process of its own, with a filter of system calls ---- */

#if defined(CAN_FILTER)
struct refusal {
    long call;
    int error;
    int expected;       /* what ior_spawn answers */
    uint32_t first_arg; /* only with that; 0: always */
};

enum { CANNOT_FILTER = 77, WRONG_ANSWER = 2, LEFT_SOMETHING, NOT_TOLD, OPEN_FDS };

#define LOW_HALF (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0) /* of an argument */

static bool refuse(const struct refusal *refusal)
{
    bool always = refusal->first_arg == 0;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)refusal->call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + LOW_HALF),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->first_arg, 0, always ? 0 : 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)refusal->error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int spawn_refused(void *arg)
{
    const struct refusal *refusal = arg;
    struct probe *p = family_probe();
    struct family_sh sh;
    ior_id id = 4711;
    int leaks = open("/dev/null", O_RDONLY); /* not close-on-exec */
    probe_turns(p, 1);
    if (!refuse(refusal))
        return CANNOT_FILTER;
    with_pipes(&sh, "n=0; for f in /proc/self/fd/*; do [ -e $f ] && n=$((n + 1)); done; exit $n");
    sh.opts.cwd = "/";
    sh.opts.new_group = true;
    size_t fds = net_fd_count();
    int answer = ior_spawn(p->cx, &sh.opts, &id);
    if (answer != refusal->expected) {
        fprintf(stderr, "call %ld: %s\n", refusal->call, ior_errname(answer));
        return WRONG_ANSWER;
    }
    if (answer < 0) {
        bool nothing = net_fd_count() == fds && ior_count(p->cx) == 0 && waitpid(-1, NULL, WNOHANG) < 0;
        probe_free(p);
        return nothing ? 0 : LEFT_SOMETHING;
    }
    uint64_t until = net_now() + PROBE_LIMIT_NS;
    while (probe_of(p, id)->end == 0 && net_now() < until)
        probe_step(p);
    close(leaks);
    if (probe_of(p, id)->exited != 1)
        return NOT_TOLD;
    int status = probe_of(p, id)->exit.status;
    probe_free(p);
    return status == 4 ? 0 : OPEN_FDS; /* 0, 1, 2 and 5 */
}

static void the_kernel_refuses(void **state)
{
    static const struct refusal refusals[] = {
        {SYS_pipe2, EMFILE, -EMFILE, 0},
        {SYS_clone, EAGAIN, -EAGAIN, 0},
        {SYS_clone, ENOMEM, -ENOMEM, 0},
        {SYS_clone, EINVAL, -EINVAL, 0}, /* the fork behind it is one, too */
        {SYS_execve, EPERM, -EPERM, 0},
        {SYS_chdir, EIO, -EIO, 0},
        {SYS_setpgid, EPERM, -EPERM, 0},
        {SYS_waitid, EINVAL, 0, 3}, /* P_PIDFD, before Linux 5.4 */
#if defined(SYS_pidfd_open)
        {SYS_pidfd_open, EPERM, 0, 0}, /* the profiles of some containers */
        {SYS_pidfd_open, ENOSYS, 0, 0},
#endif
#if defined(SYS_close_range)
        {SYS_close_range, ENOSYS, 0, 0}, /* before Linux 5.9 */
#endif
#if defined(SYS_dup2)
        {SYS_dup2, EBUSY, -EBUSY, 0},
#else
        {SYS_dup3, EBUSY, -EBUSY, 0},
#endif
    };
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct refusal refusal = refusals[i];
        if (refusal.call == SYS_execve && family_under_valgrind())
            continue; /* which dies of it */
        int status = net_in_child(spawn_refused, &refusal);
        if (status == CANNOT_FILTER) {
            print_message("no filters of system calls here\n");
            return;
        }
        if (status != 0)
            fail_msg("system call %ld refused with %s: %d", refusal.call, ior_errname(refusal.error), status);
    }
}
#endif

/* A program started without stdin, stdout and stderr. */
static int without_stdio(void *arg)
{
    (void)arg;
    struct probe *p = family_probe();
    struct family_sh sh;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    with_pipes(&sh, "cat; exit 3");
    ior_id id = 0;
    if (ior_spawn(p->cx, &sh.opts, &id) < 0 || fcntl(0, F_GETFD) >= 0 || fcntl(1, F_GETFD) >= 0 ||
        fcntl(2, F_GETFD) >= 0)
        return 2;
    if (ior_send(p->cx, sh.fds[0].id, "hello", 5) != 0 || ior_close(p->cx, sh.fds[0].id, IOR_NEVER) != 0)
        return 3;
    uint64_t until = net_now() + PROBE_LIMIT_NS;
    ior_id from = sh.fds[1].id;
    while ((probe_of(p, id)->end == 0 || probe_of(p, from)->end == 0) && net_now() < until)
        (void)ior_runtime_turn(p->rt, IOR_NS_PER_MS);
    int status = probe_of(p, id)->exit.status, bytes = (int)probe_of(p, from)->bytes;
    probe_free(p);
    return status == 3 && bytes == 5 ? 0 : 4;
}

static void without_standard_fds(void **state)
{
    (void)state;
    assert_int_equal(net_in_child(without_stdio, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_that_cannot_be_run),
        cmocka_unit_test(fds_that_are_not),
        cmocka_unit_test(arguments_that_cannot_be),
        cmocka_unit_test(each_call_fails),
        cmocka_unit_test(no_memory_at_any_step),
        cmocka_unit_test(no_slot_for_all_of_it),
        cmocka_unit_test(each_fd_is_the_last),
        cmocka_unit_test(somebody_else_reaps_it),
        cmocka_unit_test(a_group_that_is_gone_gets_no_signal),
        cmocka_unit_test(a_group_that_others_reaped_gets_no_signal),
        cmocka_unit_test(an_interrupted_wait_is_repeated),
        cmocka_unit_test(an_interrupted_wait_leaves_no_child),
        cmocka_unit_test(one_that_cannot_be_killed),
        cmocka_unit_test(freed_while_a_killed_child_is_waited_for),
        cmocka_unit_test(without_the_calls),
#if defined(CAN_FILTER)
        cmocka_unit_test(the_kernel_refuses),
#endif
        cmocka_unit_test(without_standard_fds),
    };
    family_need();
    return cmocka_run_group_tests_name("children, faults", tests, NULL, NULL);
}
