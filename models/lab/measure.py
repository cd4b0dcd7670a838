"""What a trained network is worth: bounds, KL of each level, active units, speed; and the table over all families.

Room: measurement. All figures are bits per dimension (sub-pixel) over test pictures, unless said otherwise;
seconds are those of the processor, for each thread.
"""

from __future__ import annotations

import json
import math
import statistics
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hcodec.errors import FormatError
from hcodec.models.lab import hlab
from hcodec.models.lab.data import Pixels
from hcodec.models.lab.families import FAMILIES
from hcodec.models.lab.model_file import Trained
from hcodec.models.lab.protocol import PIXELS, Family, Given, bound, importance_bound
from hcodec.models.lab.train import processor_seconds

ACTIVE = 0.01  # variance over pictures of what they change in a latent's mean, in prior deviations
_BATCH = 50
_SAMPLED = 16
_PUBLISHED = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class Effort:
    """How much to measure. pictures: of the test set, for the bound. samples: of the importance-weighted bound, over the first
    `weighted` pictures. coded: how many pictures are coded with bits back and decoded again.
    """

    pictures: int
    samples: int
    weighted: int
    coded: int

    def within(self, count: int) -> Effort:
        """Returns what can be done of it with so many pictures."""
        pictures = min(self.pictures, count)
        return Effort(pictures, self.samples, min(self.weighted, pictures), min(self.coded, pictures))


def measure(name: str, trained: Trained, test: Pixels, effort: Effort, data: str) -> dict[str, Any]:
    """Returns all figures of a network as plain numbers; test: uint8 (N, C, H, W), pictures of the set `data`."""
    test, weighted = test[: effort.pictures], effort.weighted
    network, dimensions = trained.network, test[0].size
    pixels, levels, each = bounds(network, test)
    weights = [importance_bound(network, x, effort.samples) for x in batches(test[:weighted], _BATCH)]
    return {
        **subject(name, trained, test, effort),
        "data": data,
        "elbo_bpd": _bpd(float(each.mean()), dimensions),
        "elbo_error_bpd": _bpd(float(each.std()) / math.sqrt(len(each)), dimensions),
        "importance_bpd": _bpd(float(torch.cat(weights).mean()), dimensions),
        "elbo_of_same_bpd": _bpd(float(each[:weighted].mean()), dimensions),
        "pixels_bpd": _bpd(pixels, dimensions),
        "kl_bits": {name: round(nats / math.log(2), 3) for name, nats in levels.items()},
        "active_units": active_units(network, test[: 4 * _BATCH]),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "training": trained.facts,
        "pictures_sampled_per_s": _sampling_speed(network, test),
        **_coding(trained, test[: effort.coded]),
    }


def batches(pictures: Pixels, count: int) -> Iterator[Tensor]:
    """Yields pictures float32 (count or fewer, C, H, W)."""
    for start in range(0, len(pictures), count):
        yield torch.from_numpy(pictures[start : start + count].copy()).float()


@torch.no_grad()
def bounds(network: Family, test: Pixels) -> tuple[float, dict[str, float], Tensor]:
    """Returns mean nats of the pixels, mean KL of each level, and the bound of each picture in nats (N,)."""
    found = [bound(network, x) for x in batches(test, _BATCH)]
    levels = {name: float(torch.cat([terms.kl[name] for terms in found]).mean()) for name in found[0].kl}
    return float(torch.cat([terms.pixels for terms in found]).mean()), levels, torch.cat([terms.total() for terms in found])


@torch.no_grad()
def active_units(network: Family, test: Pixels) -> dict[str, list[int]]:
    """Returns for each level how many of its units are active, and how many it has.

    After Burda et al. 2015, arXiv 1509.00519, section 5.2, with the prior's mean taken off, as it depends on upper levels here.
    """
    changes: dict[str, list[Tensor]] = {}
    for x in batches(test, _BATCH):
        posterior = Given()
        network.infer(x, posterior)
        prior = Given({**posterior.values, PIXELS: x})
        network.generate(x.shape, prior)
        q, p = posterior.distributions(), prior.distributions()
        for name in p:
            changes.setdefault(name, []).append((q[name].center - p[name].center) / p[name].spread)
    variances = {name: torch.cat(parts).var(0) for name, parts in changes.items()}
    return {name: [int((variance > ACTIVE).sum()), variance.numel()] for name, variance in variances.items()}


@torch.no_grad()
def _sampling_speed(network: Family, test: Pixels) -> float:
    start = processor_seconds()
    network.generate(torch.Size([_SAMPLED, *test.shape[1:]]), Given())
    return round(_SAMPLED / (processor_seconds() - start), 2)


