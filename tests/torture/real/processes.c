/* SPDX-License-Identifier: Apache-2.0 */
/* Signals and child processes. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "support/check.h"
#include "support/family.h"

#include "real.h"

/* ---- signals ---- */

static void handler(int number)
{
    (void)number; /* what is not blocked any more ends nothing */
}

static void signals(struct run *run)
{
    const int numbers[] = {SIGUSR1, SIGRTMIN + 1};
    struct sigaction action = {.sa_handler = handler};
    ior_id id = 0, same = 0;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(sigaction(numbers[i], &action, NULL), 0);
    ask(run);
    int answer = ior_signals(run->cx, numbers, 2, NULL, &id);
    id = given(run, answer, id);
    ask(run);
    answer = ior_signals(run->cx, numbers, 1, NULL, &same);
    same = given(run, answer, same);
    for (unsigned i = 0; i < 3; i++) {
        union sigval value = {.sival_int = (int)i};
        if (lives(run, id))
            assert_int_equal(sigqueue(getpid(), numbers[1], value), 0);
        probe_signal_sent();
    }
    until(run, id, res(run, id)->signals == 3);
    id = again(run, id);
    if (lives(run, id))
        assert_int_equal(kill(getpid(), SIGUSR1), 0);
    probe_signal_sent();
    until(run, id, res(run, id)->signals + res(run, same)->signals == 1);
    if (lives(run, id) && taken(run, ior_unregister(run->cx, id)))
        until(run, id, res(run, id)->end == 1);
    so_far(run);
}

/* ---- children ---- */

static ior_id spawn(struct run *run, struct family_sh *sh)
{
    ior_id id = 0;
    ask(run);
    int answer = ior_spawn(run->cx, &sh->opts, &id);
    id = given(run, answer, id);
    for (size_t i = 0; i < sh->opts.fd_count; i++) {
        if (id == 0)
            assert_int_equal(sh->fds[i].id, 0);
        else if (sh->fds[i].id != 0)
            (void)probe_of(run->p, sh->fds[i].id);
    }
    if (ior_count(run->cx) == 0)
        family_none_left();
    return id;
}

/* Speaks, answers, exits; whatever ends one of its pipes, the others bring it to its end. */
static void converse(struct run *run)
{
    struct family_sh sh;
    family_sh(&sh, "read line && echo $line; exit 3");
    size_t in = family_fd(&sh, 0, IOR_CHILD_READS, 0), out = family_fd(&sh, 1, IOR_CHILD_WRITES, 0);
    ior_id id = spawn(run, &sh);
    if (id == 0)
        return;
    if (!lives(run, sh.fds[in].id) || !taken(run, ior_send(run->cx, sh.fds[in].id, "hello\n", 6)))
        (void)ior_unregister(run->cx, sh.fds[in].id); /* it reads the end */
    until(run, id, res(run, id)->end == 1);
    want(run, res(run, id)->exit.status == 3 && res(run, id)->why == IOR_EOF);
    until(run, sh.fds[in].id, res(run, sh.fds[in].id)->end == 1); /* its reader is gone */
    until(run, sh.fds[out].id, res(run, sh.fds[out].id)->end == 1);
    want(run, res(run, sh.fds[out].id)->bytes == 6);
}

static void children(struct run *run)
{
    struct family_sh sh;
    run->peers_leave = true;
    family_sh(&sh, "exec sleep 1000");
    (void)spawn(run, &sh); /* the end is its end */
    ior_id freed = spawn(run, &sh);
    sh.opts.new_group = sh.opts.whole_group = true;
    ior_id group = spawn(run, &sh);
    converse(run);
    if (lives(run, group))
        want(run, ior_kill(run->cx, group, 0) == 0);
    if (lives(run, group) && taken(run, ior_close(run->cx, group, 10 * IOR_NS_PER_MS)))
        until(run, group, !lives(run, group));
    want(run, res(run, group)->exited == 1 && res(run, group)->why == IOR_ASKED);
    freed = again(run, freed);
    so_far(run);
    if (lives(run, freed)) {
        assert_int_equal(ior_unregister(run->cx, freed), 0);
        until(run, freed, res(run, freed)->end == 1); /* handed over and freed with it */
    }
}

const struct scene real_processes[] = {
    {.name = "signals", .play = signals},
    {.name = "children", .play = children},
    {.name = NULL},
};
