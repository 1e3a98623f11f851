/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service that dials by name in the simulated world, with names of the world: what comes when, many seeds with faults,
 * and each call failing in turn. Whatever happens, a dial is OPEN once or not at all, END once, and nothing is left.
 */
#include "support/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ioreactor/sim.h>

#define MS IOR_NS_PER_MS
#define HOSTS 4
#define DIALS 6

static enum ior_sim_shape shape;

struct call {
    struct world *world;
    ior_id id;
    unsigned opens, ends, resolves;
    uint64_t heard;
    uint64_t open_ns;
    int error, causes;
    struct ior_addr peer;
};

struct world {
    struct ior_sim *sim;
    int hosts[HOSTS]; /* the first one is the caller's */
    struct ior_runtime *rt;
    struct ior_context *cx;
    struct call calls[DIALS];
    unsigned violations, complaints;
    char complaint[200];
};

static void complain(struct world *w, const char *what)
{
    if (w->complaints++ == 0)
        snprintf(w->complaint, sizeof(w->complaint), "%s", what);
}

static void on_event(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct world *w = self;
    struct call *call = ev->user;
    const struct ior_dial_cause *causes = NULL;
    if (ev->id != call->id || call->ends > 0)
        complain(w, "an event of another id, or after END");
    switch (ev->type) {
    case IOR_EV_RESOLVED:
        call->resolves++;
        break;
    case IOR_EV_OPEN:
        if (call->opens++ > 0)
            complain(w, "OPEN twice");
        call->open_ns = ior_sim_now(w->sim);
        (void)ior_peer(cx, ev->id, &call->peer);
        call->causes = ior_dial_causes(cx, ev->id, &causes);
        break;
    case IOR_EV_DATA:
        call->heard += ev->data.len;
        break;
    case IOR_EV_END:
        call->ends++;
        call->error = ev->end.error;
        call->causes = ior_dial_causes(cx, ev->id, &causes);
        if (call->opens == 0 && ev->end.why == IOR_ERROR && call->causes < 1 && call->resolves == 0 && causes)
            complain(w, "a failure without causes");
        for (int i = 0; ev->end.why == IOR_ERROR && i < call->causes; i++) {
            if (causes[i].error == 0)
                complain(w, "a failure with a cause that is none");
        }
        break;
    default:
        break;
    }
}

static void on_error(void *self, struct ior_context *cx, ior_id id, int err)
{
    struct world *w = self;
    (void)cx;
    (void)err;
    for (int i = 0; i < DIALS; i++) {
        if (w->calls[i].id == id)
            return;
    }
    if (id != 0)
        complain(w, "an error of what the service does not know");
}

static const struct ior_handler handler = {
    .struct_size = sizeof(handler),
    .transport = on_event,
    .error = on_error,
};

static void on_violation(void *arg, enum ior_sim_violation what, const char *text)
{
    struct world *w = arg;
    w->violations++;
    if (w->complaints++ == 0)
        snprintf(w->complaint, sizeof(w->complaint), "%s: %s", ior_sim_violation_name(what), text);
}

/* Servers greet. */
static void on_peer(void *arg, struct ior_sim_peer *peer, unsigned what)
{
    struct ior_sim_peer *caller;
    (void)arg;
    while ((what & IOR_READ) && (caller = ior_sim_pick_up(peer)) != NULL)
        ior_sim_say(caller, "welcome", 7);
}

static void serve(struct world *w, int host, bool v6)
{
    char text[IOR_ADDR_TEXT_MAX];
    struct ior_addr addr = ior_sim_host_addr(w->sim, w->hosts[host], v6, 80);
    assert_true(ior_addr_format(&addr, text, sizeof(text)) > 0);
    struct ior_sim_peer *peer = ior_sim_serve(w->sim, w->hosts[host], text);
    assert_non_null(peer);
    ior_sim_peer_on(peer, on_peer, NULL);
}

static void init(struct world *w, uint64_t seed, const struct ior_sim_rates *rates, bool keep_calls)
{
    struct ior_sim_config config = {.struct_size = sizeof(config), .shape = shape, .seed = seed};
    *w = (struct world){.sim = NULL};
    if (rates)
        config.rates = *rates;
    config.keep_calls = keep_calls;
    config.violation = on_violation;
    config.violation_arg = w;
    assert_int_equal(ior_sim_new(&config, &w->sim), 0);
    for (int i = 0; i < HOSTS; i++)
        w->hosts[i] = ior_sim_host(w->sim, NULL);
    int err = ior_sim_runtime_new(w->sim, w->hosts[0], NULL, &handler, w, &w->rt);
    w->cx = err == 0 ? ior_runtime_context(w->rt) : NULL;
}

static int dial(struct world *w, int n, const char *host, uint64_t connect_ns)
{
    struct ior_dial_options opts = {.struct_size = sizeof(opts)};
    struct call *call = &w->calls[n];
    opts.stream = (struct ior_stream_options){.struct_size = sizeof(opts.stream), .connect_ns = connect_ns};
    opts.stream.user = call;
    return ior_dial(w->cx, host, 80, &opts, &call->id);
}

