/* SPDX-License-Identifier: Apache-2.0 */
/* ior_resolve, in a scripted world: the answer once, then END; called off at any moment; paused; out of memory. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "support/check.h"
#include "support/live.h"
#include "support/named.h"

#define MS IOR_NS_PER_MS
#define TWO .addrs = {"[2001:db8::1]:80", "192.0.2.1:80"}

static char told[256]; /* the addresses of the last RESOLVED */

static void note(struct recorder *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type != IOR_EV_RESOLVED)
        return;
    told[0] = '\0';
    for (uint32_t i = 0; i < ev->resolved->count; i++) {
        char text[IOR_ADDR_TEXT_MAX];
        assert_true(ior_addr_format(&ev->resolved->addrs[i], text, sizeof(text)) > 0);
        if (i > 0)
            strcat(told, ", ");
        strcat(told, text);
    }
}

static void init(struct named *named)
{
    named_init(named, NULL);
    named->r->on_event = note;
    told[0] = '\0';
}

static void the_answer_and_then_the_end(void **state)
{
    struct named named = {TWO, .after_ns = 100 * MS};
    (void)state;
    init(&named);
    ior_id id = named_resolve(&named, "host.example", NULL);
    rec_settle(named.r);
    rec_pass(named.r, 99 * MS);
    rec_expect(named.r, "registered 1\n");
    assert_int_equal(ior_count(named.r->cx), 1);
    rec_pass(named.r, MS);
    rec_expect(named.r, "resolved 1 2 of 2\nend 1 eof 0 0 0\nhandover 1\n");
    assert_string_equal(told, "[2001:db8::1]:80, 192.0.2.1:80");
    assert_int_equal(ior_unregister(named.r->cx, id), -ENOENT);
    assert_true(rec_idle(named.r));
    named_free(&named);
}

static void at_most_so_many(void **state)
{
    struct named named = {TWO};
    (void)state;
    init(&named);
    named_resolve(&named, "host.example", NAMED_RESOLVE(.max_addrs = 1, .family = AF_INET));
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nresolved 1 1 of 2\nend 1 eof 0 0 0\nhandover 1\n");
    assert_int_equal(named.family, AF_INET);
    named_free(&named);
}

static void an_address_is_its_own_answer(void **state)
{
    struct named named = {TWO};
    ior_id id;
    (void)state;
    init(&named);
    named_resolve(&named, "2001:db8::7", NULL);
    rec_expect(named.r, "");
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nresolved 1 1 of 1\nend 1 eof 0 0 0\nhandover 1\n");
    assert_string_equal(told, "[2001:db8::7]:80");
    assert_int_equal(ior_resolve(named.r->cx, "unix:/run/x", 0, NULL, &id), 0);
    rec_of(named.r, id);
    rec_settle(named.r);
    assert_string_equal(told, "unix:/run/x");
    assert_int_equal(named.asked, 0);
    named_free(&named);
}

static void failures_are_ends(void **state)
{
    struct named named = {.error = EAGAIN};
    (void)state;
    init(&named);
    named_resolve(&named, "host.example", NULL);
    named_resolve(&named, "unknown.example", NULL);
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nregistered 2\nend 1 error EAGAIN 0 0 0\nhandover 1\nend 2 error ENOENT 0 0 0\n"
                        "handover 2\n");
    named_free(&named);
}

static void a_deadline(void **state)
{
    struct named named = {TWO, .after_ns = 100 * MS};
    (void)state;
    init(&named);
    named_resolve(&named, "host.example", NAMED_RESOLVE(.timeout_ns = 50 * MS));
    rec_settle(named.r);
    rec_pass(named.r, 50 * MS);
    rec_expect(named.r, "registered 1\nend 1 timeout connect 0 0 0\nhandover 1\n");
    assert_true(rec_idle(named.r));
    named_free(&named);
}

static void a_pause_keeps_the_answer(void **state)
{
    struct named named = {TWO, .after_ns = 100 * MS};
    (void)state;
    init(&named);
    ior_id id = named_resolve(&named, "host.example", NULL);
    assert_int_equal(rec_pause(named.r, id), 0);
    rec_settle(named.r);
    rec_pass(named.r, 200 * MS);
    rec_expect(named.r, "registered 1\n");
    assert_int_equal(rec_resume(named.r, id), 0);
    rec_settle(named.r);
    rec_expect(named.r, "resolved 1 2 of 2\nend 1 eof 0 0 0\nhandover 1\n");
    named_free(&named);
}

static void end_in_resolved(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_RESOLVED)
        return;
    assert_int_equal(rec_unregister(r, ev->id), 0);
    note(r, ev); /* what is lent stays until the callback returns */
}

