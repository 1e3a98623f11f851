/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Child processes on real engines: what a child gets (arguments, environment, fds, signals), how its exit is told, how
 * it is stopped, what becomes of it when its resource ends first. What fails is in test_children_faults.c.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/family.h"
#include "support/probe.h"

static struct family_text out;

static void collect(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    (void)p;
    (void)r;
    family_collect(&out, ev);
}

/* Runs it to its end and collects its stdout; its exit status is 0. */
static const char *say(struct probe *p, struct family_sh *sh)
{
    size_t at = family_fd(sh, 1, IOR_CHILD_WRITES, 0);
    out.len = 0;
    out.text[0] = '\0';
    p->on_event = collect;
    ior_id id = family_spawn(p, sh);
    out.id = sh->fds[at].id;
    probe_until(p, probe_of(p, id)->end == 1 && probe_of(p, out.id)->end == 1);
    assert_int_equal(probe_of(p, id)->exit.signal, 0);
    assert_int_equal(probe_of(p, id)->exit.status, 0);
    return out.text;
}

static const char *sh_says(const char *script)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    family_sh(&sh, script);
    say(p, &sh);
    probe_free(p);
    family_none_left();
    return out.text;
}

/* ---- exits ---- */

static void the_exit_status_is_told_once(void **state)
{
    static const struct {
        const char *script;
        int status, signal;
    } cases[] = {{"exit 0", 0, 0},
                 {"exit 42", 42, 0},
                 {"exit 255", 255, 0},
                 {"kill -9 $$", -1, SIGKILL},
                 {"kill -USR1 $$", -1, SIGUSR1}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct probe *p = family_probe();
        struct family_sh sh;
        pid_t pid = 0;
        family_sh(&sh, cases[i].script);
        sh.opts.user = p;
        ior_id id = family_spawn(p, &sh);
        assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
        probe_until(p, probe_of(p, id)->end == 1);
        struct probe_res *r = probe_of(p, id);
        assert_int_equal(r->registered, 1);
        assert_ptr_equal(r->user, p);
        assert_int_equal(r->exited, 1);
        assert_int_equal(r->exit.pid, pid);
        assert_int_equal(r->exit.status, cases[i].status);
        assert_int_equal(r->exit.signal, cases[i].signal);
        assert_int_equal(r->why, IOR_EOF);
        assert_int_equal(r->error, 0);
        probe_free(p);
        family_none_left();
    }
}

/* A child of an instrumented program copies all of it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MANY_CHILDREN 40
#else
#define MANY_CHILDREN 200
#endif

static void many_at_once(void **state)
{
    enum { MANY = MANY_CHILDREN };
    struct probe *p = family_probe();
    ior_id ids[MANY];
    char script[32];
    size_t fds = net_fd_count();
    unsigned ended = 0;
    (void)state;
    for (int i = 0; i < MANY; i++) {
        struct family_sh sh;
        snprintf(script, sizeof(script), "exit %d", i);
        family_sh(&sh, script);
        ids[i] = family_spawn(p, &sh);
    }
    for (int i = 0; i < MANY; i++) { /* all in one batch */
        pid_t pid = 0;
        assert_int_equal(ior_child_pid(p->cx, ids[i], &pid), 0);
        family_await_exit(pid);
    }
    while (ended < MANY) {
        probe_step(p);
        ended = 0;
        for (int i = 0; i < MANY; i++)
            ended += probe_of(p, ids[i])->end;
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(probe_of(p, ids[i])->exited, 1);
        assert_int_equal(probe_of(p, ids[i])->exit.status, i);
    }
    assert_int_equal(net_fd_count(), fds);
    probe_free(p);
    family_none_left();
}

