"""The schema of 0.1.0a1. Never edited after that release.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables, views, functions and triggers."""
    statements = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    # the driver's cursor: no parameters, so that % and : in the SQL mean themselves
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(statements)


def downgrade() -> None:
    """Drop everything."""
    raise NotImplementedError("there is nothing before the first schema; drop the database instead")
