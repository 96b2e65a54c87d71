"""Random streams that depend on what is made, not on who makes it or when."""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: RDKit takes seeds below 2³¹.
RDKIT_SEED_LIMIT = 2**31 - 1


def derive_seed(*content: Any) -> int:
    """Return a seed in [0, 2⁶³) from the JSON of *content*."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rdkit_seed(seed: int) -> int:
    """Return *seed* folded into the range that RDKit takes."""
    return seed % RDKIT_SEED_LIMIT
