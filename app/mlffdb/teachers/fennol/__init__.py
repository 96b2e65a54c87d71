"""FeNNol models (.fnx): ANI and others, on jax, in batches of fixed shape.

Every new array shape costs a compilation of seconds, so structures go through the model in
batches padded to a fixed number of atoms and slots, and the lists of neighbours, angles and
elements only grow.
"""

from mlffdb.teachers.fennol.teacher import (
    CAPABILITIES,
    FennolTeacher,
    Member,
    load_ensemble,
    load_fennol,
)

__all__ = ["CAPABILITIES", "FennolTeacher", "Member", "load_ensemble", "load_fennol"]
