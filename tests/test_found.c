/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the random stories of the simulated world found in the library (tests/sim, docs/simulation.md), each as a small
 * test in the scripted world.
 */
#include <errno.h>
#include <string.h>

#include "core.h"
#include "support/check.h"
#include "support/recorder.h"

#define SEC IOR_NS_PER_SEC

/* What was handed over is the test's. */
static struct ior_resource *take(struct recorder *r, ior_id id)
{
    struct ior_resource *res = rec_of(r, id)->handed;
    rec_of(r, id)->handed = NULL;
    return res;
}

static void drop(struct recorder *r, ior_id id)
{
    ior_resource_free(take(r, id));
}

/* ---- what failed stays failed ---- */

static void a_refused_connect_registered_again_ends_again(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->keep = true;
    ior_id id = rec_connect(r, "192.0.2.7:80", NULL, &fd);
    rec_settle(r);
    script_refused(r->script, fd, ECONNREFUSED);
    rec_settle(r);
    struct ior_resource *res = take(r, id);
    rec_forget(r);
    for (unsigned times = 0; times < 2; times++) {
        /* The kernel tells the error only once: without it the stream was neither open nor over, and the loop spun. */
        id = rec_register(r, res);
        if (times == 1)
            assert_int_equal(rec_pause(r, id), 0);
        assert_true(rec_settle(r) < 10);
        assert_true(rec_of(r, id)->ended);
        assert_int_equal(rec_of(r, id)->why, IOR_ERROR);
        assert_int_equal(rec_of(r, id)->error, ECONNREFUSED);
        assert_false(rec_of(r, id)->open);
        res = take(r, id);
    }
    ior_resource_free(res);
    drop(r, id);
    rec_free(r);
}

static void a_reset_stream_registered_again_has_no_eof(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->keep = true;
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    script_reset(r->script, fd);
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->error, ECONNRESET);
    id = rec_register(r, take(r, id));
    rec_settle(r);
    assert_false(rec_of(r, id)->eof);
    assert_int_equal(rec_of(r, id)->why, IOR_ERROR);
    assert_int_equal(rec_of(r, id)->error, ECONNRESET);
    drop(r, id);
    rec_free(r);
}

static void a_deadline_does_not_replace_the_first_cause(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->keep = true;
    ior_id id = rec_stream(r, NULL, &fd);
    rec_settle(r);
    assert_int_equal(rec_pause(r, id), 0);
    script_fail_next(r->script, SCRIPT_SEND, ECONNRESET);
    assert_int_equal(rec_send_text(r, id, "x"), 0);
    rec_settle(r);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_IDLE, IOR_NS_PER_MS), 0);
    rec_pass(r, 2 * IOR_NS_PER_MS);
    assert_int_equal(rec_of(r, id)->why, IOR_TIMEOUT);
    assert_int_equal(rec_of(r, id)->error, ETIMEDOUT);
    id = rec_register(r, take(r, id));
    rec_of(r, id)->accepted_bytes = 1;
    rec_settle(r);
    assert_int_equal(rec_of(r, id)->why, IOR_ERROR);
    assert_int_equal(rec_of(r, id)->error, ECONNRESET);
    drop(r, id);
    rec_free(r);
}

/* ---- deadlines ---- */

static void move_far(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_OPEN)
        assert_int_equal(ior_deadline(r->cx, ev->id, IOR_DEADLINE_USER, IOR_NS_PER_SEC), 0);
}

static void a_deadline_moved_in_open_is_not_told_early(void **state)
{
    struct recorder *r = rec_new();
    const struct ior_config small = {.struct_size = sizeof(small), .records = 1};
    int fd;
    (void)state;
    rec_free(r);
    r = rec_new_with(&small);
    r->on_event = move_far;
    rec_stream(r, NULL, &fd); /* is served first */
    ior_id id = rec_stream(r, NULL, &fd);
    assert_int_equal(ior_deadline(r->cx, id, IOR_DEADLINE_USER, 0), 0);
    rec_settle(r);
    assert_null(strstr(rec_lines(r), "deadline"));
    rec_free(r);
}