static void called_off(void **state)
{
    (void)state;
    for (int moment = 0; moment < 5; moment++) {
        struct named named = {TWO, .after_ns = 100 * MS};
        live_alloc_start();
        init(&named);
        struct recorder *r = named.r;
        ior_id id = named_resolve(&named, "host.example", NULL);
        if (moment == 1 || moment == 2)
            rec_settle(r);
        if (moment < 2) {
            assert_int_equal(rec_unregister(r, id), 0);
        } else if (moment == 2) {
            assert_int_equal(ior_close(r->cx, id, 0), 0);
        } else if (moment == 3) {
            r->on_event = end_in_resolved;
            rec_settle(r);
            rec_pass(r, 100 * MS);
            assert_string_equal(told, "[2001:db8::1]:80, 192.0.2.1:80");
        } /* 4: the runtime is freed */
        if (moment < 4) {
            rec_settle(r);
            assert_true(strstr(rec_lines(r), "end 1 asked 0 0 0\nhandover 1\n") != NULL);
            assert_true(rec_idle(r));
        }
        named_free(&named);
        live_alloc_stop();
    }
}

static void what_a_look_up_cannot(void **state)
{
    struct named named = {TWO, .after_ns = 100 * MS};
    struct ior_addr addr;
    (void)state;
    init(&named);
    ior_id id = named_resolve(&named, "host.example", NULL);
    struct ior_context *cx = named.r->cx;
    assert_int_equal(ior_send(cx, id, "x", 1), -EOPNOTSUPP);
    assert_int_equal(ior_finish(cx, id), -EOPNOTSUPP);
    assert_int_equal(ior_interest(cx, id, IOR_READ), -EOPNOTSUPP);
    assert_int_equal(ior_local(cx, id, &addr), -ENOTCONN);
    assert_int_equal(ior_deadline(cx, id, IOR_DEADLINE_USER, 10 * MS), 0);
    rec_settle(named.r);
    rec_pass(named.r, 10 * MS);
    rec_expect(named.r, "registered 1\ndeadline 1\n");
    named_free(&named);
}

static void bad_arguments(void **state)
{
    struct named named = {TWO};
    ior_id id = 4711;
    (void)state;
    init(&named);
    struct ior_context *cx = named.r->cx;
    assert_int_equal(ior_resolve(NULL, "host", 80, NULL, &id), -EINVAL);
    assert_int_equal(ior_resolve(cx, NULL, 80, NULL, &id), -EINVAL);
    assert_int_equal(ior_resolve(cx, "host", 80, NULL, NULL), -EINVAL);
    assert_int_equal(ior_resolve(cx, "host", 0, NULL, &id), -EINVAL);
    assert_int_equal(ior_resolve(cx, "host", 80, NAMED_RESOLVE(.max_addrs = 65), &id), -EINVAL);
    assert_int_equal(ior_resolve(cx, "host", 80, NAMED_RESOLVE(.family = 77), &id), -EAFNOSUPPORT);
    assert_int_equal(ior_resolve(cx, "host", 80, &(const struct ior_resolve_options){.struct_size = 4}, &id), -EINVAL);
    assert_int_equal(id, 4711);
    assert_int_equal(named.asked, 0);
    named_free(&named);
}

static void each_allocation_fails(void **state)
{
    bool failed = true;
    (void)state;
    for (uint64_t nth = 1; failed; nth++) {
        struct named named = {TWO, .after_ns = 10 * MS};
        ior_id id = 4711;
        live_alloc_start();
        init(&named);
        live_alloc_fail(nth, true);
        int err = ior_resolve(named.r->cx, "host.example", 80, NULL, &id);
        failed = live_alloc_refused() > 0;
        live_alloc_fail(0, false);
        if (err == 0) {
            rec_of(named.r, id);
            rec_settle(named.r);
            rec_pass(named.r, 10 * MS);
            rec_expect(named.r, "registered 1\nresolved 1 2 of 2\nend 1 eof 0 0 0\nhandover 1\n");
        } else {
            assert_int_equal(err, -ENOMEM);
            assert_int_equal(id, 4711);
            assert_int_equal(ior_count(named.r->cx), 0);
            assert_true(rec_idle(named.r));
        }
        named_free(&named);
        live_alloc_stop();
        assert_true(nth < 50 && (failed || nth > 3));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_answer_and_then_the_end),
        cmocka_unit_test(at_most_so_many),
        cmocka_unit_test(an_address_is_its_own_answer),
        cmocka_unit_test(failures_are_ends),
        cmocka_unit_test(a_deadline),
        cmocka_unit_test(a_pause_keeps_the_answer),
        cmocka_unit_test(called_off),
        cmocka_unit_test(what_a_look_up_cannot),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(each_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