/* R62: the exit comes before anybody waits for it, or while nobody does. */
static void r62_an_exit_before_the_watch_is_told(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    pid_t pid = 0;
    (void)state;
    family_sh(&sh, "exit 7");
    ior_id id = family_spawn(p, &sh);
    assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
    family_await_exit(pid); /* before the first turn */
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exit.status, 7);

    int gate[2];
    assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
    family_sh(&sh, "read line; exit 8");
    family_fd(&sh, 0, IOR_CHILD_FD, gate[0]);
    id = family_spawn(p, &sh);
    assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
    p->keep = true;
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    assert_int_equal(probe_of(p, id)->exited, 0);
    struct ior_resource *res = probe_of(p, id)->handed;
    probe_of(p, id)->handed = NULL;
    net_write(gate[1], "\n", 1);
    family_await_exit(pid); /* while it is registered nowhere */
    p->keep = false;
    assert_int_equal(ior_register(p->cx, res, &id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exited, 1);
    assert_int_equal(probe_of(p, id)->exit.status, 8);
    close(gate[0]);
    close(gate[1]);
    probe_free(p);
    family_none_left();
}

static void a_pause_holds_the_exit_back(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    pid_t pid = 0;
    (void)state;
    family_sh(&sh, "exit 5");
    ior_id id = family_spawn(p, &sh);
    assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
    assert_int_equal(ior_pause(p->cx, id), 0);
    family_await_exit(pid);
    probe_turns(p, 5);
    assert_true(probe_quiet(p, 20) < 50);
    assert_int_equal(probe_of(p, id)->exited, 0);
    assert_int_equal(ior_kill(p->cx, id, 0), -ESRCH);
    assert_int_equal(ior_resume(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exit.status, 5);
    probe_free(p);
    family_none_left();
}

static void what_it_used_is_told(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    (void)state;
    family_sh(&sh, "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done");
    ior_id id = family_spawn(p, &sh);
    probe_until(p, probe_of(p, id)->end == 1);
    const struct ior_exit *exit = &probe_of(p, id)->exit;
    if (exit->max_rss_bytes == 0) {
        print_message("what emulates this kernel does not tell what a child used\n");
    } else {
        assert_true(exit->user_ns + exit->system_ns > 0 && exit->user_ns < 600 * IOR_NS_PER_SEC);
        assert_in_range(exit->max_rss_bytes, 65536, (uint64_t)1 << 36);
    }
    probe_free(p);
}

/* ---- what a child gets ---- */

static void bytes_go_both_ways(void **state)
{
    enum { LEN = 300000 };
    struct probe *p = family_probe();
    struct family_sh sh;
    unsigned char *bytes = net_new_pattern(LEN);
    (void)state;
    p->pattern = true;
    family_sh(&sh, "exec cat");
    size_t in = family_fd(&sh, 0, IOR_CHILD_READS, 0), back = family_fd(&sh, 1, IOR_CHILD_WRITES, 0);
    ior_id id = family_spawn(p, &sh);
    ior_id to = sh.fds[in].id, from = sh.fds[back].id;
    assert_true(to != from && to != id && from != id);
    assert_int_equal(ior_send(p->cx, from, "x", 1), -EOPNOTSUPP);
    size_t sent = 0;
    while (sent < LEN) {
        size_t len = LEN - sent < 50000 ? LEN - sent : 50000;
        if (ior_send(p->cx, to, bytes + sent, len) >= 0)
            sent += len;
        probe_step(p);
    }
    assert_int_equal(ior_close(p->cx, to, IOR_NEVER), 0);
    probe_until(p, probe_of(p, id)->end == 1 && probe_of(p, from)->end == 1 && probe_of(p, to)->end == 1);
    assert_int_equal(probe_of(p, from)->bytes, LEN);
    assert_int_equal(probe_of(p, from)->eof, 1);
    assert_int_equal(probe_of(p, from)->why, IOR_EOF);
    assert_int_equal(probe_of(p, to)->written, LEN);
    assert_int_equal(probe_of(p, id)->exit.status, 0);
    free(bytes);
    probe_free(p);
    family_none_left();
}

#define LIST_FDS "for f in /proc/self/fd/*; do [ -e $f ] && echo ${f##*/}; done; true"

static void no_fd_but_those_of_the_list(void **state)
{
    int open_fds[3];
    (void)state;
    /* Some that are not close-on-exec, low and high. */
    for (int i = 0; i < 3; i++) {
        open_fds[i] = open("/dev/null", O_RDONLY);
        assert_true(open_fds[i] >= 0);
    }
    int high = fcntl(open_fds[0], F_DUPFD, 200);
    assert_true(high >= 200);
    assert_string_equal(sh_says(LIST_FDS), "0\n1\n2\n");

    struct probe *p = family_probe();
    struct family_sh sh;
    family_sh(&sh, LIST_FDS);
    family_fd(&sh, 5, IOR_CHILD_FD, high);
    family_fd(&sh, 9, IOR_CHILD_NULL, 0);
    assert_string_equal(say(p, &sh), "0\n1\n2\n5\n9\n");
    probe_free(p);
    for (int i = 0; i < 3; i++)
        close(open_fds[i]);
    close(high);
}

static void what_is_not_listed_is_dev_null(void **state)
{
    (void)state;
    assert_string_equal(sh_says("readlink /proc/self/fd/0; readlink /proc/self/fd/2; read x || echo end"),
                        "/dev/null\n/dev/null\nend\n");
}

/* Each number of ours is another of the child's. */
static void fds_that_change_places(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    int pipes[3][2];
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
        char name[2] = {(char)('a' + i), '\n'};
        net_write(pipes[i][1], name, 2);
        close(pipes[i][1]);
    }
    int a = pipes[0][0], b = pipes[1][0], c = pipes[2][0];
    char script[128];
    snprintf(script, sizeof(script), "cat /proc/self/fd/%d /proc/self/fd/%d /proc/self/fd/%d", a, b, c);
    family_sh(&sh, script);
    family_fd(&sh, a, IOR_CHILD_FD, b);
    family_fd(&sh, b, IOR_CHILD_FD, c);
    family_fd(&sh, c, IOR_CHILD_FD, a);
    assert_string_equal(say(p, &sh), "b\nc\na\n");
    probe_free(p);
    for (int i = 0; i < 3; i++)
        close(pipes[i][0]);
}

