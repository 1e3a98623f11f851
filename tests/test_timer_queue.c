/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue underneath timers and deadlines, compared with a naive model: a list that is searched whole. Hundreds of
 * thousands of additions, moves, removals and passing time, with ties, far deadlines, and without memory.
 */
#include <ioreactor/resource.h>
#include <stdlib.h>
#include <string.h>

#include "support/check.h"
#include "support/live.h"
#include "timers.h"

/* Nobody looks at it. */
static char somebody;
static struct ior_context *const owner = (struct ior_context *)(void *)&somebody;

enum { SERVICE = 400, RESOURCE = 100, NODES = SERVICE + RESOURCE };

/* One that can be due. Those of resources are memory of their own, that comes and goes; the others are in the table. */
struct model {
    struct ior__timer_node *node; /* NULL: none */
    uint64_t id;
    uint64_t when_ns, seq;
};

struct queue {
    struct ior__timers timers;
    struct ior__slots resources;
    struct ior_resource res[RESOURCE];
    struct model models[NODES];
    uint64_t seq, limit, now_ns;
    uint32_t queued, most;
    bool scarce; /* memory is refused now and then */
};

static uint64_t random_state;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint64_t random_below(uint64_t n)
{
    return random_next() % n;
}

static void queue_open(struct queue *q, uint64_t seed)
{
    memset(q, 0, sizeof(*q));
    random_state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    ior__slots_init(&q->resources, IOR__SLOT_MAX);
    ior__timers_init(&q->timers, IOR__SLOT_MAX, &q->resources);
}

static bool of_resource(const struct queue *q, const struct model *m)
{
    return m >= q->models + SERVICE;
}

/* Timers of the table are found by their ids: it may have grown. */
static struct ior__timer_node *node_of(struct queue *q, const struct model *m)
{
    return of_resource(q, m) ? m->node : &ior__timer_find(&q->timers.table, m->id)->node;
}

/* Near deadlines make ties; some are far, a few as far as can be. */
static uint64_t some_time(const struct queue *q)
{
    switch (random_below(16)) {
    case 0:
        return UINT64_MAX - random_below(3);
    case 1:
        return q->now_ns + random_below(UINT64_C(1) << 40);
    case 2:
        return q->now_ns;
    default:
        return q->now_ns + random_below(500);
    }
}

static void arm(struct queue *q, struct model *m, uint64_t when_ns)
{
    m->when_ns = when_ns;
    m->seq = q->seq++;
}

static void forget(struct queue *q, struct model *m)
{
    if (of_resource(q, m)) {
        q->res[m - q->models - SERVICE].deadlines = NULL;
        free(m->node);
        ior__slots_remove(&q->resources, m->id);
    } else {
        ior__timer_table_remove(&q->timers.table, ior__timer_find(&q->timers.table, m->id));
    }
    m->node = NULL;
    q->queued--;
}

static int make(struct queue *q, struct model *m)
{
    if (!of_resource(q, m)) {
        int err = ior__timer_table_add(&q->timers.table, owner, &m->id);
        if (err == 0)
            m->node = &ior__timer_find(&q->timers.table, m->id)->node;
        return err;
    }
    struct ior_resource *res = &q->res[m - q->models - SERVICE];
    int err = ior__slots_add(&q->resources, res);
    if (err < 0)
        return err;
    m->id = res->id;
    m->node = calloc(1, sizeof(*m->node));
    assert_non_null(m->node);
    res->deadlines = m->node;
    return 0;
}

static void add(struct queue *q, struct model *m)
{
    uint64_t when_ns = some_time(q), before = ior__timers_next(&q->timers);
    if (q->scarce && random_below(4) == 0)
        live_alloc_fail(1, true);
    int err = make(q, m);
    if (err == 0) {
        q->queued++;
        uint32_t ref = ior__timer_ref(m->id) | (of_resource(q, m) ? IOR__TIMER_OF_RESOURCE : 0);
        err = ior__timers_add(&q->timers, node_of(q, m), ref, when_ns);
        if (err < 0)
            forget(q, m);
    }
    live_alloc_fail(0, false);
    if (err < 0) {
        assert_true(q->scarce);
        assert_int_equal(ior__timers_next(&q->timers), before);
        return;
    }
    arm(q, m, when_ns);
}

