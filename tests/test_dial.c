/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dialling, in a scripted world: which address is tried when, who wins, what is told of those that lost, and that
 * nothing is left of a dial that was called off at any moment. The steps are those of RFC 8305.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "dial.h"
#include "support/check.h"
#include "support/live.h"
#include "support/named.h"
#include "support/script_world.h"

#define MS IOR_NS_PER_MS
#define FD(n) (SCRIPT_FD_FIRST + (n)) /* of the n-th attempt, where all fds before are open still */

/* The causes, as the last END or OPEN told them. */
static char causes[2048];

static void note_causes(struct recorder *r, const struct ior_event *ev)
{
    const struct ior_dial_cause *cause = NULL;
    size_t at = 0;
    if (ev->type != IOR_EV_END && ev->type != IOR_EV_OPEN)
        return;
    int n = ior_dial_causes(r->cx, ev->id, &cause);
    causes[0] = '\0';
    for (int i = 0; i < n; i++) {
        char text[IOR_ADDR_TEXT_MAX] = "look-up";
        if (cause[i].addr.len > 0)
            assert_true(ior_addr_format(&cause[i].addr, text, sizeof(text)) > 0);
        at += (size_t)snprintf(causes + at, sizeof(causes) - at, "%s%s %s", i ? ", " : "", text,
                               ior_errname(cause[i].error));
    }
}

static void init(struct named *named)
{
    named_init(named, NULL);
    named->r->on_event = note_causes;
    causes[0] = '\0';
}

/* Two addresses of each family, the sorted way. */
#define FOUR .addrs = {"[2001:db8::1]:80", "[2001:db8::2]:80", "192.0.2.1:80", "192.0.2.2:80"}

/* ---- the order ---- */

static void order(const char *families, uint32_t first, const char *expected)
{
    struct ior_addr addrs[16] = {{.len = 0}};
    struct ior_dial_cause sorted[16];
    char text[IOR_ADDR_TEXT_MAX], got[64];
    uint32_t n = (uint32_t)strlen(families);
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        snprintf(text, sizeof(text), families[i] == '6' ? "[2001:db8::%u]:1" : "192.0.2.%u:1", i);
        assert_int_equal(ior_addr_parse(&addrs[i], text), 0);
    }
    ior__dial_order(addrs, n, first, sorted);
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < n; k++) {
            if (ior_addr_equal(&sorted[i].addr, &addrs[k]))
                got[at++] = (char)('0' + k);
        }
    }
    got[at] = '\0';
    assert_string_equal(got, expected);
}

static void families_take_turns(void **state)
{
    (void)state;
    order("", 1, "");
    order("6", 1, "0");
    order("44", 1, "01");
    order("64", 1, "01");
    order("6644", 1, "0213");
    order("4466", 1, "0213");
    order("66644", 1, "03142");
    order("6644444", 1, "0213456");
    order("46666", 1, "01234");
    order("64646", 1, "01234");
    order("66664", 2, "01423");
    order("666444", 2, "013245");
    order("666444", 3, "012345");
    order("6644", 16, "0123");
}

static void the_most_telling_error(void **state)
{
    static const struct {
        int errors[4], expected;
    } cases[] = {
        {{ENETUNREACH, ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT}, ECONNREFUSED},
        {{ENETUNREACH, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH}, ETIMEDOUT},
        {{ENETUNREACH, EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL}, EHOSTUNREACH},
        {{ECONNREFUSED, EMFILE, ECONNREFUSED, ETIMEDOUT}, EMFILE},
        {{EADDRNOTAVAIL, ENETUNREACH, EAFNOSUPPORT, ENETDOWN}, EADDRNOTAVAIL},
        {{EACCES, EPERM, ENETUNREACH, ENETUNREACH}, EACCES},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ior_dial_cause told[4] = {{.error = 0}};
        for (int k = 0; k < 4; k++)
            told[k].error = cases[i].errors[k];
        assert_int_equal(ior__dial_error(told, 4), cases[i].expected);
    }
}

/* ---- one address ---- */

