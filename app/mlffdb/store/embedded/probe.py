"""Asking a server whether it takes connections: the only sign of life that counts."""

from __future__ import annotations

import enum
from pathlib import Path

import psycopg2

from mlffdb.store.embedded.cluster import SUPERUSER
from mlffdb.store.embedded.endpoint import Endpoint
from mlffdb.store.embedded.logs import NOT_YET


class Answer(enum.Enum):
    """What a server says to a connection."""

    #: It takes connections.
    READY = "ready"
    #: It is there, but starts, recovers or stops.
    BUSY = "busy"
    #: Nobody answers.
    NONE = "none"


def ask(state: Path) -> Answer:
    """Connect to the server whose address stands in the file *state*."""
    try:
        endpoint = Endpoint.load(state)
        if endpoint is None:
            return Answer.NONE
        psycopg2.connect(**endpoint.libpq(SUPERUSER, SUPERUSER), connect_timeout=5).close()
    except psycopg2.OperationalError as error:
        text = str(error)
        if NOT_YET in text:
            return Answer.BUSY
        # any other refusal by a server, such as too many clients, is an answer
        return Answer.READY if "FATAL:" in text else Answer.NONE
    except OSError:
        return Answer.NONE
    return Answer.READY