static void arguments_environment_and_folder(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    char *dir = net_temp_dir();
    char *envp[] = {(char *)(uintptr_t) "A=one", (char *)(uintptr_t) "B=two words", NULL};
    char expected[512];
    (void)state;
    family_sh(&sh, "pwd; echo \"$A,$B,$HOME,$0\"");
    sh.opts.cwd = dir;
    sh.opts.envp = envp;
    sh.argv[3] = NULL;
    snprintf(expected, sizeof(expected), "%s\none,two words,,sh\n", dir);
    assert_string_equal(say(p, &sh), expected);

    assert_int_equal(setenv("FAMILY_TEST", "inherited", 1), 0);
    family_sh(&sh, "echo $FAMILY_TEST");
    assert_string_equal(say(p, &sh), "inherited\n");

    /* argv[0] need not be the file, and the file need not be searched for. */
    family_sh(&sh, "echo $0");
    sh.argv[0] = (char *)(uintptr_t) "another-name";
    sh.opts.file = "/bin/sh";
    sh.opts.search_path = NULL;
    assert_string_equal(say(p, &sh), "another-name\n");
    probe_free(p);
    net_temp_dir_remove(dir);
}

static void the_file_is_searched_for(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    char *dir = net_temp_dir();
    char path[512], search[1200];
    (void)state;
    snprintf(path, sizeof(path), "%s/family", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    net_write(fd, "#!/bin/sh\necho found\n", 21);
    close(fd);
    family_sh(&sh, "");
    sh.argv[0] = (char *)(uintptr_t) "family";
    sh.argv[1] = NULL;
    snprintf(search, sizeof(search), "/nonexistent:/dev/null:%s:/bin", dir);
    sh.opts.search_path = search;
    ior_id id = 4711;
    assert_int_equal(ior_spawn(p->cx, &sh.opts, &id), -EACCES); /* found, but it may not be run */
    assert_int_equal(chmod(path, 0755), 0);
    assert_string_equal(say(p, &sh), "found\n");
    /* An empty place is the child's folder. */
    family_sh(&sh, "");
    sh.argv[0] = (char *)(uintptr_t) "family";
    sh.argv[1] = NULL;
    sh.opts.search_path = "/nonexistent:";
    sh.opts.cwd = dir;
    assert_string_equal(say(p, &sh), "found\n");
    sh.opts.fd_count = 0;
    sh.opts.search_path = "/nonexistent";
    assert_int_equal(ior_spawn(p->cx, &sh.opts, &id), -ENOENT);
    assert_int_equal(id, 4711);
    probe_free(p);
    net_temp_dir_remove(dir);
    family_none_left();
}

static void signals_are_as_a_program_expects_them(void **state)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, was;
    sigset_t block, before;
    (void)state;
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGUSR2);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &block, &before), 0);
    assert_int_equal(sigaction(SIGPIPE, &ignore, &was), 0);
    const char *text = sh_says("exec grep -E '^Sig(Blk|Ign)' /proc/self/status");
    assert_int_equal(sigaction(SIGPIPE, &was, NULL), 0);
    assert_string_equal(text, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    sigset_t now;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, &now), 0);
    assert_int_equal(sigismember(&now, SIGTERM), 1); /* and ours is as it was */
    assert_int_equal(sigismember(&now, SIGINT), 0);
}