static void an_address_needs_no_look_up(void **state)
{
    struct named named = {.error = EIO};
    struct ior_addr addr;
    (void)state;
    init(&named);
    struct recorder *r = named.r;
    ior_id id = named_dial(&named, "192.0.2.7", NULL);
    assert_int_equal(script_count(r->script, SCRIPT_SOCKET), 0); /* nothing before the loop */
    assert_int_equal(ior_send(r->cx, id, "early", 5), -ENOTCONN);
    assert_int_equal(ior_finish(r->cx, id), -ENOTCONN);
    assert_int_equal(ior_local(r->cx, id, &addr), -ENOTCONN);
    assert_int_equal(ior_peer(r->cx, id, &addr), -ENOTCONN);
    assert_true(rec_idle(r));
    rec_expect(r, "registered 1\n");
    assert_int_equal(script_interest(r->script, FD(0)), IOR_WRITE);
    assert_int_equal(ior_send(r->cx, id, "early", 5), -ENOTCONN);
    assert_int_equal(ior_count(r->cx), 1);
    script_connected(r->script, FD(0));
    script_say_text(r->script, FD(0), "hello");
    assert_true(rec_idle(r));
    rec_expect(r, "open 1\ndata 1 hello\n");
    assert_string_equal(causes, "192.0.2.7:80 0");
    assert_int_equal(ior_dial_causes(r->cx, id, &(const struct ior_dial_cause *){NULL}), 0);
    assert_int_equal(rec_send_text(r, id, "hi"), 0);
    rec_settle(r);
    script_hear_text(r->script, FD(0), "hi");
    assert_int_equal(ior_peer(r->cx, id, &addr), 0);
    assert_int_equal(ior_count(r->cx), 1);
    assert_int_equal(named.asked, 0);
    script_hangup(r->script, FD(0));
    rec_settle(r);
    rec_expect(r, "eof 1\nend 1 eof 2 0 0\nhandover 1\n");
    named_free(&named);
}

static void all_forms_of_addresses(void **state)
{
    static const char *const hosts[] = {"::1", "[2001:db8::9]", "fe80::1%7", "[fe80::1%7]", "unix:/run/there"};
    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct named named = {.error = EIO};
        bool is_unix = strncmp(hosts[i], "unix:", 5) == 0;
        ior_id id;
        init(&named);
        script_path(named.r->script, "/run/there", true, true);
        script_connect_now(named.r->script, true);
        assert_int_equal(ior_dial(named.r->cx, hosts[i], is_unix ? 0 : 80, NULL, &id), 0);
        rec_of(named.r, id);
        rec_settle(named.r);
        rec_expect(named.r, "registered 1\nopen 1\n");
        assert_int_equal(named.asked, 0);
        named_free(&named);
    }
}

static void one_address_refused(void **state)
{
    struct named named = {.error = EIO};
    (void)state;
    init(&named);
    named_dial(&named, "192.0.2.7", NULL);
    rec_settle(named.r);
    script_refused(named.r->script, FD(0), ECONNREFUSED);
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nend 1 error ECONNREFUSED 0 0 0\nhandover 1\n");
    assert_string_equal(causes, "192.0.2.7:80 ECONNREFUSED");
    assert_int_equal(script_open_fds(named.r->script), 0);
    named_free(&named);
}

static void what_is_refused_at_once_is_told_from_the_loop(void **state)
{
    struct named named = {.error = EIO};
    (void)state;
    init(&named);
    script_fail_next(named.r->script, SCRIPT_CONNECT, ENETUNREACH);
    named_dial(&named, "192.0.2.7", NULL);
    rec_expect(named.r, "");
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nend 1 error ENETUNREACH 0 0 0\nhandover 1\n");
    ior_id id;
    assert_int_equal(ior_dial(named.r->cx, "unix:/run/nobody", 0, NULL, &id), 0);
    rec_settle(named.r);
    rec_expect(named.r, "registered 2\nend 2 error ENOENT 0 0 0\nhandover 2\n");
    assert_string_equal(causes, "unix:/run/nobody ENOENT");
    named_free(&named);
}

/* ---- the race ---- */

