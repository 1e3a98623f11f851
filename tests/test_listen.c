/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How listeners are set up: addresses, options, Unix paths, and what a failure leaves behind.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "support/check.h"
#include "support/recorder.h"

/* ---- setting up ---- */

static const struct script_entry *option_set(struct script *s, int level, int name)
{
    const struct script_entry *entry;
    for (unsigned i = 0; (entry = script_entry(s, i)) != NULL; i++)
        if (entry->call == SCRIPT_SETSOCKOPT && entry->arg == ((int64_t)level << 16 | name))
            return entry;
    return NULL;
}

static void options_reach_the_socket(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    rec_listen(r, "[2001:db8::1]:80",
               REC_LISTEN(.backlog = 7, .reuse_port = true, .v6_only = true,
                          .stream = {.struct_size = sizeof(struct ior_stream_options), .keep_alive = true}),
               &fd);
    assert_int_equal(script_last(r->script, SCRIPT_LISTEN)->arg, 7);
    assert_int_equal(option_set(r->script, SOL_SOCKET, SO_REUSEADDR)->value, 1);
    assert_int_equal(option_set(r->script, SOL_SOCKET, SO_REUSEPORT)->value, 1);
    assert_int_equal(option_set(r->script, IPPROTO_IPV6, IPV6_V6ONLY)->value, 1);
    assert_int_equal(option_set(r->script, IPPROTO_TCP, TCP_NODELAY)->value, 1);
    assert_int_equal(option_set(r->script, SOL_SOCKET, SO_KEEPALIVE)->value, 1);
    script_forget(r->script);
    rec_listen(r, "[2001:db8::1]:81",
               REC_LISTEN(.stream = {.struct_size = sizeof(struct ior_stream_options), .nagle = true}), &fd);
    assert_int_equal(script_last(r->script, SCRIPT_LISTEN)->arg, 511);
    assert_int_equal(option_set(r->script, IPPROTO_IPV6, IPV6_V6ONLY)->value, 0);
    assert_null(option_set(r->script, SOL_SOCKET, SO_REUSEPORT));
    assert_null(option_set(r->script, IPPROTO_TCP, TCP_NODELAY));
    assert_null(option_set(r->script, SOL_SOCKET, SO_KEEPALIVE));
    rec_free(r);
}

static void a_failing_call_leaves_nothing(void **state)
{
    static const enum script_call calls[] = {SCRIPT_SOCKET, SCRIPT_BIND, SCRIPT_LISTEN, SCRIPT_WATCH};
    struct recorder *r = rec_new();
    struct ior_addr addr;
    ior_id id = 4711;
    (void)state;
    assert_int_equal(ior_addr_parse(&addr, "192.0.2.1:80"), 0);
    for (unsigned i = 0; i < 4; i++) {
        script_fail_next(r->script, calls[i], EACCES);
        assert_int_equal(ior_listen(r->cx, &addr, NULL, &id), -EACCES);
        assert_int_equal(id, 4711);
        assert_int_equal(script_open_fds(r->script), 0);
        assert_int_equal(ior_count(r->cx), 0);
    }
    rec_settle(r);
    rec_expect(r, "");
    rec_free(r);
}

static void r81_permissions_before_anyone_can_connect(void **state)
{
    struct recorder *r = rec_new();
    const struct script_entry *entry;
    int fd, chmod_at = -1, bind_at = -1, listen_at = -1;
    (void)state;
    ior_id id = rec_listen(r, "unix:/run/x", REC_LISTEN(.unix_mode = 0600), &fd);
    for (unsigned i = 0; (entry = script_entry(r->script, i)) != NULL; i++) {
        chmod_at = entry->call == SCRIPT_PATH_CHMOD ? (int)i : chmod_at;
        bind_at = entry->call == SCRIPT_BIND ? (int)i : bind_at;
        listen_at = entry->call == SCRIPT_LISTEN ? (int)i : listen_at;
    }
    assert_true(bind_at >= 0 && bind_at < chmod_at && chmod_at < listen_at);
    assert_int_equal(script_path_mode(r->script, "/run/x"), 0600);
    rec_settle(r);
    assert_true(script_path_exists(r->script, "/run/x"));
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    assert_false(script_path_exists(r->script, "/run/x")); /* removed with the listener */
    rec_free(r);
}

