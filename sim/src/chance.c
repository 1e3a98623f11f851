/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choices. All that could go one way or the other is decided here, by the generator that the seed starts or by the
 * test's own function. 0 is the plainest choice, so that a run whose choices are all 0 is the quietest one.
 */
#include "world.h"

uint64_t ior__mix64(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t ior_sim_choose(struct ior_sim *sim, uint64_t n)
{
    if (n <= 1)
        return 0;
    if (sim->config.choose)
        return sim->config.choose(sim->config.choose_arg, n) % n;
    uint64_t x = ior__mix64(&sim->random);
    return n <= UINT32_MAX ? ((x >> 32) * n) >> 32 : x % n;
}

bool ior__chance(struct ior_sim *sim, uint32_t one_in)
{
    return SIM_UNLIKELY(one_in > 0) && ior_sim_choose(sim, one_in) == one_in - 1u;
}
