/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays each scene on the engine of IOR_ENGINE (and on poll: the same must be told), once without a fault, which tells
 * what calls and allocations there are, and then for each of these points: twice, the runtime being stopped in the end,
 * or freed at once (a sample takes turns). After each: the fault is the cause of whatever was refused or ended, a timer
 * still fires, the shutdown ends, and nothing is left: no block of the library, no fd, no thread, no child, no blocked
 * signal.
 *
 * Usage: torture_real [--every K] [--offset O] [SCENE [CALL N ERRNO [free]]]
 *   --every K        only each K-th point, from O on (a text that is no number, as a commit, gives one)
 *   CALL N ERRNO     one point: the N-th call of this name fails ("alloc 3 ENOMEM"; "alloc 3 ALL": and all that follow);
 *                    ERRNO is a name or SHORT
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/check.h"
#include "support/family.h"
#include "support/live.h"

#include "real.h"

enum { MOST_OF_A_CALL = 12 };

static const struct scene *const lists[] = {real_files, real_processes, real_devices};

static struct {
    unsigned long every, offset;
    const char *scene;
    struct fault one; /* nth 0: all */
    bool frees;
} options = {.every = 1};

/* ---- what scenes use ---- */

static struct {
    size_t fds, count;
} before;

void ask(struct run *run)
{
    before.fds = net_fd_count();
    before.count = ior_count(run->cx);
}

/* Or a peer that is a program, and may have gone. */
bool explains(struct run *run, int error)
{
    const struct fault *fault = run->fault;
    bool it = fault->call == CALL_NONE ? error == ENOMEM : error == fault->error;
    if (fault->call == CALL_NONE && error == EIO)
        it = probe_engine_does_io(run->p); /* what it received it must keep, and could not */
    if (fault->call == CALL_THREAD && (error == EAGAIN || error == ENOMEM))
        it = true;
    it = it && !run->strict;
    run->noticed += it;
    return it || (run->peers_leave && (error == EPIPE || error == ECONNRESET));
}

void so_far(struct run *run)
{
    if (faulty_happened() && !run->strict && run->noticed == 0 && !faulty_may_pass(run->fault->call))
        fail_msg("a call failed, and nobody was told");
}

ior_id given(struct run *run, int answer, ior_id id)
{
    if (answer >= 0) {
        (void)probe_of(run->p, id);
        return id;
    }
    if (!explains(run, -answer))
        fail_msg("a request answered %s", ior_errname(answer));
    if (id != 0 || ior_count(run->cx) != before.count || (!run->threads && net_fd_count() != before.fds))
        fail_msg("a request answered %s and changed something", ior_errname(answer));
    return 0;
}

ior_id again(struct run *run, ior_id id)
{
    ior_id next = 0;
    if (!lives(run, id))
        return 0;
    run->p->keep = true;
    assert_int_equal(ior_unregister(run->cx, id), 0);
    while (res(run, id)->handover == 0)
        wait_on(run, __LINE__, "handed over");
    run->p->keep = false;
    struct ior_resource *handed = res(run, id)->handed;
    res(run, id)->handed = NULL;
    ask(run);
    int answer = ior_register(run->cx, handed, &next);
    next = given(run, answer, next);
    if (next == 0)
        ior_resource_free(handed);
    return next;
}

bool taken(struct run *run, int answer)
{
    if (answer < 0 && !explains(run, -answer) && (run->strict || answer != -EPIPE))
        fail_msg("a request answered %s", ior_errname(answer));
    return answer >= 0;
}

void wait_on(struct run *run, int line, const char *condition)
{
    if (run->waits_ns == 0)
        run->waits_ns = net_now();
    if (net_now() - run->waits_ns > PROBE_LIMIT_NS)
        fail_msg("line %d: not within the time limit: %s", line, condition);
    if (run->fault->all && net_now() - run->waits_ns > 30 * IOR_NS_PER_MS)
        live_alloc_fail(0, false);
    probe_step(run->p);
}

