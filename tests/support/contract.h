/* SPDX-License-Identifier: Apache-2.0 */
/* The engine contract of <ioreactor/engine.h> as tests: what every engine that waits on real fds must do. */
#ifndef TESTS_SUPPORT_CONTRACT_H
#define TESTS_SUPPORT_CONTRACT_H

#include <ioreactor/engine.h>

/*
 * Runs the whole contract on an engine, as a group of cmocka tests called `name`; `arg` is config.arg for its open.
 * Answers what a test's main should return.
 */
int contract_run(const char *name, const struct ior_engine_ops *ops, void *arg);

#endif
