"""The mark of tests that need strace: where there is none, they are skipped with the reason."""

import pytest

from loadgen.target import strace

_WHY_NOT = strace.missing()
traced = pytest.mark.skipif(_WHY_NOT is not None, reason=_WHY_NOT or "")