static void groups_and_sessions(void **state)
{
    static const struct {
        bool group, session;
    } cases[] = {{false, false}, {true, false}, {false, true}, {true, true}};
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct probe *p = family_probe();
        struct family_sh sh;
        long pid, group, session;
        family_sh(&sh, "echo $$ $(cut -d' ' -f5,6 /proc/$$/stat)");
        sh.opts.new_group = cases[i].group;
        sh.opts.new_session = cases[i].session;
        assert_int_equal(sscanf(say(p, &sh), "%ld %ld %ld", &pid, &group, &session), 3);
        assert_int_equal(group == pid, cases[i].group || cases[i].session);
        assert_int_equal(session == pid, cases[i].session);
        if (!cases[i].group && !cases[i].session)
            assert_int_equal(group, getpgid(0));
        probe_free(p);
    }
}

/* ---- signals and stopping ---- */

/* A child that has said that it is ready. */
static ior_id ready_child(struct probe *p, struct family_sh *sh, const char *script)
{
    family_sh(sh, script);
    size_t at = family_fd(sh, 1, IOR_CHILD_WRITES, 0);
    p->on_event = collect;
    out.len = 0;
    ior_id id = family_spawn(p, sh);
    out.id = sh->fds[at].id;
    probe_until(p, out.len > 0);
    return id;
}

#define SLEEPS "echo ready; exec sleep 1000"
#define IGNORES "trap '' TERM; echo ready; exec sleep 1000"

static void a_signal_goes_to_the_child(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    pid_t pid;
    (void)state;
    ior_id id = ready_child(p, &sh, "trap 'exit 9' USR1; echo ready; while :; do sleep 0.01; done");
    ior_id stream = sh.fds[0].id;
    assert_int_equal(ior_kill(p->cx, id, 0), 0);
    assert_int_equal(ior_kill(p->cx, id, -1), -EINVAL);
    assert_int_equal(ior_kill(p->cx, id, 1000), -EINVAL);
    assert_int_equal(ior_kill(p->cx, stream, SIGTERM), -EOPNOTSUPP);
    assert_int_equal(ior_child_pid(p->cx, stream, &pid), -EOPNOTSUPP);
    assert_int_equal(ior_child_pid(p->cx, id, NULL), -EINVAL);
    assert_int_equal(ior_send(p->cx, id, "x", 1), -EOPNOTSUPP);
    assert_int_equal(ior_finish(p->cx, id), -EOPNOTSUPP);
    assert_int_equal(ior_kill(p->cx, id, SIGUSR1), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exit.status, 9);
    assert_int_equal(ior_kill(p->cx, id, SIGUSR1), -ENOENT);
    probe_free(p);
    family_none_left();
}

static void kill_inside_exited(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_EXITED)
        return;
    p->arg = r->exited == 1 ? p : NULL;
    assert_int_equal(ior_kill(p->cx, ev->id, SIGTERM), -ESRCH);
    assert_int_equal(ior_close(p->cx, ev->id, 0), 0);
    assert_int_equal(ior_pause(p->cx, ev->id), 0);
    assert_int_equal(ior_unregister(p->cx, ev->id), 0);
    assert_int_equal(ior_kill(p->cx, ev->id, SIGTERM), -EALREADY);
}

