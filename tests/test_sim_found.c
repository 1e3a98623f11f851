/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the random stories found that takes an engine that does the I/O: small tests in the simulated world. The rest is
 * in test_found.c.
 */
#include "support/check.h"

#include <errno.h>
#include <ioreactor/sim.h>

struct seen {
    ior_id first;
    unsigned ends, misuses;
    int error;
    uint64_t written;
};

static void on_event(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct seen *seen = self;
    (void)cx;
    if (ev->type != IOR_EV_END || ev->id != seen->first)
        return;
    seen->ends++;
    seen->error = ev->end.error;
    seen->written = ev->end.written;
}

static void on_violation(void *arg, enum ior_sim_violation what, const char *text)
{
    struct seen *seen = arg;
    (void)text;
    seen->misuses += what == IOR_SIM_BAD_ARGUMENT;
}

/* Somebody closes the fd of a stream while the engine writes for it, and its number becomes another stream's. */
static void a_send_under_way_is_settled_before_its_number_is_anothers(void **state)
{
    struct seen seen = {0};
    const struct ior_handler handler = {.struct_size = sizeof(handler), .transport = on_event};
    struct ior_sim_config config = {.struct_size = sizeof(config), .shape = IOR_SIM_SHAPE_DONE};
    struct ior_sim *sim;
    struct ior_runtime *rt;
    struct ior_sim_peer *peer, *other;
    ior_id second;
    (void)state;
    config.violation = on_violation;
    config.violation_arg = &seen;
    assert_int_equal(ior_sim_new(&config, &sim), 0);
    int host = ior_sim_host(sim, NULL);
    assert_int_equal(ior_sim_runtime_new(sim, host, NULL, &handler, &seen, &rt), 0);
    struct ior_context *cx = ior_runtime_context(rt);
    int fd = ior_sim_fd(sim, host, IOR_FD_TCP, &peer);
    assert_int_equal(ior_adopt(cx, fd, NULL, &seen.first), 0);
    ior_sim_settle(sim);
    assert_int_equal(ior_send(cx, seen.first, "hello", 5), 0);
    assert_int_equal(ior_runtime_turn(rt, 0), 1); /* it is begun, and not asked for */
    assert_int_equal(ior_sim_close(sim, fd), 0);
    assert_int_equal(ior_sim_fd(sim, host, IOR_FD_TCP, &other), fd);
    assert_int_equal(ior_adopt(cx, fd, NULL, &second), 0);
    ior_sim_settle(sim);
    assert_int_equal(seen.ends, 1);
    assert_int_equal(seen.error, EBADF);
    assert_int_equal(seen.written, 5);
    assert_int_equal(ior_send(cx, second, "bye", 3), 0);
    assert_int_equal(ior_sim_expect(other, "bye", 3), 0);
    assert_int_equal(seen.misuses, 0);
    ior_runtime_free(rt);
    (void)ior_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_send_under_way_is_settled_before_its_number_is_anothers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
