/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The story in acts. Each act asks for what it needs and goes on with what it got; an id of 0 is one that was refused.
 * An answer is checked twice: it is success or a failure that the test expects, and after a failure nothing has
 * changed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "recorder.h"
#include "scenario.h"

#define SEC IOR_NS_PER_SEC

struct story {
    struct recorder *r, *other;
    struct script *s;
    struct ior_controller *ctl;
    struct ior_command commands[3];
    ior_id echo, chatty, slow, half, connecting, watch;
    int echo_fd, chatty_fd, slow_fd, half_fd, connecting_fd, watch_fd, listener_fd, file;
};

static bool (*allowed)(int err);

/* Whether a request succeeded; fails the test where it must not fail so. */
static bool ok(int answer)
{
    if (answer < 0 && !allowed(answer))
        fail_msg("a request answered %d", answer);
    return answer >= 0;
}

static void drop(struct ior_command *command)
{
    command->kind = -1; /* the story's memory: nothing to free */
}

/* The echo gives back a byte of each message and takes it again with the next. */
static void on_event(struct recorder *r, const struct ior_event *ev)
{
    struct story *story = r->arg;
    if (ev->type == IOR_EV_DATA && ev->id == story->echo) {
        size_t keep = ev->data.len > 1 ? 1 : 0;
        (void)rec_send(r, ev->id, ev->data.bytes, ev->data.len - keep);
        if (keep > 0 && ior_unread(r->cx, ev->id, keep) == 0)
            rec_of(r, ev->id)->in_len -= keep;
    } else if (ev->type == IOR_EV_EOF && ev->id == story->half) {
        (void)rec_send_text(r, ev->id, "answer");
        (void)ior_finish(r->cx, ev->id);
    } else if (ev->type == IOR_EV_DEADLINE) {
        (void)ior_deadline(r->cx, ev->id, IOR_DEADLINE_USER, SEC);
    }
}

static void on_command(struct recorder *r, struct ior_command *command)
{
    if (!command->is_reply)
        ior_reply(r->cx, command, 1);
}

static ior_id adopt(struct story *story, const struct ior_stream_options *opts, int *fd)
{
    ior_id id = 0;
    *fd = script_stream(story->s);
    size_t count = ior_count(story->r->cx);
    if (!ok(ior_adopt(story->r->cx, *fd, opts, &id))) {
        assert_int_equal(id, 0);
        assert_int_equal(ior_count(story->r->cx), count);
        assert_true(script_is_open(story->s, *fd)); /* it stays the caller's */
        return 0;
    }
    assert_int_equal(ior_count(story->r->cx), count + 1);
    script_give_away(story->s, *fd, true);
    rec_of(story->r, id);
    return id;
}

static void listen_on(struct story *story, const char *text, unsigned mode, int *fd)
{
    struct ior_addr addr;
    ior_id id = 0;
    unsigned open = script_open_fds(story->s);
    *fd = -1;
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    if (ok(ior_listen(story->r->cx, &addr, REC_LISTEN(.unix_mode = mode), &id))) {
        rec_of(story->r, id);
        *fd = script_last_fd(story->s);
    } else {
        assert_int_equal(id, 0);
        assert_int_equal(script_open_fds(story->s), open);
    }
}

static void act_register(struct story *story)
{
    struct recorder *r = story->r;
    struct ior_addr addr;
    int fd;
    script_path(story->s, "/run/stale", true, false);
    listen_on(story, "192.0.2.1:80", 0, &story->listener_fd);
    listen_on(story, "unix:/run/stale", 0600, &fd);
    story->echo = adopt(story, REC_STREAM(.idle_ns = 60 * SEC, .user_size = 100), &story->echo_fd);
    story->chatty = adopt(story, NULL, &story->chatty_fd);
    story->slow = adopt(story, NULL, &story->slow_fd);
    story->half = adopt(story, REC_STREAM(.half_open = true), &story->half_fd);
    assert_int_equal(ior_addr_parse(&addr, "192.0.2.7:80"), 0);
    unsigned open = script_open_fds(story->s);
    if (ok(ior_connect(r->cx, &addr, REC_STREAM(.connect_ns = 5 * SEC, .idle_ns = 60 * SEC), &story->connecting))) {
        rec_of(r, story->connecting);
        story->connecting_fd = script_last_fd(story->s);
    } else {
        assert_int_equal(script_open_fds(story->s), open);
    }
    story->watch_fd = script_fd(story->s, IOR_FD_OTHER);
    if (ok(ior_watch(r->cx, story->watch_fd, IOR_READ, NULL, &story->watch)))
        rec_of(r, story->watch);
    story->other = rec_bare(story->s);
    story->other->root = r;
    story->other->rt = r->rt;
    if (!ok(ior_attach(r->cx, &story->other->handler, story->other, &story->other->cx)))
        story->other->cx = NULL;
}

static void act_time(struct story *story)
{
    struct ior_context *cx = story->r->cx;
    ior_timer_id ids[40] = {0};
    for (int i = 0; i < 40; i++) {
        size_t count = ior_timer_count(cx);
        if (!ok(ior_timer_set(cx, (uint64_t)i * SEC / 4, NULL, &ids[i])))
            assert_int_equal(ior_timer_count(cx), count);
    }
    for (int i = 0; i < 40; i += 3)
        if (ids[i] != 0)
            assert_int_equal(ior_timer_cancel(cx, ids[i]), 0);
    if (story->chatty != 0)
        ok(ior_deadline(cx, story->chatty, IOR_DEADLINE_USER, SEC));
    if (story->slow != 0)
        ok(ior_deadline(cx, story->slow, IOR_DEADLINE_IDLE, 90 * SEC));
    rec_settle(story->r);
}

