# SPDX-License-Identifier: Apache-2.0
#
# 64-bit ARM: char has no sign, and the memory model is weak (which an emulator on x86-64 hides).
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(IOR_TRIPLE aarch64-linux-gnu)
set(IOR_QEMU qemu-aarch64)
include("${CMAKE_CURRENT_LIST_DIR}/debian.cmake")