struct probe_res *res(struct run *run, ior_id id)
{
    static struct probe_res nobody;
    return id != 0 ? probe_of(run->p, id) : &nobody;
}

bool lives(struct run *run, ior_id id)
{
    return id != 0 && res(run, id)->end == 0;
}

static void on_event(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    struct run *run = p->arg;
    if (ev->type == IOR_EV_END && ev->end.why == IOR_ERROR && !explains(run, ev->end.error))
        fail_msg("an END with %s", ior_errname(ev->end.error));
    if (run->on_event != NULL)
        run->on_event(run, r, ev);
}

static void on_error(struct probe *p, ior_id id, int err)
{
    struct run *run = p->arg;
    (void)id;
    if (!explains(run, err) && err != run->fault->error) /* which need not change anything */
        fail_msg("the error callback got %s", ior_errname(err));
}

/* ---- what is the same on each engine ---- */

/*
 * What was told of each resource by now, in the order in which they were made: without how data was cut, and, since
 * several may ask for a signal, without who got it. Of those that go on only what came in: they have just been asked for
 * something.
 */
static char told[4096];

static void tell(const struct run *run)
{
    size_t len = 0;
    told[0] = '\0';
    for (size_t i = 0; i < run->p->n && len < sizeof(told) - 200; i++) {
        const struct probe_res *r = &run->p->res[i];
        len += (size_t)snprintf(told + len, sizeof(told) - len, "%zu: bytes %llu, eof %u", i,
                                (unsigned long long)r->bytes, r->eof);
        if (r->end > 0)
            len += (size_t)snprintf(told + len, sizeof(told) - len,
                                    ", registered %u, open %u, exited %u with %d, file %u, resolved %u, %s %s, "
                                    "written %llu, unsent %llu",
                                    r->registered, r->open, r->exited, r->exit.status, r->file, r->resolved,
                                    ior_why_name(r->why), ior_errname(r->error), (unsigned long long)r->written,
                                    (unsigned long long)r->unsent);
        told[len++] = '\n';
        told[len] = '\0';
    }
}

/* ---- one run ---- */

static char now[160]; /* the point that is played */

static void describe(const struct scene *scene, const struct fault *fault, bool frees)
{
    const char *error = fault->all ? "ALL" : fault->error == SHORT ? "SHORT" : ior_errname(fault->error);
    int len = snprintf(now, sizeof(now), "torture real %s", scene->name);
    if (fault->nth > 0)
        (void)snprintf(now + len, sizeof(now) - (size_t)len, " %s %u %s%s", faulty_name(fault->call), fault->nth, error,
                       frees ? " free" : "");
}

static void still_works(struct run *run)
{
    ior_timer_id timer;
    if (taken(run, ior_timer_set(run->cx, 0, NULL, &timer))) {
        unsigned fired = run->p->timers;
        probe_until(run->p, run->p->timers > fired);
    }
}

static void stop(struct run *run, const struct scene *scene)
{
    uint64_t end = net_now() + PROBE_LIMIT_NS;
    int alive;
    ior_stop(run->cx, 5 * IOR_NS_PER_SEC);
    if (scene->leave != NULL)
        scene->leave(run);
    do {
        alive = ior_runtime_turn(run->p->rt, 20 * IOR_NS_PER_MS);
    } while (alive == 1 && net_now() < end);
    if (alive != 0)
        fail_msg("the shutdown does not end: %d", alive);
}

