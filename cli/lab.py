"""`hcodec lab`: the model lab, where every family of hierarchical VAE is trained, measured and coded with bits back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hcodec.cli._files import refuse_existing, refuse_input, write_bytes
from hcodec.cli._lab import (
    BUDGET,
    DATA,
    MODELS,
    THREADS,
    Number,
    beside,
    check_name,
    chosen,
    load_for,
    one_line,
    paths_of,
    writer,
)
from hcodec.cli._options import FORCE, at_most_one

if TYPE_CHECKING:
    from hcodec.models.lab.train import Run


@click.group()
def command() -> None:
    """Train, measure and understand hierarchical VAEs.

    \b
      hcodec lab train vdvae --data mnist/ --minutes 8
      hcodec lab measure --data mnist/
      hcodec lab code vdvae *.png -o digits.hlab
      hcodec lab decode digits.hlab -o digits/
      hcodec lab study collapse --data mnist/
      hcodec lab report --data mnist/
    """


@command.command()
@click.argument("family")
@BUDGET
@click.option("--seed", type=click.IntRange(0, (1 << 32) - 1), default=0, show_default=True,
              help="Of weights, batches and noise.")  # fmt: skip
@click.option("--name", default=None, callback=check_name, help="Of the files written.  [default: the family]")
@click.option("--warmup", type=Number(0, 1), default=None, help="Share of the budget over which the KL's weight rises.")
@click.option("--free-bits", type=Number(min=0), default=None, help="Bits of each level that cost nothing.")
@click.option("--balance/--no-balance", default=None, help="While the KL's weight rises, weigh levels by what they hold.")
@click.option("--skip", type=Number(min=0), default=None,
              help="Skip gradients this many times as large as usual; 0: none.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on where an interrupted run of the same name left off.")
def train(family: str, seed: int, name: str | None, resume: bool, force: bool, **wanted: Any) -> None:
    """Train a family: vae, ladder, resnet, biva, nvae, vdvae, pixelvae, diffusion or small.

    Writes FAMILY.safetensors, FAMILY.csv and, ten times on the way, a checkpoint, FAMILY.pt. Options of training default to what
    the family's paper says, as far as that helps networks this small. A checkpoint goes on with the same data and options; with
    more --minutes, a finished run does, too.
    """
    at_most_one(resume=resume or None, force=force or None)
    say = _progress()
    with one_line():
        from hcodec.models.lab import train as training
        from hcodec.models.lab.data import open_set

        if not force:
            _refuse_trained(wanted["models"], name or family, resume)
        data = open_set(wanted["sources"], seed)
        run = _run(family, data.channels, wanted, seed, name or family)
        if force:
            (wanted["models"] / f"{run.name}.pt").unlink(missing_ok=True)
        path = training.train(run, data, wanted["models"], say, resume)
        last = training.read_log(path.with_suffix(".csv"))[-1]
    say("")
    click.echo(f"Wrote {path}: {last['step']:.0f} steps, at last {last['bpd']:.3f} bits/dim in training")


def _refuse_trained(folder: Path, name: str, resume: bool) -> None:
    """Raises click.ClickException if a model, or a checkpoint on the way to it, would be lost."""
    model, checkpoint = folder / f"{name}.safetensors", folder / f"{name}.pt"
    if resume and model.exists() and not checkpoint.exists():
        raise click.ClickException(f"{model} has no checkpoint to go on from (--force begins anew, --name begins another)")
    for path in (model, checkpoint):
        if path.exists() and not resume:
            raise click.ClickException(f"{path} exists already (--resume goes on, --force begins anew, --name begins another)")


def _run(family: str, channels: int, wanted: dict[str, Any], seed: int, name: str) -> Run:
    from dataclasses import replace

    from hcodec.models.lab import families
    from hcodec.models.lab.train import Run

    chosen = {key: wanted[key] for key in ("warmup", "free_bits", "balance", "skip") if wanted.get(key) is not None}
    options = replace(families.entry(family).options, **chosen)
    if wanted.get("balance") and not options.warmup:
        raise click.UsageError("--balance acts while the KL's weight rises: give a --warmup, too.")
    config = families.configure(family, channels, wanted["tiny"])
    return Run(name, family, config, options, wanted["minutes"], wanted["batch"], seed)


def _progress() -> Callable[[str], None]:
    """Returns what shows a line of progress over the one before, on a terminal only."""
    shown = sys.stderr.isatty()

    def say(line: str) -> None:
        """Shows a line of progress."""
        if shown:
            click.echo(f"\r\x1b[K{line}", nl=False, err=True)

    return say


@command.command()
@DATA
@click.option("--test", "tested", multiple=True, metavar="DATA",
              help="Measure on 32x32 tiles of these pictures (repeatable), downscaled by 2, 4 and 8, not on the data's own test "
                   "pictures.")  # fmt: skip
@MODELS
@THREADS
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Where results.json and results.md go.  [default: where the models lie, or lab/installed/NAME; "
                   "with --test, tested/ there]")  # fmt: skip
@click.option("--pictures", type=click.IntRange(min=2), default=1000, show_default=True, help="Test pictures for the bound.")
@click.option("--samples", type=click.IntRange(min=1), default=64, show_default=True, help="Of the importance-weighted bound.")
@click.option("--weighted", type=click.IntRange(min=1), default=100, show_default=True, help="Test pictures for that bound.")
@click.option("--coded", type=click.IntRange(min=1), default=100, show_default=True, help="Test pictures to code and decode.")
def measure(
    sources: tuple[str, ...], tested: tuple[str, ...], models: Path, output: Path | None,
    pictures: int, samples: int, weighted: int, coded: int,
) -> None:  # fmt: skip
    """Measure all trained models: bounds, levels, active units, bits back, speed; one table."""
    with one_line():
        from hcodec.models.lab import measure as measuring
        from hcodec.models.lab.data import open_set, test_tiles

        if tested:
            test, shown = test_tiles(tested), f"tiles of {', '.join(Path(source).name for source in tested)}"
        else:
            data = open_set(sources)
            test, shown = data.test, data.name
        trained = load_for(paths_of(models), test.shape[1], None if tested else shown)
        folder = output or (beside(models) / "tested" if tested else beside(models))
        effort, known = measuring.Effort(pictures, samples, weighted, coded).within(len(test)), measuring.read(folder)
        subjects = {name: measuring.subject(name, model, test, effort) for name, model in trained.items()}
        results = {name: one for name, subject in subjects.items() for one in known if subject.items() <= one.items()}
        for name, model in trained.items():
            if name not in results:
                click.echo(f"{name} ...", err=True)
                results[name] = measuring.measure(name, model, test, effort, shown)
            measuring.write(sorted(results.values(), key=lambda one: str(one["name"])), folder)
        click.echo(measuring.table([*results.values()]))


@command.command()
@click.argument("family")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", required=True, metavar="OUT", help="The file to write, x.hlab.")
@MODELS
@THREADS
@click.option("--count", type=click.IntRange(min=1), default=None, help="Take only so many pictures.")
@FORCE
def code(family: str, files: tuple[Path, ...], output: str, models: Path, count: int | None, force: bool) -> None:
    """Code pictures of one size on one stack, with bits back.

    FILES are pictures, folders of pictures, or MNIST's idx files. The file decodes only on this machine, with this model, this
    torch and as many threads: it is a demonstration, and no kind of the hcodec format.
    """
    with one_line():
        from hcodec.models.lab import hlab, pictures

        refuse_input(output, [str(path) for path in (*pictures.files(files), *paths_of(models))])
        refuse_existing(output, force=force)
        trained = chosen(models, family)
        pixels, names = pictures.read(files, trained.config.channels, count)
        with click.progressbar(length=len(pixels), file=sys.stderr) as bar:
            data, report = hlab.encode(pixels, names, trained, lambda: bar.update(1))
        write_bytes(output, data, force=force)
    click.echo(report.line())


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Where PNGs go.")
@MODELS
@THREADS
@FORCE
def decode(file: Path, output: Path, models: Path, force: bool) -> None:
    """Decode a file of `hcodec lab code` to PNGs, where it was written."""
    with one_line():
        from hcodec.models.lab import hlab, pictures

        data = file.read_bytes()
        header = hlab.read_header(data)
        targets = [str(output / name) for name in hlab.file_names(header)]
        for target in targets:
            refuse_input(target, [str(file)])
            refuse_existing(target, force=force)
        pixels = hlab.decode(data, writer(models, header.fields))
        for picture, target in zip(pixels, targets, strict=True):
            made = BytesIO()
            pictures.to_image(picture).save(made, "PNG")
            write_bytes(target, made.getvalue(), force=force)
    click.echo(f"Wrote {len(pixels)} pictures to {output}")


@command.command()
@click.argument("study")
@BUDGET
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How many runs of each kind.")
def study(study: str, seeds: int, force: bool, **wanted: Any) -> None:
    """Train one family in several ways, for the report: collapse, skips or posterior.

    \b
      collapse   a Ladder VAE plain, with warm-up, and with free bits: do upper levels stay alive?
      skips      BIVA with and without its skip connections
      posterior  an NVAE with residual and with absolute posteriors
    """
    say = _progress()
    with one_line():
        from hcodec.models.lab import studies
        from hcodec.models.lab import train as training
        from hcodec.models.lab.data import open_set

        data = open_set(wanted["sources"])
        folder = wanted["models"] / "studies"
        runs = studies.runs(study, data.channels, wanted["tiny"], wanted["minutes"], wanted["batch"], seeds)
        _clear(study, folder, force)
        for run in runs:
            training.train(run, data, folder, say)
    say("")
    click.echo(f"Wrote {len(runs)} runs to {folder}; `hcodec lab report` draws them")


def _clear(study: str, folder: Path, force: bool) -> None:
    """Removes earlier runs of a study, with which new ones would be mixed up; click.ClickException unless that is wanted."""
    earlier = [path for path in folder.glob(f"{study}.*") if path.suffix in (".safetensors", ".pt", ".csv")]
    if earlier and not force:
        raise click.ClickException(f"{folder} holds runs of the study {study} already (--force begins anew)")
    for path in earlier:
        path.unlink()


@command.command()
@DATA
@MODELS
@THREADS
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, metavar="DIR",
              help="Where index.html and its pictures go.  [default: report/ where the models lie, or in "
                   "lab/installed/NAME]")  # fmt: skip
@click.option("--pictures", type=click.IntRange(min=2), default=200, show_default=True, help="Test pictures for anomaly scores.")
def report(sources: tuple[str, ...], models: Path, output: Path | None, pictures: int) -> None:
    """Draw what the models learned: one HTML page with its pictures."""
    with one_line():
        try:
            from hcodec.models.lab import report as reporting
        except ImportError as error:
            raise click.ClickException(f"the report needs {error.name}: pip install hcodec[bench]") from error
        from hcodec.models.lab.data import open_set

        data = open_set(sources)
        paths = sorted(models.glob("*.safetensors")) if any((models / "studies").glob("*.csv")) else paths_of(models)
        trained = load_for(paths, data.channels, data.name)
        page = reporting.write(trained, models, data.test, output or beside(models) / "report", pictures)
    click.echo(f"Wrote {page}")
