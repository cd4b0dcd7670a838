"""The agreed path: its certificate, and that nothing about the machine can change a result."""

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
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_network, render
from exactness import agreed_path, channels_first, channels_last, decoded, digest

from hcodec import codec, container, models
from hcodec.coders import levels
from hcodec.errors import ModelError
from hcodec.models import registry, weights_file
from hcodec.models.descend import descend
from hcodec.models.integer import kernels
from hcodec.models.integer.kernels import exact_products
from hcodec.models.integer.products import STATE_LIMIT, Product, requantize
from hcodec.models.photo.agreed import MEAN_UNIT, Agreed
from hcodec.models.photo.prefix import Prefix, posterior
from hcodec.pixels.picture import to_tensor

BACKENDS = torch.backends


@pytest.fixture(scope="module")
def agreed():
    return models.load("tiny").agreed


@pytest.fixture(scope="module")
def reference(agreed):
    return digest(agreed_path(agreed, 1, channels_last))


# Settings of the machine


def settings_of_this_machine() -> list[dict[str, str]]:
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
        {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
        *({"MKL_ENABLE_INSTRUCTIONS": value} for value in ("SSE4_2", "AVX2", "AVX512")),
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_no_instruction_set_thread_count_layout_or_batch_changes_a_bit(tmp_path, reference):
    torch.save(make_network()[0].state_dict(), tmp_path / "float.pt")
    np.save(tmp_path / "picture.npy", render(exactness.HEIGHT, exactness.WIDTH))
    wide = render(40, 392)
    np.save(tmp_path / "wide.npy", wide)
    pixels = hashlib.sha256(wide.tobytes()).hexdigest()[:16]
    settings = settings_of_this_machine()
    # four threads on two cores must not wait for each other busily
    environment = {**os.environ, "OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, exactness.__file__, str(tmp_path), json.dumps(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    reports = json.loads(done.stdout)
    for setting, report in zip(settings, reports, strict=True):
        assert report["cpu"].lower() == setting.get("ATEN_CPU_CAPABILITY", report["cpu"]).lower()  # so it really took effect
        assert set(report["agreed"]) == {reference}, setting
        assert set(report["pixels"]) == {pixels}, setting
        assert report["decoded"] == reports[0]["decoded"] and len(set(map(str, report["decoded"]))) == 1, setting
    # the same network in floats does not pass, so the test can tell
    assert len({mean for report in reports for mean in report["float"]}) > 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_bits():
    for size, seed in (((150, 190), 1), ((64, 64), 2)):
        picture = render(*size, seed)
        streams = [codec.encode(picture, model="tiny", device=device) for device in ("cpu", "cuda")]
        for stream in streams:
            assert digest(decoded(stream, "cuda")) == digest(decoded(stream, "cpu"))
        for device, other in (("cpu", "cuda"), ("cuda", "cpu")):
            file = codec.encode(picture, model="tiny", lossless=True, device=device)
            assert (codec.decode_picture(file, device=other, strict=True).pixels == picture).all()


@pytest.mark.parametrize("layout", [channels_last, channels_first])
@pytest.mark.parametrize("batch", [1, 2])
def test_layout_and_batch_change_nothing(agreed, reference, batch, layout):
    assert digest(agreed_path(agreed, batch, layout)) == reference


def test_the_agreed_path_follows_the_float_network():
    """On symbols that really occur: others drive the integers into their limits."""
    model, network = models.load("tiny"), make_network()[0]
    pixels = render(128, 128, 3)
    rounded, symbols, means = posterior(model.network, model.network.analyze(to_tensor(pixels))), [], []

    def answer(latent, state, prior):
        symbols.append(rounded(latent, state, prior).round())
        means.append(prior.mean * MEAN_UNIT)
        return symbols[-1]

    def same_symbols(latent, state, prior):
        mean, wanted = means.pop(0), prior[0]
        assert (mean - wanted).abs().mean() < 0.01 * wanted.abs().mean() + MEAN_UNIT
        return symbols.pop(0)

    prefix = Prefix.empty(model.network, model.agreed, 128, 128)
    for _ in range(3):
        prefix = prefix.extended(answer)
    assert prefix.position.index == len(means) == 4
    assert descend(network, network.begin(1, 128, 128), same_symbols).index == 4 and not means


# Settings of the user


def test_the_precision_that_the_user_chose_changes_nothing_and_stays(agreed, reference):
    for chosen in ("medium", "high", "highest"):
        torch.set_float32_matmul_precision(chosen)
        assert digest(agreed_path(agreed, 1, channels_last)) == reference
        assert torch.get_float32_matmul_precision() == chosen


@pytest.mark.skipif(not hasattr(BACKENDS.mkldnn, "conv"), reason="torch before 2.9 has no such switches")
def test_the_newer_switches_for_precision_change_nothing_and_stay(agreed, reference):
    parts = ((BACKENDS.mkldnn.conv, "bf16"), (BACKENDS.mkldnn.matmul, "bf16"), (BACKENDS.cuda.matmul, "tf32"), (BACKENDS, "tf32"))
    for part, chosen in parts:
        before = part.fp32_precision
        try:
            part.fp32_precision = chosen  # from here on torch refuses to answer some of the older questions
            with exact_products():
                assert BACKENDS.mkldnn.conv.fp32_precision == BACKENDS.mkldnn.matmul.fp32_precision == "ieee"
                assert BACKENDS.cuda.matmul.fp32_precision == BACKENDS.cudnn.conv.fp32_precision == "ieee"
            assert digest(agreed_path(agreed, 1, channels_last)) == reference
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


def test_autocast_default_dtype_and_gradients_change_nothing(picture):
    data = codec.encode(picture, model="tiny")
    wanted, pixels = digest(decode_all(data)), np.asarray(codec.decode(data, levels=2))
    with torch.autocast("cpu", torch.bfloat16):
        assert digest(decode_all(data)) == wanted
    torch.set_default_dtype(torch.float64)
    try:
        assert digest(decode_all(data)) == wanted
        assert (np.asarray(codec.decode(data, levels=2)) == pixels).all()
    finally:
        torch.set_default_dtype(torch.float32)


def decode_all(data):
    reader, model = container.Reader(), models.load("tiny")
    reader.feed(data)
    prefix = Prefix.empty(model.network, model.agreed, 96, 128)
    for layer in reader.pieces[0]:
        prefix = levels.decoded(levels.tables_of(model), prefix, layer, with_fit=False)
        yield prefix.position.state


def test_loading_leaves_the_users_random_numbers_alone(tiny):
    before = torch.get_rng_state()
    registry.PHOTO.load(tiny, "cpu")
    assert (torch.get_rng_state() == before).all()


# The kernels and the check of the device


@pytest.mark.parametrize("grid", [(1, 1), (1, 5), (5, 1), (9, 7)])
def test_depthwise_is_exact_at_the_limit(grid):
    x = kernels._pattern((2, *grid, 192), 1023, 7919)
    weight = kernels._pattern((192, 1, 3, 3), 2**24 // 9 // 1023 - 1, 104729)
    found = kernels.depthwise(x.float(), weight.float(), torch.zeros(192))
    assert (found.long() == kernels._reference(x, weight)).all()


def bf16(x):
    return x.bfloat16().to(x.dtype) if x.dtype == torch.float32 else x


def tf32(x):
    return (x.view(torch.int32) + 0x1000 & ~0x1FFF).view(torch.float32) if x.dtype == torch.float32 else x


@pytest.mark.parametrize("rounded", [bf16, tf32])
@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_a_device_that_rounds_its_inputs_is_refused(monkeypatch, name, rounded):
    true = getattr(F, name)
    kernels.check_device(torch.device("cpu"))
    monkeypatch.setattr(F, name, lambda x, weight, *rest, **options: true(rounded(x), rounded(weight), *rest, **options))
    with pytest.raises(ModelError, match=r"does not multiply integers exactly in torch\.float32"):
        kernels.check_device(torch.device("cpu"))


def test_a_device_with_poor_doubles_is_refused(monkeypatch):
    true = F.linear
    monkeypatch.setattr(F, "linear", lambda x, weight, bias: true(x.float(), weight.float(), bias.float()).to(x.dtype))
    with pytest.raises(ModelError, match="float64"):
        kernels.check_device(torch.device("cpu"))


def test_requantize_rounds_halves_to_even_and_clamps():
    sums = torch.tensor([1.0, 3, 5, -1, -3, 1000, -1000])
    assert requantize(sums, torch.tensor(0.5), -8, 8).tolist() == [0, 2, 2, 0, -2, 8, -8]


# The certificate


def product(weight, bias=0, gain=1.0, dtype=torch.float32):
    return Product(torch.tensor([weight], dtype=dtype), torch.tensor([bias], dtype=dtype), torch.tensor([gain], dtype=dtype))


def test_the_certificate_ends_exactly_at_the_limit():
    assert 16400 * 1023 + 15 == 2**24 - 1
    product([8200, -8200], 15).certify("p", 1023)
    product([8200, -8200], -15).certify("p", 1023)
    for weight, bias in (([8200, -8200], 16), ([8200, -8201], 0), ([-8201, -8200], 0), ([8200, -8200], -16)):
        broken = product(weight, bias)
        with pytest.raises(ModelError, match="weights of p break the exactness certificate"):
            broken.certify("p", 1023)
    product([2**30, -(2**30)], 2**52 - 1, dtype=torch.float64).certify("p", 2**21)
    with pytest.raises(ModelError):
        product([2**30, -(2**30)], 2**52, dtype=torch.float64).certify("p", 2**21)


@pytest.mark.parametrize(
    "broken",
    [
        product([0.5]),
        product([1.0], 0.25),
        product([float("nan")]),
        product([float("inf")]),
        product([1.0], float("nan")),
        product([1.0], gain=float("nan")),
        product([1.0], gain=float("inf")),
    ],
)
def test_what_is_not_whole_or_not_finite_is_refused(broken):
    with pytest.raises(ModelError, match="exactness certificate"):
        broken.certify("p", 1)


def test_every_product_of_the_model_is_exact_at_its_worst_input(agreed):
    """The input that makes the largest sum, and the order of summation that reaches it first."""
    checked = 0
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


def test_every_refining_block_counts(tiny, agreed):
    """None of them may be left out on the way from the weights file to a prior."""
    config, integers, _, _ = weights_file.read(tiny)
    wanted = first_mean(agreed)
    for j in range(config.refine_blocks[64]):
        name = f"latents.0.refine.{j}.fc2.gain"
        idle = Agreed(config, {**integers, name: 0 * integers[name]})
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
    integers[name] = integers[name].clone()
    harm(integers[name])
    path = Path(tmp_path) / "broken.safetensors"
    weights_file.save(path, config, integers, floats, "")
    with pytest.raises(ModelError, match="exactness certificate") as error:
        registry.PHOTO.load(path, "cpu")
    assert "\n" not in str(error.value) and name.rsplit(".", 1)[0] in str(error.value)


def test_a_missing_tensor_is_named(tiny):
    config, integers, _, _ = weights_file.read(tiny)
    for name in ("latents.1.project.weight", "latents.0.refine.1.kernel.weight"):
        with pytest.raises(ModelError, match=re.escape(name)):
            Agreed(config, {other: tensor for other, tensor in integers.items() if other != name})
    integers["up.8.weight"] = integers.pop("up.16.weight")
    with pytest.raises(ModelError, match=r"up\.16\.weight"):
        Agreed(replace(config), integers)