static void each_attempt_has_a_head_start(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    struct recorder *r = named.r;
    named_dial(&named, "host.example", NULL);
    rec_settle(r);
    assert_string_equal(named.host, "host.example");
    assert_int_equal(script_open_fds(r->script), 1);
    rec_pass(r, 249 * MS);
    assert_int_equal(script_open_fds(r->script), 1);
    rec_pass(r, MS);
    assert_int_equal(script_open_fds(r->script), 2);
    rec_pass(r, 250 * MS);
    assert_int_equal(script_open_fds(r->script), 3);
    rec_pass(r, 250 * MS);
    assert_int_equal(script_open_fds(r->script), 4);
    assert_int_equal(ior_count(r->cx), 1);
    assert_int_equal(rec_stats(r).resources, 5);
    assert_true(rec_idle(r)); /* no timer is left */
    script_connected(r->script, FD(2));
    assert_true(rec_idle(r));
    rec_expect(r, "registered 1\nopen 1\n");
    assert_string_equal(causes, "[2001:db8::1]:80 0, 192.0.2.1:80 0, [2001:db8::2]:80 0, 192.0.2.2:80 0");
    assert_int_equal(script_open_fds(r->script), 1);
    assert_true(script_is_open(r->script, FD(2)));
    assert_int_equal(rec_stats(r).resources, 1);
    named_free(&named);
}

static void the_delay_is_an_option(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    named_dial(&named, "host.example", NAMED_DIAL(.delay_ns = 10 * MS, .first_family = 2));
    rec_settle(named.r);
    rec_pass(named.r, 9 * MS);
    assert_int_equal(script_open_fds(named.r->script), 1);
    rec_pass(named.r, 21 * MS);
    assert_int_equal(script_open_fds(named.r->script), 4);
    script_connected(named.r->script, FD(3));
    rec_settle(named.r);
    assert_string_equal(causes, "[2001:db8::1]:80 0, [2001:db8::2]:80 0, 192.0.2.1:80 0, 192.0.2.2:80 0");
    named_free(&named);
}

static void one_that_fails_lets_the_next_begin_at_once(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    struct recorder *r = named.r;
    named_dial(&named, "host.example", NULL);
    rec_settle(r);
    rec_pass(r, 100 * MS);
    script_refused(r->script, FD(0), EHOSTUNREACH);
    rec_settle(r);
    assert_int_equal(script_count(r->script, SCRIPT_CONNECT), 2); /* the second, with a head start of its own */
    rec_pass(r, 249 * MS);
    assert_int_equal(script_count(r->script, SCRIPT_CONNECT), 2);
    rec_pass(r, MS);
    assert_int_equal(script_count(r->script, SCRIPT_CONNECT), 3);
    script_connected(r->script, FD(1));
    assert_true(rec_idle(r)); /* also the delay before the fourth is off */
    rec_expect(r, "registered 1\nopen 1\n");
    assert_string_equal(causes, "[2001:db8::1]:80 EHOSTUNREACH, 192.0.2.1:80 0, [2001:db8::2]:80 0");
    named_free(&named);
}

/* The delay is over, and before the loop comes to it the first one fails: that is one reason, not two. */
static void a_failure_at_the_end_of_the_delay(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    struct recorder *r = named.r;
    named_dial(&named, "host.example", NULL);
    rec_settle(r);
    script_advance(r->script, 250 * MS);
    rec_turn(r);
    assert_int_equal(script_count(r->script, SCRIPT_CONNECT), 1);
    script_refused(r->script, FD(0), EHOSTUNREACH);
    rec_settle(r);
    assert_int_equal(script_count(r->script, SCRIPT_CONNECT), 2);
    rec_pass(r, 250 * MS);
    assert_int_equal(script_count(r->script, SCRIPT_CONNECT), 3);
    named_free(&named);
}

static void a_family_that_is_not_there_costs_no_time(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    script_fail_next(named.r->script, SCRIPT_SOCKET, EAFNOSUPPORT);
    named_dial(&named, "host.example", NULL);
    rec_settle(named.r);
    script_connected(named.r->script, FD(0));
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nopen 1\n");
    assert_string_equal(causes, "[2001:db8::1]:80 EAFNOSUPPORT, 192.0.2.1:80 0");
    named_free(&named);
}

static void all_fail_and_all_causes_are_told(void **state)
{
    struct named named = {FOUR};
    static const int errors[] = {EHOSTUNREACH, ECONNREFUSED, ETIMEDOUT, ENETUNREACH};
    (void)state;
    init(&named);
    named_dial(&named, "host.example", NULL);
    for (int i = 0; i < 4; i++) {
        rec_settle(named.r);
        rec_expect(named.r, i == 0 ? "registered 1\n" : "");
        script_refused(named.r->script, script_last_fd(named.r->script), errors[i]);
    }
    rec_settle(named.r);
    rec_expect(named.r, "end 1 error ECONNREFUSED 0 0 0\nhandover 1\n");
    assert_string_equal(causes, "[2001:db8::1]:80 EHOSTUNREACH, 192.0.2.1:80 ECONNREFUSED, [2001:db8::2]:80 ETIMEDOUT, "
                                "192.0.2.2:80 ENETUNREACH");
    assert_true(rec_idle(named.r));
    named_free(&named);
}