static void requests_inside_exited(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    (void)state;
    family_sh(&sh, "exit 0");
    p->on_event = kill_inside_exited;
    ior_id id = family_spawn(p, &sh);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_non_null(p->arg);
    assert_int_equal(probe_of(p, id)->why, IOR_ASKED);
    probe_free(p);
    family_none_left();
}

static void close_asks_first(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    (void)state;
    ior_id id = ready_child(p, &sh, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
    assert_int_equal(ior_pause(p->cx, id), 0); /* which a closing one does not heed */
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exited, 1);
    assert_int_equal(probe_of(p, id)->exit.status, 3);
    assert_int_equal(probe_of(p, id)->why, IOR_ASKED);
    probe_free(p);
    family_none_left();
}

static void close_kills_what_does_not_listen(void **state)
{
    static const uint64_t drains[] = {0, 10 * IOR_NS_PER_MS};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct probe *p = family_probe();
        struct family_sh sh;
        ior_id id = ready_child(p, &sh, IGNORES);
        if (i < 2)
            assert_int_equal(ior_close(p->cx, id, drains[i]), 0);
        else
            assert_int_equal(ior_abort(p->cx, id), 0);
        probe_until(p, probe_of(p, id)->end == 1);
        assert_int_equal(probe_of(p, id)->exited, 1);
        assert_int_equal(probe_of(p, id)->exit.signal, SIGKILL);
        assert_int_equal(probe_of(p, id)->why, IOR_ASKED);
        probe_free(p);
        family_none_left();
    }
}

/* Asked again it moves the time. A stopped child goes on to hear of it. */
static void close_again_and_stopped_children(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    (void)state;
    ior_id id = ready_child(p, &sh, IGNORES);
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
    probe_turns(p, 3);
    assert_int_equal(probe_of(p, id)->exited, 0);
    assert_int_equal(ior_close(p->cx, id, 1), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exit.signal, SIGKILL);

    id = ready_child(p, &sh, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    assert_int_equal(ior_kill(p->cx, id, SIGSTOP), 0);
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exit.status, 3);
    probe_free(p);
    family_none_left();
}

/* The stream's END tells that nobody holds the pipe any more: the whole group is gone. */
static void the_whole_group(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct probe *p = family_probe();
        struct family_sh sh;
        static const char *const scripts[] = {
            "sleep 1000 & echo ready; read line",         /* it exits, and leaves one behind */
            "sleep 1000 & echo ready; wait; exit 0",      /* all are stopped */
            "trap '' TERM; sleep 1000 & echo ready; wait" /* all are killed */
        };
        family_sh(&sh, scripts[i]);
        size_t at = family_fd(&sh, 1, IOR_CHILD_WRITES, 0);
        family_fd(&sh, 0, IOR_CHILD_READS, 0);
        sh.opts.new_group = i != 1;
        sh.opts.new_session = i == 1;
        sh.opts.whole_group = true;
        p->on_event = collect;
        out.len = 0;
        ior_id id = family_spawn(p, &sh);
        out.id = sh.fds[at].id;
        probe_until(p, out.len > 0);
        if (i == 0)
            assert_int_equal(ior_close(p->cx, sh.fds[1].id, 0), 0);
        else
            assert_int_equal(ior_close(p->cx, id, i == 1 ? IOR_NEVER : 1), 0);
        probe_until(p, probe_of(p, id)->end == 1 && probe_of(p, out.id)->end == 1);
        assert_int_equal(probe_of(p, id)->exited, 1);
        probe_free(p);
        family_none_left();
    }
}

/* ---- shutdown ---- */

