"""Who imports whom, held by parsing the sources; and what the light commands must never load."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hcodec
from hcodec import container

ROOT = Path(__file__).parent.parent
FOLDERS = {"hcodec": "hcodec", "models": "hcodec.models", "cli": "hcodec.cli", "web": "hcodec.web"}

# room or module -> what it may import of hcodec, a whole room or single modules of it; types alone may come from anywhere.
# A longer name goes before a shorter one; within a room everybody may import everybody, but nobody in a circle.
ARROWS = {
    "": set(),
    "__main__": {"cli"},
    "errors": set(),
    "arguments": {"errors"},
    "memory": {"errors"},
    "pixels": {"container.attachments", "container.fields", "container.source", "errors"},
    "pixels.metadata": {"container.attachments", "errors", "pixels.exif", "pixels.facts"},
    "pixels.facts": {"container.attachments", "pixels.jxl_header"},
    "pixels.jxl_header": set(),
    "pixels.exif": set(),
    "pixels.plugins": {"container.header", "errors"},
    "pixels.samples": {"errors"},
    "pixels.writing": {"container.attachments", "pixels.exif", "pixels.metadata"},
    "stores": {"errors"},
    "parts": {"container", "errors", "stores"},
    "pixels.image_file": {"errors"},
    "container": {"arguments", "errors"},
    "container.source": {"errors"},
    "pixels.look": set(),
    "container.fields": {"errors"},
    "container.attachments": set(),
    "coding": {"errors", "models.tables"},
    "coders": {"errors", "coding", "pixels", "container", "models"},
    "needs": {"memory", "container.window", "models.runtime.threads"},
    "mosaic": {"errors", "container.window", "models.photo", "models.runtime"},
    "session": {"errors", "container", "coders.levels", "memory", "models", "mosaic", "needs"},
    "presented": {"errors", "container", "pixels", "mosaic", "session"},
    "whole_file": {"errors", "memory", "container", "coders.whole", "mosaic", "pixels", "presented"},
    "exact": {"errors", "container.window", "coders.lossless", "models.registry", "models.runtime.threads", "mosaic", "session"},
    "effort": {
        "errors",
        "arguments",
        "memory",
        "container",
        "models.photo",
        "models.runtime.backend",
        "models.runtime.threads",
        "session",
    },
    "targets": {"errors", "arguments", "container", "models", "pixels", "session"},
    "codec": {
        "errors",
        "arguments",
        "pixels",
        "container",
        "coders.lossless",
        "models",
        "needs",
        "mosaic",
        "session",
        "presented",
        "exact",
        "effort",
        "targets",
        "whole_file",
    },
    "stream": {"arguments", "container", "errors", "exact", "mosaic", "pixels", "presented", "session", "whole_file"},
    "inspection": {"coders.levels", "coding", "container.window", "models", "mosaic", "session"},
    "photo_chain": {"codec", "container", "errors", "models", "pixels.picture"},
    "kinds": {"coders.small_chain", "coders.stored", "coders.whole_chain", "container.directory", "photo_chain", "pixels.stored"},
    "packing": {"arguments", "coders.stored", "container", "errors", "kinds", "memory", "pixels"},
    "cli": {
        "",
        "arguments",
        "codec",
        "container",
        "errors",
        "inspection",
        "kinds",
        "memory",
        "models",
        "needs",
        "packing",
        "parts",
        "pixels",
        "remote",
        "stores",
        "stream",
        "whole_file",
    },
    "gallery": {"codec", "container.archive", "container.header", "errors", "pixels"},
    "server": {"errors", "gallery", "models.registry"},
    "web": set(),
    "cli.serve": {"gallery", "server"},
    "remote": {"codec", "container", "models.runtime.threads", "mosaic", "parts", "pixels", "presented", "stores"},
    "pillow": {"codec", "container", "errors", "pixels", "remote"},
    "corpus": {"", "codec", "container", "errors", "models.runtime.threads", "pixels", "stores"},
    "cli.corpus": {"cli", "corpus", "errors", "models.runtime.threads"},
    "models": {"errors", "models.registry", "models.weights_file"},
    "models.tables": set(),
    "models.blocks": set(),
    "models.descend": set(),
    "models.rates": {"models.tables"},
    "models.weights_file": {"errors", "models.photo.config"},
    "models.registry": {
        "errors",
        "models.weights_file",
        "models.runtime.backend",
        "models.photo.model",
        "models.lossless.model",
        "models.small.model",
    },
    "models.integer": {"errors", "models.blocks", "models.tables"},
    "models.runtime": {"errors", "models.integer.certificate"},
    "models.runtime.torch_steps": {"models.integer.kernels", "models.runtime"},
    "models.photo": {
        "errors",
        "models.blocks",
        "models.descend",
        "models.rates",
        "models.tables",
        "models.integer",
        "models.runtime",
        "models.weights_file",
    },
    "models.lossless": {
        "errors",
        "models.blocks",
        "models.rates",
        "models.tables",
        "models.integer",
        "models.runtime",
        "models.weights_file",
    },
    "models.small": {
        "errors",
        "models.blocks",
        "models.descend",
        "models.rates",
        "models.tables",
        "models.integer",
        "models.runtime",
        "models.weights_file",
    },
    "models.training": {"models.blocks", "models.photo"},
    "models.lab": {"errors", "coding.float_stack", "models.descend", "models.tables", "models.small", "models.training"},
    "cli.lab": {"errors", "cli", "models.lab"},
    "cli._lab": {"errors", "cli", "models.lab", "models.runtime.threads"},
}
# these make and train models; they may import more, for nothing else imports them
TRAINING = {"models.training"} | {
    f"models.{family}.{name}"
    for family in ("photo", "lossless", "small")
    for name in ("train", "task", "samples", "export", "unquantize", "initialize", "bound", "thumbnails", "train_shortcut")
}
# the only names of modules that may import models.training: scripts and what these are made of
SCRIPTS = {"train", "export", "task", "samples", "thumbnails", "train_shortcut"}
# room -> what it may import from outside, beside the standard library
OUTSIDE = {
    "container": set(),
    "errors": set(),
    "arguments": set(),
    "memory": set(),
    "stores": {"fsspec", "aiohttp"},
    "parts": set(),
    "pixels": {"numpy", "PIL"},
    "pixels.plugins": {"PIL", "pillow_heif", "pillow_jxl"},
    "coding": {"numpy", "constriction"},
    "packing": {"numpy", "PIL"},
    "coders": {"numpy"},
    "coders.whole": {"numpy", "PIL"},
    "kinds": set(),
    "photo_chain": {"numpy"},
    "needs": set(),
    "mosaic": {"numpy"},
    "session": {"numpy"},
    "inspection": {"numpy"},
    "presented": {"PIL"},
    "exact": {"numpy"},
    "whole_file": {"numpy"},
    "effort": {"numpy"},
    "targets": set(),
    "codec": {"numpy", "PIL"},
    "stream": {"PIL"},
    "gallery": {"numpy"},
    "server": set(),
    "remote": {"PIL"},
    "pillow": {"PIL", "numpy"},
    "models": {"numpy", "torch", "safetensors"},
    "models.runtime": {"numpy"},
    "models.runtime.backend": {"torch"},
    "models.runtime.onnx_steps": {"numpy", "onnxruntime"},
    "models.runtime.torch_steps": {"torch"},
    "models.runtime.graphs": {"numpy", "torch", "onnx"},
    "models.lab": {"numpy", "torch", "safetensors", "PIL", "matplotlib", "sklearn"},
    "corpus": {"numpy", "distributed"},
    "cli": {"numpy", "PIL", "click"},
    "cli.lab": {"numpy", "PIL", "click"},
    "cli._lab": {"click", "torch"},
}
# modules that load torch when they are imported: networks, and what is made of them; whoever codes imports none of them
# before torch is asked for
TORCH = {
    "models.blocks",
    "models.rates",
    "models.runtime.torch_steps",
    "models.runtime.graphs",
    "models.training",
    "models.lab",
    "cli.lab",
    "cli._lab",
    *(f"models.integer.{name}" for name in ("kernels", "products", "quantize", "unquantize")),
    *(
        f"models.photo.{name}"
        for name in ("agreed", "analysis", "network", "objective", "search", "shortcut", "steps", "synthesis")
    ),
    "models.photo.draft",
    "models.photo.fit_preview",
    *(f"models.lossless.{name}" for name in ("integer", "neighbors", "network", "steps")),
    *(f"models.small.{name}" for name in ("integer", "network", "steps")),
}


def modules():
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *(part for part in parts if part != "__init__")))
            yield name.removeprefix("hcodec").removeprefix("."), path


SOURCES = dict(modules())


def imports(path, into_functions=True):
    """The full names of everything that a file imports at run time, inside functions or only when it is itself imported."""
    pending = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef) and not into_functions:
            continue
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


def room(module, table):
    """The longest name of a table that the module lies in."""
    found = [name for name in table if lies_in(module, {name})]
    return max(found, key=len, default=None)


def lies_in(module, rooms):
    return any(module == name or (name and module.startswith(f"{name}.")) for name in rooms)


def is_training(module):
    return lies_in(module, TRAINING)


@pytest.mark.parametrize("module", [module for module in SOURCES if not is_training(module)])
def test_arrows_only_downwards(module):
    own = room(module, ARROWS)
    allowed = ARROWS[own] | ({own} if own != "models" else set())
    wrong = {name for name in inside(SOURCES[module]) if not lies_in(name, allowed) and room(name, ARROWS) != own}
    assert not wrong


@pytest.mark.parametrize("module", [module for module in SOURCES if not is_training(module)])
def test_foreign_packages_stay_in_their_rooms(module):
    assert outside(SOURCES[module]) <= OUTSIDE.get(room(module, OUTSIDE), set())


def loaded_with(module):
    """All modules, ours and others, that come into memory with one of ours."""
    pending, found = [f"hcodec.{module}"], set()
    while pending:
        name = pending.pop()
        inner = name.removeprefix("hcodec").removeprefix(".")
        if name not in found and name.startswith("hcodec") and inner in SOURCES:
            pending += [name.rpartition(".")[0], *imports(SOURCES[inner], into_functions=False)]
        found.add(name)
    return found


@pytest.mark.parametrize("module", [module for module in SOURCES if not is_training(module) and not lies_in(module, TORCH)])
def test_only_networks_load_torch(module):
    assert not {name for name in loaded_with(module) if name.partition(".")[0] in ("torch", "onnx", "onnxruntime")}


def test_few_ask_for_torch():
    """Beside networks: what loads a model, if torch is to run it; and no coder or command for itself."""
    asking = {module for module, path in SOURCES.items() if "torch" in outside(path) and not is_training(module)}
    models = {f"models.{family}.model" for family in ("photo", "lossless", "small")}
    assert {module for module in asking if not lies_in(module, TORCH)} == {
        *models,
        "models.photo.preview",
        "models.runtime.backend",
    }


def test_no_import_hides_in_a_string():
    """Lazy names and commands apart, which are tested by name."""
    texts = {module: path.read_text(encoding="utf-8") for module, path in SOURCES.items()}
    assert {module for module, text in texts.items() if re.search("import_module|__import__", text)} == {"", "cli"}


def test_numbers_have_one_reader():
    """Seven bits a byte, and four bytes little-endian: of what belongs to our formats, only fields know them."""
    ours = {"container", "coders.stored", "pixels.alpha", "packing", "photo_chain"}
    for module, path in SOURCES.items():
        text = path.read_text(encoding="utf-8")
        if module != "container.fields":
            assert "0x7F" not in text, module
            assert not (lies_in(module, ours) and re.search(r"import struct|from_bytes|to_bytes\([^)]", text)), module


def test_constriction_has_one_importer():
    importers = {module for module, path in SOURCES.items() if "constriction" in outside(path)}
    assert importers == {"coding.stack", "coding.float_stack"}


def test_nothing_imports_training_but_the_lab():
    for module, path in SOURCES.items():
        if not is_training(module) and not lies_in(module, {"models.lab"}):
            assert not {name for name in inside(path) if is_training(name)}, module


def test_only_scripts_import_training():
    for module, path in SOURCES.items():
        trains = any(lies_in(name, {"models.training"}) for name in inside(path))
        if trains and not lies_in(module, {"models.training", "models.lab"}):
            assert module.rpartition(".")[2] in SCRIPTS, module


def test_one_class_trains():
    """The trainer is not written again for a family: nobody else steps an optimizer."""
    stepping = {module for module, path in SOURCES.items() if "optimizer.step()" in path.read_text(encoding="utf-8")}
    assert stepping == {"models.training.loop"}


def test_there_is_no_circle():
    graph = {module: inside(path) & set(SOURCES) for module, path in SOURCES.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


def test_files_and_functions_stay_short():
    for module, path in SOURCES.items():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 350, module
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 40, (module, node.name)


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
    frame = container.Frame(width=64, height=48, model="m", fingerprint=b"1234")
    path.write_bytes(container.write(frame, [[b"first"], [b"second"]]))
    return str(path)


def test_import_is_light():
    assert not loaded_by("import hcodec; hcodec.HcodecError") & {"torch", "numpy", "PIL", "click"}


CODING = {
    "chain": """
digits = [np.full((28, 28), value, np.uint8) for value in range(4)]
chain = small_chain.encode_chain(digits, "mnist-1")
assert np.array_equal(small_chain.decode_chain(chain, [(28, 28)] * 4, "mnist-1"), digits)
""",
    "picture": """
data = hcodec.encode(pixels, levels=4)
assert hcodec.decode(hcodec.truncate(data, levels=2)).size == (24, 16)
decoder = hcodec.StreamDecoder()
decoder.feed(data)
assert decoder.image().size == (24, 16)
""",
    "lossless": """
assert np.array_equal(hcodec.decode(hcodec.encode(pixels, lossless=True)), pixels)
""",
}


@pytest.mark.parametrize("way", CODING)
def test_coding_does_not_load_torch(way):
    begin = "import numpy as np, hcodec; from hcodec.coders import small_chain\n"
    pixels = "pixels = np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)\n"
    found = loaded_by(begin + pixels + CODING[way])
    assert "onnxruntime" in found
    assert not found & {"torch", "onnx"}


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
