"""The C programs, compiled on demand, and what the load tool says."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent

TLS_LOAD: Final = "tls_load"
"""The load tool with TLS."""

DRAIN: Final = 5.0
"""Seconds that the load tool waits for what was begun in time; DRAIN in load.c."""


class CannotCompile(Exception):
    """There is no C compiler, or it had something to say."""


def compile_tls_load(directory: Path) -> Path:
    """Compile the load tool with TLS. Raises CannotCompile, where OpenSSL is missing."""
    try:
        return compile_program("load", directory, TLS_LOAD, ["-DWITH_TLS", "-lssl", "-lcrypto"])
    except CannotCompile as error:
        first = str(error).partition("\n")[0]
        raise CannotCompile(f"no load tool with OpenSSL (Debian: libssl-dev): {first}") from None


def compile_program(
    source: str, directory: Path, name: str | None = None, more: Sequence[str] = ()
) -> Path:
    """Compile ``bench/SOURCE.c`` into *directory*, as *name*, with *more* options.

    Raises CannotCompile, for a warning, too.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotCompile("there is no cc: install a C compiler (Debian: gcc, libc6-dev)")
    program = directory / (name or source)
    options = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(program)]
    done = subprocess.run(
        [compiler, *options, str(HERE / f"{source}.c"), *more],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode != 0:
        raise CannotCompile(done.stderr)
    return program


@dataclass(frozen=True)
class Load:
    """What a run of the load tool found; its words are explained in load.c."""

    done: int
    failed: int
    seconds: float
    rate: float
    """Operations a second."""
    p50: float
    p99: float
    """Seconds."""
    cpu: float
    """Seconds of processor time of the load tool."""


def run_load(program: Path, mode: str, port: int, clients: int, seconds: float) -> Load:
    """Run the load tool to its end, which is at most DRAIN seconds later than *seconds*."""
    command = [str(program), mode, str(port), str(clients), str(seconds)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, timeout=seconds + 2 * DRAIN + 5
    )
    return Load(**json.loads(done.stdout))
