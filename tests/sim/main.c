/* SPDX-License-Identifier: Apache-2.0 */
/*
 * story: plays random stories in the simulated world, each from its seed, in as many processes as are asked for. A
 * story that fails is told with the promise it broke and the command that plays it again.
 */
#include "story.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 100 /* a story that takes longer hangs */
#define TWICE_EACH 32  /* so many stories, one of them is played twice */

/* What parent and children share. */
struct shared_state {
    uint64_t seed[64], done[64], sum[64];
};
static struct shared_state *state;

/* ---- playing ---- */

static uint64_t play_seed(struct story *s, const struct options *options, uint64_t seed)
{
    struct choices choices = {.random = seed * UINT64_C(0xd1342543de82ef95) + 1};
    return story_play(s, options, seed, &choices);
}

int play(const struct options *options, uint64_t seed, const uint32_t *list, size_t n, struct choices *keep)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!options->verbose && !freopen("/dev/null", "w", stdout))
            _exit(1);
        alarm(options->patience);
        struct choices local = {.random = seed * UINT64_C(0xd1342543de82ef95) + 1, .list = list, .list_n = n};
        struct choices *choices = keep ? keep : &local;
        if (keep)
            keep->random = local.random;
        else
            local.plain = true;
        struct story *s = malloc(sizeof(*s));
        if (s)
            story_play(s, options, seed, choices);
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -1;
    if (WIFSIGNALED(status))
        return -1;
    return WEXITSTATUS(status) > 100 ? WEXITSTATUS(status) - 100 : WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* The seeds of a file, one a line, before all others. */
static void play_also(struct story *s, const struct options *options, int job)
{
    char line[256];
    FILE *file = options->also ? fopen(options->also, "r") : NULL;
    if (options->also && !file) {
        fprintf(stderr, "story: %s: %s\n", options->also, strerror(errno));
        _exit(1);
    }
    while (file && job == 0 && fgets(line, sizeof(line), file)) {
        if (line[0] >= '0' && line[0] <= '9') {
            state->seed[job] = strtoull(line, NULL, 10);
            (void)play_seed(s, options, state->seed[job]);
        }
    }
    if (file)
        fclose(file);
}

static void play_part(const struct options *options, int job)
{
    struct story *s = malloc(sizeof(*s));
    if (!s)
        _exit(1);
    alarm(options->patience);
    play_also(s, options, job);
    for (uint64_t i = (uint64_t)job; i < options->seeds; i += (uint64_t)options->jobs) {
        uint64_t seed = options->first + i;
        state->seed[job] = seed;
        if (state->done[job] % 64 == 0)
            alarm(options->patience);
        uint64_t hash = play_seed(s, options, seed);
        if (seed % TWICE_EACH == 0 && play_seed(s, options, seed) != hash)
            wrong(s, 15, "played twice, and it was not the same");
        state->done[job]++;
        state->sum[job] += hash;
    }
    free(s);
    fflush(stdout);
    _exit(0);
}

