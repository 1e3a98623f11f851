# SPDX-License-Identifier: Apache-2.0
#
# Flags of this project's own targets. They are private: nothing of them reaches a program that links the library.

# ior_flags(TARGET): language, warnings, hardening and sanitizers for one target.
function(ior_flags target)
    set_target_properties(${target} PROPERTIES
        C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
    # The last two are for 32-bit systems: files past 2 GiB, times past 2038. No public header depends on them.
    target_compile_definitions(${target} PRIVATE _GNU_SOURCE _FILE_OFFSET_BITS=64 _TIME_BITS=64)
    target_compile_options(${target} PRIVATE
        -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
        $<$<BOOL:${IOR_WERROR}>:-Werror>)
    if(IOR_SANITIZE)
        target_compile_options(${target} PRIVATE
            -fsanitize=${IOR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
            # Instrumented code is inlined less, and gcc then sees paths that cannot be.
            $<$<C_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
        target_link_options(${target} PRIVATE -fsanitize=${IOR_SANITIZE})
    else()
        # _FORTIFY_SOURCE needs optimisation; some distributions define it already.
        target_compile_options(${target} PRIVATE
            $<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-fstack-protector-strong;-U_FORTIFY_SOURCE;-D_FORTIFY_SOURCE=2;-fno-plt>)
        target_link_options(${target} PRIVATE -Wl,-z,relro,-z,now)
    endif()
endfunction()
