/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim_chat: the chat service in a simulated world, talked to by people who are made up by a seed.
 *
 * What it shows:
 *  - The service of chat, unmodified (chat/service.c), on virtual hosts, sockets and clocks.
 *  - A story: who says how much, and who does not read for a while, is chosen by the seed (ior_sim_choose); the faults
 *    are those that a kernel may bring at any time and that a service must not notice.
 *  - An oracle: the story keeps its own, much simpler account of what must come true. Here: each line that somebody
 *    says is heard by everybody else, or he is told how many were dropped; none comes twice, or out of order.
 *  - A failing seed, which fails again whenever it is run, here and on any other machine.
 *
 * With --bug the service has a mistake: what somebody said, and the service had read, is forgotten where the answers to
 * him are waiting to be read. It needs a slow reader who talks on: no test that somebody thought of had one.
 *
 *     sim_chat --seeds 1000              no seed fails
 *     sim_chat --bug                     prints the first seed that does, and how to see it again
 *     sim_chat --bug --seed 3 --trace    what happened, call by call
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ioreactor/sim.h>
#include "chat/service.h"
#include "program.h"

#define PEOPLE 4
#define ROUNDS 150
#define LINES_MOST 40
#define PADDING 150

/* Somebody, and what he knows. */
struct person {
    struct ior_sim_peer *peer;
    bool listens;
    uint64_t asked;        /* for help */
    uint64_t said;         /* lines */
    uint64_t heard;        /* lines of others, and answers */
    uint64_t dropped;      /* what the service says he missed of them */
    uint64_t last[PEOPLE]; /* the number of the last line of each of the others */
    size_t len;            /* of a line that is not whole yet */
    char line[4096];
};

struct story {
    struct ior_sim *sim;
    struct person people[PEOPLE];
    char failure[160]; /* the first thing that was wrong; "": nothing */
};

static void fail(struct story *story, const char *what, int who)
{
    if (!story->failure[0])
        snprintf(story->failure, sizeof(story->failure), "%s (guest%d)", what, who + 1);
}

/* ---- the oracle ---- */

static void hear_line(struct story *story, int who, const char *line)
{
    struct person *person = &story->people[who];
    unsigned speaker;
    uint64_t number, dropped;

    if (sscanf(line, "guest%u: %" SCNu64, &speaker, &number) == 2 && speaker >= 1 && speaker <= PEOPLE) {
        if (number <= person->last[speaker - 1])
            fail(story, "a line came twice, or out of order", who);
        person->last[speaker - 1] = number;
        person->heard++;
    } else if (sscanf(line, "* %" SCNu64 " messages were dropped", &dropped) == 1) {
        person->dropped += dropped;
    } else if (strncmp(line, "* /quit", 7) == 0) {
        person->heard++; /* the last line of the help */
    } else if (line[0] != '*') {
        fail(story, "nobody said this", who);
    }
}

