"""What a change has to pass, by name: ``nox -l`` lists it, ``.ci/run`` runs it.

``nox -s lint`` and ``nox -s tests -- tests/accept`` are the inner loop; see CONTRIBUTING.md.
"""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True

PARALLEL = ("-n", "auto", "--dist", "worksteal")
"""Two processes on two cores, each with half of the tests; the first that is done helps."""

PAGES = {
    "docs/configuration.md": ("python", "-m", "netd.config.reference.page"),
    "docs/netd.schema.json": ("netdctl", "schema"),
    "docs/socket-options.md": ("python", "-m", "netd.config.reference.option_reference"),
    "docs/states.md": ("python", "-m", "netd.daemon.state_diagrams"),
}
"""Pages that are made from the code."""


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and the direction of imports."""
    session.install("-e", ".[test,lint,bench]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the default tests, or those that are named; --force-python=PATH chooses the Python."""
    session.install("-e", ".[test]")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session
def long(session: nox.Session) -> None:
    """Run sweeps, soaks and attacks: all of them, or with --long=short a quarter of an hour."""
    session.install("-e", ".[test,bench]")
    session.run("pytest", *PARALLEL, *(session.posargs or ["--long"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Make the pages that are made from the code."""
    session.install("-e", ".")
    for page, command in PAGES.items():
        with open(page, "w", encoding="utf-8") as file:
            session.run(*command, stdout=file)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure netd beside its peers: nox -s bench -- --only short,udp."""
    session.install("-e", ".[bench]")
    session.run("python", "-m", "bench", *session.posargs)
