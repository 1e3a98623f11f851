/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated world: faults by chance, by script, and at each call. */
#include "support/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "support/sim_box.h"

#define MS IOR_NS_PER_MS

static struct ior_sim_peer_info info_of(const struct ior_sim_peer *peer)
{
    struct ior_sim_peer_info info;
    ior_sim_peer_info(peer, &info);
    return info;
}

static void fail_next(struct box *box, enum ior_sim_call call, int error)
{
    const struct ior_sim_fault fault = {.call = call, .error = error};
    assert_int_equal(ior_sim_fail(box->sim, &fault), 0);
}

/* ---- by script ---- */

static void the_next_call_fails(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    fail_next(&box, IOR_SIM_ACCEPT, EMFILE);
    struct ior_sim_peer *peer = ior_sim_dial(box.sim, box.client, BOX_ADDR);
    ior_sim_settle(box.sim);
    assert_int_equal(box.accepted, 0);
    assert_int_equal(box.errors, 1);
    assert_int_equal(ior_sim_faults(box.sim), 1);
    ior_sim_run_for(box.sim, IOR_NS_PER_SEC); /* the listener's back-off */
    assert_int_equal(box.accepted, 1);
    assert_int_equal(info_of(peer).state, IOR_SIM_PEER_OPEN);
    assert_int_equal(box_free(&box), 0);
}

static void the_nth_call_of_an_fd_fails(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *one = box_dial(&box), *two = box_dial(&box);
    const struct ior_sim_fault fault = {
        .call = IOR_SIM_RECV, .host = box.server, .fd = IOR_SIM_FD_FIRST + 2, .nth = 2, .error = ECONNRESET};
    assert_int_equal(ior_sim_fail(box.sim, &fault), 0);
    for (int i = 0; i < 2; i++) {
        ior_sim_say(one, "1", 1);
        ior_sim_say(two, "2", 1);
        ior_sim_settle(box.sim);
    }
    assert_int_equal(box.ended, 1);
    assert_int_equal(box.last_error, ECONNRESET);
    assert_int_equal(info_of(one).state, IOR_SIM_PEER_OPEN);
    assert_int_equal(info_of(one).heard + info_of(one).ready, 2);
    assert_int_equal(info_of(two).error, ECONNRESET); /* the other side is told, too */
    assert_int_equal(box_free(&box), 0);
}

static void calls_of_a_kind_fail_for_ever(void **state)
{
    struct box box = {0};
    const struct ior_sim_fault fault = {.call = IOR_SIM_SEND, .error = IOR_SIM_SHORT, .count = UINT64_MAX};
    char bytes[1000] = {0};
    (void)state;
    box_init(&box, NULL);
    struct ior_sim_peer *peer = box_dial(&box);
    assert_int_equal(ior_sim_fail(box.sim, &fault), 0);
    ior_sim_say(peer, bytes, sizeof(bytes));
    assert_int_equal(ior_sim_expect(peer, bytes, sizeof(bytes)), 0);
    assert_true(ior_sim_count(box.sim, box.server, IOR_SIM_SEND) > 3);
    uint64_t faults = ior_sim_faults(box.sim);
    ior_sim_fail_none(box.sim);
    ior_sim_say(peer, bytes, sizeof(bytes));
    assert_int_equal(ior_sim_expect(peer, bytes, sizeof(bytes)), 0);
    assert_int_equal(ior_sim_faults(box.sim), faults);
    assert_int_equal(box_free(&box), 0);
}