/* Whether the fault happened. */
static bool play(const struct scene *scene, const struct fault *fault, bool frees, uint64_t *ret_allocs)
{
    struct ior_config config = probe_config();
    struct run run = {.fault = fault};
    sigset_t mask, left;
    assert_int_equal(now[0], 0); /* else an earlier one failed, and left who knows what */
    size_t fds = net_fd_count(), threads = net_threads_at_rest();
    describe(scene, fault, frees);
    run.strict = fault->nth == 0 || (fault->call != CALL_NONE && faulty_is_quiet(fault->call, fault->error)) ||
                 (scene->packets && fault->call == CALL_READ && fault->error == ENOMEM);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &mask);
    run.dir = net_temp_dir();
    config.os = faulty_os();
    live_alloc_start();
    run.p = probe_new(&config);
    run.cx = run.p->cx;
    run.p->arg = &run;
    run.p->on_event = on_event;
    run.p->on_error = on_error;
    faulty_begin(fault);
    live_alloc_fail(fault->call == CALL_NONE ? fault->nth : 0, fault->all);
    scene->play(&run);
    tell(&run);
    if (fault->all)
        live_alloc_fail(0, false);
    still_works(&run);
    if (!frees)
        stop(&run, scene);
    probe_free(run.p);
    if (frees && scene->leave != NULL)
        scene->leave(&run);
    if (scene->over != NULL)
        scene->over(&run);
    faulty_kill_spared();
    net_await_threads(threads);
    *ret_allocs = live_alloc_calls();
    bool happened = faulty_happened() || live_alloc_refused() > 0 || fault->all;
    live_alloc_stop();
    family_none_left();
    net_temp_dir_remove(run.dir);
    assert_int_equal(net_fd_count(), fds);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &left);
    for (int number = 1; number < NSIG; number++)
        assert_int_equal(sigismember(&left, number), sigismember(&mask, number));
    now[0] = '\0';
    return happened;
}

/* ---- all points of a scene ---- */

static struct {
    unsigned long points, played, missed;
} sum;

/* All of them are played with both ends, a sample takes turns. */
static void play_point(const struct scene *scene, const struct fault *fault)
{
    uint64_t allocs;
    unsigned long number = sum.points++ + options.offset;
    if (number % options.every != 0)
        return;
    for (unsigned long i = 0; i < (options.every == 1 ? 2u : 1u); i++) {
        sum.played++;
        sum.missed += !play(scene, fault, (number / options.every + i) % 2 == 1, &allocs);
    }
}

static void play_calls(const struct scene *scene, const unsigned *calls)
{
    for (enum call call = CALL_NONE + 1; call < CALLS; call++) {
        unsigned n = calls[call] < MOST_OF_A_CALL ? calls[call] : MOST_OF_A_CALL;
        for (unsigned i = 0; i < n; i++) {
            for (const int *error = faulty_errors(call); *error != 0; error++) {
                struct fault fault = {.call = call, .nth = 1 + i * calls[call] / n, .error = *error};
                if (!scene->packets || call != CALL_READ || *error != SHORT)
                    play_point(scene, &fault);
            }
        }
    }
}

/* On another engine, too: nothing that is told depends on it. */
static void play_without_faults(const struct scene *scene, uint64_t *ret_allocs)
{
    const struct fault none = {.error = 0};
    const char *engine = getenv("IOR_ENGINE");
    char own[16], expected[sizeof(told)];
    (void)snprintf(own, sizeof(own), "%s", engine != NULL ? engine : "");
    (void)setenv("IOR_ENGINE", "poll", 1);
    (void)play(scene, &none, true, ret_allocs);
    memcpy(expected, told, sizeof(told));
    (void)(engine != NULL ? setenv("IOR_ENGINE", own, 1) : unsetenv("IOR_ENGINE"));
    (void)play(scene, &none, false, ret_allocs);
    if (strcmp(told, expected) != 0)
        fail_msg("the engines differ; poll:\n%sand %s:\n%s", expected, own, told);
}

