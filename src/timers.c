/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of all that is due some day: services' timers and resources' deadlines, in one total order (deadline, then
 * order of arming).
 *
 * A 4-ary heap of entries of 16 bytes, so that four siblings are one line of the cache. Nodes do not know where their
 * entries are, and sifting touches none of them. The price is that an entry is given up where it stands: a node that is
 * removed, or moved nearer, leaves a dead entry behind. A node that is moved later leaves its entry as it is; when that
 * comes up it is put where it belongs now. Dead entries go when they come up, and a sweep looks for them where they are
 * more than three of four: at two entries for each that dies, so that no call is long, and the heap has never more than
 * about five entries for each node there was at once.
 *
 * Arming, moving and cancelling are O(1) but for sifting up, which is so on average. Only growing can fail.
 *
 * Invariants: a parent's (when, key) is below its children's; a queued node has exactly one entry with its queued_key,
 * at (queued_ns, queued_key), which is not after (when_ns, key); keys never repeat among the entries; the first entry
 * is not dead, unless more than LOOKS in a row were; without a node there is no entry.
 */
#include "timers.h"

#include <errno.h>
#include <ioreactor/resource.h>

#define ARITY 4u
#define CAPACITY_FIRST 16u
#define CAPACITY_MAX (UINT32_C(1) << 28)
#define LOOKS 64      /* entries that one look at the first one drops at most */
#define HOT 1365u     /* entries, at the top of the heap, that are in the cache anyway */
#define SWEEP_STEPS 2 /* at most, for each entry that dies; one would not catch up */
#define SWEEP_AHEAD 32u
#define REF_MASK (IOR__TIMER_KEY_STEP - 1)

/* Without a branch: which of two is first is as good as random. */
static IOR_INLINE bool before(const struct ior__timer_entry *a, const struct ior__timer_entry *b)
{
    return (a->when_ns < b->when_ns) | ((a->when_ns == b->when_ns) & (a->key < b->key));
}

/* ---- what will be looked at soon ---- */

/* The descendants that a hole at `child`'s parent may meet in the step after the next: four lines. */
static IOR_INLINE void expect_below(const struct ior__timers *timers, uint32_t child)
{
    uint32_t below = child * ARITY + 1;
    if (below < HOT || below >= timers->count)
        return;
    const struct ior__timer_entry *line = &timers->heap[below];
    __builtin_prefetch(line);
    __builtin_prefetch(line + ARITY);
    __builtin_prefetch(line + ARITY * 2);
    __builtin_prefetch(line + ARITY * 3);
}

/* The node of an entry, where that is one of the table. */
static IOR_INLINE void expect_node(const struct ior__timers *timers, const struct ior__timer_entry *entry)
{
    if (!(entry->key & IOR__TIMER_OF_RESOURCE))
        __builtin_prefetch(&timers->table.timers[(entry->key & REF_MASK) >> 1]);
}

/* ---- the heap ---- */

static IOR_INLINE void sift_up(struct ior__timers *timers, uint32_t pos, struct ior__timer_entry entry)
{
    struct ior__timer_entry *heap = timers->heap;
    while (pos > 0) {
        uint32_t parent = (pos - 1) / ARITY;
        if (!before(&entry, &heap[parent]))
            break;
        heap[pos] = heap[parent];
        pos = parent;
    }
    heap[pos] = entry;
}

/*
 * Puts an entry into the heap where the one at `pos` is gone. The hole goes down to a leaf first, and the entry up from
 * there: what fills a hole was at the end of the heap mostly, and belongs there.
 */
static void fill(struct ior__timers *timers, uint32_t pos, struct ior__timer_entry entry)
{
    struct ior__timer_entry *heap = timers->heap;
    uint32_t count = timers->count;
    uint32_t child = pos * ARITY + 1;
    while (child + ARITY <= count) {
        expect_below(timers, child);
        uint32_t low = child + before(&heap[child + 1], &heap[child]);
        uint32_t high = child + 2 + before(&heap[child + 3], &heap[child + 2]);
        child = low + (high - low) * before(&heap[high], &heap[low]);
        heap[pos] = heap[child];
        if (pos <= ARITY)
            expect_node(timers, &heap[pos]); /* it is among the next to come up */
        pos = child;
        child = pos * ARITY + 1;
    }
    if (child < count) {
        uint32_t best = child;
        while (++child < count)
            best = before(&heap[child], &heap[best]) ? child : best;
        heap[pos] = heap[best];
        pos = best;
    }
    sift_up(timers, pos, entry);
}

