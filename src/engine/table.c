/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of built-in engines: one line for each, in the order of preference, which is that of the measurements in
 * docs/engines.md. The runtime takes the one that was asked for by name, or else the first that opens.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

#include "../util.h"

static const struct ior_engine_ops *const engines[] = {
#if defined(IOR_URING)
    &ior__engine_uring,
#endif
#if defined(__linux__)
    &ior__engine_epoll,
#endif
    &ior__engine_poll,
};

const struct ior_engine_ops *ior_engine_at(unsigned index)
{
    return index < IOR_COUNT_OF(engines) ? engines[index] : NULL;
}

const struct ior_engine_ops *ior_engine_named(const char *name)
{
    for (size_t i = 0; name && i < IOR_COUNT_OF(engines); i++) {
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    }
    return NULL;
}

const char *ior_engine_from_env(void)
{
    const char *name = getenv("IOR_ENGINE");

    return name && *name ? name : NULL;
}
