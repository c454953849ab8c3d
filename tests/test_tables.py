"""The tables that are the emulator's surface: every row is explained, and named where a reader or a test finds it."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from emulator.faults import Fault
from emulator.profile import TAGS, Profile, parse_profile

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FAULT_FAMILIES = {
    "link",
    "wifi",
    "lte",
    "plc",
    "site",
    "dhcp",
    "dns",
    "ntp",
    "bundle",
    "hub",
    "firmware",
    "device",
}


@cache
def modules() -> list[Any]:
    """Every module of the emulator and the cloud, imported."""
    roots = [importlib.import_module(name) for name in ("emulator", "cloud_stub")]
    found = [info.name for root in roots for info in pkgutil.walk_packages(root.__path__, root.__name__ + ".")]
    return [importlib.import_module(name) for name in found if not name.endswith("__main__")]


def table(module: str, name: str) -> Any:
    """A table; its absence is a failure."""
    rows = getattr(importlib.import_module(module), name)
    assert rows, f"{module}.{name} is empty"
    return rows


def in_readme(word: object) -> bool:
    """The README names this, as a word of its own."""
    return re.search(rf"(?<![\w.-]){re.escape(str(word))}(?![\w-])", README) is not None


@cache
def other_tests() -> str:
    """The text of all tests but these."""
    return "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py") if path != THIS)


THIS = Path(__file__)


def named(*words: object) -> bool:
    """The README or a test names one of these."""
    return any(in_readme(word) or re.search(rf"\b{re.escape(str(word))}\b", other_tests()) for word in words)


def fault_classes() -> Iterator[type[Fault]]:
    """Every fault that has a kind."""
    modules()
    pending: list[type[Fault]] = [Fault]
    while pending:
        fault = pending.pop()
        pending.extend(fault.__subclasses__())
        if "kind" in vars(fault):
            yield fault


def listed_faults() -> Iterator[type[Fault]]:
    """Every fault in a FAULTS table, of a module or of a service."""
    for module in modules():
        for owner in (module, *(value for value in vars(module).values() if isinstance(value, type))):
            rows: Iterable[type[Fault]] | Mapping[str, type[Fault]] = getattr(owner, "FAULTS", ())
            yield from rows.values() if isinstance(rows, Mapping) else rows


def own_docstring(cls: type) -> bool:
    """A docstring that somebody wrote: dataclasses get their signature as one."""
    return bool(cls.__doc__) and not str(cls.__doc__).startswith(f"{cls.__name__}(")


def test_every_family_of_faults_has_a_fault() -> None:
    assert {fault.kind.partition(".")[0] for fault in listed_faults()} == FAULT_FAMILIES


def test_every_fault_is_in_the_table_of_its_owner_with_a_kind_of_its_own() -> None:
    faults = list(fault_classes())
    assert {fault.kind for fault in faults} == {fault.kind for fault in listed_faults()}
    assert len({fault.kind for fault in faults}) == len(faults)


def test_every_fault_is_explained_and_in_the_readme() -> None:
    assert [fault.kind for fault in fault_classes() if not own_docstring(fault)] == []
    assert sorted(fault.kind for fault in fault_classes() if not in_readme(fault.kind)) == []


def test_every_boot_stage_is_explained_and_in_the_readme() -> None:
    stages = table("emulator.boot.stages", "STAGES")
    assert [stage.name for stage in stages if not (stage.doc and stage.run.__doc__ and in_readme(stage.name))] == []
    assert {stage.back_to for stage in stages} <= {stage.name for stage in stages}


def test_every_command_is_explained_and_in_the_readme() -> None:
    commands = table("emulator.device.commands", "COMMANDS")
    missing = [f"{row.id} {row.name}" for row in commands.values() if not (row.doc and in_readme(row.name))]
    assert missing == []
    assert all(key == row.id for key, row in commands.items())


def test_every_observation_is_explained_and_named_by_the_readme_or_a_test() -> None:
    observations = table("emulator.device.observations", "OBSERVATIONS")
    assert [row.id for row in observations.values() if not (row.name and row.unit and row.doc)] == []
    assert [f"{row.id} {row.name}" for row in observations.values() if not named(row.id, row.name)] == []


def test_every_reason_of_a_failure_is_in_the_readme() -> None:
    assert [why.value for why in table("emulator.boot.outcome", "Why") if not in_readme(why.value)] == []


def test_every_reason_to_refuse_an_update_is_explained() -> None:
    reasons = table("emulator.wire.update_reason", "UpdateReason")
    statements = ast.parse((ROOT / "emulator/wire/update_reason.py").read_text(encoding="utf-8")).body
    (members,) = (node.body for node in statements if isinstance(node, ast.ClassDef) and node.name == "UpdateReason")
    explained = [isinstance(node, ast.Expr) for node in members[1:]]
    assert explained == [False, True] * len(reasons)  # each value, and then what it means


def attack_rows() -> list[tuple[frozenset[str], str, str]]:
    """Faults, reason and test of each row of the README's table of attacks."""
    section = README.partition("### The attacks, one by one\n")[2].partition("\n### ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")][2:]
    return [
        (frozenset(re.findall(r"`(firmware\.\w+)`", faults)), reason.strip("` "), test.strip("` "))
        for _, faults, reason, test in rows
    ]


