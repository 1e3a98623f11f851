/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resources outside of a runtime: registered once, refused without an effect, released, freed, taken from a listener.
 */
#include <errno.h>

#include "support/check.h"
#include "support/recorder.h"

static struct recorder *one_stream(const struct ior_stream_options *opts, ior_id *id, int *fd)
{
    struct recorder *r = rec_new();
    r->keep = true;
    *id = rec_stream(r, opts, fd);
    rec_settle(r);
    rec_expect(r, "registered 1\nopen 1\n");
    return r;
}

/* Unregisters and answers what was handed back. */
static struct ior_resource *take_back(struct recorder *r, ior_id id)
{
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    assert_non_null(rec_of(r, id)->handed);
    rec_forget(r);
    return rec_of(r, id)->handed;
}

static void keep_three(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA && rec_of(r, ev->id)->data_events == 1 && rec_number(r, ev->id) == 1)
        assert_int_equal(rec_unread(r, ev->id, 3), 0);
}

/* ---- registering ---- */

static void registered_only_once(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    ior_id other = 4711;
    (void)state;
    struct ior_resource *res = take_back(r, id);
    rec_register(r, res);
    assert_int_equal(ior_register(r->cx, res, &other), -EBUSY);
    assert_int_equal(ior_resource_release(res), -EBUSY);
    ior_resource_free(res); /* it is the runtime's: left alone */
    assert_int_equal(other, 4711);
    assert_ptr_equal(ior_resource_context(res), r->cx);
    script_say_text(r->script, fd, "alive");
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\ndata 2 alive\n");
    rec_free(r);
}

static void what_is_closed_cannot_be_registered(void **state)
{
    ior_id id, other = 4711;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    assert_int_equal(rec_abort(r, id), 0);
    rec_settle(r);
    struct ior_resource *res = rec_of(r, id)->handed;
    assert_int_equal(ior_register(r->cx, res, &other), -EBADF);
    assert_int_equal(ior_register(r->cx, NULL, &other), -EINVAL);
    assert_int_equal(ior_register(r->cx, res, NULL), -EINVAL);
    assert_int_equal(ior_resource_release(res), -EBADF);
    rec_of(r, id)->handed = NULL; /* release frees the rest */
    rec_free(r);
}

/* Refused, it stays the caller's with all it holds. */
static void a_refused_registration_changes_nothing(void **state)
{
    struct ior_config config = {.max_resources = 1};
    struct recorder *r = rec_new_with(&config);
    int fd, hog;
    ior_id other = 4711;
    (void)state;
    r->keep = true;
    r->on_event = keep_three;
    ior_id id = rec_stream(r, NULL, &fd);
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "unsent"), 0);
    script_say_text(r->script, fd, "abcdef");
    rec_settle(r);
    struct ior_resource *res = take_back(r, id);
    ior_id hogging = rec_stream(r, NULL, &hog);
    assert_int_equal(ior_register(r->cx, res, &other), -ENOSPC);
    assert_int_equal(rec_abort(r, hogging), 0);
    rec_settle(r);
    ior_resource_free(rec_of(r, hogging)->handed);
    rec_of(r, hogging)->handed = NULL;
    script_fail_next(r->script, SCRIPT_WATCH, ENOMEM);
    assert_int_equal(ior_register(r->cx, res, &other), -ENOMEM);
    assert_int_equal(other, 4711);
    assert_int_equal(ior_count(r->cx), 0);
    assert_int_equal(ior_resource_unsent(res, NULL, 0, NULL), 6);
    assert_int_equal(ior_resource_unread(res, NULL, 0, NULL), 3);
    assert_null(ior_resource_context(res));
    rec_settle(r);
    rec_forget(r);
    script_room(r->script, fd, SIZE_MAX);
    rec_register(r, res);
    rec_settle(r);
    script_hear_text(r->script, fd, "unsent");
    rec_expect(r, "registered 3\nopen 3\ndata 3 def\n");
    rec_free(r);
}

/* ---- release and free ---- */

static void release_gives_the_fd(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    script_room(r->script, fd, 0);
    assert_int_equal(rec_send_text(r, id, "lost"), 0);
    struct ior_resource *res = take_back(r, id);
    rec_of(r, id)->handed = NULL;
    assert_int_equal(ior_resource_release(res), fd);
    assert_true(script_is_open(r->script, fd));
    script_give_away(r->script, fd, false);
    rec_free(r);
}

