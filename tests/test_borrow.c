/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service sends on of the bytes that are lent to it is not copied at once, and nobody can tell: whatever the
 * kernel takes, whatever is read behind it in the same turn, and wherever the rest goes. All of it twice: where the
 * runtime writes, and where the engine does, which is after the turn.
 */
#include <stdlib.h>
#include <string.h>

#include "support/check.h"
#include "support/recorder.h"

enum { MANY = 40 };

static struct {
    ior_id ids[MANY];
    int fds[MANY];
    int n;
    size_t give_back; /* of each event of the stream in the middle */
    bool leave;       /* unregister what was sent to */
    bool busy;        /* the last stream has a file to send */
} world;

static struct recorder *open_streams(const struct ior_config *config, const struct ior_stream_options *opts, int n)
{
    static const struct ior_config defaults = {0};
    struct recorder *r = rec_new_with(config ? config : &defaults);
    memset(&world, 0, sizeof(world));
    world.n = n;
    r->keep = true;
    for (int i = 0; i < n; i++)
        world.ids[i] = rec_stream(r, opts, &world.fds[i]);
    rec_settle(r);
    rec_forget(r);
    return r;
}

/* Each stream's bytes go to the next one. */
static void send_on(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA)
        return;
    int to = (int)(rec_number(r, ev->id) % (unsigned)world.n);
    size_t back = to == world.n / 2 && ev->data.len > world.give_back ? world.give_back : 0;
    if (back > 0)
        assert_int_equal(rec_unread(r, ev->id, back), 0);
    assert_true(rec_send(r, world.ids[to], ev->data.bytes, ev->data.len - back) >= 0);
    if (world.leave)
        assert_int_equal(rec_unregister(r, world.ids[to]), 0);
}

static const size_t sizes[] = {1, 63, 64, 100, 1800, 1900, 2048, 5000, 16000};

static void whatever_the_kernel_takes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t part = 0; part < 4; part++) {
            size_t room = part * sizes[i] / 3;
            struct recorder *r = open_streams(NULL, NULL, 3);
            r->on_event = send_on;
            for (int k = 0; k < 3; k++) {
                script_room(r->script, world.fds[k], room);
                script_say_pattern(r->script, world.fds[k], sizes[i]);
            }
            rec_turn(r);
            for (int k = 0; k < 3; k++)
                script_say_pattern(r->script, world.fds[k], sizes[i]); /* it is read to where the first bytes were */
            rec_turn(r);
            for (int k = 0; k < 3; k++)
                script_room(r->script, world.fds[k], SIZE_MAX);
            rec_settle(r);
            for (int k = 0; k < 3; k++)
                script_hear_pattern(r->script, world.fds[k], 0, 2 * sizes[i]);
            rec_free(r);
        }
    }
}

/* More is read in a turn than the read buffer can keep, and one stream wants room for what it gave back. */
static void more_than_there_is_room_for(void **state)
{
    static const struct ior_config config = {.read_bytes = 512};
    static const size_t lens[] = {100, 500, 512}; /* the last one fills the buffer: there may be more */
    (void)state;
    for (size_t k = 0; k < sizeof(lens) / sizeof(lens[0]); k++) {
        for (size_t back = 0; back < lens[k]; back += 1 + lens[k] / 5) {
            struct recorder *r = open_streams(&config, NULL, MANY);
            r->on_event = send_on;
            world.give_back = back;
            for (int turn = 0; turn < 3; turn++) {
                for (int i = 0; i < MANY; i++)
                    script_say_pattern(r->script, world.fds[i], lens[k]);
                rec_turn(r);
            }
            rec_settle(r);
            for (int i = 0; i < MANY; i++)
                script_hear_pattern(r->script, world.fds[i], 0, i == MANY / 2 ? 3 * lens[k] - back : 3 * lens[k]);
            rec_free(r);
        }
    }
}

/* Then the turn's first bytes are written before its last are read, where the runtime writes; and what has ended keeps its. */
static void full_in_the_midst_of_a_turn(void **state)
{
    static const struct ior_config config = {.read_bytes = 512};
    unsigned char said[500];
    (void)state;
    for (int leave = 0; leave < 2; leave++) {
        struct recorder *r = open_streams(&config, NULL, MANY);
        r->on_event = send_on;
        world.leave = leave == 1; /* every second stream ends before it has read */
        for (int i = 0; i < MANY; i++)
            script_say(r->script, world.fds[i], memset(said, i, sizeof(said)), sizeof(said));
        rec_turn(r);
        const struct script_entry *entry;
        int sends = 0, before_a_read = 0;
        for (unsigned i = 0; (entry = script_entry(r->script, i)) != NULL; i++) {
            sends += entry->call == SCRIPT_SEND;
            before_a_read = entry->call == SCRIPT_RECV ? sends : before_a_read;
        }
        if (leave == 0 && !getenv("IOR_SCRIPT_SHAPE"))
            assert_true(before_a_read >= 16);
        r->on_event = NULL;
        for (int i = 1; leave == 1 && i < MANY; i += 2) {
            assert_int_equal(rec_of(r, world.ids[i])->unsent, sizeof(said));
            rec_register(r, rec_of(r, world.ids[i])->handed);
        }
        rec_settle(r);
        rec_turn(r);
        for (int i = leave; i < MANY; i += 1 + leave)
            script_hear(r->script, world.fds[i], memset(said, (i + MANY - 1) % MANY, sizeof(said)), sizeof(said));
        rec_free(r);
    }
}

