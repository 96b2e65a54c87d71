"""Every error that mlffdb raises on purpose, under one root.

A message says what is wrong, where, and what to do next; the command line prints it as one line
and ends with the class's ``exit_code``. Anything else that surfaces is a bug and keeps its
traceback.
"""

from __future__ import annotations


class MlffdbError(Exception):
    """Root of all errors that a user can cause or mend."""

    #: Exit status of a command that ends with this error.
    exit_code = 2


class ConfigError(MlffdbError):
    """mlffdb.toml, an environment variable, a plan or a threshold file is wrong."""


class DatabaseError(MlffdbError):
    """The database cannot be reached, started, or does not fit this version of mlffdb."""


class InvalidStructureError(MlffdbError):
    """A structure that cannot exist: no atoms, NaN, unknown element, flat cell, bad charge."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        #: Short reason that counts can be grouped by, such as ``not_finite``.
        self.code = code


class ReadError(MlffdbError):
    """A file cannot be read."""


class PlanError(ConfigError):
    """A sampling plan is wrong; the message names file, line and allowed values."""


class TeacherError(MlffdbError):
    """A teacher is unknown, not installed, lacks its weights, or cannot run on the device."""


class ExportError(MlffdbError):
    """A snapshot cannot be made or written."""


class SnapshotFileError(MlffdbError):
    """A snapshot's file is damaged, of another kind, or written by a newer version."""


class QueryError(MlffdbError):
    """An SQL query or condition was refused, failed, or ran too long."""