def attack_tests() -> dict[str, str]:
    """The tests of the attack table that expect a refusal: their text by name."""
    text = (ROOT / "tests/firmware/test_attacks.py").read_text(encoding="utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    found = {node.name: ast.get_source_segment(text, node) or "" for node in functions if node.name.startswith("test_")}
    return {name: body for name, body in found.items() if "refused(" in body}


def test_the_readme_says_of_every_attack_which_fault_makes_it_and_why_it_is_refused() -> None:
    tests, rows = attack_tests(), attack_rows()
    assert sorted(test for _, _, test in rows) == sorted(tests)
    for faults, reason, test in rows:
        assert f"UpdateReason.{reason.upper()}" in tests[test], test
        assert faults == set(re.findall(r'"(firmware\.\w+)"', tests[test])), test
    others = README.partition("The reasons that no attack has to itself:")[2].partition(".\n")[0]
    reasons = [*{reason for _, reason, _ in rows}, *re.findall(r"`(\w+)`", others)]
    assert sorted(reasons) == sorted(reason.value for reason in table("emulator.wire.update_reason", "UpdateReason"))
    assert {fault for faults, _, _ in rows for fault in faults} < {fault.kind for fault in listed_faults()}


def test_every_scenario_is_explained_and_in_the_readme() -> None:
    scenario = importlib.import_module("emulator.scenario")
    names = scenario.shipped_names()
    assert names
    for name in names:
        loaded = scenario.load_scenario(name)
        assert loaded.name == name
        assert loaded.title and loaded.cause and loaded.fix
    assert [name for name in names if not in_readme(name)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "emulator/profiles").glob("*.toml")), ids=lambda path: path.stem)
def test_every_value_of_a_profile_has_its_evidence(path: Path) -> None:
    profile, tags = parse_profile(path.read_text(encoding="utf-8"), where=path.name)
    assert profile.name == path.stem
    sections = {name for name in Profile.model_fields if name != "name"}
    values = {f"{section}.{key}" for section in sections for key in getattr(profile, section).model_dump()}
    assert set(tags) == values
    assert set(tags.values()) <= TAGS


def test_readme_names_every_file_of_the_layout_and_every_make_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^## make (\S+)", makefile, flags=re.MULTILINE)
    assert [target for target in targets if f"make {target}" not in README] == []
    folders = [path.name for package in ("emulator", "cloud_stub") for path in (ROOT / package).iterdir()]
    packages = [name for name in folders if (ROOT / "emulator" / name / "__init__.py").is_file()]
    assert [name for name in packages if f"{name}/" not in README] == []


def test_readme_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [target for target in targets if not (ROOT / target).exists()] == []
