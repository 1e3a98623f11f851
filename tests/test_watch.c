/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches of foreign fds: level-triggered and merged, silent where nothing was asked for, never touching the fd; and
 * which fds can be watched or adopted at all.
 */
#include <errno.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"

static struct recorder *one_watch(unsigned io, ior_id *id, int *fd)
{
    struct recorder *r = rec_new();
    *fd = script_fd(r->script, IOR_FD_OTHER);
    *id = rec_watch(r, *fd, io);
    rec_settle(r);
    rec_expect(r, "registered 1\n");
    script_forget(r->script);
    return r;
}

static void told_in_each_turn_while_it_lasts(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_watch(IOR_READ, &id, &fd);
    (void)state;
    script_ready(r->script, fd, IOR_READ);
    for (int i = 0; i < 3; i++) {
        rec_turn(r);
        rec_expect(r, "ready 1 read\n");
    }
    script_ready(r->script, fd, 0);
    assert_true(rec_idle(r));
    rec_expect(r, "");
    rec_free(r);
}

static void r14_reading_and_writing_are_merged(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_watch(IOR_READ | IOR_WRITE, &id, &fd);
    (void)state;
    script_ready(r->script, fd, IOR_READ | IOR_WRITE);
    rec_turn(r);
    rec_expect(r, "ready 1 read|write\n");
    script_ready(r->script, fd, IOR_WRITE);
    rec_turn(r);
    rec_expect(r, "ready 1 write\n");
    script_ready(r->script, fd, IOR_READ | IOR_HUP);
    rec_turn(r);
    assert_int_equal(rec_of(r, id)->ready_events, 3);
    assert_non_null(strstr(rec_lines(r), "ready 1 read"));
    rec_free(r);
}

static void what_was_not_asked_for_is_not_told(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_watch(IOR_READ, &id, &fd);
    (void)state;
    script_ready(r->script, fd, IOR_WRITE);
    assert_true(rec_idle(r));
    script_record(r->script, id, IOR_WRITE);
    assert_true(rec_idle(r));
    rec_expect(r, "");
    rec_free(r);
}

static void the_interest_can_be_changed(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_watch(IOR_READ, &id, &fd);
    (void)state;
    script_ready(r->script, fd, IOR_WRITE);
    assert_int_equal(ior_interest(r->cx, id, IOR_WRITE), 0);
    rec_turn(r);
    rec_turn(r);
    assert_non_null(strstr(rec_lines(r), "ready 1 write\n"));
    assert_int_equal(ior_interest(r->cx, id, 0), 0);
    rec_forget(r);
    assert_true(rec_idle(r));
    rec_expect(r, "");
    assert_int_equal(ior_interest(r->cx, id, IOR_READ | IOR_WRITE), 0);
    rec_turn(r);
    rec_turn(r);
    assert_non_null(strstr(rec_lines(r), "ready 1 write\n"));
    script_ready(r->script, fd, 0);
    rec_settle(r);
    rec_free(r);
}

/* R18, R20: nothing that was asked for, and yet it would be told for ever. */
static void r18_a_bare_hang_up_is_told_once(void **state)
{
    static const unsigned asked[] = {IOR_READ, IOR_WRITE, 0};
    (void)state;
    for (int i = 0; i < 3; i++) {
        ior_id id;
        int fd;
        struct recorder *r = one_watch(asked[i], &id, &fd);
        script_ready(r->script, fd, IOR_HUP | IOR_ERR);
        assert_true(rec_idle(r));
        assert_int_equal(rec_of(r, id)->ready_events, 1);
        rec_expect(r, "ready 1 hup|err\n");
        assert_int_equal(script_interest(r->script, fd), -1);
        assert_int_equal(ior_interest(r->cx, id, IOR_READ), 0);
        assert_true(rec_idle(r));
        rec_expect(r, "ready 1 hup|err\n"); /* asked anew: told anew */
        assert_false(rec_of(r, id)->ended);
        rec_free(r);
    }
}