def _coding(trained: Trained, pictures: Pixels) -> dict[str, Any]:
    """Returns the rates and speeds of bits back; FormatError if a single byte differs."""
    start = processor_seconds()
    data, report = hlab.encode(pictures, [""] * len(pictures), trained)
    middle = processor_seconds()
    decoded = hlab.decode(data, trained)
    end = processor_seconds()
    if not np.array_equal(decoded, pictures):
        raise FormatError("bits back gave other pictures back")
    return {
        "coded": len(pictures),
        "net_bpd": round(report.net_bits / report.num_values, 5),
        "coded_bound_bpd": round(report.bound_bits / report.num_values, 5),
        "initial_bits": report.initial_bits,
        "file_bpd": round(report.file_bits / report.num_values, 5),
        "pictures_encoded_per_s": round(len(pictures) / (middle - start), 2),
        "pictures_decoded_per_s": round(len(pictures) / (end - middle), 2),
    }


def read(folder: Path) -> list[dict[str, Any]]:
    """Returns the results that `write` left in a folder, if any."""
    try:
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [one for one in results if isinstance(one, dict)] if isinstance(results, list) else []


def subject(name: str, trained: Trained, test: Pixels, effort: Effort) -> dict[str, Any]:
    """Returns what a result is about: results of one subject are one result."""
    crc = zlib.crc32(test[: effort.pictures].tobytes())
    return {"name": name, "family": trained.family, "model": trained.digest, "test": crc, "effort": asdict(effort)}


def write(results: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Writes `results.json` and `results.md` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(table(results) + "\n", encoding="utf-8")


def _bpd(nats: float, dimensions: int) -> float:
    return round(nats / dimensions / math.log(2), 5)


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Returns the results as a Markdown table, one row for all seeds of a model, then the published figures."""
    head = ["model", "ELBO", "seeds", "IW - ELBO", "of which KL", "bits back, net", "initial bits", "active units", "parameters",
            "training s", "steps", "samples/s", "coded/s", "decoded/s"]  # fmt: skip
    runs = [list(same) for _, same in groupby(sorted(results, key=_model), _model)]
    runs.sort(key=lambda same: _mean(same, "elbo_bpd"))
    rows = [_row(same) for same in runs]
    lines = [" | ".join(head), " | ".join(["---"] * len(head)), *(" | ".join(row) for row in rows)]
    data, effort = ", ".join(sorted({result["data"] for result in results})), results[0]["effort"]
    title = (
        f"Bits per dimension on {data}, {effort['pictures']} test pictures; after ±: deviation over seeds, of a single seed the"
        f" error over pictures. IW: importance-weighted bound, k = {effort['samples']}, over the first {effort['weighted']}"
        f" pictures. Bits back: over the first {effort['coded']}, in brackets against their bound.\n"
    )
    return "\n".join([title, *(f"| {line} |" for line in lines), "", *_levels(runs), "", published()])


def _levels(runs: Sequence[Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """Yields the lines of the table of levels: means over the runs of each model."""
    yield "KL of each level in bits a picture, coarse to fine, as the model generates them:\n"
    yield "| model | levels |\n| --- | --- |"
    for same in runs:
        means = {level: statistics.fmean(run["kl_bits"][level] for run in same) for level in same[0]["kl_bits"]}
        yield f"| {_title(same[0])} | {', '.join(f'{level} {bits:.1f}' for level, bits in means.items())} |"


def _model(result: Mapping[str, Any]) -> str:
    """Returns the name of a model without the number of its seed: NAME or NAME.SEED."""
    name, _, seed = result["name"].rpartition(".")
    return name if name and seed.isdecimal() else result["name"]


def _mean(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    return statistics.fmean(run[key] for run in runs)


def _row(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the cells of a model's row: means over its runs; units and initial bits are those of the first."""
    first = runs[0]
    active, units = (sum(pair[i] for pair in first["active_units"].values()) for i in range(2))
    elbo, net, bound = (_mean(runs, key) for key in ("elbo_bpd", "net_bpd", "coded_bound_bpd"))
    error = statistics.stdev(run["elbo_bpd"] for run in runs) if len(runs) > 1 else first["elbo_error_bpd"]
    return [
        _title(first),
        f"{elbo:.3f} ± {error:.3f}",
        str(len(runs)),
        f"{_mean(runs, 'importance_bpd') - _mean(runs, 'elbo_of_same_bpd'):+.3f}",
        f"{elbo - _mean(runs, 'pixels_bpd'):.3f}",
        f"{net:.3f} ({100 * (net / bound - 1):+.2f} %)",
        f"{first['initial_bits']:,}",
        f"{active:,} of {units:,}",
        f"{first['parameters']:,}",
        *(f"{statistics.fmean(run['training'][what] for run in runs):.0f}" for what in ("seconds", "steps")),
        *(f"{_mean(runs, f'pictures_{what}_per_s'):.1f}" for what in ("sampled", "encoded", "decoded")),
    ]


def _title(result: Mapping[str, Any]) -> str:
    name = _model(result)
    return FAMILIES[name].title if name in FAMILIES else name


def published() -> str:
    """Returns the published figures as a Markdown table, with their source."""
    known = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    lines = ["| model | CIFAR-10 | ImageNet 32x32 | source |", "| --- | --- | --- | --- |"]
    lines += [f"| {one['model']} | {one['cifar10']} | {one['imagenet32']} | {one['source']} |" for one in known["figures"]]
    return "\n".join([known["remark"], "", *lines])
