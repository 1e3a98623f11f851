/* SPDX-License-Identifier: Apache-2.0 */
/* A skeleton to begin an engine of your own with: see skeleton.c. */
#ifndef SKELETON_ENGINE_H
#define SKELETON_ENGINE_H

#include <ioreactor/engine.h>

/* To be given as ior_config.engine_ops; needs no engine_arg. */
extern const struct ior_engine_ops skeleton_engine;

#endif