static int listen_on(struct recorder *r, const char *text, const struct ior_listen_options *opts)
{
    struct ior_addr addr;
    ior_id id = 4711;
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    int err = ior_listen(r->cx, &addr, opts, &id);
    if (err < 0)
        assert_int_equal(id, 4711);
    else
        rec_of(r, id);
    return err;
}

static void stale_paths_are_replaced(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    script_path(r->script, "/run/stale", true, false);
    script_path(r->script, "/run/alive", true, true);
    script_path(r->script, "/run/file", false, false);
    assert_int_equal(listen_on(r, "unix:/run/stale", NULL), 0);
    assert_int_equal(listen_on(r, "unix:/run/alive", NULL), -EADDRINUSE);
    assert_int_equal(listen_on(r, "unix:/run/file", NULL), -EADDRINUSE);
    assert_true(script_path_exists(r->script, "/run/alive") && script_path_exists(r->script, "/run/file"));
    assert_int_equal(script_open_fds(r->script), 1);
    rec_free(r);
}

static void a_path_that_was_replaced_is_left_alone(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_listen(r, "unix:/run/x", NULL, &fd);
    script_path_replace(r->script, "/run/x");
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    assert_true(script_path_exists(r->script, "/run/x"));
    rec_free(r);
}

static void a_failing_unix_listener_leaves_no_path(void **state)
{
    static const enum script_call calls[] = {SCRIPT_PATH_CHMOD, SCRIPT_LISTEN, SCRIPT_WATCH};
    struct recorder *r = rec_new();
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        script_fail_next(r->script, calls[i], EIO);
        assert_int_equal(listen_on(r, "unix:/run/x", REC_LISTEN(.unix_mode = 0600)), -EIO);
        assert_false(script_path_exists(r->script, "/run/x"));
        assert_int_equal(script_open_fds(r->script), 0);
    }
    rec_free(r);
}

static void abstract_names_have_no_file(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_listen(r, "unix:@name", NULL, &fd);
    script_accept_from(r->script, fd, "unix:@peer");
    rec_settle(r);
    rec_expect(r, "registered 1\naccepted 1 unix:@peer\nregistered 2\nopen 2\n");
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    assert_int_equal(script_count(r->script, SCRIPT_PATH_UNLINK), 0);
    assert_int_equal(script_count(r->script, SCRIPT_PATH_CHMOD), 0);
    rec_free(r);
}

static void bad_arguments(void **state)
{
    struct recorder *r = rec_new();
    struct ior_addr addr, none = {.len = 0}, odd = {.len = 16};
    ior_id id = 4711;
    (void)state;
    odd.raw[0] = 0x77; /* no family we know */
    assert_int_equal(ior_addr_parse(&addr, "192.0.2.1:80"), 0);
    assert_int_equal(ior_listen(NULL, &addr, NULL, &id), -EINVAL);
    assert_int_equal(ior_listen(r->cx, NULL, NULL, &id), -EINVAL);
    assert_int_equal(ior_listen(r->cx, &addr, NULL, NULL), -EINVAL);
    assert_int_equal(ior_listen(r->cx, &none, NULL, &id), -EINVAL);
    assert_true(ior_listen(r->cx, &odd, NULL, &id) < 0);
    assert_int_equal(ior_listen(r->cx, &addr, REC_LISTEN(.backlog = -1), &id), -EINVAL);
    assert_int_equal(ior_listen(r->cx, &addr, REC_LISTEN(.unix_mode = 010000), &id), -EINVAL);
    assert_int_equal(ior_listen(r->cx, &addr, &(struct ior_listen_options){.struct_size = 1}, &id), -EINVAL);
    assert_int_equal(
        ior_listen(
            r->cx, &addr,
            REC_LISTEN(.stream = {.struct_size = sizeof(struct ior_stream_options), .high_bytes = 1, .low_bytes = 2}),
            &id),
        -EINVAL);
    assert_int_equal(id, 4711);
    assert_int_equal(script_open_fds(r->script), 0);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_reach_the_socket),
        cmocka_unit_test(a_failing_call_leaves_nothing),
        cmocka_unit_test(r81_permissions_before_anyone_can_connect),
        cmocka_unit_test(stale_paths_are_replaced),
        cmocka_unit_test(a_path_that_was_replaced_is_left_alone),
        cmocka_unit_test(a_failing_unix_listener_leaves_no_path),
        cmocka_unit_test(abstract_names_have_no_file),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
