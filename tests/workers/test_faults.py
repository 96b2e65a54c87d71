"""Real workers on a real server through faults: every structure once, nothing stuck, nothing lost.

The same as `python -m benchmarks chaos`, with fewer structures.
"""

from __future__ import annotations

import pytest

pytest.importorskip("tblite", reason="needs the extra xtb")

from benchmarks import chaos

#: SIGKILL, a restart and a structure that kills its process are in test_labelling, a teacher that
#: hangs in test_stopping.
FAULTS = ("sigstop", "crash", "terminate", "network", "disk", "clock", "server_clock")


@pytest.mark.parametrize("fault", FAULTS)
def test_each_structure_is_labelled_exactly_once(fault: str) -> None:
    row = chaos.suffer(fault, 100)
    if "skipped" in row:
        pytest.skip(row["skipped"])
    print(row)
    assert (row["duplicates"], row["stuck"], row["lost"], row["wrong"]) == (0, 0, 0, 0)
    assert (row["labelled"], row["failed"]) == (100, 0)
    assert row["times"] > 0