static uint64_t spent;
static void spend(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA)
        return;
    script_advance(r->script, spent);
    assert_int_equal(ior_deadline(r->cx, ev->id, IOR_DEADLINE_IDLE, 10 * IOR_NS_PER_MS), 0);
    assert_int_equal(rec_send_text(r, ev->id, "x"), 0);
}

/* The write at the end of the turn counts from the turn's beginning, and the deadline was set later in it. */
static void an_idle_deadline_is_not_moved_back(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    ior_id id = rec_stream(r, REC_STREAM(.idle_ns = 10 * IOR_NS_PER_MS), &fd);
    rec_settle(r);
    rec_pass(r, 4 * IOR_NS_PER_MS);
    r->on_event = spend;
    spent = 5 * IOR_NS_PER_MS;
    script_say_text(r->script, fd, "go");
    rec_settle(r);
    rec_pass(r, 7 * IOR_NS_PER_MS);
    assert_false(rec_of(r, id)->ended);
    rec_pass(r, 4 * IOR_NS_PER_MS);
    assert_true(rec_of(r, id)->ended);
    rec_free(r);
}

/* ---- output ---- */

static ior_id late;
static void fill(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_OPEN && ev->id == late)
        assert_int_equal(rec_send_pattern(r, late, 3000), 1);
}

static void drained_is_not_told_over_a_queue_that_open_filled(void **state)
{
    const struct ior_config small = {.struct_size = sizeof(small), .records = 1};
    struct recorder *r = rec_new_with(&small);
    int fd;
    (void)state;
    r->on_event = fill;
    rec_stream(r, NULL, &fd); /* is served first */
    late = rec_stream(r, REC_STREAM(.high_bytes = 1000), &fd);
    assert_int_equal(rec_send_pattern(r, late, 2000), 1); /* written at the end of the turn, before OPEN was told */
    rec_turn(r);
    assert_true(rec_of(r, late)->open);
    assert_null(strstr(rec_lines(r), "drained"));
    rec_settle(r);
    assert_false(rec_of(r, late)->owed);
    rec_free(r);
}

static void one_file_range_fits_any_queue(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    const size_t read = 65536, unread = 1;
    ior_id id =
        rec_stream(r, REC_STREAM(.high_bytes = 1, .unread_max_bytes = unread, .cap_bytes = 1 + read + unread), &fd);
    /* The default read buffer makes caps large enough; a small one does not. */
    const struct ior_config small = {.struct_size = sizeof(small), .read_bytes = 512};
    struct recorder *s = rec_new_with(&small);
    int file = script_file(s->script, 100), out;
    ior_id tight = rec_stream(s, REC_STREAM(.high_bytes = 100, .unread_max_bytes = 100), &out);
    rec_settle(s);
    assert_int_equal(rec_send_text(s, tight, "x"), 0);
    assert_int_equal(rec_send_file(s, tight, file, 0, 100), 0);
    rec_settle(s);
    assert_int_equal(script_heard(s->script, out), 101);
    rec_free(s);
    (void)id;
    rec_free(r);
}

/* A queue that comes with a resource needs memory that the pool of free blocks holds. */
static void the_pool_gives_way_to_a_queue_that_comes(void **state)
{
    const struct ior_config small = {.struct_size = sizeof(small), .read_bytes = 512, .output_cap_bytes = 65536};
    struct recorder *r = rec_new_with(&small);
    int fds[31];
    ior_id ids[31];
    (void)state;
    r->keep = true;
    for (int i = 0; i < 31; i++)
        ids[i] = rec_stream(r, NULL, &fds[i]);
    int fd;
    ior_id full = rec_stream(r, NULL, &fd);
    rec_settle(r);
    script_room(r->script, fd, 0);
    assert_true(rec_send_pattern(r, full, 20000) >= 0);
    rec_settle(r);
    assert_int_equal(rec_unregister(r, full), 0);
    rec_settle(r);
    struct ior_resource *res = take(r, full);
    for (int i = 0; i < 31; i++)
        assert_int_equal(rec_send_text(r, ids[i], "x"), 0); /* a block each, which goes to the pool */
    rec_settle(r);
    assert_true(r->rt->output_bytes > 40000);
    full = rec_register(r, res);
    rec_of(r, full)->accepted_bytes = 20000;
    assert_true(r->rt->output_bytes <= 65536);
    rec_settle(r);
    rec_free(r);
}

