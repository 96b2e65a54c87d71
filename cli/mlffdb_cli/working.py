"""Options of the commands that start workers."""

from __future__ import annotations

import functools
from typing import Any

import click

from mlffdb_cli.options import Command

#: Fields of LoopOptions.
_FIELDS = ("grace", "hang", "max_faults")


def loop_options(command: Command) -> Command:
    """Add how workers behave; *command* gets it as ``options``."""

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        from mlffdb_workers.state import LoopOptions

        fields = {name: given.pop(name) for name in _FIELDS}
        follow = given.pop("follow", False)
        found = {name: value for name, value in fields.items() if value is not None}
        return command(options=LoopOptions(follow=follow, **found), **given)

    for option in reversed(_OPTIONS):
        called = option(called)
    return called


_OPTIONS = (
    click.option(
        "--grace",
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="When stopped, go on with the batch at hand for so long, then give it back; 100 if "
        "not given. A second Ctrl-C ends it at once.",
    ),
    click.option(
        "--hang",
        type=click.FloatRange(1),
        metavar="SECONDS",
        help="A batch that takes longer hangs: its worker is started again; 1800 if not given.",
    ),
    click.option(
        "--max-faults",
        type=click.IntRange(0),
        metavar="N",
        help="A worker stops when N tasks fail in a row and none succeeds, and gives them back; "
        "20 if not given, 0 for never.",
    ),
)