static void move(struct queue *q, struct model *m)
{
    uint64_t when_ns = random_below(2) ? some_time(q) : m->when_ns + random_below(9) - 4;
    if (when_ns < q->now_ns)
        when_ns = q->now_ns; /* nobody arms what is past */
    if (q->scarce && random_below(2) == 0)
        live_alloc_fail(1, true); /* moving does without */
    ior__timers_move(&q->timers, node_of(q, m), when_ns);
    live_alloc_fail(0, false);
    arm(q, m, when_ns);
}

static const struct model *first(const struct queue *q)
{
    const struct model *least = NULL;
    for (const struct model *m = q->models; m < q->models + NODES; m++) {
        if (m->node && (!least || m->when_ns < least->when_ns || (m->when_ns == least->when_ns && m->seq < least->seq)))
            least = m;
    }
    return least;
}

static void check(struct queue *q);

/* Time passes; what is due comes up in order, but for what is armed meanwhile. */
static void pass(struct queue *q)
{
    q->now_ns += random_below(3) ? random_below(50) : random_below(UINT64_C(1) << 36);
    uint64_t limit = q->seq;
    ior__timers_begin(&q->timers);
    for (;;) {
        struct model *m = (struct model *)first(q);
        struct ior__timer_node *node = ior__timers_pop(&q->timers, q->now_ns);
        if (!node) {
            check(q);
            bool renumbered = q->timers.limit_key == 0; /* the rest waits for the next turn */
            assert_true(!m || m->when_ns > q->now_ns || m->seq >= limit || renumbered);
            return;
        }
        assert_non_null(m);
        assert_ptr_equal(node, node_of(q, m));
        assert_true(m->when_ns <= q->now_ns && m->seq < limit);
        assert_int_equal(node->queued_key, 0);
        assert_int_equal(ior__timer_of_resource(node), of_resource(q, m));
        forget(q, m);
        m = &q->models[random_below(NODES)];
        if (random_below(3) == 0 && m->node)
            move(q, m);
        else if (random_below(2) == 0 && !m->node)
            add(q, m);
    }
}

/* The node that the first entry stands for. */
static const struct ior__timer_node *node_of_first(struct queue *q)
{
    for (const struct model *m = q->models; m < q->models + NODES; m++) {
        if (m->node && node_of(q, m)->queued_key == q->timers.heap[0].key)
            return node_of(q, m);
    }
    return NULL;
}

static void check(struct queue *q)
{
    const struct model *m = first(q);
    assert_int_equal(ior__timers_queued(&q->timers), q->queued);
    assert_true(ior__timers_next(&q->timers) <= (m ? m->when_ns : UINT64_MAX));
    assert_true(m || q->timers.count == 0);
    assert_true(!m || q->timers.dead > 64 || node_of_first(q)); /* only a long row of dead ones is left for later */
    q->most = q->queued > q->most ? q->queued : q->most;
    assert_true(q->timers.count <= 5 * q->most + 8);
    for (uint32_t i = 1; i < q->timers.count; i++) {
        const struct ior__timer_entry *entry = &q->timers.heap[i], *parent = &q->timers.heap[(i - 1) / 4];
        assert_true(parent->when_ns < entry->when_ns ||
                    (parent->when_ns == entry->when_ns && parent->key < entry->key));
    }
}

static void step(struct queue *q)
{
    struct model *m = &q->models[random_below(NODES)];
    if (!m->node) {
        add(q, m);
    } else if (random_below(3) == 0) {
        ior__timers_remove(&q->timers, node_of(q, m));
        ior__timers_remove(&q->timers, node_of(q, m)); /* is not queued: nothing happens */
        forget(q, m);
    } else {
        move(q, m);
    }
    if (random_below(60) == 0)
        pass(q);
}

static void drain(struct queue *q)
{
    for (struct model *m = q->models; m < q->models + NODES; m++) {
        if (!m->node)
            continue;
        ior__timers_remove(&q->timers, node_of(q, m));
        forget(q, m);
        check(q);
    }
    assert_int_equal(q->timers.count, 0);
    assert_int_equal(ior__timers_next(&q->timers), UINT64_MAX);
    ior__timers_deinit(&q->timers);
    ior__slots_deinit(&q->resources);
    live_alloc_stop();
}

static void against_a_naive_model(void **state)
{
    static struct queue q;
    (void)state;
    live_alloc_start();
    queue_open(&q, 1);
    for (int i = 0; i < 200000; i++) {
        step(&q);
        if (i % 64 == 0)
            check(&q);
    }
    drain(&q);
}

