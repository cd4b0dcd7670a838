"""What runs steps: parts, threads, graphs, backends, and what refuses to run anything that is not exact."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hcodec.errors import ModelError
from hcodec.models import registry, weights_file
from hcodec.models.integer.certificate import FLOAT32_EXACT, FLOAT64_EXACT, STATE_LIMIT, certify, certify_vector
from hcodec.models.integer.kernels import dense
from hcodec.models.integer.products import requantize
from hcodec.models.lossless import model as lossless
from hcodec.models.photo import model as photo
from hcodec.models.photo import preview
from hcodec.models.runtime import backend as backends
from hcodec.models.runtime import graphs, steps, threads
from hcodec.models.runtime.backend import Backend
from hcodec.models.runtime.check import check
from hcodec.models.runtime.narrow import narrowed, widened
from hcodec.models.runtime.onnx_steps import INDEX, OnnxSteps
from hcodec.models.runtime.steps import Gather, Reach, in_parts
from hcodec.models.runtime.torch_steps import Half, TorchStep, TorchSteps, check_step
from hcodec.models.small import model as small
from hcodec.models.small.config import config_from

# Parts


def summed(x: np.ndarray, unit: int) -> np.ndarray:
    """Returns the sums over unit x unit cells of a map (1, H, W, C)."""
    _, height, width, channels = x.shape
    return x.reshape(1, height // unit, unit, width // unit, unit, channels).sum((2, 4))


def repeated(x: np.ndarray, factor: int) -> np.ndarray:
    return x.repeat(factor, 1).repeat(factor, 2)


def around(x: np.ndarray, radius: int) -> np.ndarray:
    """Returns, for each cell, a sum over those around it, each with its own weight; zeros outside."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (radius, radius), (radius, radius), (0, 0)))
    places = [(i, j) for i in range(2 * radius + 1) for j in range(2 * radius + 1)]
    return sum((1 + n) * padded[:, i : i + height, j : j + width] for n, (i, j) in enumerate(places))


@st.composite
def step_cases(draw):
    """A radius in units, a unit, how many units there are, what each part may have at most, and the sizes of other maps."""
    unit = draw(st.sampled_from([1, 2, 4, 8]))
    coarser = draw(st.sampled_from([factor for factor in (1, 2, 4, 8) if factor <= unit]))
    rows, columns = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    most = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    return draw(st.integers(0, 3)), unit, rows, columns, most, coarser, draw(st.integers(1, 3)), draw(st.integers(0, 99))