static void play_scene(void **state)
{
    const struct scene *scene = *state;
    unsigned calls[CALLS];
    uint64_t allocs;
    if (options.one.nth > 0) {
        printf("%s\n",
               play(scene, &options.one, options.frees, &allocs) ? "no promise is broken" : "it did not happen");
        return;
    }
    play_without_faults(scene, &allocs);
    for (enum call call = CALL_NONE; call < CALLS; call++)
        calls[call] = faulty_calls(call);
    memset(&sum, 0, sizeof(sum));
    play_calls(scene, calls);
    for (unsigned i = 1; i <= allocs; i++) {
        play_point(scene, &(const struct fault){.nth = i, .error = ENOMEM});
        play_point(scene, &(const struct fault){.nth = i, .error = ENOMEM, .all = true});
    }
    printf("%-10s %4lu of %4lu points, %lu of which did not happen\n", scene->name, sum.played, 2 * sum.points,
           sum.missed);
    assert_true(sum.missed <= 2 + sum.played / 2); /* threads and the kernel may make other calls each time */
}

static void tell_now(void)
{
    if (now[0] != '\0')
        printf("replay: IOR_ENGINE=%s %s./dev %s\n", getenv("IOR_ENGINE") != NULL ? getenv("IOR_ENGINE") : "",
               probe_os_is_plain() ? "IOR_PROCESSES=plain " : "", now);
    (void)fflush(stdout);
}

static int tell_point(void **state)
{
    (void)state;
    tell_now();
    return 0;
}

/* Where a sanitizer is linked in, it ends the program by itself. */
void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

/* ---- the command line ---- */

static void usage(void)
{
    fputs("usage: torture_real [--every K] [--offset O] [SCENE [CALL N ERRNO [free]]]\n", stderr);
    exit(2);
}

static void need_engine(void)
{
    static const struct ior_handler handler = {.struct_size = sizeof(handler)};
    struct ior_config config = probe_config();
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &handler, NULL, &rt);
    if (err < 0) {
        printf("skipped: no engine %s here: %s\n", config.engine != NULL ? config.engine : "at all", ior_errname(err));
        exit(77);
    }
    ior_runtime_free(rt);
}

static unsigned long number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text != '\0' && *end == '\0')
        return value;
    for (value = 5381; *text != '\0'; text++) /* a commit */
        value = value * 33 + (unsigned char)*text;
    return value % 1000000;
}

static void read_point(char **argv)
{
    enum call call = CALL_NONE;
    while (call < CALLS && strcmp(faulty_name(call), argv[0]) != 0)
        call++;
    options.one = (struct fault){.call = call, .nth = (unsigned)number(argv[1])};
    options.one.all = strcmp(argv[2], "ALL") == 0;
    options.one.error = strcmp(argv[2], "SHORT") == 0 ? SHORT : options.one.all ? ENOMEM : 0;
    for (int i = 1; i < 1024 && options.one.error == 0; i++)
        options.one.error = strcmp(ior_errname(i), argv[2]) == 0 ? i : 0;
    if (call == CALLS || options.one.nth == 0 || options.one.error == 0)
        usage();
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[32];
    size_t n = 0;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--every") == 0)
            options.every = number(argv[at + 1]);
        else if (strcmp(argv[at], "--offset") == 0)
            options.offset = number(argv[at + 1]);
        else
            usage();
    }
    options.scene = at < argc ? argv[at++] : NULL;
    if (at + 3 <= argc) {
        read_point(argv + at);
        at += 3;
        options.frees = at < argc && strcmp(argv[at], "free") == 0;
        at += options.frees;
    }
    if (at < argc || options.every == 0)
        usage();
    for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
        for (const struct scene *s = lists[l]; s->name != NULL && n < sizeof(tests) / sizeof(tests[0]); s++) {
            if (options.scene == NULL || strcmp(options.scene, s->name) == 0)
                tests[n++] = (struct CMUnitTest){.name = s->name,
                                                 .test_func = play_scene,
                                                 .teardown_func = tell_point,
                                                 .initial_state = (void *)(uintptr_t)s};
        }
    }
    if (n == 0)
        usage();
    (void)net_threads_at_rest(); /* before there are others */
    need_engine();
    family_need();
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(tell_now);
    return _cmocka_run_group_tests("torture, real", tests, n, NULL, NULL) != 0;
}