/* A later one may fail first. */
static void attempts_fail_in_any_order(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    named_dial(&named, "host.example", NULL);
    rec_settle(named.r);
    rec_pass(named.r, 750 * MS);
    static const int falls[] = {2, 0, 3, 1};
    for (int i = 0; i < 4; i++) {
        rec_expect(named.r, i == 0 ? "registered 1\n" : "");
        script_refused(named.r->script, FD(falls[i]), ECONNREFUSED);
        rec_settle(named.r);
    }
    rec_expect(named.r, "end 1 error ECONNREFUSED 0 0 0\nhandover 1\n");
    assert_string_equal(causes, "[2001:db8::1]:80 ECONNREFUSED, 192.0.2.1:80 ECONNREFUSED, "
                                "[2001:db8::2]:80 ECONNREFUSED, 192.0.2.2:80 ECONNREFUSED");
    named_free(&named);
}

static void two_connect_at_the_same_time(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    named_dial(&named, "host.example", NULL);
    rec_settle(named.r);
    rec_pass(named.r, 250 * MS);
    script_connected(named.r->script, FD(0));
    script_connected(named.r->script, FD(1));
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nopen 1\n");
    assert_int_equal(script_open_fds(named.r->script), 1);
    named_free(&named);
}

static void the_deadline_counts_for_all(void **state)
{
    struct named named = {FOUR, .after_ns = 100 * MS};
    (void)state;
    init(&named);
    named_dial(&named, "host.example",
               NAMED_DIAL(.stream = {.struct_size = sizeof(struct ior_stream_options), .connect_ns = 450 * MS}));
    rec_settle(named.r);
    rec_pass(named.r, 449 * MS);
    rec_expect(named.r, "registered 1\n");
    rec_pass(named.r, MS);
    rec_expect(named.r, "end 1 timeout connect 0 0 0\nhandover 1\n");
    assert_string_equal(causes, "[2001:db8::1]:80 ETIMEDOUT, 192.0.2.1:80 ETIMEDOUT");
    assert_int_equal(script_open_fds(named.r->script), 0);
    assert_true(rec_idle(named.r));
    named_free(&named);
}

static void the_deadline_of_a_look_up(void **state)
{
    struct named named = {FOUR, .after_ns = 5000 * MS};
    (void)state;
    init(&named);
    named_dial(&named, "host.example",
               NAMED_DIAL(.stream = {.struct_size = sizeof(struct ior_stream_options), .connect_ns = 450 * MS}));
    rec_settle(named.r);
    rec_pass(named.r, 450 * MS);
    rec_expect(named.r, "registered 1\nend 1 timeout connect 0 0 0\nhandover 1\n");
    assert_string_equal(causes, "look-up ETIMEDOUT");
    assert_true(rec_idle(named.r));
    named_free(&named);
}

static void at_most_so_many_addresses(void **state)
{
    struct named named = {.error = 0};
    char texts[70][32];
    (void)state;
    for (unsigned i = 0; i < 70; i++) {
        snprintf(texts[i], sizeof(texts[i]), "192.0.2.%u:80", i);
        named.addrs[i] = texts[i];
    }
    init(&named);
    static const uint32_t most[] = {0, 1, 3, 64};
    for (int k = 0; k < 4; k++) {
        script_forget(named.r->script);
        script_fail_always(named.r->script, SCRIPT_CONNECT, ENETUNREACH);
        named_dial(&named, "host.example", NAMED_DIAL(.max_addrs = most[k]));
        rec_settle(named.r);
        assert_int_equal(script_count(named.r->script, SCRIPT_CONNECT), most[k] ? most[k] : 16);
        assert_int_equal(rec_of(named.r, rec_id(named.r, (unsigned)k + 1))->error, ENETUNREACH);
    }
    named_free(&named);
}

/* ---- look-ups that fail ---- */

static void a_name_that_is_not_there(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    named_dial(&named, "unknown.example", NULL);
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nend 1 error ENOENT 0 0 0\nhandover 1\n");
    assert_string_equal(causes, "look-up ENOENT");
    named.error = EAGAIN;
    named_dial(&named, "host.example", NAMED_DIAL(.family = AF_INET6));
    rec_settle(named.r);
    assert_string_equal(causes, "look-up EAGAIN");
    assert_int_equal(named.family, AF_INET6);
    named_free(&named);
}