static void only_what_man_pages_allow_can_be_asked_for(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    const struct ior_sim_fault no[] = {
        {.call = IOR_SIM_RECV, .error = EMFILE},
        {.call = IOR_SIM_CLOCK, .error = EINVAL},
        {.call = IOR_SIM_CLOSE, .error = EAGAIN},
        {.call = IOR_SIM_ACCEPT, .error = IOR_SIM_SHORT},
    };
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        assert_int_equal(ior_sim_fail(box.sim, &no[i]), -ENOTSUP);
    const struct ior_sim_fault bad = {.call = IOR_SIM_RECV, .host = 17, .error = EINTR};
    assert_int_equal(ior_sim_fail(box.sim, &bad), -EINVAL);
    assert_int_equal(ior_sim_fail_at(box.sim, 0, ENOTTY), -ENOTSUP);
    /* A connection cannot be aborted before it is there: the fault waits for one. */
    fail_next(&box, IOR_SIM_ACCEPT, ECONNABORTED);
    struct ior_sim_peer *peer = ior_sim_dial(box.sim, box.client, BOX_ADDR);
    ior_sim_settle(box.sim);
    assert_int_equal(box.accepted, 0);
    assert_int_equal(info_of(peer).error, ECONNRESET);
    assert_int_equal(box_free(&box), 0);
}

static void fds_run_out(void **state)
{
    struct box box = {0};
    (void)state;
    box_init(&box, NULL);
    assert_int_equal(ior_sim_max_fds(box.sim, box.server, 2), 0);
    box_dial(&box);
    struct ior_sim_peer *peer = box_dial(&box); /* it waits in the backlog */
    assert_int_equal(box.accepted, 1);
    assert_int_equal(box.errors, 1);
    ior_sim_max_fds(box.sim, box.server, 0);
    ior_sim_say(peer, "now?", 4);
    assert_int_equal(ior_sim_expect(peer, "now?", 4), 0);
    assert_int_equal(box_free(&box), 0);
}

/* ---- by chance ---- */

/* A thousand bytes in ten portions, there and back, with one kind of fault in the extreme. */
static void echo_under(const struct ior_sim_rates *rates, struct box *box, bool comes_through)
{
    char bytes[1000];
    struct ior_sim_config config = box_config(box, 5, false);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i % 127);
    box_init(box, &config);
    struct ior_sim_peer *peer = box_dial(box);
    ior_sim_set_rates(box->sim, rates);
    for (int i = 0; i < 10; i++) {
        ior_sim_say(peer, bytes + i * 100, 100);
        ior_sim_run_for(box->sim, MS);
    }
    if (comes_through)
        assert_int_equal(ior_sim_expect(peer, bytes, sizeof(bytes)), 0);
    assert_true(ior_sim_faults(box->sim) > 0);
    ior_sim_set_rates(box->sim, NULL);
    assert_int_equal(box_free(box), 0);
}

static void harmless_faults_lose_nothing(void **state)
{
    static const struct ior_sim_rates rates[] = {
        {.short_read = 1}, {.short_write = 1}, {.again = 2},    {.interrupted = 2},   {.no_memory = 3},
        {.delayed = 2},    {.reordered = 1},   {.spurious = 1}, {.spurious_wake = 1}, {.cut = 2, .cut_ns = MS},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct box box = {0};
        struct ior_sim_rates all = rates[i];
        if (all.reordered) /* needs two that are ready */
            all.spurious = 1;
        echo_under(&all, &box, true);
    }
}

static void resets_end_the_connection(void **state)
{
    static const struct ior_sim_rates rates = {.reset = 1};
    struct box box = {0};
    (void)state;
    echo_under(&rates, &box, false);
    assert_int_equal(box.ended, 1);
    assert_true(box.last_error == ECONNRESET || box.last_error == ETIMEDOUT || box.last_error == EPIPE);
}

static void connects_fail_at_once(void **state)
{
    struct box box = {0};
    struct ior_sim_config config = box_config(&box, 5, false);
    struct ior_addr addr;
    (void)state;
    config.rates.connect_now = 1;
    box_init(&box, &config);
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.1:7001"), 0);
    assert_int_equal(ior_connect(box.cx, &addr, NULL, &box.last), -ECONNREFUSED);
    assert_int_equal(ior_addr_parse(&addr, BOX_ADDR), 0);
    assert_int_equal(ior_connect(box.cx, &addr, NULL, &box.last), 0);
    ior_sim_settle(box.sim);
    assert_int_equal(box.accepted, 1);
    assert_int_equal(box.opened, 2);
    assert_int_equal(box_free(&box), 0);
}