static void take_out(struct ior__timers *timers, uint32_t pos)
{
    struct ior__timer_entry last = timers->heap[--timers->count];
    if (pos < timers->count)
        fill(timers, pos, last);
}

/* ---- entries and nodes ---- */

static struct ior__timer_node *node_of(const struct ior__timers *timers, uint64_t key)
{
    uint32_t index = (uint32_t)(key & REF_MASK) >> 1;
    if (!(key & IOR__TIMER_OF_RESOURCE))
        return &timers->table.timers[index].node;
    const struct ior_resource *res = ior__slots_at(timers->resources, index);
    return res ? res->deadlines : NULL;
}

/* The node an entry stands for, or NULL. */
static struct ior__timer_node *live_node(const struct ior__timers *timers, const struct ior__timer_entry *entry)
{
    struct ior__timer_node *node = node_of(timers, entry->key);
    return node && node->queued_key == entry->key ? node : NULL;
}

/* The entry that a node should have. */
static struct ior__timer_entry queue_as_is(struct ior__timer_node *node)
{
    node->queued_ns = node->when_ns;
    node->queued_key = node->key;
    return (struct ior__timer_entry){.when_ns = node->when_ns, .key = node->key};
}

static void drop_dead(struct ior__timers *timers, uint32_t pos)
{
    timers->dead--;
    take_out(timers, pos);
}

/*
 * Looks at the next entries, from the last to the first and over again, until no more than three of four are dead. What
 * fills a hole was looked at before.
 */
static void sweep(struct ior__timers *timers)
{
    for (int i = 0; i < SWEEP_STEPS && timers->dead > timers->count / 4 * 3; i++) {
        uint32_t pos = timers->cursor > 0 && timers->cursor <= timers->count ? timers->cursor - 1 : timers->count - 1;
        timers->cursor = pos;
        if (pos >= SWEEP_AHEAD)
            expect_node(timers, &timers->heap[pos - SWEEP_AHEAD]);
        if (!live_node(timers, &timers->heap[pos]))
            drop_dead(timers, pos);
    }
}

/* The first entry is not to be dead: the loop would wake for nothing. False: there is a long row of them. */
static bool clean_first(struct ior__timers *timers)
{
    if (timers->dead == timers->count) {
        timers->count = 0;
        timers->dead = 0;
    }
    for (int i = 0; timers->dead > 0 && !live_node(timers, &timers->heap[0]); i++) {
        if (i == LOOKS)
            return false;
        drop_dead(timers, 0);
    }
    return true;
}

/* A node gives up its entry. */
static void give_up(struct ior__timers *timers, struct ior__timer_node *node)
{
    uint64_t key = node->queued_key;
    node->queued_key = 0;
    timers->dead++;
    if (timers->dead == timers->count || timers->heap[0].key == key)
        (void)clean_first(timers);
    sweep(timers);
}

/* Drops all dead entries, and puts the others where they belong now. */
static void rebuild(struct ior__timers *timers)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < timers->count; i++) {
        struct ior__timer_node *node = live_node(timers, &timers->heap[i]);
        if (node)
            sift_up(timers, kept++, queue_as_is(node));
    }
    timers->count = kept;
    timers->dead = 0;
}

/*
 * The numbers of armings are used up, after 2^39 of them: what is queued is numbered anew, in the order in which it is
 * due. Nothing more fires in this turn, for who is armed in it is not known any more.
 */
static IOR_APART void renumber(struct ior__timers *timers)
{
    rebuild(timers);
    uint32_t count = timers->count;
    while (timers->count > 0) {
        struct ior__timer_entry first = timers->heap[0];
        take_out(timers, 0);
        timers->heap[timers->count] = first;
    }
    timers->count = count;
    for (uint32_t i = 0; i < count / 2; i++) {
        struct ior__timer_entry entry = timers->heap[i];
        timers->heap[i] = timers->heap[count - 1 - i];
        timers->heap[count - 1 - i] = entry;
    }
    timers->next_key = IOR__TIMER_KEY_STEP;
    timers->limit_key = 0;
    for (uint32_t i = 0; i < count; i++) { /* in order: that is a heap */
        struct ior__timer_node *node = node_of(timers, timers->heap[i].key);
        node->key = timers->next_key | (node->key & REF_MASK);
        timers->next_key += IOR__TIMER_KEY_STEP;
        timers->heap[i] = queue_as_is(node);
    }
}

