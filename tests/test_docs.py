"""The documentation says what is so: its commands, queries and code are run here."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
import yaml

from mlffdb.config import Settings
from mlffdb.declarations import DeclaredTeacher
from mlffdb.store import reader, schema_docs, views
from mlffdb.store.database import Database
from mlffdb_cli.main import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))
}
SETUP_LINE = re.compile(r"^python3 -m venv .*$", re.M)


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands(group: click.Group = main, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Give every command with its full name, those of groups too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield f"{prefix}{name}", command
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def resolve(line: str) -> tuple[str, click.Context]:
    """Return name and parsed context of a command line; raises click's error where it is wrong."""
    words = shlex.split(line.replace("…", "..."))
    assert words.pop(0) == "mlffdb"
    group: click.Group = main
    name = words.pop(0)
    command = group.get_command(click.Context(group), name)
    assert command is not None, f"no command {name}"
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.get_command(click.Context(command), words[0])
        assert command is not None, line
        name = f"{name} {words.pop(0)}"
    return name, command.make_context(name, words)


# ---- help ----


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=str)
def test_every_command_has_help_with_an_example(name: str, command: click.Command) -> None:
    text = command.help or ""
    assert "Example:" in text, name
    examples = [line.strip() for line in text.partition("Example:")[2].splitlines()]
    lines = [line for line in examples if line]
    assert any(line.startswith(f"mlffdb {name}") for line in lines), name
    for line in lines:
        assert line.startswith("mlffdb "), f"{name}: {line}"
        resolve(existing_files(line.partition(" > ")[0]))


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=str)
def test_every_option_is_explained(name: str, command: click.Command) -> None:
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help or option.opts == ["--seed"], f"{name} {option.opts}"


# ---- README and the pages ----


def test_the_readme_begins_with_the_two_commands() -> None:
    first, second = blocks(README, "sh")[:2]
    assert SETUP_LINE.findall(README) == [first.strip(), second.strip()]
    assert "mlffdb run quickstart" in first
    assert "pytest" in second
    head = README.partition("```")[0].split("\n\n")[1]
    assert len(re.findall(r"\.(?:\s|$)", head)) == 3, "three sentences say what it is"


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("not in a clone: .ci is missing")
    assert script.stat().st_mode & stat.S_IXUSR
    found = subprocess.run(
        ["bash", script, "--list"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    for line in SETUP_LINE.findall(README):
        assert line in found


def test_the_pages_name_every_command() -> None:
    everything = " ".join("\n".join(PAGES.values()).split())
    for name, _ in commands():
        assert f"mlffdb {name}" in everything, f"no page names `mlffdb {name}`"


def existing_files(line: str) -> str:
    """Put the name of a file that exists for those that a page only imagines."""
    line = re.sub(r"(?<=--plan )\S+", "quickstart", line)
    return re.sub(r"(?<=--thresholds )\S+", shlex.quote(__file__), line)


def named_commands() -> list[tuple[str, str]]:
    found = []
    for page, text in PAGES.items():
        lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
        if page != "docs/format.md":  # names texts inside files that begin so
            lines += [" ".join(code.split()) for code in re.findall(r"`(mlffdb\s[^`]+)`", text)]
        found += [(page, line) for line in lines if line.startswith("mlffdb ")]
    return found


@pytest.mark.parametrize(("page", "line"), named_commands())
def test_commands_in_the_pages_can_be_typed(page: str, line: str) -> None:
    if line.split()[1].isupper() or line in ("mlffdb --help", "mlffdb --version"):
        return  # `mlffdb COMMAND --help`
    try:
        resolve(existing_files(line))
    except click.exceptions.Exit:
        pass  # --help
    except click.MissingParameter:
        pass  # a command named in passing


def test_links_between_the_pages_lead_somewhere() -> None:
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_schema_page_is_current() -> None:
    written = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    assert written == schema_docs.document(), (
        "run: python -m mlffdb.store.schema_docs > docs/schema.md"
    )


def test_dependencies_page_names_every_dependency_and_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    page = PAGES["docs/dependencies.md"]
    wanted = [*project["dependencies"], *(name for names in extras.values() for name in names)]
    for requirement in wanted:
        name = re.split(r"[\[<>=~! ]", requirement)[0]
        assert f"`{name}`" in page or name == "mlffdb", f"{name} is not explained"
    for extra in extras:
        assert f"`{extra}`" in page, f"extra {extra} is not explained"


def test_the_changelog_has_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"## {project['version']}" in PAGES["CHANGELOG.md"]
    assert project["version"] in README


def test_the_layers_in_the_architecture_page_are_those_that_are_held() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [contract] = pyproject["tool"]["importlinter"]["contracts"]
    [drawn] = [b for b in blocks(PAGES["docs/architecture.md"], "text") if "mlffdb_cli" in b]
    shown = [re.findall(r"mlffdb[\w.]*", line) for line in drawn.splitlines()]
    assert shown == [re.findall(r"mlffdb[\w.]*", layer) for layer in contract["layers"]]


# ---- what the pages have users run ----


def queries() -> list[tuple[str, str]]:
    """Return every SELECT in a page that is given to `mlffdb sql`."""
    found = []
    for page, text in PAGES.items():
        for block in (*blocks(text, "sh"), *blocks(text, "console")):
            found += [(page, sql) for sql in re.findall(r'mlffdb sql[^"]*"(SELECT[^"]+)"', block)]
        found += [(page, sql) for sql in blocks(text, "sql")]
    return found


def test_queries_in_the_pages_are_answered(db: Database) -> None:
    asked = queries()
    assert len([page for page, _ in asked if page == "docs/queries.md"]) >= 10
    for page, statement in asked:
        assert reader.query(db, statement).columns, page


def test_the_queries_page_names_every_view() -> None:
    for view in views.VIEWS:
        assert f"`{view.name}`" in PAGES["docs/queries.md"]


def test_the_queries_that_run_prints_are_answered(db: Database) -> None:
    from mlffdb_cli.commands.run import QUERIES

    assert len(QUERIES) == 3
    for statement in QUERIES:
        assert reader.query(db, statement).columns


def test_the_settings_in_the_readme_are_settings() -> None:
    [toml] = blocks(README, "toml")
    Settings.model_validate(tomllib.loads(toml))


def test_declared_teachers_in_the_pages_are_valid() -> None:
    for block in blocks(PAGES["docs/own-teacher.md"], "yaml"):
        for declared in yaml.safe_load(block)["teachers"].values():
            DeclaredTeacher.model_validate(declared)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tblite") is None, reason="needs the extra xtb")
def test_the_readme_can_be_followed(open_folder: Path) -> None:
    """From the plan in the README to files, by the very lines that stand there."""
    (open_folder / "my-plan.yaml").write_text(blocks(README, "yaml")[0])
    environment = {
        **os.environ,
        "MLFFDB_DATA_DIR": str(open_folder / "data"),
        "MLFFDB_EXPORTS_DIR": "exports",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    said = []
    for block in blocks(README, "sh")[2:]:
        for line in block.splitlines():
            done = subprocess.run(
                line,
                shell=True,
                cwd=open_folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            said.append(done.stdout)
    assert "Froze alcohols v1" in "".join(said)
    assert "Unchanged: alcohols v1" in "".join(said), "the single stages find all done"
    for block in blocks(README, "python"):
        code = block.replace("exports/quickstart/", "exports/alcohols/")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            cwd=open_folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        assert done.stdout