static void against_a_naive_model_without_memory(void **state)
{
    static struct queue q;
    (void)state;
    for (uint64_t seed = 2; seed < 40; seed++) {
        live_alloc_start();
        queue_open(&q, seed);
        q.scarce = true;
        for (int i = 0; i < 1500; i++) {
            step(&q);
            if (i % 16 == 0)
                check(&q);
        }
        drain(&q);
    }
}

/* The numbers of armings are used up again and again: the order stays, and what is armed waits for the next turn. */
static void against_a_naive_model_when_keys_run_out(void **state)
{
    static struct queue q;
    (void)state;
    live_alloc_start();
    queue_open(&q, 77);
    for (int i = 0; i < 20000; i++) {
        if (i % 50 == 0 && q.timers.next_key < UINT64_MAX / 2)
            q.timers.next_key = UINT64_MAX - random_below(20) * IOR__TIMER_KEY_STEP - random_below(2);
        q.timers.next_key &= ~(IOR__TIMER_KEY_STEP - 1);
        step(&q);
        if (i % 16 == 0)
            check(&q);
    }
    drain(&q);
}

/* Few are ever queued, and many come and go: dead entries are swept away, wherever they are. */
static void comings_and_goings_leave_no_entries(void **state)
{
    struct ior__slots none;
    struct ior__timers timers;
    static uint64_t ids[100];
    (void)state;
    random_state = 4711;
    ior__slots_init(&none, 1);
    for (int way = 0; way < 4; way++) {
        ior__timers_init(&timers, IOR__SLOT_MAX, &none);
        for (unsigned i = 0; i < 100000; i++) {
            uint64_t *id = &ids[way & 1 ? random_below(100) : i % 100];
            if (*id) {
                ior__timers_remove(&timers, &ior__timer_find(&timers.table, *id)->node);
                ior__timer_table_remove(&timers.table, ior__timer_find(&timers.table, *id));
            }
            assert_int_equal(ior__timer_table_add(&timers.table, owner, id), 0);
            /* Nearer and nearer, or further and further away. */
            uint64_t when_ns = way & 2 ? UINT64_C(1) << 40 | i : (UINT64_C(1) << 40) - i;
            struct ior__timer_node *node = &ior__timer_find(&timers.table, *id)->node;
            assert_int_equal(ior__timers_add(&timers, node, ior__timer_ref(*id), when_ns), 0);
            assert_true(timers.count <= 5 * 100 + 8);
        }
        ior__timers_deinit(&timers);
        memset(ids, 0, sizeof(ids));
    }
}

/* A long row of dead entries does not make one call long; nor does it hide what is behind it for long. */
static void a_row_of_dead_entries_is_dropped_in_parts(void **state)
{
    enum { ROW = 3000 };
    static uint64_t ids[2 * ROW];
    struct ior__slots none;
    struct ior__timers timers;
    int calls = 0;
    (void)state;
    ior__slots_init(&none, 1);
    ior__timers_init(&timers, IOR__SLOT_MAX, &none);
    for (uint64_t i = 0; i < 2 * ROW; i++) {
        assert_int_equal(ior__timer_table_add(&timers.table, owner, &ids[i]), 0);
        struct ior__timer_node *node = &ior__timer_find(&timers.table, ids[i])->node;
        assert_int_equal(ior__timers_add(&timers, node, ior__timer_ref(ids[i]), i), 0);
    }
    for (int i = ROW - 1; i >= 0; i--) /* the first one last */
        ior__timers_remove(&timers, &ior__timer_find(&timers.table, ids[i])->node);
    assert_true(timers.dead > ROW / 2);
    assert_true(ior__timers_next(&timers) < ROW);
    ior__timers_begin(&timers);
    struct ior__timer_node *node;
    while (!(node = ior__timers_pop(&timers, ROW)))
        assert_true(++calls < ROW);
    assert_true(calls > 1);
    assert_ptr_equal(node, &ior__timer_find(&timers.table, ids[ROW])->node);
    ior__timers_deinit(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_a_naive_model),
        cmocka_unit_test(against_a_naive_model_without_memory),
        cmocka_unit_test(against_a_naive_model_when_keys_run_out),
        cmocka_unit_test(comings_and_goings_leave_no_entries),
        cmocka_unit_test(a_row_of_dead_entries_is_dropped_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
