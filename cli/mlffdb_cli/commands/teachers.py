"""`mlffdb teachers`."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.padding import Padding

from mlffdb_cli.commands.fetching import fetch
from mlffdb_cli.commands.pausing import pause, resume
from mlffdb_cli.commands.teacher_check import check
from mlffdb_cli.options import database_options, json_option, settings
from mlffdb_cli.output import out, plain, print_json

INDENT = 4


@click.group(
    short_help="List the teachers and whether they are ready here; pause them.",
    invoke_without_command=True,
)
@database_options
@json_option
@click.pass_context
def teachers(context: click.Context, as_json: bool) -> None:
    """List the teachers: what they can do, and whether they are ready here.

    \b
    Example:
      mlffdb teachers
      mlffdb teachers --json
    """
    if context.invoked_subcommand is None:
        _list(as_json)


teachers.add_command(check)
teachers.add_command(fetch)
teachers.add_command(pause)
teachers.add_command(resume)


def _list(as_json: bool) -> None:
    from mlffdb.pipeline.contracts import stored_contracts
    from mlffdb.pipeline.teachers import families
    from mlffdb.teachers import registry

    found = settings()
    contracts = stored_contracts(found)
    if as_json:
        print_json(
            [
                {
                    **_as_dict(registry.describe(name), registry.readiness(name, found)),
                    "contract": contracts.get(name),
                }
                for name in registry.names()
            ]
        )
        return
    console = out()
    for family in sorted(families(found), key=lambda one: not one.readiness.ready):
        ready = family.readiness
        mark = "[green]ready[/]" if ready.ready else "[yellow]not ready[/]"
        console.print(f"[bold]{escape(family.label)}[/]  {mark}")
        for line in (family.info.description, _abilities(family.info)):
            console.print(Padding(escape(line), (0, 0, 0, INDENT)))
        contract = contracts.get(family.info.name)
        if contract is not None:
            console.print(Padding(escape(_checked(contract)), (0, 0, 0, INDENT)))
        if not ready.ready:
            why = escape(f"→ {ready.reason}; {ready.remedy}")
            console.print(Padding(f"[dim]{why}[/]", (0, 0, 0, INDENT)))
    console.print("[bold]fennol:PATH/model.fnx[/]  any FeNNol model")
    console.print("\nNext: mlffdb label --teacher NAME")


def _checked(contract: dict[str, Any]) -> str:
    """Return in one line what `mlffdb teachers check` found, deviations that are no fault too."""
    checks = contract["checks"]
    broken = [name for name, one in checks.items() if one["status"] == "broken"]
    verdict = f"breaks {', '.join(broken)}" if broken else "the contract holds"
    measured = [
        f"{name} deviates by {one[key]:.2g} {unit}"
        for name, one in checks.items()
        if one["status"] == "measured"
        for key, unit in (("energy", "eV/atom"), ("force", "eV/Å"), ("stress", "eV/Å³"))
        if one[key] is not None
    ]
    return "; ".join([f"checked {contract['checked_at'][:10]}: {verdict}", *measured])


def _abilities(info: Any) -> str:
    """Return in one line what the teacher can do."""
    known = info.capabilities
    if known is None:
        return f"abilities: as the model says; {info.licence}"
    parts = [
        f"{len(known.elements)} elements",
        "molecules and crystals" if 3 in known.periodicity else "molecules, no crystals",
        "charged too" if known.charged else "neutral only",
        "any spin" if known.open_shell else "singlets only",
        "stress" if known.stress else "no stress",
        "conservative forces" if known.conservative else "forces not conservative",
        info.licence,
    ]
    return "; ".join(parts)


def _as_dict(info: Any, ready: Any) -> dict[str, Any]:
    content: dict[str, Any] = plain(info)
    if info.capabilities is not None:
        content["capabilities"]["elements"] = sorted(info.capabilities.elements)
        content["capabilities"]["periodicity"] = sorted(info.capabilities.periodicity)
    return {**content, "ready": ready.ready, "reason": ready.reason, "remedy": ready.remedy}
