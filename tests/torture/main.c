/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays each scenario once without a fault, which tells what calls and allocations there are and how each can fail, and
 * then once for each of these points, at most 2,000 of a scenario in each kind of world, evenly spaced. A point
 * that fails prints the command that plays it alone. Crashes and endless loops print it too.
 *
 * Usage: torture [OPTIONS] [SCENARIO...]
 *   --list              names the scenarios
 *   --shape ready|done  one shape of engine (default: all there are)
 *   --way plain|narrow|tight  one kind of world (default: all): narrow links hold little and jitter, tight budgets
 *                       let a turn do next to nothing
 *   --call I --errno E  plays one point: call I fails with E (a name as EINTR, SHORT, or a number)
 *   --alloc I [--all]   plays one point: allocation I fails (and all after it)
 *   --trace             prints what happens in the world (with one point, or without a fault where none is given)
 *   --every K           only each K-th point
 *   --offset O          ... from this one on; a text that is no number (a commit) gives one
 *   --seed S            of the order in which the world does things; default 1
 *   --at-least N        fails where fewer points were played
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "torture.h"
#include "alloc.h"

enum { MOST_POINTS = 2000, MOST_FAILURES = 400, LIMIT_S = 300 };

static const struct scenario *const lists[] = {torture_accept,   torture_connect, torture_output,    torture_files,
                                               torture_input,    torture_ends,    torture_handover,  torture_time,
                                               torture_commands, torture_kinds,   torture_datagrams, torture_names};
static const char *const shapes[] = {"ready", "done"};
static const char *const ways[] = {"plain", "narrow", "tight"};

static struct {
    uint64_t seed, every, offset, at_least;
    bool trace;
    bool shape[2], way[WAYS];
    struct fault one; /* kind FAULT_NONE: all */
} options = {.seed = 1, .every = 1, .shape = {true, true}, .way = {true, true, true}};

/* What the first run of a scenario found. */
static struct {
    struct ior_sim_call_info *calls;
    uint64_t calls_n, room;
    uint64_t allocs;
    struct fault *points;
    uint64_t points_n, points_room;
} found;

static uint64_t played, failed;
bool torture_prints_trace;

enum ior_sim_call torture_call_of(uint64_t index)
{
    return index < found.calls_n ? found.calls[index].call : IOR_SIM_ANY;
}

/* ---- the point that is played now, for whoever has to tell it ---- */

static char now[256];

static void describe(const struct scenario *scenario, unsigned shape, unsigned way, const struct fault *fault)
{
    char point[96] = "--trace", error[24], seed[40] = "";
    (void)snprintf(error, sizeof(error), "%s", fault->error == IOR_SIM_SHORT ? "SHORT" : ior_errname(fault->error));
    if (strcmp(error, "E?") == 0)
        (void)snprintf(error, sizeof(error), "%d", fault->error);
    if (fault->kind == FAULT_CALL)
        (void)snprintf(point, sizeof(point), "--call %llu --errno %s", (unsigned long long)fault->index, error);
    else if (fault->kind != FAULT_NONE)
        (void)snprintf(point, sizeof(point), "--alloc %llu%s", (unsigned long long)fault->index,
                       fault->kind == FAULT_ALLOC_ALL ? " --all" : "");
    if (options.seed != 1)
        (void)snprintf(seed, sizeof(seed), " --seed %llu", (unsigned long long)options.seed);
    (void)snprintf(now, sizeof(now), "./dev torture %s --shape %s --way %s %s%s", scenario->name, shapes[shape],
                   ways[way], point, seed);
}

static void say(const char *text)
{
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        _exit(1);
}

static void tell_now(void)
{
    say("replay: ");
    say(now);
    say("\n");
}

static void on_signal(int number)
{
    say(number == SIGALRM ? "FAILED: does not end\n" : "FAILED: a crash\n");
    tell_now();
    (void)signal(number, SIG_DFL);
    (void)raise(number == SIGALRM ? SIGKILL : number);
}

/* Where a sanitizer is linked in, it ends the program by itself. */
void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));

static void watch_out(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(tell_now);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        if (__sanitizer_set_death_callback == NULL || signals[i] == SIGABRT)
            (void)signal(signals[i], on_signal);
    (void)signal(SIGALRM, on_signal);
}

/* ---- the first run ---- */