static void paused_and_resumed(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_watch(IOR_READ, &id, &fd);
    (void)state;
    assert_int_equal(rec_pause(r, id), 0);
    script_ready(r->script, fd, IOR_READ);
    assert_true(rec_idle(r));
    rec_expect(r, "");
    script_ready(r->script, fd, IOR_READ | IOR_HUP);
    assert_true(rec_idle(r));
    rec_expect(r, "");
    assert_int_equal(rec_resume(r, id), 0);
    rec_turn(r);
    rec_turn(r);
    assert_true(rec_of(r, id)->ready_events >= 1);
    script_ready(r->script, fd, 0);
    rec_settle(r);
    rec_free(r);
}

static void the_fd_is_never_touched(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_watch(IOR_READ, &id, &fd);
    (void)state;
    script_ready(r->script, fd, IOR_READ | IOR_HUP | IOR_ERR);
    for (int i = 0; i < 5; i++)
        rec_turn(r);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    assert_true(script_is_open(r->script, fd));
    for (int call = SCRIPT_SOCKET; call <= SCRIPT_PATH_UNLINK; call++)
        assert_int_equal(script_count(r->script, (enum script_call)call), 0);
    rec_free(r);
    (void)fd;
}

static void unregister_here(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_READY)
        assert_int_equal(rec_unregister(r, ev->id), 0);
}

static void ended_in_its_event(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_watch(IOR_READ, &id, &fd);
    (void)state;
    r->on_event = unregister_here;
    script_ready(r->script, fd, IOR_READ);
    rec_settle(r);
    rec_expect(r, "ready 1 read\nend 1 asked 0 0 0\nhandover 1\n");
    script_close(r->script, fd); /* which must be out of the engine */
    rec_free(r);
}

static void r13_closed_by_its_owner(void **state)
{
    ior_id id;
    int fd;
    struct recorder *r = one_watch(IOR_READ, &id, &fd);
    (void)state;
    script_steal(r->script, fd, SCRIPT_STEAL_BAD);
    rec_settle(r);
    rec_expect(r, "end 1 error EBADF 0 0 0\nhandover 1\n");
    rec_free(r);
}

static void an_fd_is_registered_once(void **state)
{
    ior_id id, other = 4711;
    int fd, stream;
    struct recorder *r = one_watch(IOR_READ, &id, &fd);
    (void)state;
    assert_int_equal(ior_watch(r->cx, fd, IOR_WRITE, NULL, &other), -EEXIST);
    assert_int_equal(ior_adopt(r->cx, fd, NULL, &other), -EEXIST);
    rec_stream(r, NULL, &stream);
    assert_int_equal(ior_watch(r->cx, stream, IOR_READ, NULL, &other), -EEXIST);
    assert_int_equal(ior_adopt(r->cx, stream, NULL, &other), -EEXIST);
    assert_int_equal(other, 4711);
    assert_int_equal(ior_count(r->cx), 2);
    rec_settle(r);
    rec_expect(r, "registered 2\nopen 2\n");
    rec_free(r);
}

/* Also where the engine does not hold it at the moment. */
static void an_fd_is_registered_once_paused_or_not(void **state)
{
    ior_id id, other = 4711;
    int fd;
    struct recorder *r = one_watch(IOR_READ, &id, &fd);
    (void)state;
    script_ready(r->script, fd, IOR_HUP);
    rec_settle(r);
    assert_int_equal(script_interest(r->script, fd), -1);
    assert_int_equal(ior_watch(r->cx, fd, IOR_WRITE, NULL, &other), -EEXIST);
    rec_free(r);
}

