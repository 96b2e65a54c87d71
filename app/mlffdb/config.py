"""Settings: from command-line options, then ``MLFFDB_*`` variables, then ``mlffdb.toml``.

``mlffdb.toml`` is looked for in the working directory and its parents. Relative paths in it are
relative to its own folder.
"""

from __future__ import annotations

import json
import os
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from mlffdb.declarations import DeclaredTeacher
from mlffdb.errors import ConfigError

FILE_NAME = "mlffdb.toml"
ENV_PREFIX = "MLFFDB_"


#: Where root's database is: the server runs as another user, who cannot enter root's own folder.
ROOT_DATA_DIR = Path("/var/lib/mlffdb")


def _default_data_dir() -> Path:
    return ROOT_DATA_DIR if os.geteuid() == 0 else Path(platformdirs.user_data_dir("mlffdb"))


def _number(value: Any) -> Any:
    """Read a number of an environment variable, which is text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _from_json(value: Any) -> Any:
    """Read a table of an environment variable, which is JSON."""
    return json.loads(value) if isinstance(value, str) else value


class Settings(BaseModel):
    """What a user can set once for all commands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL server; without it the embedded one under data_dir is used"
    )
    reader_url: SecretStr | None = Field(
        None, description="login of the read-only role, where it cannot be derived"
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir, description="folder of the embedded database"
    )
    cache_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("mlffdb")),
        description="folder of fetched weights and compiled models",
    )
    weights_dir: Path | None = Field(None, description="folder with weights, searched first")
    exports_dir: Path = Field(Path("exports"), description="folder that snapshots are written to")
    teacher: str | None = Field(None, description="teacher that `mlffdb label` takes by default")
    plan: str | None = Field(None, description="plan that `mlffdb sample` takes by default")
    teachers: Annotated[dict[str, DeclaredTeacher], BeforeValidator(_from_json)] = Field(
        default_factory=dict, description="ASE calculators as teachers, by name"
    )
    postgres_version: Annotated[Literal[16, 18], BeforeValidator(_number)] = Field(
        18, description="version of the embedded server"
    )

    @property
    def embedded(self) -> bool:
        """Whether the embedded PostgreSQL is used."""
        return self.database_url is None

    def variables(self) -> dict[str, str]:
        """Return the ``MLFFDB_*`` variables from which `load_settings` makes these settings."""
        found = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            if isinstance(value, dict):
                value = self.model_dump_json(include={key}).partition(":")[2][:-1]
            if value is not None:
                found[ENV_PREFIX + key.upper()] = str(value)
        return found


_PATHS = ("data_dir", "cache_dir", "weights_dir", "exports_dir")


def find_config_file(start: Path | None = None) -> Path | None:
    """Return the nearest ``mlffdb.toml`` in *start* (default: the working directory) or above."""
    folder = (start or Path.cwd()).resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / FILE_NAME).is_file():
            return candidate / FILE_NAME
    return None


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in force; *overrides* that are not None win over everything.

    Raises ConfigError with the file or variable, the key and what is allowed.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    path = find_config_file()
    if path is not None:
        for key, value in _read_toml(path).items():
            values[key] = str(path.parent / value) if key in _PATHS else value
            origin[key] = str(path)
        if "data_dir" not in values:
            values["data_dir"] = str(path.parent / ".mlffdb")
    for key in Settings.model_fields:
        variable = ENV_PREFIX + key.upper()
        if os.environ.get(variable):
            values[key] = os.environ[variable]
            origin[key] = f"environment variable {variable}"
    for key, value in overrides.items():
        if value is not None:
            values[key] = value
            origin[key] = f"--{key.replace('_', '-')}"
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        where = origin.get(str(first["loc"][0]) if first["loc"] else "", str(path or "settings"))
        allowed = ", ".join(Settings.model_fields)
        known = first["type"] == "extra_forbidden" and len(first["loc"]) == 1
        hint = f"; known keys: {allowed}" if known else ""
        raise ConfigError(f"{where}: {key}: {first['msg']}{hint}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}; mend the file or remove it") from None


@cache
def package_version() -> str:
    """Return mlffdb's own version."""
    from importlib.metadata import version

    return version("mlffdb")