static void send_all_sorts(struct story *story, ior_id id)
{
    struct recorder *r = story->r;
    ok(rec_send_pattern(r, id, 10));
    ok(rec_send_pattern(r, id, 5000));
    struct ior_buf *buf = ior_buf_copy("shared", 6);
    if (buf != NULL) {
        uint64_t queued = ior_queued(r->cx, id);
        if (!ok(rec_send_buf(r, id, buf)))
            assert_int_equal(ior_queued(r->cx, id), queued);
        ior_buf_unref(buf);
    }
    unsigned open = script_open_fds(story->s);
    if (!ok(rec_send_file(r, id, story->file, 5, 1000)))
        assert_int_equal(script_open_fds(story->s), open);
    ok(rec_send_pattern(r, id, 20000));
}

static void act_talk(struct story *story)
{
    struct recorder *r = story->r;
    for (int i = 0; i < 5; i++) {
        if (story->echo != 0 && script_is_open(story->s, story->echo_fd))
            script_say_pattern(story->s, story->echo_fd, 100);
        rec_settle(r);
    }
    if (story->slow != 0 && script_is_open(story->s, story->slow_fd)) {
        script_room(story->s, story->slow_fd, 100);
        send_all_sorts(story, story->slow);
        rec_settle(r);
        if (script_is_open(story->s, story->slow_fd))
            script_room(story->s, story->slow_fd, SIZE_MAX);
    }
    if (story->listener_fd >= 0 && script_is_open(story->s, story->listener_fd)) {
        for (int i = 0; i < 3; i++)
            script_accept_from(story->s, story->listener_fd, "192.0.2.9:4000");
    }
    if (story->connecting != 0 && script_is_open(story->s, story->connecting_fd))
        script_connected(story->s, story->connecting_fd);
    script_ready(story->s, story->watch_fd, IOR_READ);
    rec_turn(r);
    script_ready(story->s, story->watch_fd, 0);
    rec_pass(r, 2 * SEC);
}

static void act_command(struct story *story)
{
    story->ctl = ior_controller_of(story->r->cx);
    for (int i = 0; story->ctl != NULL && i < 3; i++) {
        story->commands[i] = (struct ior_command){.kind = i, .reply_to = i == 0 ? story->ctl : NULL, .drop = drop};
        assert_int_equal(ior_controller_send(story->ctl, &story->commands[i]), 0); /* allocates nothing */
    }
    rec_settle(story->r);
}

/* Pauses, hands back, registers again. */
static void act_again(struct story *story)
{
    struct recorder *r = story->r;
    ior_id id = story->chatty;
    if (id == 0 || rec_of(r, id)->ended || rec_pause(r, id) < 0)
        return;
    script_say_text(story->s, story->chatty_fd, "unheard");
    rec_settle(r);
    if (rec_resume(r, id) < 0)
        return;
    rec_settle(r);
    r->keep = true;
    if (rec_unregister(r, id) == 0)
        rec_settle(r);
    r->keep = false;
    struct ior_resource *res = rec_of(r, id)->handed;
    uint64_t accepted = rec_of(r, id)->accepted_bytes;
    if (res != NULL && ok(ior_register(r->cx, res, &id))) {
        rec_of(r, story->chatty)->handed = NULL;
        rec_of(r, id)->accepted_bytes = accepted;
        story->chatty = id;
    }
    rec_settle(r);
}

static void act_end(struct story *story)
{
    struct recorder *r = story->r;
    if (story->half != 0 && script_is_open(story->s, story->half_fd))
        script_eof(story->s, story->half_fd);
    if (story->connecting != 0 && !rec_of(r, story->connecting)->ended)
        ok(rec_close(r, story->connecting, SEC));
    if (story->echo != 0 && script_is_open(story->s, story->echo_fd))
        script_reset(story->s, story->echo_fd);
    rec_pass(r, 3 * SEC);
    if (story->other->cx != NULL)
        assert_int_equal(ior_detach(story->other->cx, SEC), 0);
    rec_pass(r, 3 * SEC);
    ior_stop(r->cx, 5 * SEC);
    rec_pass(r, 20 * SEC);
    assert_int_equal(rec_turn(r), 0);
}

/* Makes the runtime; NULL: it was refused. */
static struct recorder *prologue(struct story *story)
{
    struct recorder *r = rec_bare(story->s);
    struct ior_config config = script_config(story->s);
    r->arg = story;
    r->on_event = on_event;
    r->on_command = on_command;
    if (!ok(ior_runtime_new(&config, &r->handler, r, &r->rt))) {
        assert_null(r->rt);
        rec_free(r);
        return NULL;
    }
    r->cx = ior_runtime_context(r->rt);
    return r;
}

bool scenario_play(void (*begin)(struct script *s), bool (*may_fail)(int err))
{
    struct story story = {.s = script_new()};
    allowed = may_fail;
    story.file = script_file(story.s, 2000);
    begin(story.s);
    story.r = prologue(&story);
    if (story.r != NULL) {
        act_register(&story);
        act_time(&story);
        act_talk(&story);
        act_command(&story);
        act_again(&story);
        act_end(&story);
        rec_close_runtime(story.r);
        ior_controller_unref(story.ctl);
        rec_free_attached(story.other);
        rec_free(story.r);
    }
    bool failed = script_failed_nth(story.s);
    script_free(story.s);
    return failed;
}
