"""`mlffdb tasks`: looking after the queue."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from mlffdb_cli.options import connect, database_options, json_option
from mlffdb_cli.output import print_json, print_table
from mlffdb_cli.progress import bar

if TYPE_CHECKING:
    from mlffdb.pipeline.tasks import TaskChange
    from mlffdb.store.tasks import Kind, Selection

STATUSES = ("pending", "running", "done", "failed", "cancelled")
#: What `list` shows to people; --json has everything.
COLUMNS = {
    "label": ("structure_id", "teacher", "status", "error_code", "attempts", "worker", "age",
              "error"),
    "sample": ("task_index", "plan", "status", "error_code", "attempts", "worker", "age", "error"),
}  # fmt: skip
LONGEST = 60
#: Why tasks that an action takes may stay as they are.
STAYING = {
    "retry": "rejected by the checks, or beyond --limit",
    "requeue": "done with their result, rejected by the checks, or beyond --limit",
}
MINUTE, HOUR, DAY = 60, 3600, 86_400


@click.group(short_help="List, retry, cancel and requeue tasks.")
def tasks() -> None:
    """List, retry, cancel and requeue the tasks of labelling and sampling; see docs/queue.md."""


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose tasks; the command gets them as `selection`."""
    options = (
        database_options,
        click.option("--teacher", metavar="NAME", help="Only tasks of this teacher."),
        click.option("--plan", metavar="NAME", help="Only sampling tasks of this plan."),
        click.option(
            "--kind",
            type=click.Choice(["label", "sample"]),
            help="Tasks of labelling (default) or of sampling.",
        ),
        click.option(
            "--status",
            "statuses",
            type=click.Choice(STATUSES),
            multiple=True,
            help="Only tasks of this status; may be given more than once.",
        ),
        click.option(
            "--where",
            metavar="CONDITION",
            help="Only tasks that meet this SQL condition over the view tasks or sample_tasks.",
        ),
        click.option(
            "--superseded",
            is_flag=True,
            help="Only tasks of former versions or settings of a teacher that has others since.",
        ),
    )

    @wraps(command)
    def with_selection(**given: Any) -> Any:
        return command(selection=_selection(given), **given)

    decorated: Callable[..., Any] = with_selection
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def changing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what commands that change tasks have besides."""
    for option in (
        json_option,
        click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing."),
        click.option("--limit", type=click.IntRange(1), help="At most so many tasks."),
    ):
        command = option(command)
    return selecting(command)


def _selection(given: dict[str, Any]) -> Selection:
    """Take the options of `selecting` out of *given*."""
    from mlffdb.store.tasks import Selection

    teacher, plan, kind = (given.pop(name) for name in ("teacher", "plan", "kind"))
    statuses, where, superseded = (given.pop(n) for n in ("statuses", "where", "superseded"))
    chosen: Kind = kind or ("sample" if plan else "label")
    if chosen == "sample" and (teacher or superseded):
        raise click.UsageError("sampling tasks have no teacher; give --plan or --where")
    if chosen == "label" and plan:
        raise click.UsageError("labelling tasks have no plan; leave out --plan or --kind")
    return Selection(chosen, teacher or plan, statuses, where, superseded)


@tasks.command("list")
@selecting
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many tasks."
)
@json_option
def list_command(selection: Selection, limit: int, as_json: bool) -> None:
    """List tasks with status, reason, attempts, worker and age, those changed last first.

    \b
    Example:
      mlffdb tasks list --status failed
      mlffdb tasks list --status running --where "age_seconds >= 600" --limit 50
    """
    from mlffdb.pipeline.tasks import list_tasks

    database = connect()
    found = list_tasks(database, selection, limit)
    database.close()
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("No task is selected. Next: mlffdb status, to see what there is")
        return
    print_table([_shown(row, COLUMNS[selection.kind]) for row in found])
    if len(found) == limit:
        click.echo(f"The last {limit}; --limit shows more, --json everything about each.")


@tasks.command()
@changing
def retry(**given: Any) -> None:
    """Make failed tasks pending again, with no attempts counted.

    For after the cause was mended. Tasks of structures that the checks have rejected since stay
    failed.

    \b
    Example:
      mlffdb tasks retry --teacher orb-v2 --where "error_code = 'worker_lost'"
      mlffdb tasks retry --dry-run
    """
    _change("retry", "pending again", "mlffdb label", **given)


@tasks.command()
@click.option("--all", "every", is_flag=True, help="Allow it without any option that chooses.")
@changing
def cancel(selection: Selection, every: bool, **given: Any) -> None:
    """Cancel pending and running tasks: they are kept, but not claimed.

    What a worker computes for a cancelled task is not stored, and counts as late; --status pending
    spares those. --superseded ends the tasks of a teacher's former version, which no worker of
    today's would claim. Labels stay.

    \b
    Example:
      mlffdb tasks cancel --teacher gfn2-xtb --where "cost >= 100" --dry-run
      mlffdb tasks cancel --superseded
    """
    if not (every or selection.name or selection.where or selection.superseded):
        raise click.UsageError(
            "say which: --teacher, --plan, --where or --superseded; or --all to cancel every one"
        )
    _change("cancel", "cancelled", "mlffdb status", selection=selection, **given)


@tasks.command()
@changing
def requeue(**given: Any) -> None:
    """Make cancelled tasks pending again, and those that are done without a result.

    A label is written once and is never computed again: a task that is done with its label stays
    done, whatever the checks say of the label. Tasks of structures that the checks have rejected
    stay cancelled, and open by themselves once the rejection is revised.

    \b
    Example:
      mlffdb tasks requeue --teacher gfn2-xtb --where "cost >= 100"
      mlffdb tasks requeue --plan quickstart
    """
    _change("requeue", "pending again", "mlffdb label", **given)


@tasks.command(context_settings={"ignore_unknown_options": True})  # so that -1 is a number
@click.argument("value", metavar="N", type=click.IntRange(-1000, 1000))
@changing
def priority(value: int, **given: Any) -> None:
    """Give open tasks the priority N: smaller is claimed first, 0 is ordinary.

    \b
    Example:
      mlffdb tasks priority -1 --teacher gfn2-xtb --where "cost <= 20"
      mlffdb tasks priority 5 --teacher gfn2-xtb --where "cost >= 100"
    """
    _change("priority", f"of priority {value}", "mlffdb label", priority=value, **given)


def _change(action: str, done: str, then: str, *, as_json: bool, **given: Any) -> None:
    from mlffdb.pipeline.tasks import change_tasks

    database = connect()
    with bar(f"tasks {action}", quiet=as_json) as progress:
        found = change_tasks(
            database, action, on_progress=lambda n, total: progress.update(n, total, ""), **given
        )
    database.close()
    if as_json:
        print_json(found)
        return
    if not found.selected:
        click.echo(f"No task is selected that `tasks {action}` takes. Next: mlffdb tasks list")
        return
    if found.dry_run:
        print_table(found.selected, "Selected")
    sampling = found.kind == "sample" and then == "mlffdb label"
    click.echo(_summary(found, done, "mlffdb sample" if sampling else then))


def _summary(found: TaskChange, done: str, then: str) -> str:
    what = f"{found.changed:,} task{'' if found.changed == 1 else 's'}"
    why = STAYING.get(found.action, "beyond --limit")
    left = f"; {found.left:,} selected stay as they are ({why})" if found.left else ""
    if found.dry_run:
        return f"{what} would change{left}. Next: the same without --dry-run"
    return f"{what} {'is' if found.changed == 1 else 'are'} {done}{left}. Next: {then}"


def _shown(row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    """Return what people read of a task."""
    worker = f"{row['host']}:{row['pid']}" if row["host"] else None
    error = row["error"]
    if error and len(error) > LONGEST:
        error = f"{error[: LONGEST - 1].rstrip()}…"
    full = {**row, "worker": worker, "age": _age(row["age_seconds"]), "error": error}
    return {column: full[column] for column in columns}


def _age(seconds: float) -> str:
    """Return a time span in its two largest units at most, such as ``2 h 5 min``."""
    whole = max(0, int(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"