static void what_can_be_watched(void **state)
{
    struct recorder *r = rec_new();
    ior_id id = 4711;
    (void)state;
    int file = script_file(r->script, 10), closed = script_stream(r->script);
    script_close(r->script, closed);
    assert_int_equal(ior_watch(r->cx, file, IOR_READ, NULL, &id), -EPERM);
    assert_int_equal(ior_watch(r->cx, closed, IOR_READ, NULL, &id), -EBADF);
    assert_int_equal(ior_watch(r->cx, -1, IOR_READ, NULL, &id), -EBADF);
    assert_int_equal(ior_watch(r->cx, file, IOR_HUP, NULL, &id), -EINVAL);
    assert_int_equal(ior_watch(r->cx, file, 1u << 20, NULL, &id), -EINVAL);
    assert_int_equal(ior_watch(r->cx, file, IOR_READ, NULL, NULL), -EINVAL);
    assert_int_equal(ior_watch(NULL, file, IOR_READ, NULL, &id), -EINVAL);
    assert_int_equal(id, 4711);
    rec_watch(r, script_fd(r->script, IOR_FD_SOCKET), IOR_READ);
    rec_watch(r, script_fd(r->script, IOR_FD_LISTENER), IOR_READ);
    rec_watch(r, script_stream(r->script), 0);
    rec_settle(r);
    rec_expect(r, "registered 1\nregistered 2\nregistered 3\n");
    rec_free(r);
}

static void what_can_be_adopted(void **state)
{
    struct recorder *r = rec_new();
    ior_id id = 4711;
    (void)state;
    int file = script_file(r->script, 10), closed = script_stream(r->script);
    int stream = script_stream(r->script);
    script_close(r->script, closed);
    assert_int_equal(ior_adopt(r->cx, file, NULL, &id), -EPERM);
    assert_int_equal(ior_adopt(r->cx, closed, NULL, &id), -EBADF);
    assert_int_equal(ior_adopt(r->cx, -1, NULL, &id), -EBADF);
    assert_int_equal(ior_adopt(r->cx, script_fd(r->script, IOR_FD_SOCKET), NULL, &id), -EPROTOTYPE);
    assert_int_equal(ior_adopt(r->cx, script_fd(r->script, IOR_FD_LISTENER), NULL, &id), -EPROTOTYPE);
    assert_int_equal(ior_adopt(r->cx, stream, NULL, NULL), -EINVAL);
    assert_int_equal(ior_adopt(NULL, stream, NULL, &id), -EINVAL);
    assert_int_equal(ior_adopt(r->cx, stream, &(struct ior_stream_options){.struct_size = 8}, &id), -EINVAL);
    script_fail_next(r->script, SCRIPT_WATCH, ENOMEM);
    assert_int_equal(ior_adopt(r->cx, stream, NULL, &id), -ENOMEM);
    assert_int_equal(id, 4711);
    assert_true(script_is_open(r->script, stream)); /* it stays the caller's, untouched */
    const struct script_entry *last = script_last(r->script, SCRIPT_SET_NONBLOCK);
    assert_int_equal(last->arg, 0);
    rec_adopt(r, stream, NULL);
    rec_adopt(r, script_fd(r->script, IOR_FD_OTHER), NULL);
    rec_free(r);
}

static void interest_of_other_kinds(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, NULL, &fd);
    ior_id watch = rec_watch(r, script_fd(r->script, IOR_FD_OTHER), IOR_READ);
    assert_int_equal(ior_interest(r->cx, id, IOR_READ), -EOPNOTSUPP);
    assert_int_equal(ior_interest(r->cx, watch, IOR_ERR), -EINVAL);
    assert_int_equal(ior_finish(r->cx, watch), -EOPNOTSUPP);
    assert_int_equal(ior_unread(r->cx, watch, 0), -EOPNOTSUPP);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(told_in_each_turn_while_it_lasts),
        cmocka_unit_test(r14_reading_and_writing_are_merged),
        cmocka_unit_test(what_was_not_asked_for_is_not_told),
        cmocka_unit_test(the_interest_can_be_changed),
        cmocka_unit_test(r18_a_bare_hang_up_is_told_once),
        cmocka_unit_test(paused_and_resumed),
        cmocka_unit_test(the_fd_is_never_touched),
        cmocka_unit_test(ended_in_its_event),
        cmocka_unit_test(r13_closed_by_its_owner),
        cmocka_unit_test(an_fd_is_registered_once),
        cmocka_unit_test(an_fd_is_registered_once_paused_or_not),
        cmocka_unit_test(what_can_be_watched),
        cmocka_unit_test(what_can_be_adopted),
        cmocka_unit_test(interest_of_other_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
