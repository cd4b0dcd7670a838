"""The agreed path: its certificate, and that nothing about the machine or its settings can change a result."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import exactness
import fewer_instructions
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_network, render
from numpy.core import _multiarray_umath

from hcodec import codec, models
from hcodec.errors import ModelError
from hcodec.models import registry, weights_file
from hcodec.models.descend import descend
from hcodec.models.integer import kernels
from hcodec.models.integer.certificate import STATE_LIMIT, certify
from hcodec.models.integer.kernels import exact_products
from hcodec.models.integer.products import requantize
from hcodec.models.photo.agreed import Agreed
from hcodec.models.photo.config import CONFIGS, STRIDES
from hcodec.models.photo.prefix import Prefix, posterior
from hcodec.models.photo.walk import MEAN_UNIT, analyze
from hcodec.models.runtime import backend, check
from hcodec.models.runtime.onnx_steps import OnnxSteps
from hcodec.models.runtime.torch_steps import TorchSteps, check_step

BACKENDS = torch.backends


@pytest.fixture(scope="module")
def tensors(tiny):
    """The integer tensors of the tiny model, as torch takes them."""
    return {name: torch.from_numpy(tensor) for name, tensor in weights_file.read(tiny)[1].items()}


@pytest.fixture(scope="module")
def reference():
    return exactness.agreed(models.load("tiny").walk)


# Settings of the machine


def settings_of_torch() -> list[dict[str, str]]:
    """Every instruction set that this processor offers to the libraries below torch; oneDNN's and MKL's are upper bounds."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return [{}]
    onednn = ("SSE41", "AVX", "AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "ALL")
    aten = {"AVX512": ("default", "avx2", "avx512"), "AVX2": ("default", "avx2")}
    offered = aten.get(BACKENDS.cpu.get_cpu_capability(), ("default",))
    return [
        {},
        *({"ONEDNN_MAX_CPU_ISA": value} for value in onednn),
        *({"ATEN_CPU_CAPABILITY": value} for value in offered),
        OLDEST,
        *({"MKL_ENABLE_INSTRUCTIONS": value} for value in ("SSE4_2", "AVX2", "AVX512")),
        {exactness.PARTS: "[7, 5]"},
    ]


OLDEST = {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}
SETTINGS_OF_ONNX = [{}, {exactness.PARTS: "[7, 5]"}, {exactness.UNPACKED: "1"}]


def settings_of_numpy() -> list[str]:
    """What numpy is told to do without: nothing; AVX-512; all that it chooses at run time."""
    offered = [name for name in _multiarray_umath.__cpu_dispatch__ if _multiarray_umath.__cpu_features__.get(name)]
    wide = [name for name in offered if name.startswith(("AVX512", "X86_V4"))]
    return list(dict.fromkeys(["", " ".join(wide), " ".join(offered)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The pictures that are coded under every setting."""
    folder = tmp_path_factory.mktemp("exact")
    sizes = {"levels": (exactness.HEIGHT, exactness.WIDTH), "windows": (1060, 24), "lossless": (24, 392)}
    for name, size in sizes.items():
        np.save(folder / f"{name}.npy", render(*size))
    return folder


def reports(folder, model, backend, settings, environment):
    """Returns what `exactness` says in a process of its own, which was started with more in its environment."""
    command = [sys.executable, exactness.__file__, str(folder), model, backend, json.dumps(settings)]
    # four threads on two cores must not wait for each other busily
    environment = {**os.environ, "OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "PASSIVE", **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return list(zip(settings, json.loads(done.stdout), strict=True))


def agree(found, folder, model):
    """Compares reports with each other and with what is computed here."""
    wanted, known = exactness.agreed(models.load(model).walk), {}
    for setting, report in found:
        assert report["agreed"] == 3 * [wanted], setting
        for name, files in report["files"].items():
            assert len(set(files)) == 1, (setting, name)  # whatever the number of threads
            known |= {hashlib.sha256(file).hexdigest(): exactness.decoded(file) for file in map(bytes.fromhex, set(files))}
    for setting, report in found:
        assert report["decoded"] == {name: known[name] for name in report["decoded"]}, setting
    assert len({name for _, report in found for name in report["decoded"]}) >= 3
    # floats do differ, so what is the same is not so by chance
    assert len({report["floats"] for _, report in found}) > 1 or platform.machine().lower() not in ("x86_64", "amd64")


FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")


@FORKS
def test_no_setting_of_torch_changes_a_bit(folder):
    found = reports(folder, "tiny", "torch", settings_of_torch(), {})
    for setting, report in found:
        wanted = setting.get("ATEN_CPU_CAPABILITY", BACKENDS.cpu.get_cpu_capability())
        assert report["cpu"].lower() == wanted.lower()  # so it really took effect
    agree(found, folder, "tiny")


# glibc's and OpenBLAS's, which numpy and ONNX Runtime may use
OLDEST_LIBRARIES = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-FMA,-ERMS",
    "OPENBLAS_CORETYPE": "Prescott",
}


@FORKS
@pytest.mark.skipif(not fewer_instructions.can_be_made(), reason="made for Linux on x86-64")
def test_no_instruction_set_of_onnx_runtime_changes_a_bit(folder, tmp_path):
    """With its kernels for AVX2 and for SSE, whatever this processor has."""
    own = reports(folder, "photo-1", "onnx", [{}], {})
    avx2 = reports(folder, "photo-1", "onnx", [{}], {"PYTHONPATH": str(fewer_instructions.make(tmp_path, "AVX2"))})
    path = {"PYTHONPATH": str(fewer_instructions.make(tmp_path, "SSE"))}
    sse = reports(
        folder, "photo-1", "onnx", [{}], {"NPY_DISABLE_CPU_FEATURES": settings_of_numpy()[-1], **OLDEST_LIBRARIES, **path}
    )
    agree(own + avx2 + sse, folder, "photo-1")
    assert own[0][1]["floats"] != sse[0][1]["floats"]  # so it really took effect


@FORKS
def test_no_setting_of_numpy_or_onnx_runtime_changes_a_bit_and_torch_gives_the_same(folder):
    found = []
    for without in settings_of_numpy():
        settings = SETTINGS_OF_ONNX[:1] if without else SETTINGS_OF_ONNX
        found += reports(folder, "photo-1", "onnx", settings, {"NPY_DISABLE_CPU_FEATURES": without})
        assert not set(found[-1][1]["numpy"]) & set(without.split())  # so it really took effect
    assert not any(report["torch"] for _, report in found)
    found += reports(folder, "photo-1", "torch", [OLDEST], {})
    agree(found, folder, "photo-1")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("model", ["tiny", "photo-1"])
def test_a_gpu_gives_the_same_bits(model):
    assert exactness.agreed(models.load(model, "cuda").walk) == exactness.agreed(models.load(model).walk)
    for size, seed in (((150, 190), 1), ((64, 64), 2), ((40, 1060), 3)):
        picture = render(*size, seed)
        for device in ("cpu", "cuda"):
            file = codec.encode(picture, model=model, device=device)
            assert exactness.decoded(file, "cuda") == exactness.decoded(file, "cpu")
        for device, other in (("cpu", "cuda"), ("cuda", "cpu")):
            file = codec.encode(picture, model=model, lossless=True, device=device)
            assert (codec.decode_picture(file, device=other, strict=True).pixels == picture).all()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("outermost", [False, True])
def test_batch_and_layout_change_nothing(tensors, batch, outermost):
    """Of the agreed path in torch, which training and search take with several pictures at once."""
    agreed, walk = Agreed(CONFIGS["tiny"], tensors), models.load("tiny").walk
    layout = (lambda x: x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)) if outermost else lambda x: x
    wanted, found = [], []

    def answer(latent, state, prior):
        wanted.append((state.copy(), prior.mean, prior.index))
        return exactness.drawn(prior.mean.shape, latent.index)

    def batch_answer(latent, state, prior):
        found.append((state, prior.mean, prior.index))
        drawn = torch.from_numpy(exactness.drawn((1, *prior.mean.shape[1:]), latent.index))
        return layout(torch.cat([drawn, torch.zeros_like(drawn)])[:batch])

    descend(walk, walk.begin(150, 190), answer)
    with exact_products():
        begin = agreed.begin(150, 190)
        descend(agreed, replace(begin, state=layout(begin.state.expand(batch, -1, -1, -1))), batch_answer)
    for ours, theirs in zip(wanted, found, strict=True):
        assert all((a == b[:1].numpy()).all() for a, b in zip(ours, theirs, strict=True))


def test_the_agreed_path_follows_the_float_network():
    """On symbols that really occur: others drive the integers into their limits."""
    walk, network, pixels = models.load("tiny").walk, make_network()[0], render(128, 128, 3)
    wanted, symbols, means = posterior(walk.steps, analyze(walk.config, walk.steps, pixels, STRIDES)), [], []

    def answer(latent, state, prior):
        symbols.append(np.rint(wanted(latent, state, prior)))
        means.append(prior.mean * MEAN_UNIT)
        return symbols[-1]

    def same_symbols(latent, state, prior):
        mean, expected = torch.from_numpy(means.pop(0)), prior[0]
        assert (mean - expected).abs().mean() < 0.01 * expected.abs().mean() + MEAN_UNIT
        return torch.from_numpy(symbols.pop(0))

    prefix = Prefix.empty(walk, 128, 128)
    for _ in range(3):
        prefix = prefix.extended(answer)
    assert prefix.position.index == len(means) == 4
    assert descend(network, network.begin(1, 128, 128), same_symbols).index == 4 and not means


# Settings of the user


def test_the_precision_that_the_user_chose_changes_nothing_and_stays(reference):
    for chosen in ("medium", "high", "highest"):
        torch.set_float32_matmul_precision(chosen)
        assert exactness.agreed(models.load("tiny").walk) == reference
        assert torch.get_float32_matmul_precision() == chosen


@pytest.mark.skipif(not hasattr(BACKENDS.mkldnn, "conv"), reason="torch before 2.9 has no such switches")
def test_the_newer_switches_for_precision_change_nothing_and_stay(reference):
    parts = ((BACKENDS.mkldnn.conv, "bf16"), (BACKENDS.mkldnn.matmul, "bf16"), (BACKENDS.cuda.matmul, "tf32"), (BACKENDS, "tf32"))
    for part, chosen in parts:
        before = part.fp32_precision
        try:
            part.fp32_precision = chosen  # from here on torch refuses to answer some of the older questions
            with exact_products():
                assert BACKENDS.mkldnn.conv.fp32_precision == BACKENDS.mkldnn.matmul.fp32_precision == "ieee"
                assert BACKENDS.cuda.matmul.fp32_precision == BACKENDS.cudnn.conv.fp32_precision == "ieee"
            assert exactness.agreed(models.load("tiny").walk) == reference
            assert part.fp32_precision == chosen
        finally:
            part.fp32_precision = before
            for other in (BACKENDS.mkldnn.conv, BACKENDS.mkldnn.matmul, BACKENDS.cuda.matmul):
                other.fp32_precision = "none"


def test_precision_is_put_back_after_an_error_and_by_the_last_of_many_threads():
    torch.set_float32_matmul_precision("medium")
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with exact_products():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    try:
        with pytest.raises(KeyError), exact_products():
            thread.start()
            inside.wait(10)
            raise KeyError
        assert torch.get_float32_matmul_precision() == "highest"  # the other thread still counts on it
        leave.set()
        thread.join()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_autocast_and_default_dtype_change_nothing(picture, name):
    data = codec.encode(picture, model="photo-1", backend=name)
    wanted, pixels = exactness.decoded(data, backend=name), np.asarray(codec.decode(data, levels=2, backend=name))
    with torch.autocast("cpu", torch.bfloat16):
        assert exactness.decoded(data, backend=name) == wanted
    torch.set_default_dtype(torch.float64)
    try:
        assert exactness.decoded(data, backend=name) == wanted
        assert (np.asarray(codec.decode(data, levels=2, backend=name)) == pixels).all()
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("flush", [False, True])
def test_denormals_that_are_flushed_change_nothing(reference, flush):
    try:
        torch.set_flush_denormal(flush)
        assert exactness.agreed(models.load("tiny").walk) == reference
    finally:
        torch.set_flush_denormal(False)


def test_loading_leaves_the_users_random_numbers_alone(tiny):
    before = torch.get_rng_state()
    registry.PHOTO.load(tiny, backend.ANY)
    assert (torch.get_rng_state() == before).all()


# The kernels, and the check of what runs them


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (5, 1), (9, 7)])
def test_depthwise_is_exact_at_the_limit(grid):
    x = check._pattern((2, *grid, 192), 1023, 7919)
    weight = check._pattern((192, 1, 3, 3), 2**24 // 9 // 1023 - 1, 104729)
    found = kernels.depthwise(torch.from_numpy(x).float(), torch.from_numpy(weight).float(), torch.zeros(192))
    assert (found.long().numpy() == check._depthwise(x, weight)).all()


def torch_steps():
    return TorchSteps({"check": check_step()}, torch.device("cpu"))


def onnx_steps():
    return models.load("photo-1", backend="onnx").walk.steps


def bf16(x):
    return x.bfloat16().to(x.dtype) if x.dtype == torch.float32 else x


def tf32(x):
    return (x.view(torch.int32) + 0x1000 & ~0x1FFF).view(torch.float32) if x.dtype == torch.float32 else x


@pytest.mark.parametrize("rounded", [bf16, tf32])
@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_torch_that_rounds_its_inputs_is_refused(monkeypatch, name, rounded):
    true = getattr(F, name)
    check.check(torch_steps())
    monkeypatch.setattr(F, name, lambda x, weight, *rest, **options: true(rounded(x), rounded(weight), *rest, **options))
    with pytest.raises(ModelError, match="does not multiply integers exactly"):
        check.check(torch_steps())


def test_torch_with_poor_doubles_is_refused(monkeypatch):
    true = F.linear
    monkeypatch.setattr(F, "linear", lambda x, weight, bias: true(x.float(), weight.float(), bias.float()).to(x.dtype))
    with pytest.raises(ModelError, match="does not multiply integers exactly"):
        check.check(torch_steps())


@pytest.mark.parametrize("position", range(5))
def test_a_runtime_that_rounds_its_inputs_is_refused(position):
    """Whatever it is: here, ONNX Runtime gets one of the five arrays with the digits of bfloat16 (of float32, if it is wide)."""
    true = onnx_steps()
    check.check(true)

    def rounding(name, *arrays):
        rounded = [bf16(torch.from_numpy(x)).numpy() if i == position else x for i, x in enumerate(arrays)]
        return true(name, *rounded)

    with pytest.raises(ModelError, match="does not multiply integers exactly"):
        check.check(rounding)


@pytest.mark.parametrize(("position", "limit"), [(0, 2**23), (1, 2**23), (2, 2**40)])
def test_a_runtime_that_saturates_is_refused(position, limit):
    true = onnx_steps()

    def saturating(name, *arrays):
        return [np.clip(x, -limit, limit) if i == position else x for i, x in enumerate(true(name, *arrays))]

    with pytest.raises(ModelError, match="does not multiply integers exactly"):
        check.check(saturating)


@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_no_model_is_loaded_by_what_is_not_exact(monkeypatch, name):
    def refuse(steps):
        raise ModelError("not exact")

    monkeypatch.setattr(backend, "_checked", set())
    monkeypatch.setattr(check, "check", refuse)
    for _ in range(2):
        with pytest.raises(ModelError, match="not exact"):
            registry.PHOTO.load(registry.PHOTO.path("photo-1"), backend.Backend(name, "cpu"))


def test_requantize_rounds_halves_to_even_and_clamps():
    sums = torch.tensor([1.0, 3, 5, -1, -3, 1000, -1000])
    assert requantize(sums, torch.tensor(0.5), -8, 8).tolist() == [0, 2, 2, 0, -2, 8, -8]


# The certificate


def product(weight, bias=0, gain=1.0, wide=False, kind=np.int64):
    gains = np.array([gain], np.float64 if wide else np.float32)
    return {"up.weight": np.array([weight], kind), "up.bias": np.array([bias], kind), "up.gain": gains}


def test_a_product_of_no_known_kind_is_refused():
    with pytest.raises(KeyError):
        certify(product([1]), {"q": 1})


def test_every_product_of_the_model_is_exact_at_its_worst_input(tensors):
    """The input that makes the largest sum, and the order of summation that reaches it first."""
    checked, agreed = 0, Agreed(CONFIGS["tiny"], tensors)
    for latent in agreed.latents:
        for block in (*latent.refine, latent.block):
            for part in filter(None, (block.fc1, block.fc2, block.head)):
                order = part.weight[0].argsort()
                for x in (1023 * part.weight.sign(), 1023 * -part.weight.sign()):
                    found = kernels.dense(x[:, order], part.weight[:, order], part.bias)
                    wanted = x.long() @ part.weight.long().T + part.bias.long()
                    assert (found.long() == wanted).all()
                    checked += 1
    assert [len(latent.refine) for latent in agreed.latents] == [2, 1, 1, 1]
    assert checked == 2 * (2 * 5 + 3 * 4)


def test_every_refining_block_counts(tensors):
    """None of them may be left out on the way from the weights file to a prior."""
    config = CONFIGS["tiny"]
    wanted = first_mean(Agreed(config, tensors))
    for j in range(config.refine_blocks[64]):
        name = f"latents.0.refine.{j}.fc2.gain"
        idle = Agreed(config, {**tensors, name: 0 * tensors[name]})
        assert not torch.equal(first_mean(idle), wanted), j


def first_mean(agreed):
    """Returns the prior mean of the first latent."""
    with exact_products():
        return agreed.latents[0].prior(agreed.begin(64, 64).state)[1].mean


def first_row_full(tensor):
    tensor[0] = 32767


def beyond(tensor):
    tensor[0] = STATE_LIMIT + 1


def not_a_number(tensor):
    tensor[-1] = float("nan")


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("latents.0.refine.0.fc1.weight", first_row_full),
        ("latents.0.refine.1.fc2.weight", first_row_full),
        ("latents.1.block.kernel.weight", first_row_full),
        ("latents.2.block.head.weight", first_row_full),
        ("latents.0.block.gain", not_a_number),
        ("latents.3.project.gain", not_a_number),
        ("up.16.gain", not_a_number),
        ("start", beyond),
    ],
)
def test_a_model_whose_weights_are_not_certified_does_not_load(tiny, tmp_path, name, harm):
    config, integers, floats, _ = weights_file.read(tiny)
    integers[name] = integers[name].copy()
    harm(integers[name])
    path = Path(tmp_path) / "broken.safetensors"
    weights_file.save(path, config, integers, floats, "")
    with pytest.raises(ModelError, match="exactness certificate") as error:
        registry.PHOTO.load(path, backend.ANY)
    assert "\n" not in str(error.value) and name.rsplit(".", 1)[0] in str(error.value)


def test_a_missing_tensor_is_named(tensors):
    config = CONFIGS["tiny"]
    for name in ("latents.1.project.weight", "latents.0.refine.1.kernel.weight"):
        with pytest.raises(ModelError, match=re.escape(name)):
            Agreed(config, {other: tensor for other, tensor in tensors.items() if other != name})
    moved = {"up.16.bias" if name == "up.16.weight" else name: tensor for name, tensor in tensors.items()}
    with pytest.raises(ModelError, match=r"up\.16\.weight"):
        Agreed(config, moved)
    with pytest.raises(ModelError, match=r"lack the tensor 'agreed/latents\."):
        OnnxSteps(registry.PHOTO.path("photo-1").with_suffix(".graphs"), {f"agreed/up.{s}.weight": 0 for s in (8, 16, 32)})
