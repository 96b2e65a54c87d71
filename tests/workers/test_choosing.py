"""Who labels when nobody is named."""

from __future__ import annotations

from mlffdb.config import load_settings
from mlffdb.pipeline import labelling
from mlffdb.store import labels
from mlffdb.store.database import Database
from tests.helpers import add_molecules, add_teacher, approve_all


def test_the_default_follows_the_device(db: Database) -> None:
    assert labelling.choose_teachers(db, load_settings(), gpu=False) == ["gfn2-xtb"]
    assert labelling.choose_teachers(db, load_settings(), gpu=True) == ["orb-v2"]
    configured = load_settings(teacher="gfn1-xtb")
    assert labelling.choose_teachers(db, configured, gpu=False) == ["gfn1-xtb"]


def test_open_tasks_come_first_and_a_gpu_takes_only_who_can_use_it(db: Database) -> None:
    add_molecules(db, 3)
    approve_all(db)
    for name in ("gfn2-xtb", "orb-v2"):
        with db.begin() as connection:
            labels.enqueue(connection, add_teacher(db, name))
    configured = load_settings(teacher="gfn1-xtb")
    assert labelling.choose_teachers(db, configured, gpu=False) == ["gfn2-xtb", "orb-v2"]
    assert labelling.choose_teachers(db, configured, gpu=True) == ["orb-v2"]
