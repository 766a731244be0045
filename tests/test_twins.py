"""Functions that are repeated on purpose are the same everywhere, and the files stay comparable.

Whoever reads two servers next to each other trusts that what looks alike is alike. This holds
them to it: a copy that drifts, and a difference that nobody intended, fail here.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from harness import ROOT

from servers.catalog import DATAGRAMS, every

HERE = "tests/test_twins.py"
SERVERS = ROOT / "servers"

# How many versions there are of each function that occurs in more than one server file. A server
# that uses what there is changes nothing here.
VERSIONS = {
    "address_of": 1,
    "Conversation.__init__": 2,
    "Conversation.check": 1,
    "Conversation.connection_lost": 1,
    "Conversation.connection_made": 1,
    "Conversation.data_received": 1,
    "Conversation.eof_received": 1,
    "Conversation.pause_writing": 1,
    "Conversation.proceed": 1,
    "Conversation.resume_writing": 1,
    "accept": 2,  # for sockets that block, and for sockets that do not
    "complain": 1,
    "converse": 6,  # that blocks, until it would, of gevent, of asyncio, of trio
    "hang_up": 2,  # of asyncio, of trio
    "hire": 4,
    "listen": 4,  # of callbacks, of streams, of trio
    "read": 4,  # as accept, of asyncio, of trio
    "see_off": 2,  # of asyncio, of trio
    "start": 2,  # a thread, a process
    "watch": 2,  # by select(), by SIGIO
    "wanted": 2,  # in the kernel's words, in those of selectors
    "why_not": 2,
    "work": 4,
    "write": 4,  # as read
}

# The functions that go together: who has one file's version of one has its versions of all.
TOGETHER = ["accept", "read", "write"]

# serve first, then what it calls: neighbours line up side by side.
ORDER = [
    *["serve", "listen", "complain", "hire", "work", "watch", "wanted", "accept", "start"],
    *["converse", "read", "write", "hang_up"],
]

# The same word for the reader, though the kernel has two.
SYNONYMS = {"EPOLLIN": "POLLIN", "EPOLLOUT": "POLLOUT"}

# What the docstring of every server says, in this order.
HEADINGS = ["After", "Waits", "Costs", "Breaks"]

MODULES = sorted(SERVERS.glob("*.py"))
FILES = {path.stem.removesuffix("_server"): path for path in sorted(SERVERS.glob("*_server.py"))}


def text(path: Path) -> str:
    """A file, with one word for what is the same."""
    source = path.read_text()
    for word, synonym in SYNONYMS.items():
        source = source.replace(word, synonym)
    return source


def functions(path: Path) -> dict[str, str]:
    """Name => source text of the functions of a file, in their order; Class.name of methods."""
    source = text(path)
    found = {}
    for node in ast.parse(source).body:
        is_class = isinstance(node, ast.ClassDef)
        prefix = f"{node.name}." if is_class else ""
        for one in node.body if is_class else [node]:
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                found[prefix + one.name] = ast.get_source_segment(source, one) or ""
    return found


def versions(name: str) -> list[list[str]]:
    """Which files share a text of that function."""
    by_text = defaultdict(list)
    for server, path in FILES.items():
        if source := functions(path).get(name):
            by_text[source].append(server)
    return sorted(by_text.values())


def names_in_several_files() -> set[str]:
    """Functions of which there is more than one copy."""
    names = [name for path in FILES.values() for name in functions(path)]
    return {name for name in names if names.count(name) > 1}


@pytest.mark.parametrize("name", VERSIONS)
def test_copies_are_equal(name: str) -> None:
    assert len(versions(name)) == VERSIONS[name], (
        f"{name}() has the versions {versions(name)}. If a copy has drifted, make it equal again; "
        f"if the I/O model wants a version of its own, count it in VERSIONS of {HERE}"
    )


def test_what_goes_together_differs_together() -> None:
    """Else a copy could drift from one version to the other."""
    having_all = {name for name, path in FILES.items() if set(TOGETHER) <= set(functions(path))}

    def shared(name: str) -> list[list[str]]:
        kept = [[one for one in files if one in having_all] for files in versions(name)]
        return [files for files in kept if files]

    first, *others = TOGETHER
    for other in others:
        assert shared(other) == shared(first), (
            f"some server has {other}() from one neighbour and {first}() from another: make one of "
            f"them equal, or say in TOGETHER of {HERE} that they need not be"
        )


def test_every_copy_is_intended() -> None:
    assert names_in_several_files() - {"serve"} == set(VERSIONS), (
        f"say in VERSIONS of {HERE} how many versions there are to be of a function that more "
        "than one server has"
    )


def test_every_server_waits_in_its_own_way() -> None:
    """After its first lines no file is like another."""
    said = {server: text(path).split('"""', 2)[2] for server, path in FILES.items()}
    assert len(set(said.values())) == len(FILES), "one model, two names"