/* ---- kinds of the user's own ---- */

struct kind {
    struct ior_resource base;
    struct script *script;
    bool kept; /* an event that was not told, because it was paused */
    bool tells;
    bool eof;
    int write_error;
    size_t takes; /* so many bytes are written */
};

static unsigned kind_interests(struct ior_resource *res)
{
    (void)res;
    return IOR_READ;
}

static int kind_handle_io(struct ior_resource *res, unsigned io, struct ior_emit *emit)
{
    struct kind *kind = (struct kind *)(void *)res;
    struct ior_event ev = {.type = kind->eof ? IOR_EV_EOF : IOR_EV_CUSTOM};
    (void)io;
    if (kind->tells || kind->kept)
        kind->kept = ior_emit(emit, &ev) == -EAGAIN;
    if (kind->tells && !kind->eof)
        script_ready(kind->script, res->fd, IOR_NONE);
    kind->tells = false;
    return IOR_IO_DONE;
}

static ssize_t kind_write(struct ior_resource *res, const struct iovec *iov, int n)
{
    struct kind *kind = (struct kind *)(void *)res;
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    if (kind->write_error)
        return -kind->write_error;
    size_t takes = len < kind->takes ? len : kind->takes;
    kind->takes -= takes;
    return takes > 0 ? (ssize_t)takes : -EAGAIN;
}

static void kind_destroy(struct ior_resource *res)
{
    (void)res;
}

static const struct ior_resource_ops kind_ops = {
    .struct_size = sizeof(kind_ops),
    .name = "kind",
    .interests = kind_interests,
    .handle_io = kind_handle_io,
    .write = kind_write,
    .destroy = kind_destroy,
};

static ior_id kind_new(struct recorder *r, struct kind *kind)
{
    *kind = (struct kind){.script = r->script, .write_error = 0};
    ior_resource_init(&kind->base, &kind_ops, script_fd(r->script, IOR_FD_OTHER), NULL);
    return rec_register(r, &kind->base);
}

/* It is paused, and full when it is resumed: its event waits for room, and for nothing else. */
static void a_kept_event_is_told_once_there_is_room(void **state)
{
    struct recorder *r = rec_new();
    struct kind kind;
    (void)state;
    ior_id id = kind_new(r, &kind);
    rec_settle(r);
    kind.takes = 1;
    assert_int_equal(rec_pause(r, id), 0);
    kind.kept = true;
    assert_int_equal(rec_send_pattern(r, id, 80000), 1);
    rec_settle(r);
    assert_int_equal(rec_resume(r, id), 0);
    rec_settle(r);
    assert_null(strstr(rec_lines(r), "custom"));
    kind.takes = 100000;
    script_ready(r->script, kind.base.fd, IOR_WRITE);
    rec_settle(r);
    assert_non_null(strstr(rec_lines(r), "custom"));
    rec_free(r);
}

static void a_failed_kind_has_no_eof(void **state)
{
    struct recorder *r = rec_new();
    struct kind kind;
    (void)state;
    ior_id id = kind_new(r, &kind);
    rec_settle(r);
    kind.write_error = ECONNRESET;
    kind.eof = kind.tells = true; /* as read(2) says 0 once the error was told to write(2) */
    assert_int_equal(rec_send_text(r, id, "x"), 0);
    rec_settle(r);
    assert_false(rec_of(r, id)->eof);
    assert_int_equal(rec_of(r, id)->why, IOR_ERROR);
    assert_int_equal(rec_of(r, id)->error, ECONNRESET);
    rec_free(r);
}

