"""Slurm: an array job, each task of which is one `mlffdb label`."""

from __future__ import annotations

import re
import shlex
import string
import subprocess
import sys
from importlib import resources

from mlffdb_workers.launchers import Launch, LaunchError, Submission

#: What `sbatch --time` takes: minutes, [hours:]minutes:seconds, days-hours[:minutes[:seconds]].
TIME = re.compile(r"[0-9]+(:[0-9]{1,2}){0,2}|[0-9]+-[0-9]{1,2}(:[0-9]{1,2}){0,2}|UNLIMITED")
SUBMIT_SECONDS = 120


class _Template(string.Template):
    """Names are written ``@name``, since ``$`` is the shell's."""

    delimiter = "@"


class Slurm:
    """Submits by `sbatch`."""

    name = "slurm"

    def script(self, launch: Launch) -> str:
        """Return the array job's script; options given later win over those before."""
        directives = [f"--cpus-per-task={launch.cpus_per_worker}"]
        if launch.gpus_per_worker:
            directives.append(f"--gres=gpu:{launch.gpus_per_worker}")
        if launch.time is not None:
            directives.append(f"--time={_time(launch.time)}")
        directives += [_own_option(option) for option in launch.options]
        template = resources.files(__package__).joinpath("slurm.sh").read_text(encoding="utf-8")
        return _Template(template).substitute(
            last=launch.workers - 1,
            directives="\n".join(f"#SBATCH {line}" for line in directives),
            folder=shlex.quote(str(launch.folder)),
            exports="\n".join(
                f"export {name}={shlex.quote(value)}" for name, value in launch.environment.items()
            ),
            command=shlex.join([sys.executable, "-m", "mlffdb_cli.main", *launch.command]),
        )

    def submit(self, script: str) -> Submission:
        """Give *script* to `sbatch` and return the job's id (without the cluster's name)."""
        try:
            done = subprocess.run(
                ["sbatch", "--parsable"],
                input=script,
                capture_output=True,
                text=True,
                timeout=SUBMIT_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise LaunchError(
                "there is no program sbatch here; run this on a login node of the cluster, or "
                "see the script by --launcher print"
            ) from None
        except subprocess.TimeoutExpired:
            raise LaunchError(
                f"sbatch has not answered for {SUBMIT_SECONDS} s; see by `squeue --me` whether it "
                "took the job before trying again"
            ) from None
        if done.returncode != 0:
            raise LaunchError(
                f"sbatch refused the job: {_reason(done)}; change it by --sbatch=OPTION, and see "
                "the script by --launcher print"
            )
        job_id = done.stdout.strip().split(";")[0]
        return Submission(
            job_id, (f"squeue -j {job_id}", f"tail -F mlffdb-{job_id}_*.log"), f"scancel {job_id}"
        )


def _reason(ended: subprocess.CompletedProcess[str]) -> str:
    """Return the last of what `sbatch` said, which is why it failed."""
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: error: ") if lines else f"status {ended.returncode}"


def _time(text: str) -> str:
    if TIME.fullmatch(text) is None:
        raise LaunchError(
            f"--time {text}: write minutes, hours:minutes:seconds or days-hours, like 12:00:00"
        )
    return text


def _own_option(option: str) -> str:
    """Return *option* as sbatch reads it in a script: one line, with quotes where needed."""
    if not re.match(r"--?[A-Za-z]", option) or not option.isprintable():
        raise LaunchError(
            f"--sbatch {option!r} is no option of sbatch; write it like --sbatch=--partition=gpu"
        )
    return shlex.quote(option)
