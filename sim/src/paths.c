/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names of Unix sockets, on each host, numbered as they are first heard of. An abstract name begins with '@' here,
 * and is gone with its socket; a path stays until it is unlinked.
 */
#include "world.h"

#include <string.h>

struct path *ior__path_at(const struct ior_sim *sim, uint32_t number)
{
    return sim->paths[number - 1];
}

uint32_t ior__path_number(struct ior_sim *sim, uint32_t host, const char *name, size_t len)
{
    for (uint32_t i = 0; i < sim->paths_n; i++) {
        const struct path *path = sim->paths[i];
        if (path->host == host && path->len == len && memcmp(path->name, name, len) == 0)
            return i + 1;
    }
    struct path *path = ior__mem_new(sizeof(*path));
    path->name = ior__mem_new(len + 1);
    memcpy(path->name, name, len);
    path->len = len;
    path->host = host;
    sim->paths = ior__mem_room(sim->paths, sim->paths_n, &sim->paths_room, sizeof(struct path *));
    sim->paths[sim->paths_n++] = path;
    return sim->paths_n;
}

void ior__path_make(struct ior_sim *sim, struct path *path, bool is_socket)
{
    path->exists = true;
    path->is_socket = is_socket;
    path->mode = 0755;
    path->ino = ++sim->inos;
    path->bound = NULL;
}

void ior__paths_free(struct ior_sim *sim)
{
    for (uint32_t i = 0; i < sim->paths_n; i++) {
        ior__mem_free(sim->paths[i]->name);
        ior__mem_free(sim->paths[i]);
    }
    ior__mem_free(sim->paths);
}

int ior_sim_path(struct ior_sim *sim, int host, const char *path, bool is_socket)
{
    if (!sim || !ior__host_at(sim, host) || !path || !*path)
        return -EINVAL;
    struct path *at = ior__path_at(sim, ior__path_number(sim, (uint32_t)host, path, strlen(path)));
    if (at->exists)
        return -EEXIST;
    ior__path_make(sim, at, is_socket);
    return 0;
}

int ior_sim_path_remove(struct ior_sim *sim, int host, const char *path)
{
    if (!sim || !ior__host_at(sim, host) || !path || !*path)
        return -EINVAL;
    struct path *at = ior__path_at(sim, ior__path_number(sim, (uint32_t)host, path, strlen(path)));
    if (!at->exists)
        return -ENOENT;
    at->exists = false;
    at->bound = NULL;
    return 0;
}

bool ior_sim_path_exists(const struct ior_sim *sim, int host, const char *path)
{
    for (uint32_t i = 0; path && i < sim->paths_n; i++) {
        const struct path *at = sim->paths[i];
        if (at->host == (uint32_t)host && at->exists && strcmp(at->name, path) == 0)
            return true;
    }
    return false;
}