@given(step_cases())
@settings(max_examples=150, deadline=None)
def test_parts_together_are_the_whole(case):
    """For functions that see `radius` units, of maps that are coarser or finer than the first, and so are their results."""
    radius, unit, rows, columns, most, coarser, finer, seed = case
    random = np.random.default_rng(seed)

    def drawn(rows: int, columns: int) -> np.ndarray:
        """Returns a map of small integers, so that sums are exact in any order."""
        return random.integers(-99, 99, (1, rows, columns, 2)).astype(np.float32)

    x, vector = drawn(rows * unit, columns * unit), np.float32([[3, -2]])
    coarse, fine = drawn(rows * unit // coarser, columns * unit // coarser), drawn(rows * unit * finer, columns * unit * finer)
    sizes = []

    def function(x, coarse, fine, vector):
        """Returns a map of units, a finer one, and one of other type and number of channels."""
        sizes.append(x.shape[1:3])
        assert all(part.flags["C_CONTIGUOUS"] for part in (x, coarse, fine))
        seen = around(summed(x, unit) + summed(coarse, unit // coarser) * vector + summed(fine, unit * finer), radius)
        return seen, repeated(seen, 3) * vector[0, 0], (seen[..., :1] % 7).astype(np.uint8)

    wanted = function(x, coarse, fine, vector)
    with mock.patch.multiple(steps, _ROWS=most[0], _FEW=most[0], _COLUMNS=most[1]):
        sizes.clear()
        found = in_parts(function, Reach(radius * unit, unit), (x, coarse, fine, vector))
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)
    assert len(sizes) == max(rows // most[0], 1) * max(columns // most[1], 1)
    for size, count, limit in zip(max(sizes), (rows, columns), most, strict=True):
        assert size <= unit * min(2 * limit + 2 * radius, count)


@given(step_cases(), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_halves_in_parts_and_pieces_are_the_whole(case, cells):
    """For steps that first gather from cells around, of some of their inputs, and then compute each cell alone."""
    radius, _, rows, columns, most, _, _, seed = case
    random, vector = np.random.default_rng(seed), np.float32([[3, -2]])
    x, other = (random.integers(-99, 99, (1, rows, columns, 2)).astype(np.float32) for _ in range(2))

    def first(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return (around(x, radius),)

    def second(x: np.ndarray, other: np.ndarray, vector: np.ndarray, gathered: np.ndarray) -> tuple[np.ndarray, ...]:
        assert x.shape[1] * x.shape[2] <= max(cells, columns) and gathered.flags["C_CONTIGUOUS"]
        return x * vector - gathered, (other[..., :1] % 7).astype(np.uint8)

    with mock.patch.multiple(steps, _ROWS=most[0], _COLUMNS=most[1], _CELLS=cells):
        found = in_parts(second, Reach(radius), (x, other.astype(np.float16), vector), gather=Gather(first, 1))
    for one, wanted in zip(found, (x * vector - around(x, radius), (other[..., :1] % 7).astype(np.uint8)), strict=True):
        assert one.dtype == wanted.dtype and np.array_equal(one, wanted)


def test_a_result_can_take_the_place_of_what_is_not_needed_any_more():
    x = np.arange(64 * 3.0, dtype=np.float32).reshape(1, 64, 3, 1)
    wanted = x + 1
    (found,) = in_parts(lambda part: (part + 1,), Reach(), (x,), into=x)
    assert found is x and (x == wanted).all()


def test_cuts_depend_on_the_size_alone():
    shapes = []
    for count in (1, 2, 8):
        threads.set_threads(count)
        seen = []
        in_parts(lambda x, seen=seen: (seen.append(x.shape) or x,), Reach(2), (np.zeros((1, 130, 300, 1), np.float32),))
        shapes.append(sorted(seen))
    threads.set_threads(threads.num_processors())
    assert shapes[0] == shapes[1] == shapes[2] and len(shapes[0]) == 4 * 2


def test_a_small_map_is_not_cut():
    x = np.zeros((1, 15, 255, 3), np.float32)
    assert in_parts(lambda part: (part,), Reach(1), (x,))[0] is x


# Threads


@pytest.fixture(autouse=True)
def same_threads():
    """As many threads after a test as before it."""
    yield
    threads.set_threads(threads.num_processors())


@pytest.mark.parametrize("count", [1, 2, 3, 1000])
def test_each_gives_results_in_order_and_shows_the_share(count):
    threads.set_threads(count)
    assert threads.count() == min(count, threads.num_processors())
    shown = []
    found = threads.each(lambda item: (time.sleep(0.002 * (5 - item)), item**2)[1], range(5), shown.append)
    assert found == [0, 1, 4, 9, 16] and shown == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert threads.each(str, []) == [] and threads.each(str, [1]) == ["1"]


@pytest.mark.parametrize("count", [0, -1])
def test_at_least_one_thread(count):
    with pytest.raises(ValueError, match="at least 1"):
        threads.set_threads(count)


def test_a_pool_of_one_works_on_the_calling_thread():
    threads.set_threads(1)
    assert set(threads.each(lambda _: threading.current_thread(), range(4))) == {threading.current_thread()}


def test_nested_work_stays_on_its_thread():
    """Else all threads of the pool could wait for each other."""

    def outer(_):
        """Returns the threads of the inner items, and the own one."""
        return {threading.current_thread(), *threads.each(lambda _: threading.current_thread(), range(5))}

    assert all(len(used) == 1 for used in threads.each(outer, range(20)))


def test_the_pool_can_be_resized_by_work_that_it_does():
    def work(item):
        """Changes the pool, and does some work."""
        threads.set_threads(1 + item % 3)
        return sum(threads.each(int, range(4)))

    assert threads.each(work, range(30)) == [6] * 30


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_reaches_the_caller_and_the_pool_goes_on(count):
    threads.set_threads(count)

    def work(item):
        """Fails at the third item."""
        if item == 2:
            raise KeyError("item 2")
        return item

    for _ in range(3):
        with pytest.raises(KeyError, match="item 2"):
            threads.each(work, range(100))
    assert threads.each(int, range(100)) == list(range(100))
    threads.check()  # nothing is left behind that would stop this thread


def test_what_the_progress_raises_stops_the_work():
    done = []

    def work(item):
        """Works in small steps."""
        for _ in range(20):
            time.sleep(0.001)
            threads.check()
        done.append(item)

    def stop(_share):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        threads.each(work, range(200), stop)
    threads.each(int, range(4))
    count = len(done)
    time.sleep(0.1)
    assert len(done) == count < 50


def test_parts_stop_with_the_work_that_they_belong_to():
    """`in_parts` looks whether it is still wanted before each part."""
    calls = []

    def window(item):
        """Fails, or computes many parts."""
        if item == 0:
            time.sleep(0.02)
            raise ValueError("no")
        in_parts(lambda x: (calls.append(1), time.sleep(0.01), (x,))[2], Reach(), (np.zeros((1, 3200, 1, 1), np.float32),))

    threads.set_threads(2)
    with pytest.raises(ValueError, match="no"):
        threads.each(window, range(2))
    time.sleep(0.05)
    count = len(calls)
    time.sleep(0.1)
    assert len(calls) == count < 100


def test_shares_of_parts_of_the_work():
    shown = []
    part = threads.between(threads.between(shown.append, 0.5, 1.0), 0.0, 0.5)
    for share in (0, 0.5, 1):
        part(share)
    assert shown == [0.5, 0.625, 0.75]


def squares(count: int) -> list[int]:
    return threads.each(lambda item: item**2, range(count))


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")


@fork
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("held", [False, True])
def test_a_forked_child_makes_its_own_threads(held):
    """Even where the lock of the pool was held by another thread at that moment."""
    threads.set_threads(2)
    assert squares(9) == [n**2 for n in range(9)]
    if held:
        threads._POOL.lock.acquire()
    try:
        child = os.fork()
        if not child:
            os._exit(0 if squares(9) == [n**2 for n in range(9)] and threads.count() == min(2, threads.num_processors()) else 1)
    finally:
        if held:
            threads._POOL.lock.release()
    assert ended(child) == 0
    assert squares(9) == [n**2 for n in range(9)]


def ended(child: int) -> int | None:
    """Returns the exit code of a child, or None if it hangs."""
    for _ in range(1000):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


@fork
@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_a_pool_of_forked_processes_works_after_use():
    assert squares(5) == [0, 1, 4, 9, 16]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(squares, [3, 4, 5, 6]).get(timeout=20) == [squares(count) for count in (3, 4, 5, 6)]


# Graphs

WEIGHTS = {
    "agreed/fc.weight": np.random.default_rng(0).integers(-99, 100, (20, 8)).astype(np.int16),
    "agreed/fc.bias": np.random.default_rng(1).integers(-999, 1000, 20).astype(np.int32),
    "agreed/fc.gain": np.linspace(0.001, 0.02, 20, dtype=np.float32),
    "float/out.weight": np.random.default_rng(2).standard_normal((12, 8)).astype(np.float16),
    "float/out.bias": np.linspace(-1, 1, 12, dtype=np.float32),
}


def tensor(name: str) -> torch.Tensor:
    return torch.from_numpy(WEIGHTS[name]).float()


def exact_step() -> TorchStep:
    weight, bias, gain = (tensor(f"agreed/fc.{part}") for part in ("weight", "bias", "gain"))
    function = lambda x: (requantize(dense(x, weight, bias), gain, -1023, 1023),)  # noqa: E731
    return TorchStep(function, (torch.zeros(1, 4, 6, 8),), Reach())


def float_step() -> TorchStep:
    weight, bias = tensor("float/out.weight"), tensor("float/out.bias")

    def function(x: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns what depends on a map of floats and on one of bytes."""
        return (F.gelu(F.linear(x, weight, bias), approximate="tanh") * index.float(),)

    return TorchStep(function, (torch.zeros(1, 4, 6, 8), torch.zeros(1, 4, 6, 12, dtype=torch.uint8)), Reach(), exact=False)


def linear_step() -> TorchStep:
    weight, bias = tensor("float/out.weight"), tensor("float/out.bias")
    function = lambda x: (F.linear(x.flatten(0, 2), weight, bias).reshape(*x.shape[:3], 12),)  # noqa: E731
    return TorchStep(function, (torch.zeros(1, 4, 6, 8),), Reach(), exact=False)


def halved_step() -> TorchStep:
    """Returns a step that takes sums over rows around each cell, then a product."""
    weight, bias = tensor("float/out.weight"), tensor("float/out.bias")

    def gather(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        padded = F.pad(x, (0, 0, 0, 0, 1, 1))
        return (padded[:, :-2] + 3 * padded[:, 2:],)

    def function(x: torch.Tensor, index: torch.Tensor, gathered: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (F.linear(gathered - x, weight, bias) * index.float(),)

    examples = torch.zeros(1, 4, 6, 8), torch.zeros(1, 4, 6, 12, dtype=torch.uint8)
    return TorchStep(function, examples, Reach(1), exact=False, gather=Half(gather))


@pytest.fixture(scope="module")
def pieces() -> dict[str, TorchStep]:
    return {"exact": exact_step(), "float": float_step(), "halved": halved_step()}


@pytest.fixture(scope="module")
def graph_file(pieces, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("graphs") / "some.graphs"
    graphs.write(path, pieces, WEIGHTS)
    return path


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (9, 2), (70, 3), (33, 260)])
def test_graphs_compute_what_torch_computes(graph_file, pieces, rows, columns):
    random = np.random.default_rng(rows)
    x = random.integers(-1023, 1024, (1, rows, columns, 8)).astype(np.float32)
    index = random.integers(0, 64, (1, rows, columns, 12), dtype=np.uint8)
    ways = OnnxSteps(graph_file, WEIGHTS), TorchSteps(pieces, torch.device("cpu"))
    (one,), (other,) = (way("exact", x) for way in ways)
    assert one.dtype == other.dtype == np.float32 and np.array_equal(one, other) and (one == one.round()).all()
    for name in ("float", "halved"):
        (one,), (other,) = (way(name, x / 1023, index) for way in ways)
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def test_a_file_of_graphs_holds_names_instead_of_weights(graph_file, pieces, tmp_path):
    with zipfile.ZipFile(graph_file) as file:
        index = json.loads(file.read(INDEX))
        texts = [file.read(f"{name}.onnx") for name in pieces]
    assert index["exact"] == {
        "radius": 0, "unit": 1, "exact": True, "weights": {f"agreed/fc.{part}": "float32" for part in ("weight", "bias", "gain")},
    }  # fmt: skip
    assert index["float"]["weights"] == {"float/out.weight": "float32", "float/out.bias": "float32"}
    assert not index["float"]["exact"] and "gather" not in index["float"] and index["halved"]["gather"] == {}
    for value in WEIGHTS.values():
        for dtype in ("float32", "float64", value.dtype):
            assert not any(value.astype(dtype).tobytes() in text for text in texts)
    assert not any(str(Path(__file__).parent).encode() in text for text in texts)  # nothing of this machine
    graphs.write(tmp_path / "again.graphs", pieces, WEIGHTS)
    assert (tmp_path / "again.graphs").read_bytes() == graph_file.read_bytes()


def test_products_by_wide_matrices_are_computed_on_int8_where_that_is_asked_for(tmp_path):
    """Of inputs that int8 holds exactly, what is found is exactly what the rounded matrix gives."""
    step = linear_step()
    graphs.write(tmp_path / "narrow.graphs", {"float": step}, WEIGHTS, on_int8=["float/out.weight"])
    with zipfile.ZipFile(tmp_path / "narrow.graphs") as file:
        kinds = json.loads(file.read(INDEX))["float"]["weights"]
    assert kinds == {"float/out.weight": "int8", "float/out.weight.scale": "float32", "float/out.bias": "float32"}
    x = np.random.default_rng(0).integers(-100, 101, (1, 9, 7, 8)).astype(np.float32)
    x[0, 0, 0, :2] = -128, 127
    (found,) = OnnxSteps(tmp_path / "narrow.graphs", WEIGHTS)("float", x)
    wide = widened(*narrowed(WEIGHTS["float/out.weight"].astype(np.float32)))
    np.testing.assert_allclose(found, x @ wide.T + WEIGHTS["float/out.bias"], rtol=1e-5, atol=1e-3)
    assert np.abs(found - step.function(torch.from_numpy(x))[0].numpy()).max() > 0.1
    with pytest.raises(ModelError, match=r"weights lack the tensor 'float/out\.weight'"):
        OnnxSteps(tmp_path / "narrow.graphs", {"float/out.bias": WEIGHTS["float/out.bias"]})
    with pytest.raises(ModelError, match="graph float does not fit the weights"):
        OnnxSteps(tmp_path / "narrow.graphs", WEIGHTS | {"float/out.weight": WEIGHTS["float/out.bias"]})("float", x)
    kept = {"float/out.weight": np.ones((8, 12), np.int8)}  # as a file would keep it that has lost the scale
    with pytest.raises(ModelError, match="graph float does not fit the weights"):
        OnnxSteps(tmp_path / "narrow.graphs", WEIGHTS | kept)("float", x)


def test_a_constant_without_a_name_is_refused(pieces):
    known = {name: value for name, value in WEIGHTS.items() if name != "agreed/fc.weight"}
    with pytest.raises(ValueError, match="has no name in the weights file"):
        graphs.write(Path("never.graphs"), {"exact": pieces["exact"]}, known)
    assert not Path("never.graphs").exists()


def test_weights_that_do_not_fit_are_refused(graph_file):
    with pytest.raises(ModelError, match=r"weights lack the tensor 'agreed/fc\.gain'"):
        OnnxSteps(graph_file, {name: value for name, value in WEIGHTS.items() if name != "agreed/fc.gain"})
    wrong = OnnxSteps(graph_file, WEIGHTS | {"agreed/fc.weight": WEIGHTS["agreed/fc.weight"][:, :7]})
    with pytest.raises(ModelError, match="graph exact does not fit the weights"):
        wrong("exact", np.zeros((1, 1, 1, 8), np.float32))


def test_damaged_files_of_graphs_are_refused(graph_file, tmp_path):
    """Each byte counts, but for what a zip file says twice."""
    data, path = graph_file.read_bytes(), tmp_path / "damaged.graphs"
    with pytest.raises(ModelError, match="cannot be read"):
        OnnxSteps(tmp_path / "nowhere.graphs", WEIGHTS)
    for wrong in (b"", b"no zip file", data[:-1], data[: len(data) // 2], data[5:-50]):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match="cannot be read"):
            OnnxSteps(path, WEIGHTS)
    whole, refused = OnnxSteps(graph_file, WEIGHTS), 0
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        try:
            assert OnnxSteps(path, WEIGHTS)._graphs == whole._graphs
        except ModelError:
            refused += 1
    assert refused > len(data) // 7 * 0.8


@pytest.mark.parametrize("index", ["[]", "{", '{"exact": {}}', '{"exact": 1}', '{"other": {"weights": {}}}', "null"])
def test_damaged_indices_are_refused(graph_file, tmp_path, index):
    with zipfile.ZipFile(graph_file) as file, zipfile.ZipFile(tmp_path / "x.graphs", "w") as changed:
        changed.writestr("exact.onnx", file.read("exact.onnx"))
        changed.writestr(INDEX, index)
    with pytest.raises(ModelError, match="cannot be read"):
        OnnxSteps(tmp_path / "x.graphs", WEIGHTS)


SHIPPED = [("photo", "photo-1"), ("preview", "photo-1"), ("lossless", "photo-1"), ("small", "small-1"), ("small", "mnist-1")]


def shipped_steps(family: str, name: str) -> tuple[OnnxSteps, dict[str, TorchStep]]:
    """Returns the steps of a shipped model by its graphs, and by its torch networks."""
    if family == "preview":
        path = preview.path_of(registry.PHOTO.path(name))
        config, weights = weights_file.read(registry.PHOTO.path(name))[0], weights_file.read_floats(path)
        return OnnxSteps(path.with_suffix(".graphs"), weights), preview.torch_steps(weights, config)
    path = {"photo": registry.PHOTO, "lossless": registry.LOSSLESS, "small": registry.SMALL}[family].path(name)
    if family == "photo":
        config, integers, floats, _ = weights_file.read(path)
        weights, own = photo.graph_weights(integers, floats), photo.torch_steps(config, integers, floats)
    else:
        about, weights, _ = weights_file.read_exact(path)
        own = lossless.torch_steps(weights) if family == "lossless" else small.torch_steps(config_from(about), weights)
    return OnnxSteps(path.with_suffix(".graphs"), weights), own


@pytest.mark.parametrize(("family", "name"), SHIPPED)
def test_shipped_graphs_belong_to_shipped_weights(family, name):
    """Every step, on inputs like those from which its graph was made: integers come out the same, what is on int8 nearly."""
    by_graphs, own = shipped_steps(family, name)
    by_torch, random = TorchSteps(own, torch.device("cpu")), np.random.default_rng(0)
    assert own.keys() == by_graphs._graphs.keys()
    for step_name, step in own.items():
        graph = by_graphs._graphs[step_name]
        assert (graph.reach, graph.exact) == (step.reach, step.exact), step_name
        limit = 1 if step_name == "check" or not step.exact else 200
        arrays = [random.integers(-limit, limit + 1, x.shape).astype(x.numpy().dtype) for x in step.examples]
        for one, other in zip(by_graphs(step_name, *arrays), by_torch(step_name, *arrays), strict=True):
            assert one.dtype == other.dtype and one.shape == other.shape, step_name
            if step.exact:
                assert np.array_equal(one, other), step_name
            elif other.dtype == np.float32 and "int8" in graph.weights.values():
                assert np.square(one - other).mean() < 0.1**2 * np.square(other).mean(), step_name
            else:
                near = 1 if other.dtype == np.uint8 else 1e-3 * np.abs(other).max()
                np.testing.assert_allclose(one, other.astype(float), rtol=0.01, atol=near, err_msg=step_name)


# Exactness


def right(x, weight, kernel, wide, precise):
    """What the step `check` computes, on any arrays."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    deep = sum(padded[:, i : i + 8, j : j + 8] * kernel[:, 0, i, j] for i in range(3) for j in range(3))
    return x @ weight.T, deep, wide.astype(np.float64) @ precise.astype(np.float64).T


def rounded(x: np.ndarray, bits: int) -> np.ndarray:
    """Returns float32 with so many bits of its fraction left."""
    step = np.uint32(1 << (23 - bits))
    return ((x.view(np.uint32) + step // 2) & ~(step - np.uint32(1))).view(np.float32)


def saturating(x, weight, *others):
    """Adds products in pairs that saturate at 16 bits, as some integer instructions do."""
    products = x[..., None, :] * weight
    pairs = (products[..., ::2] + products[..., 1::2]).clip(-(2**15), 2**15 - 1)
    return pairs.sum(-1), *right(x, weight, *others)[1:]


def in_steps(x, weight, *others):
    """Rounds each partial sum to the 11 bits of half precision."""
    total = np.zeros((*x.shape[:-1], len(weight)), np.float32)
    for channel in range(x.shape[-1]):
        total = rounded(total + x[..., channel, None] * weight[:, channel], 10)
    return total, *right(x, weight, *others)[1:]


def narrow(*arrays):
    """Computes the wide product in float32."""
    *first, _ = right(*arrays)
    return *first, (arrays[3] @ arrays[4].T).astype(np.float64)


WRONG = {
    "bfloat16": lambda *arrays: right(*(rounded(x, 7) for x in arrays)),
    "tf32": lambda *arrays: right(*(rounded(x, 10) for x in arrays)),
    "bfloat16 weights": lambda x, w, k, *wide: right(x, rounded(w, 7), k, *wide),
    "bfloat16 kernels": lambda x, w, k, *wide: right(x, w, rounded(k, 7), *wide),
    "results in bfloat16": lambda *arrays: tuple(rounded(y.astype(np.float32), 7).astype(y.dtype) for y in right(*arrays)),
    "saturation": saturating,
    "half precision sums": in_steps,
    "float32 for float64": narrow,
    "one cell": lambda *arrays: tuple(y + (np.arange(y.size).reshape(y.shape) == 777) for y in right(*arrays)),
}


def test_what_is_exact_passes():
    check(lambda name, *arrays: right(*arrays))
    check(TorchSteps({"check": check_step()}, torch.device("cpu")))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_exact_is_refused(name):
    with pytest.raises(ModelError, match="does not multiply integers exactly"):
        check(lambda _, *arrays: WRONG[name](*arrays))


def product(weight, bias=0, gain=1.0, dtype=np.float32):
    return {"a.up.weight": np.array([weight]), "a.up.bias": np.array([bias]), "a.up.gain": np.array([gain], dtype)}


def test_the_certificate_ends_exactly_at_the_limit():
    assert FLOAT32_EXACT - 1 == 16400 * 1023 + 15
    certify(product([8200, -8200], 15) | product([8200, -8200], -15), {"up": 1023})
    for weight, bias in (([8200, -8200], 16), ([8200, -8201], 0), ([-8201, -8200], 0), ([8200, -8200], -16)):
        with pytest.raises(ModelError, match=r"weights of a\.up break the exactness certificate"):
            certify(product(weight, bias), {"up": 1023})
    certify(product([2**30, -(2**30)], FLOAT64_EXACT // 2 - 1, dtype=np.float64), {"up": 2**21})
    with pytest.raises(ModelError, match="exactness certificate"):
        certify(product([2**30, -(2**30)], FLOAT64_EXACT // 2, dtype=np.float64), {"up": 2**21})


@pytest.mark.parametrize(
    "broken",
    [product([0.5]), product([1.0]), product([1], 0.25), product([1], gain=np.nan), product([1], gain=np.inf),
     product([2**62]), product([-(2**63)]), {"state.gain": np.float32([1, np.nan])}],
)  # fmt: skip
def test_what_is_not_whole_or_not_finite_is_refused(broken):
    with pytest.raises(ModelError, match="exactness certificate"):
        certify(broken, {"up": 1})


def test_wide_gains_do_not_widen_a_product():
    """What is computed in float32 stays within its range, whatever the type of its gains."""
    tensors = {"a.fc1.weight": np.array([[8200, -8201]]), "a.fc1.bias": np.array([0]), "a.fc1.gain": np.array([1.0])}
    with pytest.raises(ModelError, match=r"weights of a\.fc1 break"):
        certify(tensors, {"fc1": 1023})


def test_a_product_of_no_known_kind_is_an_error():
    with pytest.raises(KeyError):
        certify(product([1]), {"down": 1})


def test_vectors_are_certified():
    certify_vector({"start": np.array([STATE_LIMIT, -STATE_LIMIT], np.int32)}, "start")
    for wrong in (np.array([STATE_LIMIT + 1]), np.array([-STATE_LIMIT - 1]), np.array([-(2**63)]), np.float32([0.5, np.nan])):
        with pytest.raises(ModelError, match="start breaks the exactness certificate"):
            certify_vector({"start": wrong}, "start")


# Backends


@pytest.mark.parametrize(
    ("name", "device", "with_cuda", "wanted"),
    [
        (None, "cpu", False, (None, "cpu")),
        (None, "cpu", True, (None, "cpu")),
        (None, "auto", False, (None, "cpu")),
        (None, "auto", True, ("torch", "cuda")),
        (None, "cuda", True, ("torch", "cuda")),
        ("onnx", "cpu", True, ("onnx", "cpu")),
        ("onnx", "auto", True, ("onnx", "cpu")),
        ("torch", "cpu", True, ("torch", "cpu")),
        ("torch", "auto", False, ("torch", "cpu")),
        ("torch", "auto", True, ("torch", "cuda")),
        ("torch", "cuda", True, ("torch", "cuda")),
        (None, "cuda", False, "no CUDA device"),
        ("torch", "cuda", False, "no CUDA device"),
        ("onnx", "cuda", True, "runs on the processor only"),
        ("tensorflow", "cpu", True, "unknown backend 'tensorflow'"),
        (None, "gpu", True, "unknown device 'gpu'"),
    ],
)
def test_the_backend_is_chosen(monkeypatch, name, device, with_cuda, wanted):
    monkeypatch.setattr(backends, "_has_cuda", lambda: with_cuda)
    if isinstance(wanted, str):
        with pytest.raises(ModelError, match=wanted):
            Backend.chosen(name, device)
    else:
        assert Backend.chosen(name, device) == Backend(*wanted)


def test_without_torch_only_what_needs_it_is_refused(monkeypatch):
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    backends._has_cuda.cache_clear()
    try:
        for name in (None, "onnx"):
            assert {Backend.chosen(name, device) for device in ("cpu", "auto")} == {Backend(name, "cpu")}
        for name, device in (("torch", "cpu"), ("torch", "auto"), (None, "cuda"), ("torch", "cuda")):
            with pytest.raises(ModelError, match="this needs torch, which is not installed"):
                Backend.chosen(name, device)
        with pytest.raises(ModelError, match="this needs torch"):  # there are no graphs
            Backend(None, "cpu").steps(Path("nowhere.safetensors"), {}, dict)
    finally:
        backends._has_cuda.cache_clear()


def test_steps_are_run_by_what_is_asked_for_or_there(graph_file, pieces, monkeypatch):
    monkeypatch.setattr(backends, "_checked", {"onnx", "torch on cpu"})
    path = graph_file.with_suffix(".safetensors")
    found = [type(Backend(name, "cpu").steps(path, WEIGHTS, lambda: pieces)) for name in (None, "onnx", "torch")]
    assert found == [OnnxSteps, OnnxSteps, TorchSteps]
    elsewhere = path.with_stem("other")
    assert isinstance(Backend(None, "cpu").steps(elsewhere, WEIGHTS, lambda: pieces), TorchSteps)
    with pytest.raises(ModelError, match=r"other\.graphs cannot be read"):
        Backend("onnx", "cpu").steps(elsewhere, WEIGHTS, lambda: pieces)


def test_what_runs_steps_is_checked_once(monkeypatch):
    monkeypatch.setattr(backends, "_checked", set())
    calls = []

    def harmful() -> dict[str, TorchStep]:
        """Returns steps that are inexact."""
        calls.append(1)
        own = check_step()
        return {"check": TorchStep(lambda *x: own.function(x[0] + 1, *x[1:]), own.examples)}

    for _ in range(2):
        with pytest.raises(ModelError, match="does not multiply integers exactly"):
            Backend("torch", "cpu").steps(Path("x"), {}, harmful)
    Backend("torch", "cpu").steps(Path("x"), {}, lambda: {"check": check_step()})
    Backend("torch", "cpu").steps(Path("x"), {}, dict)  # not again
    assert len(calls) == 2
