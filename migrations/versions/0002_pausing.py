"""Teachers can be paused and keep what their checks measured; views show it, and who works where.

Labels lose their foreign keys to teacher and run, which refuse to delete instead. Safe while
workers of 0.1.0a1 run: columns are nullable and views only gain columns. Going back
makes the replaced views anew, without the reader's rights on them: `mlffdb init` gives them again.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and show them in the views."""
    _run(".up.sql")


def downgrade() -> None:
    """Make the views as they were and drop the columns."""
    _run(".down.sql")


def _run(suffix: str) -> None:
    statements = Path(__file__).with_suffix(suffix).read_text(encoding="utf-8")
    with op.get_bind().connection.cursor() as cursor:
        cursor.execute(statements)
