"""Teachers whose tasks are not claimed for a while."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when and why a teacher is paused."""

    since: datetime
    why: str | None


def pause(connection: Connection, name: str, why: str | None) -> int:
    """Pause every exact teacher called *name*; returns how many there are.

    One that is paused already keeps since when, and gets the reason if one is given.
    """
    return connection.execute(
        text(
            "UPDATE teacher SET paused_at = coalesce(paused_at, now()),"
            " paused_why = coalesce(:why, paused_why) WHERE name = :name"
        ),
        {"name": name, "why": why},
    ).rowcount


def resume(connection: Connection, name: str) -> int:
    """End the pause of every exact teacher called *name*; returns how many were paused."""
    return connection.execute(
        text(
            "UPDATE teacher SET paused_at = NULL, paused_why = NULL"
            " WHERE name = :name AND paused_at IS NOT NULL"
        ),
        {"name": name},
    ).rowcount


def pause_of(connection: Connection, name: str) -> Pause | None:
    """Return the pause of the teacher called *name*, or None if it may be claimed.

    A version of it that came after the pause counts as paused too.
    """
    row = connection.execute(
        text(
            "SELECT paused_at, paused_why FROM teacher WHERE name = :name"
            " AND paused_at IS NOT NULL ORDER BY paused_at DESC LIMIT 1"
        ),
        {"name": name},
    ).one_or_none()
    return None if row is None else Pause(row.paused_at, row.paused_why)
