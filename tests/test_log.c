/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the log says, for whoever looks for a fault: lives of resources, what somebody else did to their fds, what the
 * engine refuses. Nothing is written above the level that was asked for.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"

static char said[1 << 16]; /* lines as "LEVEL text\n" */
static size_t said_len;

static void note(void *arg, int level, const char *line)
{
    (void)arg;
    int n = snprintf(said + said_len, sizeof(said) - said_len, "%d %s\n", level, line);
    assert_true(n > 0 && (size_t)n < sizeof(said) - said_len);
    said_len += (size_t)n;
}

static struct recorder *begin(int level)
{
    struct recorder *r = rec_new();
    rec_settle(r);
    rec_forget(r);
    said_len = 0;
    said[0] = '\0';
    ior_set_log(note, NULL, level);
    return r;
}

static void end(struct recorder *r)
{
    rec_free(r);
    ior_set_log(NULL, NULL, IOR_LOG_NONE);
}

/* How many lines of a level have this in them. */
static unsigned lines(int level, const char *text)
{
    unsigned n = 0;
    for (const char *at = said; *at; at = strchr(at, '\n') + 1) {
        const char *found = strstr(at, text);
        n += at[0] == (char)('0' + level) && found != NULL && found < strchr(at, '\n');
    }
    return n;
}

static void the_life_of_a_stream(void **state)
{
    static const int levels[] = {IOR_LOG_INFO, IOR_LOG_DEBUG, IOR_LOG_TRACE};
    (void)state;
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        struct recorder *r = begin(levels[i]);
        char text[64];
        int fd;
        ior_id id = rec_stream(r, NULL, &fd);
        snprintf(text, sizeof(text), "stream %#llx: ", (unsigned long long)id);
        script_say_text(r->script, fd, "hello");
        rec_settle(r);
        assert_int_equal(ior_finish(r->cx, id), 0);
        script_fail_next(r->script, SCRIPT_SHUTDOWN, EIO);
        rec_settle(r);
        script_reset(r->script, fd);
        rec_settle(r);
        bool debug = levels[i] >= IOR_LOG_DEBUG;
        assert_int_equal(lines(IOR_LOG_DEBUG, text), debug ? 2 : 0);
        assert_int_equal(lines(IOR_LOG_DEBUG, "registered, fd"), debug);
        assert_int_equal(lines(IOR_LOG_DEBUG, "end, error, ECONNRESET"), debug);
        assert_int_equal(lines(IOR_LOG_DEBUG, "shutdown of fd"), debug);
        assert_int_equal(lines(IOR_LOG_TRACE, "turn ") > 0, levels[i] >= IOR_LOG_TRACE);
        if (!debug)
            assert_string_equal(said, "");
        script_record(r->script, id, IOR_READ); /* an engine may tell late */
        rec_settle(r);
        assert_int_equal(lines(IOR_LOG_DEBUG, "which has ended"), debug);
        end(r);
    }
}

static void fds_that_somebody_else_closed(void **state)
{
    struct recorder *r = begin(IOR_LOG_WARN);
    int fds[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        ior_id id = rec_stream(r, NULL, &fds[i]);
        rec_settle(r);
        script_steal(r->script, fds[i], SCRIPT_STEAL_DUP);
        if (i == 1)
            script_fail_next(r->script, SCRIPT_REBUILD, ENOMEM);
        assert_int_equal(rec_unregister(r, id), 0);
        rec_settle(r);
        assert_int_equal(lines(IOR_LOG_WARN, "was closed by somebody else"), i + 1);
        assert_true(lines(IOR_LOG_WARN, "the engine's set is built anew") >= (unsigned)i + 1);
        assert_int_equal(lines(IOR_LOG_ERROR, "the engine's set cannot be built anew: "), i);
    }
    end(r);
}

static void a_wait_that_fails(void **state)
{
    struct recorder *r = begin(IOR_LOG_ERROR);
    int fd;
    (void)state;
    rec_stream(r, NULL, &fd);
    rec_settle(r);
    assert_string_equal(said, "");
    script_fail_next(r->script, SCRIPT_WAIT, EIO);
    script_fail_next(r->script, SCRIPT_WAIT, EIO);
    rec_pass(r, IOR_NS_PER_SEC);
    assert_int_equal(lines(IOR_LOG_ERROR, ": wait: "), 1); /* once for so many in a row */
    end(r);
}

static void frees(struct recorder *r, ior_timer_id id, void *user)
{
    (void)id;
    (void)user;
    ior_runtime_free(r->rt);
}

static void what_a_program_does_wrong(void **state)
{
    struct recorder *r = begin(IOR_LOG_ERROR);
    (void)state;
    r->on_timer = frees;
    rec_timer(r, 0, 1);
    rec_settle(r);
    assert_int_equal(lines(IOR_LOG_ERROR, "from inside a callback does nothing"), 1);
    struct recorder *late = rec_attach(r);
    late->start_answer = -EPROTO;
    rec_settle(r);
    assert_int_equal(lines(IOR_LOG_ERROR, "a service did not start: "), 1);
    rec_free_attached(late);
    end(r);
}

static void out_of_fds(void **state)
{
    struct recorder *r = begin(IOR_LOG_WARN);
    int fd;
    (void)state;
    rec_listen(r, "192.0.2.1:80", NULL, &fd);
    rec_settle(r);
    script_fd_limit(r->script, script_open_fds(r->script));
    script_accept_from(r->script, fd, "192.0.2.9:4000");
    rec_pass(r, IOR_NS_PER_SEC);
    assert_int_equal(lines(IOR_LOG_WARN, "listener"), 1); /* and the service's callback says it, too */
    script_fd_limit(r->script, 0);
    rec_pass(r, IOR_NS_PER_SEC);
    end(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_life_of_a_stream), cmocka_unit_test(fds_that_somebody_else_closed),
        cmocka_unit_test(a_wait_that_fails),    cmocka_unit_test(what_a_program_does_wrong),
        cmocka_unit_test(out_of_fds),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
