"""Orb models through orb-models 0.5 (Python 3.11) and 0.7 (3.12 and later), on torch.

`models` lists the published ones, `checkpoint` loads one, `graphs` turns structures into its
input, `torque` mends what its forces of molecules lack, `teacher` puts them together.
"""

from mlffdb.teachers.orb.checkpoint import save_random_checkpoint
from mlffdb.teachers.orb.teacher import OrbTeacher, load_orb

__all__ = ["OrbTeacher", "load_orb", "save_random_checkpoint"]