static uint64_t next_key(struct ior__timers *timers, uint64_t ref)
{
    if (IOR_UNLIKELY(timers->next_key >= UINT64_MAX - REF_MASK))
        renumber(timers);
    uint64_t key = timers->next_key | ref;
    timers->next_key += IOR__TIMER_KEY_STEP;
    return key;
}

/* ---- the queue ---- */

void ior__timers_init(struct ior__timers *timers, uint32_t max_timers, const struct ior__slots *resources)
{
    *timers = (struct ior__timers){.next_key = IOR__TIMER_KEY_STEP, .resources = resources};
    ior__timer_table_init(&timers->table, max_timers);
}

void ior__timers_deinit(struct ior__timers *timers)
{
    ior__array_free(timers->block, timers->capacity * sizeof(*timers->heap));
    ior__timer_table_deinit(&timers->table);
    *timers = (struct ior__timers){0};
}

static IOR_APART int grow(struct ior__timers *timers)
{
    const size_t one = sizeof(*timers->heap);
    if (timers->capacity >= CAPACITY_MAX)
        return -ENOMEM;
    uint32_t capacity = timers->capacity ? timers->capacity * 2 : CAPACITY_FIRST;
    /* The second entry is the first of four siblings. */
    struct ior__timer_entry *heap = ior__array_grow(&timers->block, one, timers->capacity * one, capacity * one);
    if (!heap)
        return -ENOMEM;
    timers->heap = heap;
    timers->capacity = capacity;
    return 0;
}

int ior__timers_reserve(struct ior__timers *timers)
{
    return IOR_LIKELY(timers->count < timers->capacity) ? 0 : grow(timers);
}

/* There is room for it. */
static IOR_INLINE void push(struct ior__timers *timers, struct ior__timer_node *node, uint32_t ref, uint64_t when_ns)
{
    node->when_ns = when_ns;
    node->key = next_key(timers, ref);
    sift_up(timers, timers->count++, queue_as_is(node));
}

int ior__timers_add(struct ior__timers *timers, struct ior__timer_node *node, uint32_t ref, uint64_t when_ns)
{
    int err = ior__timers_reserve(timers);
    if (err == 0)
        push(timers, node, ref, when_ns);
    return err;
}

int ior__timers_new(struct ior__timers *timers, struct ior_context *cx, uint64_t when_ns, uint64_t *ret_id)
{
    int err = ior__timers_reserve(timers);
    if (err == 0)
        err = ior__timer_table_add(&timers->table, cx, ret_id);
    if (IOR_UNLIKELY(err < 0))
        return err;
    uint32_t ref = ior__timer_ref(*ret_id);
    push(timers, &timers->table.timers[ref >> 1].node, ref, when_ns);
    return 0;
}

void ior__timers_move(struct ior__timers *timers, struct ior__timer_node *node, uint64_t when_ns)
{
    uint64_t key = next_key(timers, node->key & REF_MASK);
    node->when_ns = when_ns;
    node->key = key;
    if (when_ns >= node->queued_ns && when_ns != UINT64_MAX)
        return;
    give_up(timers, node); /* never: the loop shall not wake for it */
    if (ior__timers_reserve(timers) < 0)
        rebuild(timers); /* there is room where the entry was */
    sift_up(timers, timers->count++, queue_as_is(node));
}

void ior__timers_remove(struct ior__timers *timers, struct ior__timer_node *node)
{
    if (node->queued_key)
        give_up(timers, node);
}

struct ior__timer_node *ior__timers_pop(struct ior__timers *timers, uint64_t now_ns)
{
    for (int i = 0; i < LOOKS && clean_first(timers) && timers->count > 0; i++) {
        struct ior__timer_entry first = timers->heap[0];
        if (first.when_ns > now_ns || first.key >= timers->limit_key)
            break;
        struct ior__timer_node *node = node_of(timers, first.key);
        if (node->key == first.key) {
            node->queued_key = 0;
            take_out(timers, 0);
            (void)clean_first(timers); /* the turn's budget may end here */
            return node;
        }
        fill(timers, 0, queue_as_is(node)); /* it was moved later */
    }
    return NULL;
}
