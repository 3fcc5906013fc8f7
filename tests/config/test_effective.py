"""``netd.config.effective``: every key, its value, and where that is from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from netd.config.effective import Setting, decided, settings
from netd.config.load import Loaded, loaded
from netd.config.reference.json_schema import json_schema
from netd.config.secrets import HIDDEN

SCHEMA: Final = json_schema()

MAIN: Final = """\
include = ["parts/*.toml"]
python_path = ["."]

[defaults]
threads = 5
options = {a = 1, deep = {b = 2}}

[services.one]
handler = "m:C"
listen = ["tcp:1", "unix:run/one"]
access.deny = ["::1"]
"""

PART: Final = """\
[services.two]
handler = "m:C"
listen = ["unix:../two:mode=600"]
enabled = false
threads = 6
options = {deep = {password = "x"}}
"""


def read(directory: Path, main: str = MAIN) -> Loaded:
    (directory / "parts").mkdir()
    (directory / "parts" / "a.toml").write_text(PART)
    (directory / "netd.toml").write_text(main)
    return loaded(str(directory / "netd.toml"))


def by_key(found: Loaded) -> dict[str, Setting]:
    """All settings by their dotted keys."""
    every = settings(SCHEMA, found.tables, found.configuration.locations)
    return {".".join(each.path): each for each in every}


def effective(directory: Path) -> dict[str, Setting]:
    return by_key(read(directory))


class TestSettings:
    def test_know_where_a_value_is_from(self, tmp_path: Path) -> None:
        """From its own file, from the defaults in another, or from nowhere."""
        found = effective(tmp_path)
        main, part = str(tmp_path / "netd.toml"), str(tmp_path / "parts" / "a.toml")
        assert found["services.one.threads"] == Setting(
            ("services", "one", "threads"), 5, (main, 5)
        )
        assert found["services.two.threads"].location == (part, 5)
        assert found["services.two.options.a"].location == (main, 6)
        assert found["services.one.access.deny"].location == (main, 11)
        assert found["services.one.backlog"].location is None
        assert found["daemon.graceful_timeout"].location is None

    def test_have_a_default_as_people_write_it(self, tmp_path: Path) -> None:
        """With a unit; and nothing, where nothing is said and that means something."""
        found = effective(tmp_path)
        assert found["daemon.graceful_timeout"].value == "30s"
        assert found["services.one.access.verify_timeout"].value == "5s"
        assert found["services.one.user"].value is None

    def test_are_all_that_the_schema_has(self, tmp_path: Path) -> None:
        """A key that somebody adds to it is here by itself, of services that are off, too."""
        found = effective(tmp_path)
        service = SCHEMA["$defs"]["ServiceTable"]["properties"]
        keys = {key for key in service if "$ref" not in service[key]} - {"options"}
        for name in ("one", "two"):
            assert {f"services.{name}.{key}" for key in keys} <= found.keys()
        access = SCHEMA["$defs"]["AccessTable"]["properties"]
        assert {f"services.two.access.{key}" for key in access} <= found.keys()
        assert {key for key in found if "." not in key} == {"python_path"}

    def test_have_each_key_by_one_of_its_names(self, tmp_path: Path) -> None:
        """The one that is written, else the usual one."""
        main = MAIN + "rlimits = {RLIMIT_NOFILE = 5, as = 6}\n"
        found = by_key(read(tmp_path, main))
        assert found["services.one.rlimits.RLIMIT_NOFILE"].value == 5
        assert found["services.one.rlimits.as"].value == 6
        assert found["services.one.rlimits.core"].value is None
        for other in ("nofile", "as_", "RLIMIT_AS", "RLIMIT_CORE"):
            assert f"services.one.rlimits.{other}" not in found

    def test_have_paths_that_mean_the_same_everywhere(self, tmp_path: Path) -> None:
        """Relative to the file that the key stands in, be it a part's or the main one."""
        found = effective(tmp_path)
        assert found["python_path"].value == [str(tmp_path)]
        assert found["services.one.listen"].value == ["tcp:1", f"unix:{tmp_path}/run/one"]
        assert found["services.two.listen"].value == [f"unix:{tmp_path}/two:mode=600"]

    def test_have_octal_numbers_as_texts(self, tmp_path: Path) -> None:
        """A number is printed in decimal, which netd would refuse."""
        main = MAIN.replace("[defaults]\n", "[defaults]\numask = 0o27\n") + "umask = 0o2\n"
        found = by_key(read(tmp_path, main))
        umasks = {name: found[f"services.{name}.umask"].value for name in ("one", "two")}
        assert umasks == {"one": "002", "two": "027"}

    def test_hide_secrets(self, tmp_path: Path) -> None:
        """And say so; what is beside them is shown."""
        found = effective(tmp_path)
        assert found["services.two.options.deep.password"].value == HIDDEN
        assert found["services.two.options.deep.password"].hidden
        assert found["services.two.options.deep.b"].value == 2
        assert not found["services.two.options.deep.b"].hidden

    def test_put_keys_before_tables(self, tmp_path: Path) -> None:
        """As TOML needs them: whatever follows a header belongs to it."""
        opened: set[tuple[str, ...]] = set()
        last: tuple[str, ...] = ()
        for setting in effective(tmp_path).values():
            table = setting.path[:-1]
            assert table == last or table not in opened
            opened.add(table)
            last = table


