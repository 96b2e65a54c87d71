"""Teachers: one file each behind one small contract (`mlffdb.teachers.base`)."""

from mlffdb.teachers.base import Capabilities, Failure, Identity, Prediction, Result, Teacher

__all__ = ["Capabilities", "Failure", "Identity", "Prediction", "Result", "Teacher"]
