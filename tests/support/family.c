/* SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "check.h"
#include "family.h"

static int patient_kill(void *arg, struct ior_os_process *process, bool group, int signo)
{
    int err = probe_os()->processes->kill(arg, process, group, signo);
    if (err == 0 && signo == SIGKILL)
        (void)net_await(process->fd, POLLIN);
    return err;
}

const struct ior_os *family_os(void)
{
    static struct ior_os_processes processes;
    static struct ior_os os;
    if (os.struct_size == 0) {
        os = *probe_os();
        processes = *os.processes;
        processes.kill = patient_kill;
        os.processes = &processes;
    }
    return &os;
}

struct probe *family_probe(void)
{
    struct ior_config config = probe_config();
    config.os = family_os();
    return probe_new(&config);
}

void family_sh(struct family_sh *sh, const char *script)
{
    memset(sh, 0, sizeof(*sh));
    sh->argv[0] = (char *)(uintptr_t) "sh";
    sh->argv[1] = (char *)(uintptr_t) "-c";
    sh->argv[2] = (char *)(uintptr_t)script;
    sh->opts.struct_size = sizeof(sh->opts);
    sh->opts.argv = sh->argv;
    sh->opts.search_path = FAMILY_PATH;
    sh->opts.fds = sh->fds;
}

size_t family_fd(struct family_sh *sh, int number, enum ior_child_fd_kind kind, int fd)
{
    size_t at = sh->opts.fd_count++;
    assert_true(at < sizeof(sh->fds) / sizeof(sh->fds[0]));
    sh->fds[at] = (struct ior_child_fd){.number = number, .kind = kind, .fd = fd};
    return at;
}

ior_id family_spawn(struct probe *p, struct family_sh *sh)
{
    ior_id id = 0;
    int err = ior_spawn(p->cx, &sh->opts, &id);
    if (err < 0)
        fail_msg("ior_spawn: %s", ior_errname(err));
    assert_true(id != 0);
    probe_of(p, id);
    return id;
}

void family_need(void)
{
    static const struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_config config = probe_config();
    struct ior_runtime *rt;
    struct family_sh sh;
    ior_id id;
    if (ior_runtime_new(&config, &handler, NULL, &rt) < 0)
        return; /* the tests will tell */
    family_sh(&sh, "exit 0");
    int err = ior_spawn(ior_runtime_context(rt), &sh.opts, &id);
    ior_runtime_free(rt);
    if (err != -ENOSYS)
        return;
    puts("skipped: this kernel, or what emulates it, has no fds of processes");
    exit(77);
}

bool family_under_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

void family_await_exit(pid_t pid)
{
    siginfo_t info;
    int r;
    do {
        r = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
    } while (r < 0 && errno == EINTR);
    assert_int_equal(r, 0);
}

void family_none_left(void)
{
    siginfo_t info = {0};
    int r = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
    if (r == 0)
        fail_msg("a child is left: %ld", (long)info.si_pid);
    assert_int_equal(errno, ECHILD);
}

void family_collect(struct family_text *text, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA || ev->id != text->id)
        return;
    assert_true(text->len + ev->data.len < sizeof(text->text));
    memcpy(text->text + text->len, ev->data.bytes, ev->data.len);
    text->len += ev->data.len;
    text->text[text->len] = '\0';
}
