/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays random programs on each real engine of this build and in each simulated shape, and compares what the service
 * was told. At the first difference the program and both lists are printed.
 *
 * Usage: differ [--programs N] [--seed S] [--from TEXT] [--verbose]
 *   --programs N  how many (default 2000)
 *   --seed S      plays the program S alone; with --verbose prints what was told in each world
 *   --from TEXT   seeds from this on; a text that is no number (a commit) gives one
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "differ.h"

static struct world blank[WORLDS];
static int worlds_n;

static void add_world(const char *name, const struct backend *backend, const struct ior_engine_ops *engine,
                      enum ior_sim_shape shape)
{
    if (worlds_n < WORLDS)
        blank[worlds_n++] = (struct world){.name = name,
                                           .backend = backend,
                                           .engine = engine,
                                           .shape = shape,
                                           .does_io = engine != NULL ? (engine->features & IOR_ENGINE_DOES_IO) != 0
                                                                     : shape == IOR_SIM_SHAPE_DONE};
}

/* Those that work here: a kernel may refuse an engine, a build may lack a shape. */
static void find_worlds(void)
{
    const struct ior_engine_ops *engine;
    for (unsigned i = 0; (engine = ior_engine_at(i)) != NULL; i++) {
        struct ior_config config = {.struct_size = sizeof(config), .engine_ops = engine};
        struct ior_runtime *rt = NULL;
        if (ior_runtime_new(&config, &differ_handler, &blank[0], &rt) == 0)
            add_world(engine->name, &backend_real, engine, IOR_SIM_SHAPE_READY);
        ior_runtime_free(rt);
    }
    for (int shape = 0; shape < 2; shape++) {
        struct ior_sim_config config = {.struct_size = sizeof(config), .shape = (enum ior_sim_shape)shape};
        struct ior_sim *sim;
        if (ior_sim_new(&config, &sim) < 0)
            continue;
        (void)ior_sim_free(sim);
        add_world(shape == 0 ? "sim, ready" : "sim, done", &backend_sim, NULL, (enum ior_sim_shape)shape);
    }
}

static void print_world(const struct world *w)
{
    char title[80];
    (void)snprintf(title, sizeof(title), "\n== %s, the service", w->name);
    lines_print(title, &w->lines);
    for (int i = 0; i < w->program->conns_n; i++) {
        (void)snprintf(title, sizeof(title), "== %s, %d", w->name, i);
        lines_print(title, &w->conns[i].lines);
    }
}

/* Plays one program everywhere. */
static bool differ(uint64_t seed, bool verbose)
{
    static struct world worlds[WORLDS];
    struct program program;
    bool good = true;
    program_make(&program, seed);
    if (verbose)
        program_print(&program);
    for (int i = 0; i < worlds_n; i++) {
        worlds[i] = blank[i];
        worlds[i].verbose = verbose;
        world_play(&worlds[i], &program);
        if (verbose)
            print_world(&worlds[i]);
        if (worlds[i].complaint[0] != '\0' && good) {
            if (!verbose)
                program_print(&program);
            print_world(&worlds[i]);
            printf("FAILED on %s: %s\n", worlds[i].name, worlds[i].complaint);
            good = false;
        }
        good = good && (i == 0 || worlds_equal(&worlds[0], &worlds[i]));
    }
    for (int i = 0; i < worlds_n; i++)
        world_free(&worlds[i]);
    if (!good)
        printf("replay: ./dev differ --seed %llu\n", (unsigned long long)seed);
    return good;
}

static uint64_t number(const char *text, bool any_text)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (*text != '\0' && *end == '\0' && errno == 0)
        return value;
    if (any_text)
        return ior_sim_sum(0, text, strlen(text)) >> 16;
    fputs("usage: differ [--programs N] [--seed S] [--from TEXT] [--verbose]\n", stderr);
    exit(2);
}

int main(int argc, char **argv)
{
    uint64_t programs = 2000, from = 1, played = 0;
    bool verbose = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "?";
        if (strcmp(argv[i], "--verbose") == 0) {
            verbose = true;
            continue;
        }
        if (strcmp(argv[i], "--programs") == 0) {
            programs = number(value, false);
        } else if (strcmp(argv[i], "--seed") == 0) {
            from = number(value, false);
            programs = 1;
        } else if (strcmp(argv[i], "--from") == 0) {
            from = number(value, true);
        } else {
            (void)number("", false);
        }
        i++;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* of the peers; the library fences its own */
    find_worlds();
    bool good = true;
    for (; good && played < programs; played++)
        good = differ(from + played, verbose);
    for (int i = 0; i < worlds_n; i++)
        printf("%s%s", i > 0 ? "; " : "", blank[i].name);
    printf(": %llu programs from %llu on, %s, but for %llu that may be\n", (unsigned long long)played,
           (unsigned long long)from, good ? "no difference" : "a difference", (unsigned long long)differences_used());
    return good ? 0 : 1;
}
