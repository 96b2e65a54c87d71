"""What commands that start workers have in common: options, how they stop, what they say."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from mlffdb_cli.options import Command
from mlffdb_cli.output import say

if TYPE_CHECKING:
    from mlffdb_workers.state import LoopOptions
    from mlffdb_workers.supervisor import Totals

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


@contextmanager
def stopping_is_no_error() -> Iterator[None]:
    """End the command with 0 where it is stopped before or after its workers are at work.

    Stands under the options, as a decorator.
    """
    try:
        yield
    except KeyboardInterrupt:
        say_interrupted()
        raise SystemExit(0) from None


def say_interrupted() -> None:
    """Say how to go on."""
    say("Interrupted; run the same command again to continue.")


def say_stopping(options: LoopOptions) -> None:
    """Say why the command does not end at once."""
    say(
        f"Stopping: the batch at hand is finished, or given back after {options.grace:g} s; "
        "Ctrl-C again ends it at once."
    )


def complain_of_stopped(totals: Totals) -> bool:
    """Say which workers stopped for good while others went on; returns whether any did."""
    for line in totals.gave_up:
        say(f"error: a worker stopped, the others went on: {line}")
    return bool(totals.gave_up)


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
