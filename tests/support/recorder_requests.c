/* SPDX-License-Identifier: Apache-2.0 */
/* The recorder's requests: those of the library, with notes of what was asked, so that what is told can be checked. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "recorder.h"

static ior_id known(struct recorder *r, ior_id id)
{
    rec_of(r, id);
    return id;
}

ior_id rec_adopt(struct recorder *r, int fd, const struct ior_stream_options *opts)
{
    ior_id id = 0;
    assert_int_equal(ior_adopt(r->cx, fd, opts, &id), 0);
    script_give_away(r->script, fd, true);
    return known(r, id);
}

ior_id rec_stream(struct recorder *r, const struct ior_stream_options *opts, int *ret_fd)
{
    *ret_fd = script_stream(r->script);
    return rec_adopt(r, *ret_fd, opts);
}

ior_id rec_listen(struct recorder *r, const char *text, const struct ior_listen_options *opts, int *ret_fd)
{
    struct ior_addr addr;
    ior_id id = 0;
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    assert_int_equal(ior_listen(r->cx, &addr, opts, &id), 0);
    *ret_fd = script_last_fd(r->script);
    return known(r, id);
}

ior_id rec_connect(struct recorder *r, const char *text, const struct ior_stream_options *opts, int *ret_fd)
{
    struct ior_addr addr;
    ior_id id = 0;
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    assert_int_equal(ior_connect(r->cx, &addr, opts, &id), 0);
    *ret_fd = script_last_fd(r->script);
    return known(r, id);
}

ior_id rec_watch(struct recorder *r, int fd, unsigned io)
{
    ior_id id = 0;
    assert_int_equal(ior_watch(r->cx, fd, io, NULL, &id), 0);
    return known(r, id);
}

/* What is registered again goes on counting where it was. */
ior_id rec_register(struct recorder *r, struct ior_resource *res)
{
    ior_id id = 0;
    uint64_t accepted = 0;
    assert_int_equal(ior_register(r->cx, res, &id), 0);
    for (size_t i = 0; i < r->n; i++) {
        if (r->res[i].handed == res) {
            r->res[i].handed = NULL;
            accepted = r->res[i].accepted_bytes;
        }
    }
    rec_of(r, id)->accepted_bytes = accepted;
    return id;
}

ior_timer_id rec_timer(struct recorder *r, uint64_t after_ns, intptr_t user)
{
    ior_timer_id id = 0;
    assert_int_equal(ior_timer_set(r->cx, after_ns, (void *)user, &id), 0);
    assert_true(id != 0 && (id & 15) == 0);
    return id;
}

int rec_note_send(struct recorder *r, ior_id id, uint64_t len, int answer)
{
    if (answer > 1)
        fail_msg("a send answered %d", answer);
    if (answer == -ENOENT || answer == -EACCES || answer == -EPERM)
        return answer;
    struct rec_res *res = rec_of(r, id);
    if (answer >= 0)
        res->accepted_bytes += len;
    if (answer == 1 || answer == -ENOBUFS)
        res->owed = true;
    return answer;
}

int rec_send(struct recorder *r, ior_id id, const void *bytes, size_t len)
{
    uint64_t before = ior_queued(r->cx, id);
    int answer = ior_send(r->cx, id, bytes, len);
    assert_int_equal(ior_queued(r->cx, id), before + (answer >= 0 ? len : 0));
    return rec_note_send(r, id, len, answer);
}

int rec_send_pattern(struct recorder *r, ior_id id, size_t len)
{
    unsigned char *bytes = malloc(len + 1);
    assert_non_null(bytes);
    script_pattern(bytes, rec_of(r, id)->accepted_bytes, len);
    int answer = rec_send(r, id, bytes, len);
    free(bytes);
    return answer;
}

int rec_send_buf(struct recorder *r, ior_id id, struct ior_buf *buf)
{
    return rec_note_send(r, id, ior_buf_len(buf), ior_send_buf(r->cx, id, buf));
}

int rec_send_file(struct recorder *r, ior_id id, int fd, uint64_t offset, uint64_t len)
{
    return rec_note_send(r, id, len, ior_send_file(r->cx, id, fd, offset, len));
}

int rec_pause(struct recorder *r, ior_id id)
{
    int err = ior_pause(r->cx, id);
    if (err == 0 && !rec_of(r, id)->closing) /* what closes tells no data anyway */
        rec_of(r, id)->paused = true;
    return err;
}

int rec_resume(struct recorder *r, ior_id id)
{
    int err = ior_resume(r->cx, id);
    if (err == 0)
        rec_of(r, id)->paused = false;
    return err;
}

int rec_close(struct recorder *r, ior_id id, uint64_t drain_ns)
{
    int err = ior_close(r->cx, id, drain_ns);
    if (err == 0) {
        rec_of(r, id)->closing = true;
        rec_of(r, id)->paused = false;
    }
    return err;
}

static int asked(struct recorder *r, ior_id id, int err)
{
    if (err == 0)
        rec_of(r, id)->asked = true;
    return err;
}

int rec_abort(struct recorder *r, ior_id id)
{
    return asked(r, id, ior_abort(r->cx, id));
}

int rec_unregister(struct recorder *r, ior_id id)
{
    return asked(r, id, ior_unregister(r->cx, id));
}

int rec_unread(struct recorder *r, ior_id id, size_t len)
{
    int err = ior_unread(r->cx, id, len);
    if (err == 0)
        rec_of(r, id)->in_len -= len;
    return err;
}

struct ior_stats rec_stats(struct recorder *r)
{
    struct ior_stats stats = {.struct_size = sizeof(stats)};
    assert_int_equal(ior_runtime_stats(r->rt, &stats), 0);
    return stats;
}
