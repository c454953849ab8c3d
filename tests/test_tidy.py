"""House rules that no linter knows: sizes, names, what must never be in the repository, and docstrings."""

import ast
import asyncio
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("emulator", "cloud_stub", "certs")

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
FUNCTION_LINES_MEDIAN_MAX = 10
"""Ratchets: these numbers may only get smaller, and nobody is exempt."""

VAGUE = frozenset({"manager", "managers", "helper", "helpers", "util", "utils"})
VAGUE_FILES = VAGUE | {"base", "common", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef

# Put together, so that this file does not break its own rules.
UNFINISHED = re.compile(r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:" + "|".join(("farm", "root", "work")) + r")/")
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE" + rb" KEY-----\s+[A-Za-z0-9+/=]{16}")


@cache
def tracked() -> tuple[Path, ...]:
    """Every file that is in git or about to be, relative to the root."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")
    return tuple(sorted({Path(name) for name in names if name and (ROOT / name).is_file()}))


@cache
def text_of(path: Path) -> str:
    """A file's text; empty when it is not text."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@cache
def tree_of(path: Path) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(text_of(path), filename=str(path))


def python_files(*packages: str) -> list[Path]:
    """Python files, all or those of some top-level folders."""
    return [path for path in tracked() if path.suffix == ".py" and (not packages or path.parts[0] in packages)]


def functions(path: Path) -> Iterator[Function]:
    """Every function and method in a file."""
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, Function))


def lines_of(node: Function) -> int:
    """Length of a function without its decorators."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def words_of(name: str) -> set[str]:
    """``two_wordsHere`` as the set of its words, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def test_there_is_something_to_look_at() -> None:
    for package in (*PACKAGES, "tests"):
        assert python_files(package), package


def test_no_file_is_longer_than_400_lines() -> None:
    long = {str(path): n for path in python_files() if (n := text_of(path).count("\n")) > FILE_LINES_MAX}
    assert long == {}


def test_no_function_is_longer_than_60_lines() -> None:
    lengths = {f"{path}: {node.name}": lines_of(node) for path in python_files() for node in functions(path)}
    assert {where: n for where, n in lengths.items() if n > FUNCTION_LINES_MAX} == {}


def test_half_of_the_functions_of_every_package_are_short() -> None:
    lengths = defaultdict(list)
    for path in python_files(*PACKAGES):
        for node in functions(path):
            lengths[str(path.parent)].append(lines_of(node))
    medians = {package: median(of_package) for package, of_package in lengths.items()}
    assert {package: n for package, n in medians.items() if n > FUNCTION_LINES_MEDIAN_MAX} == {}


def test_names_say_what_a_thing_is() -> None:
    vague = [str(path) for path in python_files() if words_of(path.stem) & VAGUE_FILES]
    for path in python_files():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, Function | ast.ClassDef) and words_of(node.name) & VAGUE:
                vague.append(f"{path}: {node.name}")
    assert vague == []


def test_nothing_is_left_for_later() -> None:
    assert [str(path) for path in tracked() if UNFINISHED.search(text_of(path))] == []


def test_no_path_of_one_machine_is_written_down() -> None:
    assert [str(path) for path in tracked() if MACHINE_PATH.search(text_of(path))] == []


def test_no_private_key_is_in_the_repository() -> None:
    named = [str(path) for path in tracked() if path.suffix in {".key", ".p12", ".pfx", ".jks"}]
    holding = [str(path) for path in tracked() if PRIVATE_KEY.search((ROOT / path).read_bytes())]
    assert named + holding == []


def _caught(handler: ast.ExceptHandler) -> set[str]:
    """The names a handler catches; empty for a bare one."""
    if handler.type is None:
        return set()
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {kind.id for kind in kinds if isinstance(kind, ast.Name)} | {"..."}


def test_errors_are_caught_by_name() -> None:
    """Who catches everything has to raise it again."""
    broad = []
    for path in python_files():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler):
                caught = _caught(node)
                raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                if not caught or (caught & {"Exception", "BaseException"} and not raises):
                    broad.append(f"{path}:{node.lineno}")
    assert broad == []


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, anywhere in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def test_the_emulator_never_imports_the_cloud() -> None:
    wrong = [f"{path}:{n}" for path in python_files("emulator") for n, name in _imports(path) if "cloud_stub" in name]
    assert wrong == []