/* ---- at each call ---- */

/* A short life of the service; not all of it comes through where calls fail. */
static void life(struct box *box, const struct ior_sim_config *config, uint64_t index, int error)
{
    assert_int_equal(ior_sim_new(config, &box->sim), 0);
    box->server = ior_sim_host(box->sim, "server");
    box->client = ior_sim_host(box->sim, "client");
    if (error)
        assert_int_equal(ior_sim_fail_at(box->sim, index, error), 0);
    if (ior_sim_runtime_new(box->sim, box->server, NULL, &box_handler, box, &box->rt) < 0)
        return;
    box->cx = ior_runtime_context(box->rt);
    ior_sim_settle(box->sim);
    struct ior_sim_peer *peer = ior_sim_dial(box->sim, box->client, BOX_ADDR);
    ior_sim_say(peer, "some bytes", 10);
    ior_sim_run_for(box->sim, 500 * MS);
    ior_sim_finish(peer);
    ior_sim_drain(peer, UINT64_MAX);
    ior_sim_run_for(box->sim, 500 * MS);
    ior_stop(box->cx, MS);
    ior_sim_run_for(box->sim, 40 * IOR_NS_PER_SEC);
    assert_true(ior_sim_ended(box->sim, box->rt, NULL));
}

static void each_call_fails_once(void **state)
{
    struct box first = {0};
    struct ior_sim_config config = box_config(&first, 3, false);
    struct ior_sim_call_info info;
    unsigned points = 0;
    (void)state;
    config.keep_calls = true;
    life(&first, &config, 0, 0);
    assert_int_equal(first.bytes, 10);
    uint64_t calls = ior_sim_calls(first.sim);
    assert_true(calls > 20);
    assert_int_equal(ior_sim_call_at(first.sim, calls, &info), -ERANGE);
    config.keep_calls = false;
    for (uint64_t at = 0; at < calls; at++) {
        assert_int_equal(ior_sim_call_at(first.sim, at, &info), 0);
        assert_int_equal(info.host, first.server);
        for (int i = 0; i < info.n_errors; i++, points++) {
            struct box box = {0};
            config.violation_arg = &box;
            life(&box, &config, at, info.errors[i]);
            assert_int_equal(ior_sim_faults(box.sim), 1);
            if (box_free(&box) != 0)
                fail_msg("call %u, %s, %s: %s", (unsigned)at, ior_sim_call_name(info.call), ior_errname(info.errors[i]),
                         box.violation);
        }
    }
    print_message("%u calls, %u faults\n", (unsigned)calls, points);
    assert_true(points > 60);
    assert_int_equal(ior_sim_call_at(first.sim, 0, NULL), -EINVAL);
    assert_int_equal(box_free(&first), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_next_call_fails),
        cmocka_unit_test(the_nth_call_of_an_fd_fails),
        cmocka_unit_test(calls_of_a_kind_fail_for_ever),
        cmocka_unit_test(only_what_man_pages_allow_can_be_asked_for),
        cmocka_unit_test(fds_run_out),
        cmocka_unit_test(harmless_faults_lose_nothing),
        cmocka_unit_test(resets_end_the_connection),
        cmocka_unit_test(connects_fail_at_once),
        cmocka_unit_test(each_call_fails_once),
    };

    int failed = cmocka_run_group_tests_name("simulated faults, what is ready", tests, NULL, NULL);
    box_shape = IOR_SIM_SHAPE_DONE;
    return failed + cmocka_run_group_tests_name("simulated faults, what is done", tests, NULL, NULL);
}