/* Takes what has come. */
static void hear(struct story *story, int who)
{
    struct person *person = &story->people[who];
    char bytes[4096];
    ssize_t n;

    while ((n = ior_sim_hear(person->peer, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (bytes[i] != '\n' && person->len < sizeof(person->line) - 1) {
                person->line[person->len++] = bytes[i];
                continue;
            }
            person->line[person->len] = '\0';
            person->len = 0;
            hear_line(story, who, person->line);
        }
    }
    if (n != -EAGAIN)
        fail(story, "the connection ended", who);
}

/* In the end everybody has heard, or heard of, all that the others said. */
static void settle_accounts(struct story *story)
{
    uint64_t said = 0;
    for (int i = 0; i < PEOPLE; i++)
        said += story->people[i].said;
    for (int i = 0; i < PEOPLE; i++) {
        const struct person *person = &story->people[i];
        if (person->heard + person->dropped != said - person->said + person->asked)
            fail(story, "something is missing, and nobody said so", i);
    }
}

/* ---- the story ---- */

static void say_something(struct story *story, int who)
{
    struct person *person = &story->people[who];
    char line[PADDING + 64];
    uint64_t lines = 1 + ior_sim_choose(story->sim, LINES_MOST);

    for (; lines > 0; lines--) {
        int padding = (int)ior_sim_choose(story->sim, PADDING);
        int len = snprintf(line, sizeof(line), "%" PRIu64 " %*s\n", ++person->said, padding, ".");
        ior_sim_say(person->peer, line, (size_t)len);
    }
}

static void ask_for_help(struct story *story, int who)
{
    for (uint64_t times = ior_sim_choose(story->sim, 50); times > 0; times--, story->people[who].asked++)
        ior_sim_say(story->people[who].peer, "/help\n", 6);
}

/* Everybody takes what has come; false: nothing had, and nothing is to come. */
static bool hear_all(struct story *story)
{
    bool more = false;
    ior_sim_settle(story->sim);
    for (int i = 0; i < PEOPLE && !story->failure[0]; i++) {
        struct ior_sim_peer_info info;
        ior_sim_peer_info(story->people[i].peer, &info);
        more = more || info.ready > 0 || info.unsaid > 0;
        hear(story, i);
    }
    return more && !story->failure[0];
}

static void tell_story(struct story *story, int host)
{
    for (int i = 0; i < PEOPLE; i++) {
        story->people[i].peer = ior_sim_dial(story->sim, host, "10.0.0.1:7001");
        story->people[i].listens = true;
        ior_sim_settle(story->sim); /* guest1, guest2 ... in this order */
    }
    hear_all(story);
    for (int round = 0; round < ROUNDS && !story->failure[0]; round++) {
        int who = (int)ior_sim_choose(story->sim, PEOPLE);
        struct person *person = &story->people[who];
        uint64_t act = ior_sim_choose(story->sim, 10);
        if (act == 0)
            person->listens = !person->listens;
        else if (act == 1)
            ask_for_help(story, who);
        else
            say_something(story, who);
        ior_sim_run_for(story->sim, ior_sim_choose(story->sim, 3) * IOR_NS_PER_MS);
        for (int i = 0; i < PEOPLE; i++) {
            if (story->people[i].listens)
                hear(story, i);
        }
    }
    while (hear_all(story)) {
    }
    settle_accounts(story);
}

static void print_line(void *arg, const char *line)
{
    (void)arg;
    puts(line);
}

static void on_violation(void *arg, enum ior_sim_violation what, const char *text)
{
    struct story *story = arg;
    if (!story->failure[0])
        snprintf(story->failure, sizeof(story->failure), "%s: %s", ior_sim_violation_name(what), text);
}

/* Runs one seed. False: something is wrong; story->failure says what. */
static bool run(struct story *story, uint64_t seed, bool bug, bool trace, uint64_t *ret_sum)
{
    struct ior_sim_config world = {
        .struct_size = sizeof(world),
        .seed = seed,
        .shape = seed % 2 ? IOR_SIM_SHAPE_DONE : IOR_SIM_SHAPE_READY,
        .rates = {.short_read = 5, .short_write = 5, .again = 10, .interrupted = 10, .delayed = 10, .reordered = 5},
        .link = {.jitter_ns = IOR_NS_PER_MS, .buffer_bytes = 4096},
        .trace = trace ? print_line : NULL,
        .violation = on_violation,
        .violation_arg = story,
    };
    struct chat chat = {.bug = bug};
    struct ior_config config = {.struct_size = sizeof(config), .read_bytes = CHAT_READ_BYTES};
    struct ior_listen_options opts;
    struct ior_runtime *rt;
    struct ior_addr addr;
    ior_id id;

    memset(story, 0, sizeof(*story));
    if (ior_sim_new(&world, &story->sim) < 0)
        return false;
    int server = ior_sim_host(story->sim, "server"), people = ior_sim_host(story->sim, "people");
    if (ior_sim_runtime_new(story->sim, server, &config, &chat_handler, &chat, &rt) < 0)
        return false;
    chat.cx = ior_runtime_context(rt);
    chat_listen_options(&opts);
    addr = ior_sim_host_addr(story->sim, server, false, 7001);
    if (ior_listen(chat.cx, &addr, &opts, &id) < 0)
        fail(story, "the service does not listen", 0);
    else
        tell_story(story, people);
    ior_runtime_free(rt);
    *ret_sum = ior_sim_hash(story->sim);
    ior_sim_free(story->sim);
    return !story->failure[0];
}

int main(int argc, char **argv)
{
    uint64_t seed = UINT64_MAX, seeds = 100;
    bool bug = false, trace = false;
    const struct program_option options[] = {
        {"--seeds", "N", "how many seeds to run, from 1 on", PROGRAM_NUMBER, &seeds, 1, UINT64_MAX - 1},
        {"--seed", "S", "run this one alone", PROGRAM_NUMBER, &seed, 0, UINT64_MAX},
        {"--bug", NULL, "plant a mistake in the service", PROGRAM_FLAG, &bug, 0, 0},
        {"--trace", NULL, "print all that happens", PROGRAM_FLAG, &trace, 0, 0},
        {NULL, NULL, NULL, PROGRAM_FLAG, NULL, 0, 0},
    };
    struct program program = {.name = "sim_chat",
                              .summary = "The chat service in a simulated world (which has engines of its own).",
                              .options = options};
    program_init(&program, argc, argv);

    struct story *story = calloc(1, sizeof(*story));
    if (!story)
        return program_fail(&program, "cannot begin", -ENOMEM);
    bool one = seed != UINT64_MAX;
    uint64_t first = one ? seed : 1, last = one ? seed : seeds, sum = 0;
    int status = 0;
    for (uint64_t at = first; at <= last && status == 0; at++) {
        if (!run(story, at, bug, trace, &sum)) {
            printf("seed %" PRIu64 " failed: %s\nsee it again: sim_chat%s --seed %" PRIu64 " --trace\n", at,
                   story->failure, bug ? " --bug" : "", at);
            status = PROGRAM_EXIT_FAILURE;
        }
    }
    if (one)
        printf("seed %" PRIu64 ": the sum of the trace is %016" PRIx64 "\n", seed, sum);
    else if (status == 0)
        printf("%" PRIu64 " seeds passed\n", seeds);
    free(story);
    return status;
}