static void finish(struct world *w)
{
    if (w->cx) {
        ior_stop(w->cx, 0);
        ior_sim_settle(w->sim);
    }
    ior_runtime_free(w->rt);
    for (int i = 0; i < DIALS; i++) {
        if (w->calls[i].id != 0 && w->calls[i].ends != 1)
            complain(w, "no END, or more than one");
    }
    if (ior_sim_open_fds(w->sim, w->hosts[0]) != 0)
        complain(w, "an fd is open");
    ior_sim_free(w->sim);
}

static void check(struct world *w)
{
    finish(w);
    if (w->complaints > 0)
        fail_msg("%s", w->complaint);
}

/* Names n0 to n3: of no host, of host 1, of hosts 1 and 2, of hosts 3 (a black hole), 2 and 1; IPv6 first. */
static void names(struct world *w)
{
    static const char *const addrs[] = {"[fd00::4]:0", "10.0.0.4:0",  "[fd00::3]:0",
                                        "10.0.0.3:0",  "[fd00::2]:0", "10.0.0.2:0"};
    ior_sim_name(w->sim, "n0", NULL, 0, EAGAIN, 30 * MS);
    ior_sim_name(w->sim, "n1", addrs + 4, 2, 0, 10 * MS);
    ior_sim_name(w->sim, "n2", addrs + 2, 4, 0, 20 * MS);
    ior_sim_name(w->sim, "N3.", addrs, 6, 0, 5 * MS);
    ior_sim_cut(w->sim, w->hosts[0], w->hosts[3]);
}

static void each_name_comes_to_what_it_must(void **state)
{
    struct world w;
    char text[IOR_ADDR_TEXT_MAX];
    (void)state;
    init(&w, 1, NULL, false);
    names(&w);
    serve(&w, 1, false);
    serve(&w, 2, true);
    uint64_t begin_ns = ior_sim_now(w.sim);
    for (int i = 0; i < 5; i++) {
        snprintf(text, sizeof(text), "n%d", i);
        assert_int_equal(dial(&w, i, text, 0), 0);
    }
    assert_int_equal(dial(&w, 5, "10.0.0.2", 0), 0);
    ior_sim_run_for(w.sim, 3000 * MS);
    /* There is no such name; or its resolver does not answer. */
    assert_int_equal(w.calls[4].error, ENOENT);
    assert_int_equal(w.calls[0].error, EAGAIN);
    /* One host, which does not listen on IPv6. */
    assert_int_equal(w.calls[1].opens, 1);
    assert_int_equal(w.calls[1].causes, 2);
    /* The first address at once. */
    assert_int_equal(w.calls[2].opens, 1);
    assert_true(ior_addr_format(&w.calls[2].peer, text, sizeof(text)) > 0);
    assert_string_equal(text, "[fd00::3]:80");
    /* Two attempts that nobody answers have their head start; the third is taken. */
    assert_int_equal(w.calls[3].opens, 1);
    assert_true(ior_addr_format(&w.calls[3].peer, text, sizeof(text)) > 0);
    assert_string_equal(text, "[fd00::3]:80");
    assert_in_range(w.calls[3].open_ns - begin_ns, 505 * MS, 506 * MS);
    assert_int_equal(w.calls[5].opens, 1);
    for (int i = 1; i < 4; i++)
        assert_int_equal(w.calls[i].heard, 7);
    check(&w);
}

/* A story by the seed: what listens, who dials what and for how long, what is called off when. */
static void play(struct world *w)
{
    static const char *const hosts[] = {"n0", "n1", "n2", "n3", "unknown", "10.0.0.2", "fd00::3", "10.0.0.4"};
    names(w);
    for (int host = 1; host < HOSTS; host++) {
        for (int v6 = 0; v6 < 2; v6++) {
            if (ior_sim_choose(w->sim, 2) == 0)
                serve(w, host, v6 == 1);
        }
    }
    for (int i = 0; w->cx && i < DIALS; i++) {
        struct call *call = &w->calls[i];
        const char *host = hosts[ior_sim_choose(w->sim, 8)];
        uint64_t limit_ns = ior_sim_choose(w->sim, 3) * 700 * MS;
        struct ior_resolve_options opts = {.struct_size = sizeof(opts), .user = call};
        if (ior_sim_choose(w->sim, 5) == 0)
            (void)ior_resolve(w->cx, host, 80, &opts, &call->id);
        else
            (void)dial(w, i, host, limit_ns);
        ior_sim_run_for(w->sim, ior_sim_choose(w->sim, 400) * MS);
        ior_id id = w->calls[ior_sim_choose(w->sim, (uint64_t)i + 1)].id;
        switch (ior_sim_choose(w->sim, 8)) {
        case 0:
            (void)ior_unregister(w->cx, id);
            break;
        case 1:
            (void)ior_abort(w->cx, id);
            break;
        case 2:
            (void)ior_close(w->cx, id, 100 * MS);
            break;
        case 3:
            (void)ior_pause(w->cx, id);
            break;
        case 4:
            (void)ior_resume(w->cx, id);
            break;
        default:
            break;
        }
    }
    ior_sim_run_for(w->sim, ior_sim_choose(w->sim, 4) * 1000 * MS);
}