static double seconds(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* All seeds, in processes of their own. 0: all went well. */
static int play_all(const struct options *options)
{
    pid_t children[64];
    double began = seconds();
    int failed = 0;
    fflush(stdout);
    for (int job = 0; job < options->jobs; job++) {
        children[job] = fork();
        if (children[job] == 0)
            play_part(options, job);
    }
    for (int left = options->jobs; left > 0; left--) {
        int status = 0;
        pid_t pid = wait(&status);
        for (int job = 0; job < options->jobs; job++) {
            if (children[job] != pid)
                continue;
            children[job] = -1;
            if (WIFSIGNALED(status) && !failed)
                printf("FAILED %s (signal %d)\n    seed %llu; again: ./dev sim --seed %llu --verbose\n",
                       WTERMSIG(status) == SIGALRM ? "it hangs" : "it crashed", WTERMSIG(status),
                       (unsigned long long)state->seed[job], (unsigned long long)state->seed[job]);
        }
        if (status != 0 && !failed) {
            failed = 1;
            for (int job = 0; job < options->jobs; job++) {
                if (children[job] > 0)
                    kill(children[job], SIGTERM);
            }
        }
    }
    uint64_t done = 0, sum = 0;
    for (int job = 0; job < options->jobs; job++) {
        done += state->done[job];
        sum += state->sum[job]; /* the same for the same stories, on every machine */
    }
    double took = seconds() - began;
    printf("%llu stories from seed %llu on in %.1f s, %.0f a second", (unsigned long long)done,
           (unsigned long long)options->first, took, (double)done / (took > 0 ? took : 1));
    if (failed)
        puts("");
    else
        printf(": all well, sum %016llx\n", (unsigned long long)sum);
    return failed;
}

/* ---- options ---- */

static int usage(void)
{
    fputs(
        "usage: story [--seeds N] [--first F] [--also FILE] [--sums FILE] [--shape ready|done] [--jobs J] [--patience S]\n"
        "       story --seed S [--verbose] [--shrink] [--shape ready|done]\n",
        stderr);
    return 2;
}

static bool number(const char *text, uint64_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long value = text ? strtoull(text, &end, 10) : 0;
    if (!text || errno || *text < '0' || *text > '9' || *end)
        return false;
    *ret = value;
    return true;
}

static bool read_options(int argc, char **argv, struct options *options)
{
    uint64_t jobs = 1, patience;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(name, "--verbose") == 0) {
            options->verbose = true;
            continue;
        }
        if (strcmp(name, "--shrink") == 0) {
            options->shrink = true;
            continue;
        }
        i++;
        if (strcmp(name, "--seeds") == 0 && number(value, &options->seeds))
            continue;
        if (strcmp(name, "--sums") == 0 && value) {
            options->sums = value;
            continue;
        }
        if (strcmp(name, "--also") == 0 && value) {
            options->also = value;
            continue;
        }
        if (strcmp(name, "--first") == 0 && number(value, &options->first))
            continue;
        if (strcmp(name, "--seed") == 0 && number(value, &options->seed)) {
            options->one = true;
            continue;
        }
        if (strcmp(name, "--jobs") == 0 && number(value, &jobs) && jobs >= 1 && jobs <= 64)
            continue;
        if (strcmp(name, "--patience") == 0 && number(value, &patience) && patience >= 1 && patience <= 3600) {
            options->patience = (unsigned)patience;
            continue;
        }
        if (strcmp(name, "--shape") == 0 && value && (strcmp(value, "ready") == 0 || strcmp(value, "done") == 0)) {
            options->shape = strcmp(value, "done") == 0;
            continue;
        }
        return false;
    }
    options->jobs = (int)jobs;
    return options->one || !options->shrink;
}

/* Plays the seeds, and writes the sum of each trace: whatever built it, and wherever it runs, the file is the same. */
static int write_sums(const struct options *options)
{
    struct story *s = malloc(sizeof(*s));
    FILE *file = s ? fopen(options->sums, "w") : NULL;
    if (!file) {
        fprintf(stderr, "story: %s: %s\n", options->sums, strerror(errno));
        return 1;
    }
    for (uint64_t i = 0; i < options->seeds; i++) {
        uint64_t hash = play_seed(s, options, options->first + i);
        fprintf(file, "%llu %016llx\n", (unsigned long long)(options->first + i), (unsigned long long)hash);
    }
    free(s);
    return fclose(file) == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options options = {.first = 1, .seeds = 1000, .shape = -1, .patience = PATIENCE_S};
    if (!read_options(argc, argv, &options))
        return usage();
    bytes_init();
    memory_init();
    state = mmap(NULL, sizeof(*state), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (state == MAP_FAILED)
        return 1;
    if (options.shrink)
        return shrink(&options);
    if (options.sums)
        return write_sums(&options);
    if (!options.one)
        return play_all(&options);
    options.verbose = true;
    struct story *s = malloc(sizeof(*s));
    if (!s)
        return 1;
    uint64_t hash = play_seed(s, &options, options.seed);
    printf("seed %llu: well, %016llx\n", (unsigned long long)options.seed, (unsigned long long)hash);
    free(s);
    return 0;
}
