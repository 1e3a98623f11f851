/* SPDX-License-Identifier: Apache-2.0 */
/* The skeleton engine of examples/engine fulfils the contract it is there to show. */
#include "skeleton.h"
#include "support/contract.h"

int main(void)
{
    return contract_run(skeleton_engine.name, &skeleton_engine, NULL);
}
