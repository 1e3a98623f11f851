/* SPDX-License-Identifier: Apache-2.0 */
/* A world begins, is looked over, and ends. */
#include "world.h"

#define START_DEFAULT_NS IOR_NS_PER_SEC
#define WALL_DEFAULT_NS (UINT64_C(1704067200) * IOR_NS_PER_SEC) /* 2024-01-01 */
#define SYN_TIMEOUT_DEFAULT_NS (127 * IOR_NS_PER_SEC)
#define DATA_TIMEOUT_DEFAULT_NS (924 * IOR_NS_PER_SEC)
#define FDS_DEFAULT ((1u << 30) - 1)
#define SPIN_DEFAULT 100000u

static void set_defaults(struct ior_sim_config *config)
{
    if (config->start_ns == 0)
        config->start_ns = START_DEFAULT_NS;
    if (config->wall_ns == 0)
        config->wall_ns = WALL_DEFAULT_NS;
    if (config->syn_timeout_ns == 0)
        config->syn_timeout_ns = SYN_TIMEOUT_DEFAULT_NS;
    if (config->data_timeout_ns == 0)
        config->data_timeout_ns = DATA_TIMEOUT_DEFAULT_NS;
    if (config->max_fds == 0)
        config->max_fds = FDS_DEFAULT;
    if (config->spin_turns == 0)
        config->spin_turns = SPIN_DEFAULT;
}

int ior_sim_new(const struct ior_sim_config *config, struct ior_sim **ret)
{
    if (!ret || (config && config->struct_size != sizeof(*config)) ||
        (config && config->shape != IOR_SIM_SHAPE_READY && config->shape != IOR_SIM_SHAPE_DONE))
        return -EINVAL;
    struct ior_sim *sim = ior__mem_new(sizeof(*sim));
    if (config)
        sim->config = *config;
    set_defaults(&sim->config);
    struct ior_sim_rates rates = sim->config.rates;
    ior_sim_set_rates(sim, &rates);
    sim->now_ns = sim->begin_ns = sim->config.start_ns;
    sim->random = sim->config.seed;
    sim->hash = ior__mix64(&(uint64_t){sim->config.seed});
    *ret = sim;
    return 0;
}

unsigned ior_sim_check(struct ior_sim *sim)
{
    ior__fds_check_leaks(sim);
    return sim->violations;
}

unsigned ior_sim_free(struct ior_sim *sim)
{
    if (!sim)
        return 0;
    ior__fds_check_leaks(sim);
    ior__engines_check(sim);
    unsigned violations = sim->violations;
    sim->config.trace = NULL;
    ior__peers_free(sim);
    ior__fds_free(sim);
    ior__scheduler_free(sim);
    ior__ends_free(sim);
    ior__mem_free(sim->bounds);
    ior__paths_free(sim);
    ior__faults_free(sim);
    ior__names_free(sim);
    ior__hosts_free(sim);
    ior__mem_free(sim);
    return violations;
}

uint64_t ior_sim_now(const struct ior_sim *sim)
{
    return sim->now_ns;
}
