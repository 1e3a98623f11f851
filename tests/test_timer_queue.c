/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue underneath timers and deadlines, compared with a sorted model: 10,000 nodes added, moved and removed at random.
 */
#include <stdlib.h>

#include "support/check.h"
#include "support/recorder.h"
#include "timers.h"

/* ---- the queue against a model ---- */

enum { NODES = 10000 };

struct model {
    struct ior__timer_node node;
    uint64_t when_ns, seq;
    bool queued;
};

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static int by_time(const void *a, const void *b)
{
    const struct model *x = *(struct model *const *)a, *y = *(struct model *const *)b;
    if (x->when_ns != y->when_ns)
        return x->when_ns < y->when_ns ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Adds, moves and removes at random; little room for deadlines, so that there are many ties. */
static void shuffle(struct ior__timers *timers, struct model *models, uint64_t *seq)
{
    for (int step = 0; step < 4 * NODES; step++) {
        struct model *m = &models[random_next() % NODES];
        uint64_t when_ns = random_next() % 2000;
        if (!m->queued) {
            assert_int_equal(ior__timers_add(timers, &m->node, when_ns), 0);
        } else if (random_next() % 3 == 0) {
            ior__timers_remove(timers, &m->node);
            ior__timers_remove(timers, &m->node); /* idle: nothing happens */
            m->queued = false;
            continue;
        } else {
            ior__timers_move(timers, &m->node, when_ns);
        }
        m->queued = true;
        m->when_ns = when_ns;
        m->seq = (*seq)++;
        assert_int_equal(ior__timers_when(timers, &m->node), when_ns);
    }
}

static void ten_thousand_against_a_sorted_model(void **state)
{
    struct ior__timers timers = {0};
    struct model *models = calloc(NODES, sizeof(*models)), **sorted = calloc(NODES, sizeof(struct model *));
    uint64_t seq = 0;
    size_t n = 0;
    (void)state;
    assert_true(models != NULL && sorted != NULL);
    for (int i = 0; i < NODES; i++)
        models[i].node = (struct ior__timer_node){.pos = IOR__TIMER_IDLE};
    shuffle(&timers, models, &seq);
    for (int i = 0; i < NODES; i++)
        if (models[i].queued)
            sorted[n++] = &models[i];
    qsort(sorted, n, sizeof(*sorted), by_time);
    assert_int_equal(timers.count, n);
    assert_int_equal(ior__timers_next(&timers), sorted[0]->when_ns);
    for (size_t i = 0; i < n; i++) {
        if (sorted[i]->when_ns > 0)
            assert_null(ior__timers_pop(&timers, sorted[i]->when_ns - 1, UINT64_MAX));
        assert_ptr_equal(ior__timers_pop(&timers, sorted[i]->when_ns, UINT64_MAX), &sorted[i]->node);
        assert_int_equal(sorted[i]->node.pos, IOR__TIMER_IDLE);
    }
    assert_null(ior__timers_pop(&timers, UINT64_MAX, UINT64_MAX));
    assert_int_equal(ior__timers_next(&timers), IOR_NEVER);
    ior__timers_deinit(&timers);
    free(models);
    free(sorted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_against_a_sorted_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