/* R79: no name is ever cut; the resolver gets all of it, or the request is refused. */
static void r79_names_are_whole_or_refused(void **state)
{
    struct named named = {FOUR};
    char name[400];
    ior_id id = 4711;
    (void)state;
    init(&named);
    struct ior_context *cx = named.r->cx;
    memset(name, 'a', sizeof(name));
    for (size_t i = 60; i < sizeof(name); i += 60)
        name[i] = '.';
    static const size_t too_long[] = {254, 255, 256, 257, 300, 399};
    for (size_t i = 0; i < sizeof(too_long) / sizeof(too_long[0]); i++) {
        char kept = name[too_long[i]];
        name[too_long[i]] = '\0';
        assert_int_equal(ior_dial(cx, name, 80, NULL, &id), -ENAMETOOLONG);
        assert_int_equal(ior_resolve(cx, name, 80, NULL, &id), -ENAMETOOLONG);
        name[too_long[i]] = kept;
    }
    assert_int_equal(named.asked, 0);
    name[253] = '\0';
    named_dial(&named, name, NULL);
    assert_string_equal(named.host, name);
    strcpy(name + 253, ".");
    named_dial(&named, name, NULL);
    assert_string_equal(named.host, name);
    strcpy(name + 254, ".");
    assert_int_equal(ior_dial(cx, name, 80, NULL, &id), -ENAMETOOLONG);
    assert_int_equal(named.asked, 2);
    assert_int_equal(id, 4711);
    named_free(&named);
}

static void bad_arguments(void **state)
{
    struct named named = {FOUR};
    static const char *const bad[] = {"", "a b", "a\n", "\x7f", "a:b", "[::1", "::1]", "[1.2.3.4]", "1::2::3"};
    struct ior_stream_options stream = {.struct_size = sizeof(stream)};
    const struct ior_dial_cause *cause;
    ior_id id = 4711;
    (void)state;
    init(&named);
    struct ior_context *cx = named.r->cx;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(ior_dial(cx, bad[i], 80, NULL, &id), -EINVAL);
    assert_int_equal(ior_dial(cx, NULL, 80, NULL, &id), -EINVAL);
    assert_int_equal(ior_dial(NULL, "host", 80, NULL, &id), -EINVAL);
    assert_int_equal(ior_dial(cx, "host", 80, NULL, NULL), -EINVAL);
    assert_int_equal(ior_dial(cx, "host", 0, NULL, &id), -EINVAL);
    assert_int_equal(ior_dial(cx, "host", 65536, NULL, &id), -EINVAL);
    assert_int_equal(ior_dial(cx, "unix:/run/x", 80, NULL, &id), -EINVAL);
    assert_int_equal(ior_dial(cx, "host", 80, NAMED_DIAL(.delay_ns = 10 * MS - 1), &id), -EINVAL);
    assert_int_equal(ior_dial(cx, "host", 80, NAMED_DIAL(.delay_ns = 2000 * MS + 1), &id), -EINVAL);
    assert_int_equal(ior_dial(cx, "host", 80, NAMED_DIAL(.max_addrs = 65), &id), -EINVAL);
    assert_int_equal(ior_dial(cx, "host", 80, NAMED_DIAL(.family = AF_UNIX), &id), -EAFNOSUPPORT);
    assert_int_equal(ior_dial(cx, "::1", 80, NAMED_DIAL(.family = AF_INET), &id), -EAFNOSUPPORT);
    assert_int_equal(ior_dial(cx, "192.0.2.1", 80, NAMED_DIAL(.family = AF_INET6), &id), -EAFNOSUPPORT);
    assert_int_equal(ior_dial(cx, "host", 80, &(const struct ior_dial_options){.struct_size = 4}, &id), -EINVAL);
    stream.cap_bytes = 1;
    assert_int_equal(ior_dial(cx, "host", 80, NAMED_DIAL(.stream = stream), &id), -EINVAL);
    assert_int_equal(ior_dial_causes(cx, 0, &cause), -ENOENT);
    assert_int_equal(ior_dial_causes(cx, 0, NULL), -EINVAL);
    assert_int_equal(ior_dial_causes(NULL, 0, &cause), -EINVAL);
    assert_int_equal(id, 4711);
    assert_int_equal(named.asked, 0);
    assert_int_equal(ior_count(cx), 0);
    named.r->script->os.resolve = NULL;
    assert_int_equal(ior_dial(cx, "host", 80, NULL, &id), -ENOSYS);
    ior_stop(cx, 0);
    assert_int_equal(ior_dial(cx, "host", 80, NULL, &id), -ESHUTDOWN);
    named_free(&named);
}

