"""`mlffdb`: the group of all commands, and how errors end them."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from mlffdb.config import package_version
from mlffdb.errors import MlffdbError
from mlffdb_workers.signals import interruptible

#: Command → module and function, loaded when it is called, so that help is quick.
COMMANDS = {
    "init": "setup:init",
    "db": "database:db",
    "doctor": "doctor:doctor",
    "import": "importing:import_command",
    "sample": "sample:sample",
    "teachers": "teachers:teachers",
    "label": "label:label",
    "validate": "validate:validate",
    "audit": "audit:audit",
    "export": "export:export",
    "tasks": "tasks:tasks",
    "status": "status:status",
    "stats": "stats:stats",
    "sql": "sql:sql",
    "run": "run:run",
}


#: SQLSTATE of what an administrator can mend, and how.
REMEDIES = {
    "25006": "this server is read-only; name the primary one",
    "42501": "ask the database's owner for this right, or connect as the owner",
    "53100": "make room on the server's disk and run it again",
    "53200": "the server is out of memory; run it again with less at once",
}


class BadUsageError(click.ClickException):
    """A command line that does not parse, said in one line."""

    exit_code = 2

    def show(self, file: Any = None) -> None:  # noqa: ARG002
        """Print the line to stderr."""
        _say_error(self.message)


class Commands(click.Group):
    """Loads commands when they are named, suggests the nearest name, and turns errors to lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of a campaign."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return the command *name*."""
        if name not in COMMANDS:
            return None
        module, function = COMMANDS[name].split(":")
        loaded = importlib.import_module(f"mlffdb_cli.commands.{module}")
        command: click.Command = getattr(loaded, function)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Name the nearest command in the message about an unknown one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean `mlffdb {near[0]}`?" if near else "; see `mlffdb --help`"
            raise BadUsageError(f"no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the options before the command; a mistake in them is one line."""
        with _usage_as_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors that the user can mend become one line."""
        try:
            with _usage_as_line(), interruptible():
                return super().invoke(ctx)
        except MlffdbError as error:
            _end(ctx, str(error), error.exit_code)
        except KeyboardInterrupt:
            _end(ctx, "interrupted; run the same command again to continue", 130)
        except OSError as error:
            if error.errno == errno.EPIPE:
                _quiet_exit()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                _end(ctx, f"the disk is full: {error}; make room and run it again", 2)
            raise
        except Exception as error:
            remedy = REMEDIES.get(_sqlstate(error))
            if remedy is None:
                raise
            _end(ctx, f"PostgreSQL: {_first_line(error)}; {remedy}", 2)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_version(), prog_name="mlffdb")
def main() -> None:
    """Make training data for machine-learned force fields.

    Structures are sampled or imported, labelled by a teacher, checked, and frozen into
    train/val/test files; a PostgreSQL database knows where each came from.

    \b
    Start here:
      mlffdb run quickstart      1,000 structures, from nothing to files
      mlffdb doctor              what is installed and ready
    """


@contextmanager
def _usage_as_line() -> Iterator[None]:
    """Turn click's three lines about a wrong option or argument into one."""
    try:
        yield
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group alone: prints its help
            raise
        command = error.ctx.command_path if error.ctx else "mlffdb"
        message = " ".join(error.format_message().split()).rstrip(".")
        message = message.replace(". Did", "; did").replace(". (Did", " (did")
        end = "" if message.endswith("?") else ";"
        raise BadUsageError(
            f"{message[:1].lower()}{message[1:]}{end} see `{command} --help`"
        ) from None


def _say_error(message: str) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)


def _end(ctx: click.Context, message: str, status: int) -> NoReturn:
    """Print one line to stderr and end with *status*."""
    _say_error(message)
    ctx.exit(status)


def _sqlstate(error: Exception) -> str:
    """Return PostgreSQL's code for *error*, from the driver or from SQLAlchemy around it."""
    return getattr(getattr(error, "orig", error), "pgcode", None) or ""


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().splitlines()[0]


def _quiet_exit() -> None:
    """End as a program whose output was cut off by `head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


if __name__ == "__main__":
    main()
