/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine that receives, accepts and sends itself makes different in the runtime. On the other engines the same
 * has to hold, and is simpler.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"
#include "support/probe.h"

enum { FIRST = 1500, SECOND = 1400 };

static void send_in_tick(struct probe *p)
{
    const ior_id *id = p->arg;
    unsigned char bytes[FIRST + SECOND];
    if (probe_of(p, *id)->custom > 0)
        return;
    net_pattern(bytes, 0, sizeof(bytes));
    if (ior_send(p->cx, *id, bytes + FIRST, SECOND) >= 0)
        probe_of(p, *id)->custom = 1; /* once */
}

/* The engine has written all, the turn's end has not come: a send in between begins at the front of a queue that is new. */
static void a_queue_that_was_written_is_new_at_once(void **state)
{
    struct probe *p = probe_new(NULL);
    unsigned char bytes[FIRST];
    int peer;
    (void)state;
    ior_id id = probe_unix(p, PROBE_STREAM(.high_bytes = 1000, .low_bytes = 1000), &peer);
    probe_turns(p, 2);
    net_pattern(bytes, 0, sizeof(bytes));
    assert_int_equal(ior_send(p->cx, id, bytes, FIRST), 1);
    probe_turns(p, 1);
    p->arg = &id;
    p->on_tick = send_in_tick;
    probe_read_pattern(p, peer, 0, FIRST + SECOND, FIRST);
    close(peer);
    probe_free(p);
}

/* The same where the resource ends, and goes on elsewhere. */
static void a_queue_that_was_written_is_new_after_a_handover(void **state)
{
    struct probe *p = probe_new(NULL);
    unsigned char bytes[FIRST + SECOND];
    int peer;
    (void)state;
    p->keep = true;
    ior_id id = probe_unix(p, NULL, &peer);
    probe_turns(p, 2);
    net_pattern(bytes, 0, sizeof(bytes));
    assert_int_equal(ior_send(p->cx, id, bytes, FIRST), 0);
    probe_turns(p, 1); /* the engine has it */
    assert_int_equal(ior_unregister(p->cx, id), 0);
    probe_turns(p, 1);
    struct probe_res *r = probe_of(p, id);
    assert_int_equal(r->handover, 1);
    assert_int_equal(r->written, FIRST);
    struct ior_resource *res = r->handed;
    r->handed = NULL;
    assert_int_equal(ior_register(p->cx, res, &id), 0);
    assert_int_equal(ior_send(p->cx, id, bytes + FIRST, SECOND), 0);
    probe_read_pattern(p, peer, 0, FIRST + SECOND, FIRST);
    close(peer);
    probe_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_that_was_written_is_new_at_once),
        cmocka_unit_test(a_queue_that_was_written_is_new_after_a_handover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