static void *grown(void *old, uint64_t n, uint64_t *room, size_t size)
{
    if (n < *room)
        return old;
    *room = *room * 2 + 256;
    void *block = realloc(old, (size_t)*room * size);
    if (block == NULL)
        abort();
    return block;
}

static void add_point(enum fault_kind kind, uint64_t index, int error)
{
    found.points = grown(found.points, found.points_n, &found.points_room, sizeof(*found.points));
    found.points[found.points_n++] = (struct fault){.kind = kind, .index = index, .error = error};
}

static void find_points(struct run *run)
{
    found.calls_n = found.points_n = 0;
    found.allocs = alloc_calls();
    for (uint64_t i = 0; i < ior_sim_calls(run->sim); i++) {
        found.calls = grown(found.calls, i, &found.room, sizeof(*found.calls));
        if (ior_sim_call_at(run->sim, i, &found.calls[i]) < 0)
            abort();
        found.calls_n = i + 1;
        for (int e = 0; e < found.calls[i].n_errors; e++)
            add_point(FAULT_CALL, i, found.calls[i].errors[e]);
    }
    for (uint64_t i = 0; i < found.allocs; i++) {
        add_point(FAULT_ALLOC, i, 0);
        add_point(FAULT_ALLOC_ALL, i, 0);
    }
}

/* ---- runs ---- */

static bool play(const struct scenario *scenario, unsigned shape, unsigned way, const struct fault *fault,
                 bool counting)
{
    static struct run run;
    describe(scenario, shape, way, fault);
    (void)alarm(LIMIT_S);
    run_begin(&run, (enum ior_sim_shape)shape, (enum way)way, options.seed, fault, counting);
    scenario->play(&run);
    run_over(&run);
    bool happened =
        fault->kind == FAULT_NONE || (fault->kind == FAULT_CALL && ior_sim_faults(run.sim) > 0) || alloc_refused() > 0;
    if (counting)
        find_points(&run);
    run_end(&run);
    (void)alarm(0);
    if (!happened)
        complain(&run, "the fault did not happen: the run is not the same as the first");
    if (run.complaint[0] == '\0')
        return true;
    failed++;
    printf("FAILED: %s: %s\n  replay: %s\n", scenario->name, run.complaint, now);
    return false;
}

static void play_points(const struct scenario *scenario, unsigned shape, unsigned way)
{
    uint64_t most = found.points_n < MOST_POINTS ? found.points_n : MOST_POINTS, mine = 0;
    for (uint64_t i = 0; i < most && failed < MOST_FAILURES; i++) {
        if ((i + options.offset) % options.every != 0)
            continue;
        (void)play(scenario, shape, way, &found.points[i * found.points_n / most], false);
        mine++;
    }
    played += mine;
    printf("%-16s %-5s  %-6s  %6llu calls  %5llu allocations  %6llu of %llu points\n", scenario->name, shapes[shape],
           ways[way], (unsigned long long)found.calls_n, (unsigned long long)found.allocs, (unsigned long long)mine,
           (unsigned long long)found.points_n);
    (void)fflush(stdout);
}

static void torture(const struct scenario *scenario, unsigned shape, unsigned way)
{
    const struct fault none = {.kind = FAULT_NONE};
    torture_prints_trace = options.trace && options.one.kind == FAULT_NONE;
    bool good = play(scenario, shape, way, &none, true);
    torture_prints_trace = options.trace;
    if (options.one.kind != FAULT_NONE) {
        played++;
        if (play(scenario, shape, way, &options.one, false))
            printf("%s: no promise is broken\n", now);
    } else if (good && !options.trace) {
        play_points(scenario, shape, way);
    }
}

/* ---- the command line ---- */

static void usage(void)
{
    fputs(
        "usage: torture [--list] [--shape ready|done] [--way plain|narrow|tight] [--call I --errno E | --alloc I [--all]] [--trace]\n"
        "               [--every K] [--offset O] [--seed S] [--at-least N] [SCENARIO...]\n",
        stderr);
    exit(2);
}

static uint64_t number(const char *text, bool any_text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (*text != '\0' && *end == '\0' && errno == 0)
        return value;
    if (!any_text)
        usage();
    return ior_sim_sum(0, text, strlen(text)) >> 1;
}