static void free_closes_the_fd(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_stream(NULL, &id, &fd);
    (void)state;
    ior_resource_free(take_back(r, id));
    rec_of(r, id)->handed = NULL;
    assert_false(script_is_open(r->script, fd));
    ior_resource_free(NULL);
    assert_int_equal(ior_resource_release(NULL), -EINVAL);
    rec_free(r);
}

/* ---- listeners and watches ---- */

static void a_listener_goes_on(void **state)
{
    struct recorder *r = rec_new();
    struct ior_addr addr;
    char text[IOR_ADDR_TEXT_MAX];
    int fd;
    (void)state;
    r->keep = true;
    ior_id id = rec_listen(r, "unix:/run/x", NULL, &fd);
    rec_settle(r);
    struct ior_resource *res = take_back(r, id);
    assert_true(script_path_exists(r->script, "/run/x"));
    script_accept_from(r->script, fd, "unix:@peer");
    rec_turn(r);
    rec_expect(r, "");
    id = rec_register(r, res);
    assert_int_equal(ior_local(r->cx, id, &addr), 0);
    assert_true(ior_addr_format(&addr, text, sizeof(text)) > 0);
    assert_string_equal(text, "unix:/run/x");
    rec_settle(r);
    rec_expect(r, "registered 2\naccepted 2 unix:@peer\nregistered 3\nopen 3\n");
    rec_free(r);
}

static void a_watch_is_handed_back_without_its_fd(void **state)
{
    struct recorder *r = rec_new();
    (void)state;
    r->keep = true;
    int fd = script_fd(r->script, IOR_FD_OTHER);
    ior_id id = rec_watch(r, fd, IOR_READ);
    rec_settle(r);
    struct ior_resource *res = take_back(r, id);
    assert_int_equal(ior_resource_release(res), -EOPNOTSUPP);
    id = rec_register(r, res);
    script_ready(r->script, fd, IOR_READ);
    rec_turn(r);
    rec_expect(r, "registered 2\nready 2 read\n");
    rec_free(r);
}

/* ---- taken connections ---- */

static struct ior_resource *taken;

static void take_it(struct recorder *r, const struct ior_event *ev)
{
    ior_id id;
    if (ev->type != IOR_EV_ACCEPTED)
        return;
    taken = ior_take(r->cx, ev);
    assert_non_null(taken);
    assert_null(ior_take(r->cx, ev));
    assert_int_equal(ior_accept(r->cx, ev, &id), -EALREADY);
}

static void a_taken_connection_is_registered_later(void **state)
{
    struct recorder *r = rec_new();
    int listener;
    (void)state;
    r->on_event = take_it;
    r->refuse = true;
    rec_listen(r, "192.0.2.1:80", NULL, &listener);
    rec_settle(r);
    int fd = script_accept_from(r->script, listener, "192.0.2.2:4000");
    script_say_text(r->script, fd, "hello");
    rec_settle(r);
    rec_expect(r, "registered 1\naccepted 1 192.0.2.2:4000\n");
    assert_int_equal(script_interest(r->script, fd), -1);
    rec_register(r, taken);
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\ndata 2 hello\n");
    fd = script_accept_from(r->script, listener, "192.0.2.2:4001");
    rec_settle(r);
    assert_true(script_is_open(r->script, fd));
    ior_resource_free(taken);
    assert_false(script_is_open(r->script, fd));
    fd = script_accept_from(r->script, listener, "192.0.2.2:4002");
    rec_settle(r);
    assert_int_equal(ior_resource_release(taken), fd);
    script_give_away(r->script, fd, false);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registered_only_once),
        cmocka_unit_test(what_is_closed_cannot_be_registered),
        cmocka_unit_test(a_refused_registration_changes_nothing),
        cmocka_unit_test(release_gives_the_fd),
        cmocka_unit_test(free_closes_the_fd),
        cmocka_unit_test(a_listener_goes_on),
        cmocka_unit_test(a_watch_is_handed_back_without_its_fd),
        cmocka_unit_test(a_taken_connection_is_registered_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
