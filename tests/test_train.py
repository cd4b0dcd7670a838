"""Training `photo` on a few rendered pictures: it learns, and what it exports is a codec. All families: test_trainer.py."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import render
from PIL import Image

import hcodec
from hcodec import models
from hcodec.models import weights_file
from hcodec.models.photo import export, train
from hcodec.models.photo.config import CONFIGS
from hcodec.models.photo.initialize import initialize
from hcodec.models.photo.model import graph_weights
from hcodec.models.photo.network import Network
from hcodec.models.photo.objective import SEARCH_EXPONENT, TRAINING_EXPONENT, exit_weights
from hcodec.models.photo.task import Objective, PhotoTask, parameter_groups, prefix_curve
from hcodec.models.runtime.onnx_steps import OnnxSteps
from hcodec.models.training import data, drawn, parts
from hcodec.models.training.loop import Recipe, Trainer
from hcodec.pixels import picture

pytestmark = pytest.mark.usefixtures("normal_denormals")


def make_trainer(seed=0, minutes=1.0, crop=64, objective=None):
    torch.manual_seed(seed)
    crops = data.Crops([render(100, 140, i) for i in range(4)], crop, seed)
    network = Network(CONFIGS["tiny"])
    initialize(network, data.to_float(crops.batch(8)))
    return Trainer(PhotoTask(network, crops, objective), Recipe(minutes=minutes, batch=4, warmup_steps=5))


def crops_of(trainer, count):
    """Returns random crops as the network takes them."""
    return data.to_float(trainer.task.crops.batch(count))


# Learning


def test_a_few_steps_lower_the_loss(clock):
    trainer = make_trainer()
    fixed = crops_of(trainer, 8)

    def loss():
        """The objective that is trained, on fixed pictures: mean over exits, weighted as in training."""
        points = zip(prefix_curve(trainer.network, fixed), CONFIGS["tiny"].lmbda, trainer.task.weight.tolist(), strict=True)
        return sum(weight * (bpp + lmbda * 255**2 / 10 ** (psnr / 10)) for (bpp, psnr), lmbda, weight in points)

    before = loss()
    for _ in range(40):
        values = trainer.advance()
    assert loss() < 0.98 * before
    assert values["step"] == 40 and values["skipped"] == 0 and values["seconds"] == 40
    assert set(values) >= {"loss", "norm", "psnr_full", "bpp_1", "bpp_2", "bpp_3"}


def test_the_initialization_codes_from_the_first_step():
    """More levels, more bits and more quality, before anything was learned."""
    trainer = make_trainer()
    curve = prefix_curve(trainer.network, crops_of(trainer, 8))
    assert [bpp for bpp, _ in curve] == sorted(bpp for bpp, _ in curve)
    assert [psnr for _, psnr in curve] == sorted(psnr for _, psnr in curve)
    assert curve[-1][1] > curve[0][1] + 3


def test_exits_are_spread_over_all_levels():
    trainer = make_trainer()
    counts = np.bincount([level for _ in range(50) for level in trainer.task.draw_exits(16)], minlength=4)
    assert counts[0] == 0 and counts.sum() == 800
    share = trainer.task.objective.last_exit
    assert counts[3] == pytest.approx(share * 800, abs=30) and counts[1] == pytest.approx(counts[2], abs=30)


def test_exits_fall_along_the_batch_and_the_network_insists_on_that():
    trainer = make_trainer()
    assert all(exits == sorted(exits, reverse=True) for exits in (trainer.task.draw_exits(7) for _ in range(20)))
    with pytest.raises(ValueError, match="exits must not rise"):
        trainer.network(crops_of(trainer, 2), [1, 2], hard=True)


def test_a_picture_codes_the_same_beside_others_that_exit_elsewhere():
    trainer = make_trainer()
    x = crops_of(trainer, 3)
    with torch.no_grad():
        together, bits = trainer.network(x, [3, 2, 1], hard=True)
        for i, exit_level in enumerate((3, 2, 1)):
            alone, alone_bits = trainer.network(x[i : i + 1], [exit_level], hard=True)
            torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-4)
            torch.testing.assert_close(alone_bits[0], bits[i], rtol=1e-4, atol=1e-2)


def test_every_weight_has_a_gradient_even_if_no_picture_keeps_all_levels():
    trainer = make_trainer()
    x_hat, bits = trainer.network(crops_of(trainer, 2), [1, 1], hard=False)
    (x_hat.sum() + bits.sum()).backward()
    assert not bits[:, 1:].any() and all(parameter.grad is not None for parameter in trainer.network.parameters())


def test_the_network_compiles_as_a_whole():
    """Nothing in it asks the device for a number, so a GPU never waits; the compiled network has the same gradients."""
    trainer = make_trainer()
    x, exits = crops_of(trainer, 4), trainer.task.draw_exits(4)
    gradients = []
    for network in (trainer.network, torch.compile(trainer.network, fullgraph=True, dynamic=False, backend="aot_eager")):
        x_hat, bits = network(x, exits, hard=True)
        (bits.sum() + 1e3 * x_hat.square().sum()).backward()
        gradients.append([parameter.grad for parameter in trainer.network.parameters()])
        trainer.network.zero_grad(set_to_none=True)
    for eager, compiled in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-4 * eager.abs().max().item())


def test_batches_of_fifteen_have_one_mix_of_exits():
    """For seven levels and a last exit of one fifth: then a compiled network is compiled once."""
    trainer = make_trainer()
    trainer.network.config = CONFIGS["photo"]
    mixes = [{tuple(trainer.task.draw_exits(count)) for _ in range(100)} for count in (30, 32)]
    assert len(mixes[0]) == 1 < len(mixes[1])


def test_exits_weigh_about_one_over_their_rate():
    weights = exit_weights((0.001, 0.01, 0.1), 3, TRAINING_EXPONENT)
    assert sum(weights) == pytest.approx(1) and weights[0] / weights[1] == pytest.approx(10**0.55)
    searched = exit_weights((0.001, 0.01, 0.1), 2, SEARCH_EXPONENT)
    assert sum(searched) == pytest.approx(1) and searched[0] / searched[1] == pytest.approx(10**0.4)


def test_a_level_whose_bits_cost_more_gets_fewer(clock):
    cheap, dear = make_trainer(), make_trainer(objective=Objective(bit_prices=(1.0, 20.0, 1.0)))
    fixed, spent = crops_of(cheap, 8), []
    for trainer in (cheap, dear):
        for _ in range(60):
            trainer.advance()
        curve = prefix_curve(trainer.network, fixed)
        spent.append(curve[1][0] - curve[0][0])
    assert spent[1] < 0.9 * spent[0]


def test_every_parameter_is_in_one_group_and_blocks_go_slower():
    network = make_trainer().network
    groups = parameter_groups(network)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(id(p) for p in network.parameters())
    share = {id(p): group["share"] for group in groups for p in group["params"]}
    latent, synthesis = network.latents[0], network.synthesis
    posterior = latent.posterior
    assert shares(share, latent.project, latent.head, posterior.select, network.analysis.stem, synthesis.fine_in) == {1.0}
    assert share[id(network.start)] == share[id(synthesis.embed)] == 1.0
    assert shares(share, network.analysis.overlap, synthesis.overlap) == {0.3}
    for block in (*latent.refine, latent.block, network.analysis.stem_blocks[0], synthesis.fine_blocks[0]):
        assert shares(share, block.fc1) == {0.3} == {share[id(block.kernel)]} and shares(share, block.fc2) == {0.2}
    correct = posterior.correct
    assert shares(share, correct.extra) == {0.6}
    for branch in (correct, network.analysis.blocks["8"][0], synthesis.blocks[0], synthesis.fine_blocks[1]):
        assert shares(share, branch.fc1, branch.value) == {0.6} == {share[id(branch.kernel)]} and shares(share, branch.fc2) == {
            0.5
        }


def shares(share, *modules):
    """Returns the shares of the learning rate that parameters of these modules have."""
    return {share[id(parameter)] for module in modules for parameter in module.parameters()}


# Starting


def test_starting_from_weights_takes_the_average_and_a_new_budget(clock, tmp_path):
    first = make_trainer()
    for _ in range(3):
        first.advance()
    first.save(tmp_path / "checkpoint.pt")
    write_shard(tmp_path / "shard.tar", [render(70, 70)])
    arguments = ("--config", "tiny", "--data", tmp_path / "shard.tar", "--crop", 64, "--batch", 2, "--device", "cpu")
    run(train.main, *arguments, "--start", tmp_path / "checkpoint.pt", "--out", tmp_path / "new", "--minutes", 0.002)
    second = torch.load(tmp_path / "new" / "checkpoint.pt", weights_only=True)
    assert second["progress"][0] < 3
    measured = (".balance", ".center", ".fc1.weight", ".fc1.bias")  # what starts are balanced with
    for name, value in first.average.state_dict().items():
        assert name.endswith(measured) or torch.allclose(second["network"][name], value, atol=0.02), name


def test_weights_come_back_in_parts_from_which_training_starts(tmp_path):
    write_shard(tmp_path / "shard.tar", [render(70, 70)])
    arguments = ("--config", "tiny", "--data", tmp_path / "shard.tar", "--crop", 64, "--batch", 2, "--minutes", 0.002)
    run(train.main, *arguments, "--out", tmp_path / "a", "--part-megabytes", 0.5, "--device", "cpu")
    weights, whole = parts.read(tmp_path / "a"), torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)["average"]
    assert len(list((tmp_path / "a").glob("part_*.pt"))) > 3
    assert all(torch.equal(weights[name], value) for name, value in whole.items()) and len(weights) == len(whole)
    run(train.main, *arguments, "--out", tmp_path / "b", "--start", tmp_path / "a", "--arriving", tmp_path)


def test_starting_from_a_weights_file(tiny, tmp_path):
    write_shard(tmp_path / "shard.tar", [render(70, 70)])
    arguments = ("--config", "tiny", "--data", tmp_path / "shard.tar", "--crop", 64, "--batch", 2, "--device", "cpu")
    shown = run(train.main, *arguments, "--start", tiny, "--out", tmp_path / "new", "--minutes", 0.002)
    assert " 0 skipped" in shown and (tmp_path / "new" / "checkpoint.pt").exists()


def test_gates_can_be_added_to_a_network_that_was_trained_without(clock, tmp_path):
    trainer = make_trainer()
    trainer.save(tmp_path / "plain.pt")
    state = torch.load(tmp_path / "plain.pt", weights_only=True)
    state["average"] = {name: value for name, value in state["average"].items() if ".value." not in name}
    torch.save(state, tmp_path / "plain.pt")
    write_shard(tmp_path / "shard.tar", [render(70, 70)])
    arguments = ("--config", "tiny", "--data", tmp_path / "shard.tar", "--crop", 64, "--batch", 2, "--device", "cpu")
    run(train.main, *arguments, "--start", tmp_path / "plain.pt", "--out", tmp_path / "new", "--minutes", 0.002)
    found = torch.load(tmp_path / "new" / "checkpoint.pt", weights_only=True)["network"]
    gates = [value for name, value in found.items() if name.endswith(".value.bias")]
    assert len(gates) == 8 and all(torch.allclose(gate, torch.ones(()), atol=0.02) for gate in gates)


def test_the_rate_warms_up_and_falls_with_the_budget(clock):
    trainer = make_trainer(minutes=1.0)
    rates = []
    for step, seconds in ((0, 0.0), (4, 0.0), (99, 30.0), (99, 60.0), (99, 90.0)):
        trainer.step, trainer.seconds = step, seconds
        rates.append(trainer.rate() / trainer.recipe.rate)
    assert rates == pytest.approx([0.2, 1.0, 0.505, 0.01, 0.01])


# Pictures


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_shard(path, pictures):
    with tarfile.open(path, "w") as shard:
        for number, content in enumerate([*map(png, pictures), None]):
            member = tarfile.TarInfo(f"{number}.png" if content else "notes.txt")
            member.size = len(content or b"text")
            shard.addfile(member, io.BytesIO(content or b"text"))


def test_pictures_come_from_shards_folders_and_files(tmp_path):
    pictures = [render(40, 50, i) for i in range(3)]
    write_shard(tmp_path / "shard.tar", pictures[:2])
    (tmp_path / "deep" / "er").mkdir(parents=True)
    Image.fromarray(pictures[2]).convert("L").save(tmp_path / "deep" / "er" / "gray.PNG")
    (tmp_path / "deep" / "readme.md").write_text("no picture")
    found = data.load([tmp_path / "shard.tar", str(tmp_path / "deep")])
    assert len(found) == 3 and all((a == b).all() for a, b in zip(found, pictures[:2], strict=False))
    assert found[2].shape == (40, 50, 3)
    assert len(data.load([tmp_path])) == 3 and len(data.load([tmp_path / "deep" / "er" / "gray.PNG"])) == 1


def test_crops_are_parts_of_the_pictures_and_drawn_by_area():
    with pytest.raises(ValueError, match="no training picture is at least 64"):
        data.Crops([render(63, 200)], 64, 0)
    flat = [np.full((64, 64, 3), 10, np.uint8), np.full((64, 256, 3), 20, np.uint8), np.full((60, 64, 3), 30, np.uint8)]
    crops = data.Crops(flat, 64, 0)
    batch = crops.batch(500)
    assert batch.shape == (500, 64, 64, 3) and batch.dtype == torch.uint8
    assert set(batch.unique().tolist()) == {10, 20} and (batch[:, 0, 0, 0] == 20).float().mean() == pytest.approx(0.8, abs=0.07)
    assert torch.equal(data.Crops(flat, 64, 3).batch(9), data.Crops(flat, 64, 3).batch(9))
    assert data.to_float(batch).max() == pytest.approx(20 / 255)


def test_crops_are_mirrored_and_turned_and_nothing_else():
    """Each pixel tells where it was: a crop is a window of one picture, read in one of four directions."""
    shapes = [(20, 9), (8, 30)]
    places = [np.stack([*np.mgrid[:h, :w], np.full((h, w), i)], -1).astype(np.uint8) for i, (h, w) in enumerate(shapes)]
    directions = []
    for crop in data.Crops(places, 8, 0).batch(200).numpy().astype(int):
        down, across = crop[1, 0] - crop[0, 0], crop[0, 1] - crop[0, 0]
        low = crop.min((0, 1))
        window = places[low[2]][low[0] : low[0] + 8, low[1] : low[1] + 8]
        turned = bool(down[1])
        window = window[:, ::-1] if -1 in (*down, *across) else window
        assert (crop == (window.swapaxes(0, 1) if turned else window)).all()
        directions.append((*down, *across))
    assert sorted(set(directions)) == [(0, -1, 0, 1, 0, 0), (0, 1, 0, 1, 0, 0), (1, 0, 0, 0, -1, 0), (1, 0, 0, 0, 1, 0)]


def test_pictures_can_be_added_to_crops_and_others_keep_their_turn():
    flat = [np.full((64, 64, 3), value, np.uint8) for value in (10, 20, 30)]
    crops = data.Crops(flat[:1], 64, 0, flat[1:2])
    crops.add([flat[2], np.zeros((60, 60, 3), np.uint8)])
    batch = crops.batch(300)
    assert set(batch.unique().tolist()) == {10, 20, 30} and crops.fine.tolist() == [True, False, True]
    assert not (batch[:100, 0, 0, 0] == 20).any()  # the first third keeps most levels
    assert torch.equal(data.Crops(flat, 64, 0).batch(9), data.Crops(flat, 64, 0).batch(9))


def test_shards_that_arrive_during_a_run_are_taken_in(tmp_path):
    (tmp_path / "half.tar").write_bytes(b"not yet a tar")
    arrivals, crops = data.Arrivals(tmp_path, every=0.01), data.Crops([render(64, 64)], 64, 0)
    task = PhotoTask(Network(CONFIGS["tiny"]), crops, arrivals=arrivals)
    assert task.batch(1)[0].shape == (1, 3, 64, 64) and len(crops.shapes) == 1
    write_shard(tmp_path / "new.part", [render(70, 80), render(90, 64)])
    (tmp_path / "new.part").rename(tmp_path / "new.tar")
    for _ in range(500):
        task.batch(1)
        if len(crops.shapes) > 1:
            break
        time.sleep(0.01)
    assert crops.shapes.tolist() == [[64, 64], [70, 80], [90, 64]] and arrivals.known == {tmp_path / "new.tar"}


def test_coarse_pictures_do_not_get_what_keeps_most_levels():
    fine, coarse = [np.full((64, 64, 3), 10, np.uint8)], [np.full((64, 64, 3), 20, np.uint8)] * 2
    batches = [data.Crops(fine, 64, seed, coarse).batch(9)[:, 0, 0, 0] for seed in range(200)]
    counts = torch.stack([batch == 10 for batch in batches]).float()
    assert counts.mean().item() == pytest.approx(1 / 3, abs=0.03)  # drawn by area all the same
    assert counts[:, 0].mean() > 0.95 and counts[:, 3:].mean() < 0.12
    assert counts[:, 3].mean().item() == pytest.approx(counts[:, 8].mean().item(), abs=0.1)  # the others in any order
    with pytest.raises(ValueError, match="no training picture"):
        data.Crops([], 64, 0, [np.zeros((60, 60, 3), np.uint8)])


def test_drawn_pictures_are_mostly_flat_and_all_different():
    pictures = drawn.pictures(20, 7)
    assert all(p.shape == (256, 256, 3) and p.dtype == np.uint8 for p in pictures)
    assert all((a == b).all() for a, b in zip(pictures, drawn.pictures(20, 7), strict=True))
    assert (
        len({p.tobytes() for p in pictures}) == 20 == len({p.tobytes() for p in drawn.pictures(20, 8)} - {pictures[0].tobytes()})
    )
    still = [(np.diff(p.astype(int), axis=1) == 0).mean() for p in pictures]
    assert np.median(still) > 0.6 and min(still) < 0.6  # gradients move everywhere
    assert any((np.ptp(p, axis=(0, 1)) == 0).all() for p in drawn.pictures(40, 7)[::5])  # one color and nothing else


# From pictures to a codec


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def only(monkeypatch, export, *names):
    """Has an export script make graphs of these steps alone: each takes a second."""
    every = export.torch_steps
    monkeypatch.setattr(export, "torch_steps", lambda *model: {name: every(*model)[name] for name in names})


def test_train_export_encode_decode(tmp_path, monkeypatch):
    write_shard(tmp_path / "shard.tar", [render(260, 300, i) for i in range(3)])
    valid = tmp_path / "valid"
    valid.mkdir()
    Image.fromarray(render(70, 130, 9)).save(valid / "a.png")
    out = tmp_path / "run"
    common = ("--config", "tiny", "--data", tmp_path / "shard.tar", "--out", out, "--crop", 64, "--batch", 4, "--device", "cpu")
    shown = run(train.main, *common, "--minutes", 0.02, "--valid", valid, "--drawn", 2)
    assert "5 pictures of at least 64 pixels; training on cpu" in shown and "validation at step" in shown
    steps = int(shown.rpartition(" steps in ")[0].rsplit(maxsplit=1)[-1])
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["progress"][0] == steps > 0 and state["progress"][1] >= 1.2

    shown = run(train.main, *common, "--minutes", state["progress"][1] / 60 + 0.01)  # a longer budget: the run goes on
    assert int(shown.rpartition(" steps in ")[0].rsplit(maxsplit=1)[-1]) > steps
    rows = list(csv.DictReader((out / "log.csv").open())) if (out / "log.csv").exists() else []
    assert all(float(row["loss"]) > 0 for row in rows) and len((out / "curve.csv").read_text().splitlines()) == 1

    folder = tmp_path / "models"
    folder.mkdir()
    arguments = ("--data", tmp_path / "shard.tar", "--out", folder / "mine.safetensors", "--description", "mine")
    arguments += ("--calibrate", 8, "--count", 3)
    only(monkeypatch, export, "check", "advance.0")
    shown = run(export.main, out / "checkpoint.pt", *arguments)
    assert "all products are certified exact" in shown
    report = json.loads(shown.splitlines()[-1])
    monkeypatch.setenv("HCODEC_MODELS", str(folder))
    assert models.summary("mine").fingerprint == report["fingerprint"] and models.summary("mine").description == "mine"

    pixels = render(100, 120, 4)
    stream = hcodec.encode(pixels, model="mine", backend="torch")
    quality = [picture.psnr(np.asarray(hcodec.decode(stream, levels=level, backend="torch")), pixels) for level in (1, 2, 3)]
    assert quality == sorted(quality) and quality[-1] > 20

    model = models.load("mine", backend="torch")
    _, integers, floats, _ = weights_file.read(model.path)
    runs = model.walk.steps, OnnxSteps(folder / "mine.graphs", graph_weights(integers, floats))
    state = np.random.default_rng(0).integers(-(2**20), 2**20, (1, 3, 5, 192)).astype(np.float32)
    symbols = state[..., :16] % 9
    one, other = (own("advance.0", state, 100 * symbols, symbols)[0] for own in runs)
    assert (one == other).all() and (one != state).any()


def test_training_options_that_cannot_be_met_are_refused_in_one_line(tmp_path):
    write_shard(tmp_path / "shard.tar", [render(70, 70)])
    common = ["--data", str(tmp_path / "shard.tar"), "--out", str(tmp_path / "out"), "--minutes", "1", "--device", "cpu"]
    for extra, message in (
        (["--config", "nobody"], "'nobody' is not one of"),
        (["--config", "tiny", "--crop", "128"], "no training picture is at least 128 pixels"),
        (["--config", "tiny", "--crop", "64", "--data", str(tmp_path / "nowhere")], "nowhere"),
        (["--config", "tiny", "--crop", "48"], "64"),
        (["--config", "tiny", "--crop", "64", "--bit-price", "1"], "--bit-price must be given 3 times"),
        (["--config", "tiny", "--start", str(tmp_path / "none.pt")], "none.pt"),
    ):
        result = CliRunner().invoke(train.main, [*common, *extra])
        assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), (extra, result.exception)
        assert message in result.output.replace("\n", " ")
    assert not (tmp_path / "out").exists()