static int error_number(const char *text)
{
    if (strcmp(text, "SHORT") == 0)
        return IOR_SIM_SHORT;
    for (int i = 1; i < 1024; i++)
        if (strcmp(ior_errname(i), text) == 0)
            return i;
    return (int)number(text, false);
}

static void list(void)
{
    for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++)
        for (const struct scenario *s = lists[l]; s->name != NULL; s++)
            puts(s->name);
    exit(0);
}

/* Of all names only this one. */
static void choose(bool *chosen, const char *const *names, unsigned n, const char *name)
{
    bool known = false;
    for (unsigned i = 0; i < n; i++) {
        chosen[i] = strcmp(name, names[i]) == 0;
        known = known || chosen[i];
    }
    if (!known)
        usage();
}

/* Reads an option at argv[i]; answers how many words it was, 0: none. */
static int read_option(int argc, char **argv, int i)
{
    const char *value = i + 1 < argc ? argv[i + 1] : NULL;
    if (strcmp(argv[i], "--list") == 0)
        list();
    if (strcmp(argv[i], "--trace") == 0)
        return options.trace = true;
    if (strcmp(argv[i], "--all") == 0) {
        options.one.kind = FAULT_ALLOC_ALL;
        return 1;
    }
    if (strncmp(argv[i], "--", 2) != 0)
        return 0;
    if (value == NULL)
        usage();
    if (strcmp(argv[i], "--shape") == 0) {
        choose(options.shape, shapes, 2, value);
    } else if (strcmp(argv[i], "--way") == 0) {
        choose(options.way, ways, WAYS, value);
    } else if (strcmp(argv[i], "--call") == 0) {
        options.one.kind = FAULT_CALL;
        options.one.index = number(value, false);
    } else if (strcmp(argv[i], "--errno") == 0) {
        options.one.error = error_number(value);
    } else if (strcmp(argv[i], "--alloc") == 0) {
        options.one.kind = options.one.kind == FAULT_ALLOC_ALL ? FAULT_ALLOC_ALL : FAULT_ALLOC;
        options.one.index = number(value, false);
    } else if (strcmp(argv[i], "--every") == 0) {
        options.every = number(value, false);
    } else if (strcmp(argv[i], "--offset") == 0) {
        options.offset = number(value, true);
    } else if (strcmp(argv[i], "--seed") == 0) {
        options.seed = number(value, false);
    } else if (strcmp(argv[i], "--at-least") == 0) {
        options.at_least = number(value, false);
    } else {
        usage();
    }
    return 2;
}

static bool has_shape(unsigned shape)
{
    struct ior_sim_config config = {.struct_size = sizeof(config), .shape = (enum ior_sim_shape)shape};
    struct ior_sim *sim;
    if (!options.shape[shape] || ior_sim_new(&config, &sim) < 0)
        return false;
    (void)ior_sim_free(sim);
    return true;
}

int main(int argc, char **argv)
{
    const char **names = calloc((size_t)argc + 1, sizeof(*names));
    int names_n = 0;
    uint64_t chosen = 0;
    if (names == NULL)
        abort();
    for (int i = 1, n; i < argc; i += n) {
        n = read_option(argc, argv, i);
        if (n == 0) {
            names[names_n++] = argv[i];
            n = 1;
        }
    }
    if (options.every == 0 || (options.one.kind == FAULT_CALL) != (options.one.error != 0))
        usage();
    watch_out();
    for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
        for (const struct scenario *s = lists[l]; s->name != NULL; s++) {
            bool wanted = names_n == 0;
            for (int i = 0; i < names_n; i++)
                wanted = wanted || strcmp(names[i], s->name) == 0;
            chosen += wanted;
            for (unsigned i = 0; wanted && i < 2 * WAYS; i++)
                if (options.way[i % WAYS] && has_shape(i / WAYS))
                    torture(s, i / WAYS, i % WAYS);
        }
    }
    free(names);
    free(found.calls);
    free(found.points);
    if (chosen == 0)
        usage();
    printf("%llu scenarios, %llu fault points, %llu failures\n", (unsigned long long)chosen, (unsigned long long)played,
           (unsigned long long)failed);
    if (played < options.at_least)
        printf("FAILED: fewer points than %llu\n", (unsigned long long)options.at_least);
    return failed > 0 || played < options.at_least;
}
