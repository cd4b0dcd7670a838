"""Who imports whom, held by parsing the sources; and what the light commands must never load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hcodec
from hcodec import container

ROOT = Path(__file__).parent.parent
FOLDERS = {"hcodec": "hcodec", "models": "hcodec.models", "cli": "hcodec.cli"}
CORE = {"codec", "stream", "container", "header", "errors", "picture", "models", "archive", "packing"}
NAMES_OF_THE_PACKAGE = {""}  # `from hcodec import __version__`

# module -> what it may import of hcodec, wherever in the file; types alone may come from anywhere
INSIDE = {
    "": set(),
    "__main__": {"cli"},
    "errors": set(),
    "header": {"errors"},
    "reader": {"errors", "header"},
    "payload": {"errors"},
    "container": {"errors", "header", "reader", "payload"},
    "metadata": {"errors"},
    "alpha": {"errors"},
    "picture": {"errors", "metadata", "alpha"},
    "memory": {"errors"},
    "entropy": {"errors", "models.tables", "models.likelihood", "models.scales"},
    "stored": {"errors", "header"},
    "trimming": {"errors", "entropy", "models.likelihood"},
    "tiles": {"errors", "payload", "entropy", "trimming", "models.likelihood", "models.last_exact", "models.kernels"},
    "lossless": {"errors", "payload", "entropy", "stored", "tiles", "models.zoo"},
    "decoder": {"errors", "picture", "models", "models.walk", "models.finish"}
    | {"entropy", "container", "fitting", "lossless", "memory"},
    "encoder": {"errors", "memory", "picture", "models", "models.walk", "models.search", "entropy", "fitting"},
    "fitting": {"errors", "models.finish", "models.tables", "models.scales", "entropy"},
    "codec": {"errors", "picture", "models", "entropy", "container", "decoder", "encoder", "fitting", "lossless"},
    "directory": {"errors", "header"},
    "archive": {"directory", "errors", "header"},
    "packing": {"archive", "errors", "memory", "picture", "stored"},
    "small": {"errors", "entropy", "models", "models.pure", "models.likelihood", "models.small_exact", "models.kernels"},
    "chain": {"errors", "models", "models.walk", "models.zoo", "entropy", "encoder", "lossless", "payload", "tiles"},
    "stream": {"errors", "container", "picture", "decoder"},
}
# module -> what it may import from outside, beside the standard library
OUTSIDE = {
    "container": set(),
    "header": set(),
    "reader": set(),
    "errors": set(),
    "payload": set(),
    "directory": set(),
    "archive": set(),
    "memory": set(),
    "metadata": {"PIL"},
    "alpha": {"numpy", "PIL"},
    "picture": {"numpy", "PIL", "torch"},
    "entropy": {"numpy", "constriction"},
    "stored": {"numpy", "PIL"},
    "packing": {"numpy", "PIL"},
    "small": {"numpy"},
    "tiles": {"numpy", "torch"},
    "trimming": {"numpy", "torch"},
    "lossless": {"numpy", "torch"},
    "decoder": {"numpy", "torch"},
    "encoder": {"numpy", "torch"},
    "fitting": {"numpy"},
    "chain": {"numpy", "torch"},
    "codec": {"numpy", "torch", "PIL"},
    "stream": {"numpy", "torch", "PIL"},
    "models": {"numpy", "torch", "safetensors"},
    "cli": {"numpy", "torch", "PIL", "click"},
}
# these may have more, for nothing else imports them
TRAINING = {"models.train", "models.export", "models.data", "models.train_last", "models.export_last"}
TRAINING |= {"models.train_small", "models.export_small", "models.small_data", "models.drawn"}
TRAINING |= {"models.thaw", "models.thaw_last", "models.revive", "models.trainer", "models.workers"}


def modules():
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).glob("*.py")):
            name = package if path.stem == "__init__" else f"{package}.{path.stem}"
            yield name.removeprefix("hcodec").removeprefix("."), path


SOURCES = dict(modules())


def imports(path):
    """The full names of everything that a file imports at run time."""
    pending = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending.extend(node.orelse)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (module_of(node.module, alias.name) for alias in node.names)
        else:
            pending.extend(ast.iter_child_nodes(node))


def module_of(module, name):
    inner = f"{module}.{name}".removeprefix("hcodec.")
    return f"hcodec.{inner}" if module.startswith("hcodec") and inner in SOURCES else module


def inside(path):
    return {name.removeprefix("hcodec").removeprefix(".") for name in imports(path) if name.split(".")[0] == "hcodec"}


def outside(path):
    names = {name.split(".")[0] for name in imports(path)}
    return names - set(sys.stdlib_module_names) - {"hcodec"}


@pytest.mark.parametrize("module", SOURCES)
def test_arrows_only_downwards(module):
    found = inside(SOURCES[module]) - NAMES_OF_THE_PACKAGE
    if module == "cli.lab":
        assert {name for name in found if not name.startswith(("cli", "models.lab"))} <= {"errors"}
    elif module.startswith("cli"):
        assert {name for name in found if not name.startswith("cli")} <= CORE
    elif module.startswith("models"):
        assert {name for name in found if not name.startswith("models")} <= {"errors"} or module in TRAINING
    else:
        assert found <= INSIDE[module]


@pytest.mark.parametrize("module", sorted(set(SOURCES) - TRAINING))
def test_foreign_packages_stay_in_their_rooms(module):
    allowed = OUTSIDE.get(module, OUTSIDE.get(module.split(".")[0], set()))
    assert outside(SOURCES[module]) <= allowed


def test_nothing_imports_training():
    for module, path in SOURCES.items():
        if module not in TRAINING:
            assert not {name for name in imports(path) if name.removeprefix("hcodec.") in TRAINING}, module


def loaded_by(code, *argv):
    """The top-level packages in memory after `code` has run in a fresh interpreter."""
    report = "import sys; print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    script = f"import atexit; atexit.register(lambda: exec({report!r}))\n{code}"
    done = subprocess.run([sys.executable, "-c", script, *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED ")[2].split())


@pytest.fixture
def stream_path(tmp_path):
    path = tmp_path / "x.hcodec"
    path.write_bytes(container.write(width=64, height=48, fingerprint=b"\1\2\3\4", layers=[b"first", b"second"]))
    return str(path)


def test_import_is_light():
    assert not loaded_by("import hcodec; hcodec.HcodecError") & {"torch", "numpy", "PIL", "click"}


@pytest.mark.parametrize("argv", [["--help"], ["info"], ["truncate", "--levels", "1"], ["models"], ["--version"]])
def test_light_commands_load_neither_torch_nor_numpy(argv, stream_path):
    if argv[0] in ("info", "truncate"):
        argv = [*argv, stream_path]
    assert not loaded_by("from hcodec.cli import main; main()", *argv) & {"torch", "numpy", "PIL"}


def test_public_names_are_complete():
    assert set(hcodec.__all__) == {"__version__", *hcodec._HOME_OF}
    for name in hcodec.__all__:
        assert getattr(hcodec, name) is not None
    assert set(hcodec.__all__) <= set(dir(hcodec))
    with pytest.raises(AttributeError):
        hcodec.no_such_name  # noqa: B018


def test_type_checkers_see_the_public_names():
    tree = ast.parse((ROOT / "hcodec" / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert seen == {(f"hcodec.{home}", name) for home, names in hcodec._HOMES.items() for name in names}
