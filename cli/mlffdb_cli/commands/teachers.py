"""`mlffdb teachers`."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape
from rich.padding import Padding

from mlffdb_cli.options import database_options, json_option, settings
from mlffdb_cli.output import out, plain, print_json

INDENT = 4


@click.command(short_help="List the teachers and whether they are ready here.")
@database_options
@json_option
def teachers(as_json: bool) -> None:
    """List the teachers: what they can do, and whether they are ready here.

    \b
    Example:
      mlffdb teachers
      mlffdb teachers --json
    """
    from mlffdb.pipeline.teachers import families
    from mlffdb.teachers import registry

    found = settings()
    if as_json:
        names = registry.names()
        print_json([_as_dict(registry.describe(n), registry.readiness(n, found)) for n in names])
        return
    console = out()
    for family in families(found):
        ready = family.readiness
        mark = "[green]ready[/]" if ready.ready else f"[yellow]not ready:[/] {escape(ready.reason)}"
        console.print(f"[bold]{escape(family.label)}[/]  {mark}")
        for line in (family.info.description, _abilities(family.info)):
            console.print(Padding(escape(line), (0, 0, 0, INDENT)))
        if ready.remedy:
            console.print(Padding(f"[dim]→ {escape(ready.remedy)}[/]", (0, 0, 0, INDENT)))
    console.print("[bold]fennol:PATH/model.fnx[/]  any FeNNol model")
    console.print("\nNext: mlffdb label --teacher NAME")


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
        "forces by gradient" if known.conservative else "direct forces",
        info.licence,
    ]
    return "; ".join(parts)


def _as_dict(info: Any, ready: Any) -> dict[str, Any]:
    content: dict[str, Any] = plain(info)
    if info.capabilities is not None:
        content["capabilities"]["elements"] = sorted(info.capabilities.elements)
        content["capabilities"]["periodicity"] = sorted(info.capabilities.periodicity)
    return {**content, "ready": ready.ready, "reason": ready.reason, "remedy": ready.remedy}