/* What is large is written before more is read, and the next one is read to where it was. Small ones wait for the end. */
static void large_ones_are_written_behind_their_event(void **state)
{
    static const struct {
        size_t len;
        const char *calls;
    } cases[] = {{8191, "rrrrssss"}, {8192, "rsrsrsrs"}, {65536, "rsrsrsrs"}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct recorder *r = open_streams(NULL, NULL, 4);
        char calls[16] = "";
        r->on_event = send_on;
        for (int k = 0; k < 4; k++)
            script_say_pattern(r->script, world.fds[k], cases[i].len);
        rec_turn(r);
        const struct script_entry *entry;
        for (unsigned k = 0; (entry = script_entry(r->script, k)) != NULL; k++) {
            if (entry->result > 0 && (entry->call == SCRIPT_RECV || entry->call == SCRIPT_SEND))
                strcat(calls, entry->call == SCRIPT_RECV ? "r" : "s");
        }
        if (!getenv("IOR_SCRIPT_SHAPE")) /* where the engine does the I/O, it has read before anything is told */
            assert_string_equal(calls, cases[i].calls);
        rec_settle(r);
        rec_turn(r);
        for (int k = 0; k < 4; k++)
            script_hear_pattern(r->script, world.fds[k], 0, cases[i].len);
        rec_free(r);
    }
}

/*
 * What is sent, or asked, behind bytes that left in the midst of the turn. An engine that still had those in its hands
 * would not return from its wait for what nobody has told it of.
 */
static void small_send(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA)
        return;
    ior_id to = ev->id == world.ids[1] || world.busy ? ev->id : world.ids[3];
    assert_true(rec_send(r, to, ev->data.bytes, ev->data.len) >= 0);
    if (ev->id == world.ids[2] && !world.busy)
        assert_int_equal(script_heard(r->script, world.fds[3]), 100); /* nothing is under way in the midst of a turn */
    if (ev->id == world.ids[2] && world.leave)
        assert_int_equal(ior_close(r->cx, world.ids[3], IOR_NEVER), 0);
}

static void nothing_is_forgotten_behind_an_early_write(void **state)
{
    (void)state;
    for (int close = 0; close < 2; close++) {
        struct recorder *r = open_streams(NULL, NULL, 4);
        static const size_t lens[] = {100, 16000, 50};
        r->on_event = small_send;
        world.leave = close == 1;
        for (size_t i = 0; i < 3; i++)
            script_say_pattern(r->script, world.fds[i], lens[i]);
        rec_turn(r);
        rec_settle(r);
        rec_turn(r);
        assert_int_equal(script_heard(r->script, world.fds[3]), 150);
        script_hear_pattern(r->script, world.fds[1], 0, lens[1]);
        rec_free(r);
    }
}

/* A file range has its share of a turn, 4 MiB, however often large messages are written in the midst of it. */
static void an_early_write_is_no_turn_of_a_file_range(void **state)
{
    (void)state;
    struct recorder *r = open_streams(NULL, NULL, 4);
    int file = script_file(r->script, 20 << 20);
    assert_true(rec_send_file(r, world.ids[3], file, 0, 20 << 20) >= 0);
    r->on_event = small_send;
    world.busy = true;
    for (int i = 0; i < 3; i++)
        script_say_pattern(r->script, world.fds[i], 16000);
    rec_turn(r);
    assert_int_equal(script_heard(r->script, world.fds[3]), 4 << 20);
    rec_free(r);
}

/* The stream that borrows ends in the same turn. */
static void it_goes_along_with_what_is_handed_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct recorder *r = open_streams(NULL, NULL, 2);
        r->on_event = send_on;
        world.leave = true;
        script_say_pattern(r->script, world.fds[0], sizes[i]);
        rec_turn(r);
        struct ior_resource *res = rec_of(r, world.ids[1])->handed;
        assert_non_null(res);
        assert_int_equal(rec_of(r, world.ids[1])->unsent, sizes[i]);
        r->on_event = NULL;
        unsigned char other[64];
        memset(other, 0xee, sizeof(other));
        for (size_t len = 0; len < sizes[i]; len += sizeof(other))
            script_say(r->script, world.fds[0], other, sizeof(other));
        rec_turn(r);
        ior_id again = rec_register(r, res);
        rec_settle(r);
        rec_turn(r); /* an engine tells at the next wait what it wrote */
        assert_int_equal(ior_queued(r->cx, again), 0);
        script_hear_pattern(r->script, world.fds[1], 0, sizes[i]);
        rec_free(r);
    }
}

