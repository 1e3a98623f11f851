/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service of the proxy example in the simulated world. Clients and servers are plain peers that talk, listen slowly,
 * finish, reset and vanish by the seed. The oracle knows what each of them said: the other one hears an exact prefix of
 * it; all of it, and the end, where both ended in order; and a reset where the other was reset.
 */
#include "support/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <ioreactor/sim.h>

#include "../examples/proxy/service.c"

#define MS IOR_NS_PER_MS
#define PAIRS 5
#define SIDES 2 /* 0: the client, 1: the server */
#define BUFFER_BYTES 16384u

struct end {
    struct ior_sim_peer *peer;
    uint64_t said, heard;
    bool finished, was_reset, listens;
};

struct pair {
    struct end ends[SIDES];
};

struct story {
    struct ior_sim *sim;
    struct proxy proxy;
    struct ior_runtime *rt;
    struct ior_sim_peer *upstream;
    struct pair pairs[PAIRS];
    int hosts[3]; /* clients, the proxy, servers */
    bool exact;   /* no fault ends a connection */
    unsigned failures;
    char failure[200];
};

static void fail_story(struct story *s, const char *what, int pair, int side)
{
    if (s->failures++ == 0)
        snprintf(s->failure, sizeof(s->failure), "%s (pair %d, %s)", what, pair, side == 0 ? "client" : "server");
}

static void on_violation(void *arg, enum ior_sim_violation what, const char *text)
{
    struct story *s = arg;
    if (s->failures++ == 0)
        snprintf(s->failure, sizeof(s->failure), "%s: %s", ior_sim_violation_name(what), text);
}

/* What a side says: the first byte of a client is its number, the rest tells bytes that are lost, doubled or swapped. */
static unsigned char byte_of(int pair, int side, uint64_t at)
{
    if (side == 0 && at == 0)
        return (unsigned char)pair;
    return (unsigned char)((at * 167 + (at >> 8) * 59) ^ (unsigned)(pair * 2 + side));
}