class TestDecided:
    def settled(self, directory: Path, **facts: Any) -> dict[str, Setting]:
        """The settings when the one service that is enabled has come to *facts*."""
        found = read(directory)
        (service,) = found.configuration.services
        return by_key(decided(found, [replace(service, **facts)]))

    def test_has_what_was_decided(self, tmp_path: Path) -> None:
        """As a default, since nobody wrote it, and the rest as it is written."""
        found = self.settled(tmp_path, threads=5, processes=2, datagram_size=1 << 20)
        assert found["services.one.processes"] == Setting(("services", "one", "processes"), 2, None)
        assert found["services.one.datagram_size"].value == "1MiB"
        assert found["services.one.threads"].location == (str(tmp_path / "netd.toml"), 5)
        assert found["services.one.worker"].value == "one"

    def test_leaves_out_what_came_to_something_else(self, tmp_path: Path) -> None:
        """Defaults of the file that do not fit a service are not where its value is from."""
        found = self.settled(tmp_path, threads=1)
        assert found["services.one.threads"] == Setting(("services", "one", "threads"), 1, None)

    def test_has_no_threads_of_a_reactor(self, tmp_path: Path) -> None:
        """Which would be a problem if somebody wrote them."""
        found = self.settled(tmp_path, concurrency="reactor", threads=1001)
        assert found["services.one.threads"].value is None
        assert found["services.one.concurrency"].value == "reactor"

    def test_has_nothing_that_means_nothing(self, tmp_path: Path) -> None:
        """Keys that go with another one, even if the defaults have them for other services."""
        found = read(tmp_path, MAIN.replace("threads = 5", "threads = 5\nwait = true"))
        settled = by_key(decided(found, found.configuration.services))
        assert settled["services.one.wait"].value is None
        assert settled["services.one.arguments"].value is None

    def test_has_programs_by_their_path(self, tmp_path: Path) -> None:
        """Of one that is found by its name, the name; and what goes with it has its default."""
        (tmp_path / "prog").touch()
        main = MAIN.replace('handler = "m:C"', 'program = ["./prog", "a/b"]')
        found = by_key(read(tmp_path, main))
        assert found["services.one.program"].value == [str(tmp_path / "prog"), "a/b"]
        assert found["services.one.wait"].value is False

    def test_has_no_address_of_a_plugin(self, tmp_path: Path) -> None:
        """Which binds for itself, whatever the defaults have for other services."""
        main = '[defaults]\nlisten = ["tcp:0"]\n[services.one]\nplugin = "web"\n'
        found = read(tmp_path, main)
        settled = by_key(decided(found, found.configuration.services))
        assert settled["services.one.listen"].value is None
        assert settled["services.one.arguments"].value == []

    def test_leaves_alone_what_is_not_run(self, tmp_path: Path) -> None:
        """Nobody has looked what a service is that is not enabled."""
        found = self.settled(tmp_path)
        assert found["services.two.threads"].value == 6
        assert found["services.two.processes"].value is None

    def test_keeps_a_worker_that_is_written(self, tmp_path: Path) -> None:
        """With its place."""
        found = read(tmp_path, MAIN + 'worker = "w"\n')
        setting = by_key(decided(found, found.configuration.services))["services.one.worker"]
        assert (setting.value, setting.location) == ("w", (str(tmp_path / "netd.toml"), 12))


def test_free_tables_of_any_name() -> None:
    """A table with any keys, such as an environment, is shown like options."""
    schema: dict[str, Any] = {
        "properties": {
            "environment": {"type": "object", "additionalProperties": {"type": "string"}},
            "empty": {"type": "object", "default": {}},
        }
    }
    places = {"environment": ("f", 1), "environment.TOKEN": ("f", 2), "environment.A": ("f", 3)}
    assert list(settings(schema, {"environment": {"TOKEN": "x", "A": "y"}}, places)) == [
        Setting(("empty",), {}, None),
        Setting(("environment", "TOKEN"), HIDDEN, ("f", 2), hidden=True),
        Setting(("environment", "A"), "y", ("f", 3)),
    ]