/* The same between the turns, when an engine that writes has the bytes in its hands, and has room for some of them. */
static void it_goes_along_between_turns(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t part = 0; part < 3; part++) {
            size_t taken = part * sizes[i] / 3;
            struct recorder *r = open_streams(NULL, NULL, 2);
            r->on_event = send_on;
            script_room(r->script, world.fds[1], taken);
            script_say_pattern(r->script, world.fds[0], sizes[i]);
            rec_turn(r);
            r->on_event = NULL;
            assert_int_equal(rec_unregister(r, world.ids[1]), 0);
            unsigned char other[64];
            memset(other, 0xee, sizeof(other));
            for (size_t len = 0; len < sizes[i]; len += sizeof(other))
                script_say(r->script, world.fds[0], other, sizeof(other));
            rec_turn(r); /* reads to where the first bytes were, and then ends what was unregistered */
            struct ior_resource *res = rec_of(r, world.ids[1])->handed;
            assert_non_null(res);
            assert_int_equal(rec_of(r, world.ids[1])->unsent, sizes[i] - taken);
            script_room(r->script, world.fds[1], SIZE_MAX);
            ior_id again = rec_register(r, res);
            rec_settle(r);
            rec_turn(r); /* an engine tells at the next wait what it wrote */
            assert_int_equal(ior_queued(r->cx, again), 0);
            script_hear_pattern(r->script, world.fds[1], 0, sizes[i]);
            rec_free(r);
        }
    }
}

/* Parts of one event, the last first, behind bytes of the service's own, and one of them twice. */
static void in_any_order(struct recorder *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATA || ev->id != world.ids[0])
        return;
    const char *bytes = ev->data.bytes;
    assert_int_equal(ev->data.len, 300);
    assert_int_equal(rec_send(r, world.ids[1], bytes + 200, 100), 0);
    assert_int_equal(rec_send(r, world.ids[2], bytes + 100, 200), 0);
    assert_int_equal(rec_send(r, world.ids[5], bytes + 150, 150), 0);
    assert_int_equal(rec_send_text(r, world.ids[3], "own"), 0);
    assert_int_equal(rec_send(r, world.ids[3], bytes, 100), 0);
    assert_int_equal(rec_send(r, world.ids[1], bytes + 200, 100), 0);
    assert_int_equal(rec_send(r, world.ids[2], bytes, 100), 0);
}

static void parts_of_an_event(void **state)
{
    const struct ior_stream_options *const opts[] = {
        NULL, REC_STREAM(.high_bytes = 1000)}; /* below a block: every send goes the long way */
    unsigned char said[300], other[400], twice[200], turned[300], behind[103] = "own";
    (void)state;
    memset(other, 'X', sizeof(other));
    for (int i = 0; i < 2; i++) {
        struct recorder *r = open_streams(NULL, opts[i], 6);
        r->on_event = in_any_order;
        script_pattern(said, 0, sizeof(said));
        script_say(r->script, world.fds[0], said, sizeof(said));
        script_say(r->script, world.fds[4], other, sizeof(other));
        rec_settle(r);
        memcpy(twice, said + 200, 100);
        memcpy(twice + 100, said + 200, 100);
        memcpy(behind + 3, said, 100);
        memcpy(turned, said + 100, 200);
        memcpy(turned + 200, said, 100);
        script_hear(r->script, world.fds[1], twice, 200);
        script_hear(r->script, world.fds[2], turned, 300);
        script_hear(r->script, world.fds[3], behind, 103);
        script_hear(r->script, world.fds[5], said + 150, 150);
        rec_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_kernel_takes),
        cmocka_unit_test(more_than_there_is_room_for),
        cmocka_unit_test(full_in_the_midst_of_a_turn),
        cmocka_unit_test(large_ones_are_written_behind_their_event),
        cmocka_unit_test(nothing_is_forgotten_behind_an_early_write),
        cmocka_unit_test(an_early_write_is_no_turn_of_a_file_range),
        cmocka_unit_test(it_goes_along_with_what_is_handed_back),
        cmocka_unit_test(it_goes_along_between_turns),
        cmocka_unit_test(parts_of_an_event),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (setenv("IOR_SCRIPT_SHAPE", "done", 1) != 0)
        return 1;
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
