"""`mlffdb teachers`."""

from __future__ import annotations

from typing import Any

import click

from mlffdb_cli.options import database_options, json_option, settings
from mlffdb_cli.output import plain, print_json, print_rows


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
    from mlffdb.teachers import registry

    found = settings()
    listed = [
        (registry.describe(name), registry.readiness(name, found)) for name in registry.names()
    ]
    if as_json:
        print_json([_as_dict(info, ready) for info, ready in listed])
        return
    print_rows(
        [
            "teacher",
            "ready",
            "elements",
            "periodic",
            "charge",
            "spin",
            "stress",
            "forces",
            "licence",
        ],
        [[info.name, "yes" if ready.ready else "no", *_abilities(info)] for info, ready in listed],
    )
    others: dict[tuple[str, str], list[str]] = {}
    for info, ready in listed:
        if not ready.ready:
            others.setdefault((ready.reason, ready.remedy), []).append(info.name)
    for (reason, remedy), names in others.items():
        click.echo(f"{', '.join(names)}: {reason}; {remedy}")
    click.echo("Any FeNNol model: --teacher fennol:PATH/model.fnx")


def _abilities(info: Any) -> list[str]:
    known = info.capabilities
    if known is None:
        return ["by model"] * 5 + ["gradient", info.licence]
    return [
        str(len(known.elements)),
        "yes" if 3 in known.periodicity else "no",
        "yes" if known.charged else "no",
        "yes" if known.open_shell else "no",
        "yes" if known.stress else "no",
        "gradient" if known.conservative else "direct",
        info.licence,
    ]


def _as_dict(info: Any, ready: Any) -> dict[str, Any]:
    content: dict[str, Any] = plain(info)
    if info.capabilities is not None:
        content["capabilities"]["elements"] = sorted(info.capabilities.elements)
        content["capabilities"]["periodicity"] = sorted(info.capabilities.periodicity)
    return {**content, "ready": ready.ready, "reason": ready.reason, "remedy": ready.remedy}