/* ---- the stream ---- */

static void *user_at_open;

static void note_user(struct recorder *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type == IOR_EV_OPEN)
        user_at_open = ev->user;
}

static void the_user_is_there_from_the_beginning(void **state)
{
    struct named named = {FOUR};
    struct ior_stream_options stream = {.struct_size = sizeof(stream), .user_size = 100};
    (void)state;
    init(&named);
    named.r->on_event = note_user;
    ior_id id = named_dial(&named, "host.example", NAMED_DIAL(.stream = stream));
    memset(ior_user(named.r->cx, id), 'u', 100);
    rec_settle(named.r);
    rec_pass(named.r, 250 * MS);
    script_connected(named.r->script, FD(1));
    rec_settle(named.r);
    assert_ptr_equal(user_at_open, ior_user(named.r->cx, id));
    assert_memory_equal(user_at_open, "uuuuuuuuuu", 10);
    named_free(&named);
}

static void a_pause_is_kept(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    ior_id id = named_dial(&named, "host.example", NULL);
    assert_int_equal(rec_pause(named.r, id), 0);
    rec_settle(named.r);
    script_connected(named.r->script, FD(0));
    script_say_text(named.r->script, FD(0), "hello");
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nopen 1\n");
    assert_int_equal(rec_resume(named.r, id), 0);
    rec_settle(named.r);
    rec_expect(named.r, "data 1 hello\n");
    named_free(&named);
}

static void deadlines_are_those_of_a_stream(void **state)
{
    struct named named = {FOUR, .after_ns = 100 * MS};
    struct ior_stream_options stream = {.struct_size = sizeof(stream), .connect_ns = 1000 * MS, .idle_ns = 300 * MS};
    (void)state;
    init(&named);
    ior_id id = named_dial(&named, "host.example", NAMED_DIAL(.stream = stream));
    assert_int_equal(ior_deadline(named.r->cx, id, IOR_DEADLINE_USER, 150 * MS), 0);
    rec_settle(named.r);
    rec_pass(named.r, 150 * MS);
    rec_expect(named.r, "registered 1\ndeadline 1\n");
    rec_pass(named.r, 700 * MS); /* idle counts from OPEN */
    script_connected(named.r->script, FD(0));
    rec_settle(named.r);
    rec_expect(named.r, "open 1\n");
    rec_pass(named.r, 299 * MS); /* past what was the deadline of connecting */
    rec_expect(named.r, "");
    rec_pass(named.r, MS);
    rec_expect(named.r, "end 1 timeout idle 0 0 0\nhandover 1\n");
    named_free(&named);
}

/* ---- calling off ---- */

enum how { UNREGISTER, CLOSE, ABORT, STOP, HOWS };

static int call_off(struct recorder *r, ior_id id, enum how how)
{
    switch (how) {
    case UNREGISTER:
        return rec_unregister(r, id);
    case CLOSE:
        return ior_close(r->cx, id, 0);
    case ABORT:
        return ior_abort(r->cx, id);
    default:
        ior_stop(r->cx, 0);
        return 0;
    }
}

/* At 0: before the loop; then during the look-up, with one attempt, with two, with four. */
static void called_off_at(uint64_t at_ns, enum how how)
{
    struct named named = {FOUR, .after_ns = 100 * MS};
    live_alloc_start();
    init(&named);
    struct recorder *r = named.r;
    ior_id id = named_dial(&named, "host.example", NULL);
    if (at_ns > 0) {
        rec_settle(r);
        rec_pass(r, at_ns);
    }
    rec_forget(r);
    assert_int_equal(call_off(r, id, how), 0);
    if (how != STOP) {
        assert_int_equal(script_open_fds(r->script), 0); /* on return */
        assert_int_equal(ior_send(r->cx, id, "x", 1), -EPIPE);
        rec_settle(r);
        rec_expect(r, "end 1 asked 0 0 0\nhandover 1\n");
        assert_true(rec_idle(r));
        assert_int_equal(rec_stats(r).resources, 0);
    }
    named_free(&named);
    live_alloc_stop();
}