def test_every_server_is_in_the_catalog() -> None:
    assert set(FILES) == {model.name for model in every()}, (
        "each servers/NAME_server.py needs a line in servers/catalog.py, and each line a file"
    )


@pytest.mark.parametrize("server", FILES)
def test_functions_stand_in_the_same_order_everywhere(server: str) -> None:
    names = list(functions(FILES[server]))
    assert names[0] == "serve", "the lesson comes first"
    known = [name for name in names if name in ORDER]
    in_order = [name for name in ORDER if name in names]
    assert known == in_order, f"put them in this order, as the neighbours do: {in_order}"


@pytest.mark.parametrize("server", FILES)
def test_no_identifier_names_the_model(server: str) -> None:
    """Else every line of a diff would differ (in `select.poll()` it is the module's own name)."""
    tree = ast.parse(FILES[server].read_text())
    ours = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    ours |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    ours |= {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    named = [name for name in ours if server in name]
    assert not named, f"call {named} what the neighbours call it"


@pytest.mark.parametrize("server", FILES)
def test_the_first_lines_say_what_there_is_to_know(server: str) -> None:
    doc = ast.get_docstring(ast.parse(FILES[server].read_text()))
    assert doc is not None
    idea, blank, *rest = doc.splitlines()
    assert idea.endswith((".", "?"))
    assert blank == ""
    assert re.findall(r"^(\w+): ", "\n".join(rest), re.MULTILINE) == HEADINGS
    assert re.search(r"^ {12}.*python -m \w+", doc, re.MULTILINE), (
        "what breaks first comes with the command that shows it, indented by 12 blanks"
    )


@pytest.mark.parametrize("server", FILES)
def test_grows_out_of_a_file_that_exists(server: str) -> None:
    doc = ast.get_docstring(ast.parse(FILES[server].read_text())) or ""
    after = re.search(r"^After: +(.*)$", doc, re.MULTILINE)
    assert after
    earlier = [model.name for model in every()]
    earlier = earlier[: earlier.index(server)]
    if named := re.match(r"(\w+)_server\.py", after[1]):
        assert named[1] in earlier, "read in the catalog's order, it has not been met yet"
    else:
        assert not earlier, "only the first one grows out of nothing"


@pytest.mark.parametrize("server", FILES)
def test_ends_in_a_main_of_two_lines(server: str) -> None:
    shared = "datagrams" if server in [model.name for model in DATAGRAMS] else "common"
    main = f'\n\n\nif __name__ == "__main__":\n    {shared}.main(serve)\n'
    assert FILES[server].read_text().endswith(main)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_fits_beside_its_neighbour(path: Path) -> None:
    assert max(map(len, path.read_text().splitlines()), default=0) <= 79


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_needs_nothing_but_the_standard_library(path: Path) -> None:
    """Except what its line in the catalog names; and the load generator never."""
    needs = {
        need for model in every() if path.stem == f"{model.name}_server" for need in model.needs
    }
    allowed = sys.stdlib_module_names | {"servers"} | needs
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported = {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported = {(node.module or "").split(".")[0]}
        else:
            continue
        assert imported <= allowed


README = (SERVERS / "README.md").read_text()


def test_the_readme_has_the_table_of_the_catalog() -> None:
    rows = [
        f"| [{one.name}]({one.name}_server.py) | {one.waits} | {one.cost} | {one.breaks} |"
        for one in every()
    ]
    table = "\n".join(rows)
    assert re.findall(r"^\| \[.*$", README, re.MULTILINE) == rows, (
        f"the table of servers/README.md is to be that of the catalog:\n{table}"
    )


def test_the_readme_has_the_diff_of_every_step() -> None:
    steps = set()
    for server, path in FILES.items():
        doc = ast.get_docstring(ast.parse(path.read_text())) or ""
        if after := re.search(r"^After: +(\w+)_server\.py", doc, re.MULTILINE):
            steps.add((f"servers/{after[1]}_server.py", f"servers/{server}_server.py"))
    assert set(re.findall(r"^\$ diff (\S+) (\S+)$", README, re.MULTILINE)) == steps


def test_the_readme_shows_what_diff_prints() -> None:
    commands = re.findall(r"^\$ diff (\S+) (\S+)$", README, re.MULTILINE)
    assert all((ROOT / path).is_file() for command in commands for path in command)
    shown = re.search(r"^```console\n(\d.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert shown
    # What follows the docstrings, to the end.
    result = subprocess.run(
        ["diff", *commands[-1]], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    assert result.stdout.endswith("\n" + shown[1]), (
        f"servers/README.md is to end `{' '.join(['diff', *commands[-1]])}` as it ends:\n"
        f"{result.stdout}"
    )
