/* SPDX-License-Identifier: Apache-2.0 */
/* What a seed draws: how rough a story is, and the options of its runtimes and streams. */
#include "story.h"

static uint32_t rate(struct story *s, uint32_t least, uint32_t most)
{
    return once_in(s, 2) ? least + (uint32_t)pick(s, most - least + 1) : 0;
}

static void draw_rates(struct story *s, struct ior_sim_rates *rates)
{
    *rates = (struct ior_sim_rates){
        .short_read = rate(s, 2, 20),
        .short_write = rate(s, 2, 20),
        .again = rate(s, 3, 30),
        .interrupted = rate(s, 3, 30),
        .reset = rate(s, 40, 400),
        .aborted = rate(s, 5, 50),
        .no_fds = rate(s, 3, 30),
        .no_memory = rate(s, 10, 100),
        .other_error = rate(s, 10, 100),
        .delayed = rate(s, 2, 10),
        .reordered = rate(s, 1, 10),
        .spurious = rate(s, 4, 40),
        .spurious_wake = rate(s, 10, 100),
        .connect_now = rate(s, 1, 4),
        .wall_jump = rate(s, 1, 4),
        .cut = rate(s, 30, 300),
        .thread = s->plan.threads ? rate(s, 2, 40) : 0,
        .cut_ns = 50 * IOR_NS_PER_MS,
    };
}

/* What the kernel does all the time, and no program notices but by its own mistakes. */
static void draw_mild(struct story *s, struct ior_sim_rates *rates)
{
    rates->short_read = rate(s, 2, 20);
    rates->short_write = rate(s, 2, 20);
    rates->again = rate(s, 3, 30);
    rates->interrupted = rate(s, 3, 30);
    rates->delayed = rate(s, 2, 10);
    rates->reordered = rate(s, 1, 10);
    rates->spurious = rate(s, 4, 40);
    rates->connect_now = rate(s, 1, 4);
    rates->wall_jump = rate(s, 1, 4);
    rates->thread = s->plan.threads ? rate(s, 2, 40) : 0;
}

void plan_draw(struct story *s, int shape)
{
    struct plan *plan = &s->plan;
    uint64_t drawn = pick(s, 2);
    *plan = (struct plan){.calm = pick(s, 5) < 2};
    plan->shape = (shape < 0 ? drawn == 1 : shape == 1) ? IOR_SIM_SHAPE_DONE : IOR_SIM_SHAPE_READY;
    plan->faults = !plan->calm && once_in(s, 3);
    plan->memory = !plan->calm && once_in(s, 4) ? 4 + (unsigned)pick(s, 100) : 0;
    plan->hosts = 1 + (int)pick(s, HOSTS);
    plan->runtimes = 1 + (int)(once_in(s, 2) ? pick(s, RUNTIMES) : 0);
    plan->steps = 30 + (unsigned)pick(s, 120);
    plan->threads = once_in(s, 2);
    plan->own = once_in(s, 2);
    plan->files = once_in(s, 3);
    plan->unix_only = once_in(s, 4);
    plan->idle = once_in(s, 3);
    plan->stops = !plan->calm && once_in(s, 3);
    plan->flood = once_in(s, 8);
    plan->steals = !plan->calm && once_in(s, 10);
    plan->files &= !plan->steals; /* a stolen number may become a file's, which is always ready */
    plan->calls_take_time = once_in(s, 6);
    uint64_t aside = s->seed * UINT64_C(0x9e3779b97f4a7c15); /* so that other stories stay as they are */
    plan->periodic = aside >> 62 == 0;
    plan->slows = aside >> 61 == 0;
    plan->slow = plan->slows ? 12 : 0;
    if (plan->faults)
        draw_rates(s, &plan->rates);
    else if (once_in(s, 2))
        draw_mild(s, &plan->rates);
    static const uint32_t buffers[] = {0, 1024, 4096, 300};
    plan->link.buffer_bytes = buffers[pick(s, 4)];
    if (once_in(s, 3))
        plan->link.jitter_ns = pick(s, 200000);
    if (once_in(s, 6))
        plan->link.bytes_per_sec = 100000 + pick(s, 10000000);
}

static uint32_t budget(struct story *s)
{
    return once_in(s, 3) ? 1 + (uint32_t)pick(s, 4) : 0;
}

void plan_config(struct story *s, struct ior_config *config)
{
    static const uint32_t reads[] = {1024, 512, 4096, 0};
    *config = (struct ior_config){
        .struct_size = sizeof(*config),
        .read_bytes = reads[pick(s, 4)],
        .records = once_in(s, 3) ? 1 + (uint32_t)pick(s, 8) : 64,
        .accepts = budget(s),
        .reads = budget(s),
        .commands = budget(s),
        .timers = budget(s),
        .max_resources = once_in(s, 10) ? 4 + (uint32_t)pick(s, 16) : 0,
        .max_timers = once_in(s, 8) ? 3 + (uint32_t)pick(s, 6) : 0,
        .output_cap_bytes = s->plan.flood || once_in(s, 6) ? 65536 : 0,
    };
}

void plan_stream(struct story *s, struct ior_stream_options *opts, bool to_library)
{
    static const size_t highs[] = {0, 300, 1000, 5000};
    *opts = (struct ior_stream_options){
        .struct_size = sizeof(*opts),
        .half_open = once_in(s, 3),
        .read_when_full = to_library || once_in(s, 4),
        .high_bytes = highs[pick(s, 4)],
        .unread_max_bytes = once_in(s, 2) ? 200 : 0,
        .user_size = once_in(s, 4) ? 24 : 0,
    };
    if (opts->high_bytes > 0 && once_in(s, 3))
        opts->low_bytes = (size_t)(1 + pick(s, opts->high_bytes));
    if (s->plan.idle && once_in(s, 3))
        opts->idle_ns = 1000000 + pick(s, 50000000);
    if (once_in(s, 6))
        opts->connect_ns = 1 + pick(s, 5000000);
    if (!s->plan.calm && once_in(s, 6))
        opts->drain_ns = 1 + pick(s, 5000000);
}