static void called_off_at_any_moment(void **state)
{
    static const uint64_t times[] = {0, 50 * MS, 100 * MS, 200 * MS, 350 * MS, 900 * MS};
    (void)state;
    for (int how = 0; how < HOWS; how++) {
        for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
            called_off_at(times[i], (enum how)how);
    }
}

static void end_it(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_OPEN)
        assert_int_equal(rec_unregister(r, ev->id), 0);
}

static void called_off_in_open(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    named.r->on_event = end_it;
    named_dial(&named, "host.example", NULL);
    rec_settle(named.r);
    rec_pass(named.r, 250 * MS);
    script_connected(named.r->script, FD(1));
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nopen 1\nend 1 asked 0 0 0\nhandover 1\n");
    named_free(&named);
}

static void what_is_handed_back_has_no_fd(void **state)
{
    struct named named = {FOUR};
    ior_id id;
    (void)state;
    init(&named);
    named.r->keep = true;
    rec_unregister(named.r, named_dial(&named, "host.example", NULL));
    rec_settle(named.r);
    struct ior_resource *res = rec_of(named.r, rec_id(named.r, 1))->handed;
    rec_of(named.r, rec_id(named.r, 1))->handed = NULL;
    assert_int_equal(ior_register(named.r->cx, res, &id), -EBADF);
    assert_int_equal(ior_resource_release(res), -EBADF);
    named_free(&named);
}

static void freed_while_it_dials(void **state)
{
    static const uint64_t times[] = {0, 50 * MS, 350 * MS};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct named named = {FOUR, .after_ns = 100 * MS};
        live_alloc_start();
        init(&named);
        named_dial(&named, "host.example", NULL);
        if (times[i] > 0)
            rec_settle(named.r);
        rec_pass(named.r, times[i]);
        named_free(&named);
        live_alloc_stop();
    }
}

/* ---- want ---- */

static void no_slot_for_an_attempt(void **state)
{
    struct named named = {FOUR};
    const struct ior_config config = {.struct_size = sizeof(config), .max_resources = 2};
    (void)state;
    named_init(&named, &config);
    named.r->on_event = note_causes;
    named_dial(&named, "host.example", NULL);
    rec_settle(named.r);
    rec_pass(named.r, 250 * MS); /* all the others fail, and the first goes on */
    assert_int_equal(script_open_fds(named.r->script), 1);
    script_refused(named.r->script, FD(0), ECONNREFUSED);
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nend 1 error ENOSPC 0 0 0\nhandover 1\n");
    named_free(&named);
}

static void no_fd_for_an_attempt(void **state)
{
    struct named named = {FOUR};
    (void)state;
    init(&named);
    script_fd_limit(named.r->script, 1);
    named_dial(&named, "host.example", NULL);
    rec_settle(named.r);
    rec_pass(named.r, 250 * MS);
    script_connected(named.r->script, FD(0));
    rec_settle(named.r);
    rec_expect(named.r, "registered 1\nopen 1\n");
    assert_string_equal(causes,
                        "[2001:db8::1]:80 0, 192.0.2.1:80 EMFILE, [2001:db8::2]:80 EMFILE, 192.0.2.2:80 EMFILE");
    named_free(&named);
}

/* An fd of an attempt is closed by somebody else: the others go on. */
static void a_stolen_fd(void **state)
{
    static const enum script_steal hows[] = {SCRIPT_STEAL_BAD, SCRIPT_STEAL_GONE};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct named named = {FOUR};
        init(&named);
        named_dial(&named, "host.example", NULL);
        rec_settle(named.r);
        script_steal(named.r->script, FD(0), hows[i]);
        rec_settle(named.r);
        if (hows[i] == SCRIPT_STEAL_BAD) /* told, so the next one begins at once */
            assert_int_equal(script_count(named.r->script, SCRIPT_CONNECT), 2);
        rec_pass(named.r, 250 * MS);
        script_connected(named.r->script, script_last_fd(named.r->script));
        rec_settle(named.r);
        rec_expect(named.r, "registered 1\nopen 1\n");
        named_free(&named);
    }
}

/*
 * A dial that is refused, one that wins, and one that is called off, while something fails on the way: the recorder
 * checks the promises. Answers whether the failure happened.
 */
