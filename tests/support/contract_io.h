/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of engines that do the I/O (IOR_ENGINE_DOES_IO), beside that of all engines (contract.h). */
#ifndef TESTS_SUPPORT_CONTRACT_IO_H
#define TESTS_SUPPORT_CONTRACT_IO_H

#include <ioreactor/engine.h>

/* Runs the suite; `arg` is for the engine's open. Answers the number of tests that failed. */
int contract_io_run(const char *name, const struct ior_engine_ops *ops, void *arg);

#endif
