# SPDX-License-Identifier: Apache-2.0
"""docs/from-rust.md: each row names a test, and each test it names is there and run."""
from _tables import check, finish

finish(check("docs/from-rust.md", 20)[1])