static void shutdown_stops_in_order(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    (void)state;
    ior_id deaf = ready_child(p, &sh, IGNORES);
    ior_id nice = ready_child(p, &sh, "trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done");
    ior_id paused = ready_child(p, &sh, SLEEPS);
    assert_int_equal(ior_pause(p->cx, paused), 0);
    assert_int_equal(ior_close(p->cx, paused, IOR_NEVER), 0);
    ior_stop(p->cx, 300 * IOR_NS_PER_MS);
    uint64_t turns = 0;
    while (ior_runtime_turn(p->rt, IOR_NEVER) == 1)
        turns++;
    assert_in_range(turns, 1, 200); /* none of them in vain */
    assert_int_equal(probe_of(p, nice)->exited, 1);
    assert_true(probe_of(p, nice)->exit.status == 4 || probe_of(p, nice)->exit.signal == SIGKILL);
    assert_int_equal(probe_of(p, nice)->why, IOR_SHUTDOWN);
    assert_int_equal(probe_of(p, deaf)->exit.signal, SIGKILL);
    assert_int_equal(probe_of(p, deaf)->why, IOR_SHUTDOWN);
    assert_int_equal(probe_of(p, paused)->exited, 1);
    family_none_left();
    probe_free(p);
}

static void freeing_leaves_nobody(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    (void)state;
    ready_child(p, &sh, IGNORES);
    ready_child(p, &sh, SLEEPS);
    family_sh(&sh, SLEEPS);
    family_spawn(p, &sh); /* not even registered yet */
    size_t children = p->n;
    struct ior_runtime *rt = p->rt;
    p->rt = NULL;
    ior_runtime_free(rt);
    family_none_left();
    unsigned exited = 0;
    for (size_t i = 0; i < children; i++)
        exited += probe_of(p, p->res[i].id)->exited;
    assert_int_equal(exited, 3);
    probe_free(p);
}

static void a_detached_service_takes_its_children_along(void **state)
{
    static const struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct probe *p = family_probe();
    struct ior_context *cx;
    struct family_sh sh;
    ior_id id = 0;
    (void)state;
    assert_int_equal(ior_attach(p->cx, &handler, NULL, &cx), 0);
    probe_turns(p, 2);
    family_sh(&sh, IGNORES);
    assert_int_equal(ior_spawn(cx, &sh.opts, &id), 0);
    assert_int_equal(ior_kill(p->cx, id, SIGTERM), -EACCES);
    assert_int_equal(ior_detach(cx, 0), 0);
    probe_until(p, probe_stats(p).resources == 0);
    family_none_left();
    probe_free(p);
}

/* ---- handover ---- */

static struct ior_resource *taken_back(struct probe *p, ior_id id)
{
    p->keep = true;
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_until(p, probe_of(p, id)->handover == 1);
    p->keep = false;
    assert_int_equal(probe_of(p, id)->exited, 0);
    struct ior_resource *res = probe_of(p, id)->handed;
    probe_of(p, id)->handed = NULL;
    return res;
}

static void handed_to_another_runtime(void **state)
{
    struct probe *p = family_probe(), *other = family_probe();
    struct family_sh sh;
    (void)state;
    ior_id id = ready_child(p, &sh, IGNORES), there = 0;
    assert_int_equal(ior_close(p->cx, id, IOR_NEVER), 0); /* which is forgotten */
    struct ior_resource *res = taken_back(p, id);
    assert_int_equal(ior_register(other->cx, res, &there), 0);
    assert_int_equal(ior_kill(other->cx, there, 0), 0);
    assert_int_equal(ior_close(other->cx, there, 1), 0);
    probe_until(other, probe_of(other, there)->end == 1);
    assert_int_equal(probe_of(other, there)->exit.signal, SIGKILL);
    probe_free(other);
    probe_free(p);
    family_none_left();
}

static void freed_is_killed_and_reaped(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    (void)state;
    ior_id id = ready_child(p, &sh, IGNORES);
    ior_id stream = out.id;
    struct ior_resource *res = taken_back(p, id);
    ior_resource_free(res);
    family_none_left();
    probe_until(p, probe_of(p, stream)->end == 1); /* it has no writer any more */
    probe_free(p);
}