def _calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Every call of a dotted name in a file."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node, ast.unparse(node.func)


def test_tests_use_fakes_that_implement_the_port() -> None:
    mocked = [f"{path}:{n}" for path in python_files() for n, name in _imports(path) if name.endswith("mock")]
    patched = [f"{path}:{call.lineno}" for path in python_files() for call, name in _calls(path) if name in PATCHES]
    assert mocked + patched == []


PATCHES = frozenset({"monkeypatch.setattr", "monkeypatch.delattr", "mocker.patch", "mock.patch"})


def _in_virtual_time(path: Path) -> bool:
    """The file, or a file of the tests that it builds on, runs its stories on SimLoop."""
    sources = {
        Path(*name.split(".")[:-1]).with_suffix(".py") for _, name in _imports(path) if name.startswith("tests.")
    }
    texts = [text_of(path), *(text_of(source) for source in sources if source in tracked())]
    return path.is_relative_to("tests/sim") or any("SimLoop" in text for text in texts)


IN_REAL_TIME = (
    "tests/bench",
    "tests/compose",
    "tests/hub/soak.py",
    "tests/hub/streams.py",
    "tests/integration",
    "tests/vectors",
)
"""What meets processes that take their time."""


def test_tests_do_not_sleep_in_real_time() -> None:
    """Under SimLoop a sleep costs nothing."""
    slept = []
    for path in python_files("tests"):
        if any(path.is_relative_to(place) for place in IN_REAL_TIME):
            continue
        virtual = _in_virtual_time(path)
        for call, name in _calls(path):
            waits = name == "time.sleep" or (name == "asyncio.sleep" and ast.unparse(call.args[0]) != "0")
            if waits and not (virtual and name == "asyncio.sleep"):
                slept.append(f"{path}:{call.lineno}")
    assert slept == []


def _is_public(name: str) -> bool:
    return not name.startswith("_")


@cache
def _declared() -> frozenset[str]:
    """Names of the methods that some class documents, or that a port or asyncio declares: said once, in one place."""
    known = {*dir(asyncio.Protocol), *dir(asyncio.DatagramProtocol)}
    for path in python_files(*PACKAGES):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                port = any(ast.unparse(base).startswith("Protocol") for base in node.bases)
                methods = (inner for inner in node.body if isinstance(inner, Function))
                known |= {method.name for method in methods if port or ast.get_docstring(method)}
    return frozenset(known)


def _undocumented(path: Path) -> Iterator[str]:
    """Public things of a file without a docstring.

    A method needs none of its own where its name is that of a method that a port declares or another class documents:
    the port says what it means, and the classes that implement it do not repeat it.
    """
    if ast.get_docstring(tree_of(path)) is None and text_of(path).strip():
        yield f"{path}: module"
    for node in tree_of(path).body:
        if not isinstance(node, Function | ast.ClassDef) or not _is_public(node.name):
            continue
        if ast.get_docstring(node) is None:
            yield f"{path}:{node.lineno}: {node.name}"
        for inner in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(inner, Function) and _is_public(inner.name) and inner.name not in _declared():
                yield f"{path}:{inner.lineno}: {node.name}.{inner.name}"


def test_everything_public_has_a_docstring() -> None:
    assert [name for path in python_files(*PACKAGES) for name in _undocumented(path)] == []


def _mirrored(test: PurePosixPath) -> PurePosixPath:
    """The folder that a unit test's folder stands for: tests/unit/wire -> emulator/wire, tests/unit/certs -> certs."""
    inner = test.relative_to("tests/unit").parent
    return inner if inner.parts[:1] in (("cloud_stub",), ("certs",)) else "emulator" / inner


def test_unit_tests_mirror_the_packages() -> None:
    tests = [PurePosixPath(path) for path in python_files("tests") if path.is_relative_to("tests/unit")]
    strays = [str(test) for test in tests if test.name.startswith("test_") and not (ROOT / _mirrored(test)).is_dir()]
    assert strays == []


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (UNFINISHED, "# " + "TO" + "DO: later", True),
        (UNFINISHED, "mastodon", False),
        (MACHINE_PATH, "open('/" + "work/x')", True),
        (MACHINE_PATH, "net/" + "work/x", False),
        (MACHINE_PATH, "../" + "root/x", False),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: re.Pattern[str], text: str, found: bool) -> None:
    assert bool(pattern.search(text)) == found
