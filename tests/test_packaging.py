"""What is installed: ``twistd netd`` and ``netdctl``, from a wheel and from a checkout."""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

OPTIONS = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
"""Of pip: what a build needs is installed with the tests, so none of this asks a registry."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that a build leaves nothing in it."""
    copy = tmp_path_factory.mktemp("source") / "netd"
    unwanted = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    for made in ("build", "dist", "run"):
        shutil.rmtree(copy / made, ignore_errors=True)
    return copy


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of a new environment, which sees this one's packages, but no netd."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    (packages,) = (tmp_path / "venv" / "lib").glob("*/site-packages")
    # .pth files in a directory that is named by one are not read, so an editable netd is not seen.
    (packages / "outer.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return tmp_path / "venv" / "bin" / "python"


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program to its end; return what it printed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def proves_itself(python: Path, directory: Path) -> None:
    """The plugin is found, and both commands check the shipped configuration."""
    twistd = "from twisted.scripts.twistd import run; run()"
    assert "Serve socketserver handlers" in run(python, "-c", twistd, "--help", cwd=directory)
    shutil.copytree(ROOT / "conf", directory / "conf")
    checked = run(python, "-c", twistd, "-n", "netd", "--check", cwd=directory)
    assert checked == "conf/netd.toml: ok (1 services)\n"
    netdctl = python.with_name("netdctl")
    assert run(netdctl, "check", "conf/netd.toml", cwd=directory) == checked


class TestWheel:
    def test_has_the_plugin_and_every_package(self, source: Path, tmp_path: Path) -> None:
        """Every module of the checkout is in the wheel, and no cache of plugins."""
        run(sys.executable, "-m", "pip", "wheel", *OPTIONS, "-w", tmp_path, source)
        (wheel,) = tmp_path.glob("netd-*.whl")
        names = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
        modules = {str(file.relative_to(ROOT)) for file in (ROOT / "netd").rglob("*.py")}
        templates = {str(file.relative_to(ROOT)) for file in (ROOT / "netd/templates").glob("*.*")}
        others = {"twisted/plugins/netd_plugin.py", "netd/py.typed"}
        assert names == modules | templates | others

    @pytest.mark.long
    def test_gives_both_commands(self, source: Path, python: Path, tmp_path: Path) -> None:
        """Installed from the wheel, away from any checkout."""
        run(sys.executable, "-m", "pip", "wheel", *OPTIONS, "-w", tmp_path, source)
        (wheel,) = tmp_path.glob("netd-*.whl")
        run(sys.executable, "-m", "pip", "--python", python, "install", *OPTIONS, wheel)
        (tmp_path / "elsewhere").mkdir()
        proves_itself(python, tmp_path / "elsewhere")


class TestCheckout:
    @pytest.mark.long
    @pytest.mark.parametrize("options", [[], ["-e"]], ids=["install", "editable"])
    def test_gives_both_commands(
        self, source: Path, python: Path, tmp_path: Path, options: list[str]
    ) -> None:
        """``pip install .`` and ``pip install -e .``."""
        install: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            *OPTIONS,
        ]
        run(*install, *options, source)
        (tmp_path / "elsewhere").mkdir()
        proves_itself(python, tmp_path / "elsewhere")


def test_pyproject_has_the_build_system_only() -> None:
    """Everything else is in setup.cfg."""
    assert set(tomllib.loads((ROOT / "pyproject.toml").read_text())) == {"build-system"}