static void say(struct story *s, int pair, int side, uint64_t len)
{
    struct end *end = &s->pairs[pair].ends[side];
    unsigned char bytes[4096];
    while (len > 0 && end->peer && !end->finished && !end->was_reset) {
        size_t n = len < sizeof(bytes) ? (size_t)len : sizeof(bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = byte_of(pair, side, end->said + i);
        if (ior_sim_say(end->peer, bytes, n) < 0)
            return;
        end->said += n;
        len -= n;
    }
}

static void hear(struct story *s, int pair, int side)
{
    struct end *end = &s->pairs[pair].ends[side];
    unsigned char bytes[4096];
    ssize_t n;
    while (end->peer && (n = ior_sim_hear(end->peer, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (bytes[i] != byte_of(pair, 1 - side, end->heard + (uint64_t)i))
                fail_story(s, "another byte was heard than was said", pair, side);
        }
        end->heard += (uint64_t)n;
        if (end->heard > s->pairs[pair].ends[1 - side].said)
            fail_story(s, "more was heard than was said", pair, side);
    }
}

/* Servers learn by the first byte whose they are. */
static void pick_up(struct story *s)
{
    static struct ior_sim_peer *unknown[64];
    static int n;
    struct ior_sim_peer *peer;
    if (!s) {
        n = 0;
        return;
    }
    while (n < 64 && (peer = ior_sim_pick_up(s->upstream)) != NULL)
        unknown[n++] = peer;
    for (int i = 0; i < n; i++) {
        unsigned char number;
        if (!unknown[i] || ior_sim_hear(unknown[i], &number, 1) != 1)
            continue;
        if (number >= PAIRS || s->pairs[number].ends[1].peer) {
            fail_story(s, "a connection of nobody, or a second one", number, 1);
        } else {
            s->pairs[number].ends[1].peer = unknown[i];
            s->pairs[number].ends[1].heard = 1;
        }
        unknown[i] = NULL;
    }
}

static void hear_all(struct story *s, bool all)
{
    pick_up(s);
    for (int pair = 0; pair < PAIRS; pair++) {
        for (int side = 0; side < SIDES; side++) {
            if (all || s->pairs[pair].ends[side].listens)
                hear(s, pair, side);
        }
    }
}

static void act(struct story *s)
{
    int pair = (int)ior_sim_choose(s->sim, PAIRS), side = (int)ior_sim_choose(s->sim, SIDES);
    struct end *end = &s->pairs[pair].ends[side];
    if (!end->peer)
        return;
    switch (ior_sim_choose(s->sim, 12)) {
    case 0:
        end->listens = !end->listens;
        break;
    case 1:
        ior_sim_finish(end->peer);
        end->finished = true;
        break;
    case 2:
        if (ior_sim_choose(s->sim, 6) == 0) {
            ior_sim_reset(end->peer);
            end->was_reset = true;
        }
        break;
    default:
        say(s, pair, side, ior_sim_choose(s->sim, 4) == 0 ? 100000 : 1 + ior_sim_choose(s->sim, 3000));
        break;
    }
}

/* The bytes that the proxy holds, at most: for each side the mark and one read more. */
static void check_memory(struct story *s)
{
    struct ior_stats stats = {.struct_size = sizeof(stats)};
    assert_int_equal(ior_runtime_stats(s->rt, &stats), 0);
    if (stats.output_bytes > (uint64_t)PAIRS * SIDES * (BUFFER_BYTES + 8192 + 4096))
        fail_story(s, "the proxy holds more than it may", 0, 0);
}

static void settle_accounts(struct story *s)
{
    for (int pair = 0; pair < PAIRS; pair++) {
        const struct pair *p = &s->pairs[pair];
        bool was_reset = p->ends[0].was_reset || p->ends[1].was_reset;
        for (int side = 0; side < SIDES; side++) {
            const struct end *end = &p->ends[side], *other = &p->ends[1 - side];
            struct ior_sim_peer_info info;
            if (!end->peer || end->was_reset) {
                if (!end->peer && s->exact && !was_reset)
                    fail_story(s, "nobody was called", pair, side);
                continue;
            }
            ior_sim_peer_info(end->peer, &info);
            /* Behind an end of input a reset is EPIPE. */
            if (was_reset && info.error != ECONNRESET && info.error != EPIPE &&
                !(info.error == 0 && info.eof && end->finished))
                fail_story(s, "a reset was not passed on", pair, side);
            if (s->exact && !was_reset && (end->heard != other->said || !info.eof || info.error != 0))
                fail_story(s, "something was not heard, or the end of it", pair, side);
        }
    }
}

static void finish_all(struct story *s)
{
    for (int pair = 0; pair < PAIRS; pair++) {
        for (int side = 0; side < SIDES; side++) {
            struct end *end = &s->pairs[pair].ends[side];
            if (end->peer && !end->finished && !end->was_reset)
                ior_sim_finish(end->peer);
            end->finished = end->peer != NULL;
        }
    }
}

static void tell_story(struct story *s)
{
    for (int pair = 0; pair < PAIRS; pair++) {
        struct end *client = &s->pairs[pair].ends[0];
        client->peer = ior_sim_dial(s->sim, s->hosts[0], "10.0.0.2:7002");
        client->listens = s->pairs[pair].ends[1].listens = true;
        say(s, pair, 0, 1 + ior_sim_choose(s->sim, 5000));
        ior_sim_run_for(s->sim, ior_sim_choose(s->sim, 3) * MS);
    }
    for (int round = 0; round < 120 && s->failures == 0; round++) {
        act(s);
        ior_sim_run_for(s->sim, ior_sim_choose(s->sim, 3) * MS);
        hear_all(s, false);
        check_memory(s);
    }
    /* In the end everybody listens, and says no more. */
    for (int i = 0; i < 20; i++) {
        ior_sim_run_for(s->sim, 200 * MS);
        hear_all(s, true);
    }
    for (int i = 0; i < 200; i++) {
        finish_all(s);
        ior_sim_run_for(s->sim, 200 * MS);
        hear_all(s, true);
    }
    if (s->proxy.pairs != 0)
        fail_story(s, "a pair is left", 0, 0);
    settle_accounts(s);
}

static void run(struct story *s, uint64_t seed, bool exact)
{
    static const char *const addrs[] = {"[fd00::3]:0", "10.0.0.3:0"};
    struct ior_sim_config world = {.struct_size = sizeof(world), .seed = seed};
    struct ior_config config = {.struct_size = sizeof(config), .read_bytes = 8192};
    struct ior_listen_options opts;
    struct ior_addr addr;
    world.shape = seed % 2 ? IOR_SIM_SHAPE_DONE : IOR_SIM_SHAPE_READY;
    world.rates = (struct ior_sim_rates){.short_read = 5,
                                         .short_write = 5,
                                         .again = 10,
                                         .interrupted = 10,
                                         .delayed = 10,
                                         .reordered = 5,
                                         .spurious = 20,
                                         .connect_now = 5};
    if (!exact) {
        world.rates.no_memory = 200;
        world.rates.no_fds = 20;
        world.rates.other_error = 100;
        world.rates.reset = 500;
    }
    world.violation = on_violation;
    world.violation_arg = s;
    *s = (struct story){.exact = exact};
    pick_up(NULL);
    s->proxy = (struct proxy){.host = "upstream.example",
                              .port = 80,
                              .max_pairs = 1 + seed % 6,
                              .connect_ns = 10000 * MS,
                              .buffer_bytes = BUFFER_BYTES};
    assert_int_equal(ior_sim_new(&world, &s->sim), 0);
    for (int i = 0; i < 3; i++)
        s->hosts[i] = ior_sim_host(s->sim, NULL);
    ior_sim_name(s->sim, "upstream.example", addrs, 2, 0, seed % 3 * 20 * MS);
    s->upstream = ior_sim_serve(s->sim, s->hosts[2], seed % 4 ? "10.0.0.3:80" : "[fd00::3]:80");
    if (ior_sim_runtime_new(s->sim, s->hosts[1], &config, &proxy_handler, &s->proxy, &s->rt) == 0) {
        proxy_listen_options(&s->proxy, &opts);
        assert_int_equal(ior_addr_parse(&addr, "0.0.0.0:7002"), 0);
        if (ior_listen(ior_runtime_context(s->rt), &addr, &opts, &s->proxy.listener) == 0)
            tell_story(s);
    }
    ior_runtime_free(s->rt);
    ior_sim_free(s->sim);
    if (s->failures > 0)
        fail_msg("seed %u: %s", (unsigned)seed, s->failure);
}

static void what_is_said_is_heard(void **state)
{
    struct story s;
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++)
        run(&s, seed, true);
}

static void with_faults(void **state)
{
    struct story s;
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++)
        run(&s, seed, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_is_heard),
        cmocka_unit_test(with_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
