"""Unit conversions, pinned, so that labels do not move when a package changes its constants."""

from __future__ import annotations

#: eV. CODATA 2018 (ASE still has the value of 2014, 27.211386024…).
HARTREE = 27.211386245988
#: Å. CODATA 2018.
BOHR = 0.529177210903