static void released_runs_on(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    pid_t pid = 0;
    (void)state;
    ior_id id = ready_child(p, &sh, SLEEPS);
    assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
    struct ior_resource *res = taken_back(p, id);
    int fd = ior_resource_release(res);
    assert_true(fd >= 0);
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(net_fd_count() > 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(kill(pid, SIGINT), 0);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    close(fd);
    probe_free(p);
    family_none_left();
}

/* Where threads wait for children, each ends with its child, whoever reaps that. */
static void no_thread_is_left(void **state)
{
    struct probe *p = family_probe();
    struct family_sh sh;
    pid_t pid = 0;
    int status = 0;
    (void)state;
    probe_turns(p, 2);
    size_t rest = net_threads_at_rest();
    size_t fds = net_fd_count();
    ior_id id = ready_child(p, &sh, SLEEPS);
    assert_int_equal(net_thread_count(), rest + probe_os_is_plain());
    assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
    int fd = ior_resource_release(taken_back(p, id)); /* its thread goes on alone */
    assert_int_equal(net_thread_count(), rest + probe_os_is_plain());
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(net_await(fd, POLLIN) & POLLIN, POLLIN);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(fd);
    net_await_threads(rest);

    id = ready_child(p, &sh, SLEEPS);
    assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
    fd = ior_resource_release(taken_back(p, id));
    close(fd); /* before anybody could be told */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    net_await_threads(rest);

    family_sh(&sh, "exit 0");
    id = family_spawn(p, &sh);
    assert_int_equal(ior_child_pid(p->cx, id, &pid), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    probe_until(p, probe_of(p, id)->end == 1);
    net_await_threads(rest);
    probe_until(p, ior_count(p->cx) == 0);
    assert_int_equal(net_fd_count(), fds);
    probe_free(p);
    family_none_left();
}

static size_t fds_of_it; /* the runtime's */

static int free_in_forked_child(void *arg)
{
    struct probe *p = arg;
    size_t fds = net_fd_count(); /* here: valgrind keeps one of its own from a forked child */
    ior_runtime_free(p->rt);
    return net_fd_count() == fds - fds_of_it ? 0 : 1;
}

static void a_forked_child_does_not_kill_it(void **state)
{
    size_t fds = net_fd_count();
    struct probe *p = family_probe();
    struct family_sh sh;
    (void)state;
    ior_id id = ready_child(p, &sh, SLEEPS);
    fds_of_it = net_fd_count() - fds;
    assert_int_equal(net_in_child(free_in_forked_child, p), 0);
    assert_int_equal(ior_kill(p->cx, id, 0), 0);
    assert_int_equal(ior_kill(p->cx, id, SIGINT), 0);
    probe_until(p, probe_of(p, id)->end == 1);
    assert_int_equal(probe_of(p, id)->exit.signal, SIGINT);
    probe_free(p);
    family_none_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_exit_status_is_told_once),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(r62_an_exit_before_the_watch_is_told),
        cmocka_unit_test(a_pause_holds_the_exit_back),
        cmocka_unit_test(what_it_used_is_told),
        cmocka_unit_test(bytes_go_both_ways),
        cmocka_unit_test(no_fd_but_those_of_the_list),
        cmocka_unit_test(what_is_not_listed_is_dev_null),
        cmocka_unit_test(fds_that_change_places),
        cmocka_unit_test(arguments_environment_and_folder),
        cmocka_unit_test(the_file_is_searched_for),
        cmocka_unit_test(signals_are_as_a_program_expects_them),
        cmocka_unit_test(groups_and_sessions),
        cmocka_unit_test(a_signal_goes_to_the_child),
        cmocka_unit_test(requests_inside_exited),
        cmocka_unit_test(close_asks_first),
        cmocka_unit_test(close_kills_what_does_not_listen),
        cmocka_unit_test(close_again_and_stopped_children),
        cmocka_unit_test(the_whole_group),
        cmocka_unit_test(shutdown_stops_in_order),
        cmocka_unit_test(freeing_leaves_nobody),
        cmocka_unit_test(a_detached_service_takes_its_children_along),
        cmocka_unit_test(handed_to_another_runtime),
        cmocka_unit_test(freed_is_killed_and_reaped),
        cmocka_unit_test(released_runs_on),
        cmocka_unit_test(no_thread_is_left),
        cmocka_unit_test(a_forked_child_does_not_kill_it),
    };
    (void)net_threads_at_rest(); /* before there are others */
    family_need();
    return cmocka_run_group_tests_name("children", tests, NULL, NULL);
}
