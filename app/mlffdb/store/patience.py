"""Waiting for a database that is away for a while, in the middle of work that nobody watches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from mlffdb.errors import DatabaseError
from mlffdb.store.database import is_conflict, is_passing

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.5


def patiently(action: Callable[[], T], seconds: float = PATIENCE_SECONDS) -> T:
    """Return what *action* returns, tried again while the database is away or another one wins.

    *action* must be one that may be done twice. Raises its error after *seconds*, and at once
    where waiting would not help.
    """
    give_up = time.monotonic() + seconds
    while True:
        try:
            return action()
        except (DatabaseError, DBAPIError) as error:
            if not (is_passing(error) or is_conflict(error)) or time.monotonic() > give_up:
                raise
            log.debug("tried again: %s", error)
            time.sleep(PAUSE_SECONDS)