static void a_file_range_of_a_freed_kind_is_closed_through_the_table(void **state)
{
    struct recorder *r = rec_new();
    struct kind kind;
    (void)state;
    r->keep = true;
    ior_id id = kind_new(r, &kind);
    int file = script_file(r->script, 100);
    unsigned before = script_open_fds(r->script);
    assert_int_equal(rec_send_file(r, id, file, 0, 100), 0);
    rec_settle(r);
    assert_int_equal(script_open_fds(r->script), before + 1);
    assert_int_equal(rec_unregister(r, id), 0);
    rec_settle(r);
    drop(r, id);
    assert_int_equal(script_open_fds(r->script), before);
    rec_free(r);
}

/* A close that ends at once, for the peer's input is over, does not undo an ior_finish before it. */
static void a_finish_survives_a_close(void **state)
{
    struct recorder *r = rec_new();
    int fd;
    (void)state;
    r->keep = true;
    ior_id id = rec_stream(r, REC_STREAM(.half_open = true), &fd);
    script_eof(r->script, fd);
    rec_settle(r);
    assert_int_equal(ior_finish(r->cx, id), 0);
    assert_int_equal(rec_close(r, id, SEC), 0);
    rec_settle(r);
    assert_true(rec_of(r, id)->ended);
    (void)rec_register(r, rec_of(r, id)->handed);
    rec_settle(r);
    assert_true(script_got_fin(r->script, fd));
    rec_free(r);
}

static void end_the_others(struct recorder *r, ior_id id, int err)
{
    (void)err;
    for (unsigned number = 1; number <= 3; number++) {
        ior_id other = rec_id(r, number);
        if (other != id && !rec_of(r, other)->ended)
            (void)rec_unregister(r, other);
    }
}

/* While the set is built anew a watch fails: tried again at the end of a turn, where a service may end what it likes. */
static void a_set_that_is_built_anew_meets_no_callback(void **state)
{
    struct recorder *r = rec_new();
    int fds[3];
    (void)state;
    r->keep = true;
    ior_id first = rec_stream(r, NULL, &fds[0]);
    (void)rec_stream(r, NULL, &fds[1]);
    ior_id third = rec_stream(r, NULL, &fds[2]);
    rec_settle(r);
    rec_forget(r);
    r->on_error = end_the_others;
    script_steal(r->script, fds[0], SCRIPT_STEAL_DUP);
    assert_int_equal(rec_unregister(r, first), 0); /* finds that somebody closed it */
    script_fail_next(r->script, SCRIPT_WATCH, ENOMEM);
    rec_settle(r);
    rec_pass(r, SEC);
    script_say_text(r->script, fds[1], "two");
    script_say_text(r->script, fds[2], "three");
    rec_settle(r);
    rec_expect(r, "end 1 asked 0 0 0\nhandover 1\ndata 3 three\ndata 2 two\n");
    assert_int_equal(rec_unregister(r, third), 0);
    rec_settle(r);
    assert_int_equal(ior_resource_release(rec_of(r, third)->handed), fds[2]);
    rec_of(r, third)->handed = NULL;
    script_close(r->script, fds[2]);
    rec_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finish_survives_a_close),
        cmocka_unit_test(a_set_that_is_built_anew_meets_no_callback),
        cmocka_unit_test(a_refused_connect_registered_again_ends_again),
        cmocka_unit_test(a_reset_stream_registered_again_has_no_eof),
        cmocka_unit_test(a_deadline_does_not_replace_the_first_cause),
        cmocka_unit_test(a_deadline_moved_in_open_is_not_told_early),
        cmocka_unit_test(an_idle_deadline_is_not_moved_back),
        cmocka_unit_test(drained_is_not_told_over_a_queue_that_open_filled),
        cmocka_unit_test(one_file_range_fits_any_queue),
        cmocka_unit_test(the_pool_gives_way_to_a_queue_that_comes),
        cmocka_unit_test(a_kept_event_is_told_once_there_is_room),
        cmocka_unit_test(a_failed_kind_has_no_eof),
        cmocka_unit_test(a_file_range_of_a_freed_kind_is_closed_through_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