static void play(void (*begin)(struct script *s), bool (*fails)(struct script *s))
{
    struct named named = {FOUR, .after_ns = 10 * MS};
    struct ior_stream_options stream = {.struct_size = sizeof(stream), .connect_ns = 5000 * MS, .idle_ns = 5000 * MS};
    init(&named);
    struct recorder *r = named.r;
    begin(r->script);
    for (int i = 0; i < 3; i++) {
        ior_id id = 0;
        int err = ior_dial(r->cx, i == 1 ? "192.0.2.9" : "host.example", 80, NAMED_DIAL(.stream = stream), &id);
        if (err < 0 && !fails(r->script))
            fail_msg("ior_dial answered %s", ior_errname(err));
        if (err == 0)
            rec_of(r, id);
        rec_settle(r);
        rec_pass(r, 300 * MS);
        for (int fd = 0; fd < r->script->lines_n; fd++) {
            if (i == 2 || !script_is_open(r->script, FD(fd)) || script_interest(r->script, FD(fd)) != IOR_WRITE)
                continue;
            if (i == 0)
                script_refused(r->script, FD(fd), ECONNREFUSED);
            else
                script_connected(r->script, FD(fd));
        }
        rec_settle(r);
        rec_pass(r, 300 * MS);
        if (err == 0 && i == 2)
            (void)ior_unregister(r->cx, id);
        rec_settle(r);
    }
    named_free(&named);
}

static uint64_t nth;
static bool all;
static int error;

static void begin_alloc(struct script *s)
{
    (void)s;
    live_alloc_fail(nth, all);
}

static bool alloc_failed(struct script *s)
{
    (void)s;
    return live_alloc_refused() > 0;
}

static void each_allocation_fails(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        all = i == 1;
        bool failed = true;
        for (nth = 1; failed; nth++) {
            live_alloc_start();
            play(begin_alloc, alloc_failed);
            failed = live_alloc_refused() > 0;
            live_alloc_stop();
        }
        assert_true(nth > 8);
    }
}

static bool call_failed_once;

static void begin_call(struct script *s)
{
    call_failed_once = false;
    script_fail_nth(s, nth, error);
}

static bool call_failed(struct script *s)
{
    call_failed_once = call_failed_once || script_failed_nth(s);
    return call_failed_once;
}

static void each_system_call_fails(void **state)
{
    static const int errors[] = {EINTR, EIO, ENOMEM, EMFILE, EAGAIN};
    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        error = errors[i];
        for (nth = 1; nth < 80; nth++) {
            live_alloc_start();
            play(begin_call, call_failed);
            live_alloc_stop();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_take_turns),
        cmocka_unit_test(the_most_telling_error),
        cmocka_unit_test(an_address_needs_no_look_up),
        cmocka_unit_test(all_forms_of_addresses),
        cmocka_unit_test(one_address_refused),
        cmocka_unit_test(what_is_refused_at_once_is_told_from_the_loop),
        cmocka_unit_test(each_attempt_has_a_head_start),
        cmocka_unit_test(the_delay_is_an_option),
        cmocka_unit_test(one_that_fails_lets_the_next_begin_at_once),
        cmocka_unit_test(a_failure_at_the_end_of_the_delay),
        cmocka_unit_test(a_family_that_is_not_there_costs_no_time),
        cmocka_unit_test(all_fail_and_all_causes_are_told),
        cmocka_unit_test(attempts_fail_in_any_order),
        cmocka_unit_test(two_connect_at_the_same_time),
        cmocka_unit_test(the_deadline_counts_for_all),
        cmocka_unit_test(the_deadline_of_a_look_up),
        cmocka_unit_test(at_most_so_many_addresses),
        cmocka_unit_test(a_name_that_is_not_there),
        cmocka_unit_test(r79_names_are_whole_or_refused),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(the_user_is_there_from_the_beginning),
        cmocka_unit_test(a_pause_is_kept),
        cmocka_unit_test(deadlines_are_those_of_a_stream),
        cmocka_unit_test(called_off_at_any_moment),
        cmocka_unit_test(called_off_in_open),
        cmocka_unit_test(what_is_handed_back_has_no_fd),
        cmocka_unit_test(freed_while_it_dials),
        cmocka_unit_test(no_slot_for_an_attempt),
        cmocka_unit_test(no_fd_for_an_attempt),
        cmocka_unit_test(a_stolen_fd),
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(each_system_call_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