static void stories_with_faults(void **state)
{
    const struct ior_sim_rates rates = {
        .interrupted = 20,
        .no_fds = 15,
        .no_memory = 20,
        .other_error = 20,
        .delayed = 5,
        .reordered = 3,
        .spurious = 10,
        .spurious_wake = 20,
        .connect_now = 5,
        .reset = 50,
        .short_read = 5,
    };
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct world w;
        shape = seed % 2 ? IOR_SIM_SHAPE_DONE : IOR_SIM_SHAPE_READY;
        init(&w, seed, seed % 5 ? &rates : NULL, false);
        play(&w);
        finish(&w);
        if (w.complaints > 0)
            fail_msg("seed %u: %s", (unsigned)seed, w.complaint);
    }
}

static void the_same_seed_is_the_same_story(void **state)
{
    uint64_t sums[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct world w;
        init(&w, 5, NULL, false);
        play(&w);
        sums[i] = ior_sim_hash(w.sim);
        check(&w);
    }
    assert_true(sums[0] == sums[1]);
}

/* From one story: each of its calls fails, with each error that it can have. */
static void each_call_fails(void **state)
{
    struct world w;
    uint64_t faults = 0;
    (void)state;
    for (uint64_t seed = 11; seed < 15; seed++) {
        shape = seed % 2 ? IOR_SIM_SHAPE_DONE : IOR_SIM_SHAPE_READY;
        init(&w, seed, NULL, true);
        play(&w);
        uint64_t calls = ior_sim_calls(w.sim);
        struct ior_sim_call_info *infos = calloc((size_t)calls, sizeof(*infos));
        assert_non_null(infos);
        for (uint64_t i = 0; i < calls; i++)
            assert_int_equal(ior_sim_call_at(w.sim, i, &infos[i]), 0);
        check(&w);
        for (uint64_t i = 0; i < calls; i++) {
            for (int k = 0; k < infos[i].n_errors; k++) {
                if (infos[i].call == IOR_SIM_ENGINE_OPEN)
                    continue;
                init(&w, seed, NULL, false);
                assert_int_equal(ior_sim_fail_at(w.sim, i, infos[i].errors[k]), 0);
                play(&w);
                faults += ior_sim_faults(w.sim);
                finish(&w);
                if (w.complaints > 0)
                    fail_msg("call %u (%s) with %s: %s", (unsigned)i, ior_sim_call_name(infos[i].call),
                             ior_errname(infos[i].errors[k]), w.complaint);
            }
        }
        free(infos);
    }
    assert_true(faults > 100);
}

static void names_of_the_world(void **state)
{
    static const char *const addrs[] = {"10.0.0.1:0", "nonsense"};
    static const char *const path[] = {"unix:/run/x"};
    char name[300];
    struct world w;
    (void)state;
    init(&w, 1, NULL, false);
    memset(name, 'a', sizeof(name));
    name[254] = '\0';
    assert_int_equal(ior_sim_name(w.sim, name, addrs, 1, 0, 0), -EINVAL);
    name[253] = '.';
    assert_int_equal(ior_sim_name(w.sim, name, addrs, 1, 0, 0), 0);
    assert_int_equal(ior_sim_name(w.sim, "", addrs, 1, 0, 0), -EINVAL);
    assert_int_equal(ior_sim_name(w.sim, NULL, addrs, 1, 0, 0), -EINVAL);
    assert_int_equal(ior_sim_name(NULL, "n", addrs, 1, 0, 0), -EINVAL);
    assert_int_equal(ior_sim_name(w.sim, "n", NULL, 1, 0, 0), -EINVAL);
    assert_int_equal(ior_sim_name(w.sim, "n", addrs, 2, 0, 0), -EINVAL);
    assert_int_equal(ior_sim_name(w.sim, "n", path, 1, 0, 0), -EINVAL);
    assert_int_equal(ior_sim_name(w.sim, "n", addrs, 0, -1, 0), -EINVAL);
    check(&w);
}

static int ready_shape(void **state)
{
    (void)state;
    shape = IOR_SIM_SHAPE_READY;
    return 0;
}

static int done_shape(void **state)
{
    (void)state;
    shape = IOR_SIM_SHAPE_DONE;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_name_comes_to_what_it_must, ready_shape),
        cmocka_unit_test_setup(each_name_comes_to_what_it_must, done_shape),
        cmocka_unit_test(stories_with_faults),
        cmocka_unit_test(the_same_seed_is_the_same_story),
        cmocka_unit_test(each_call_fails),
        cmocka_unit_test(names_of_the_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
