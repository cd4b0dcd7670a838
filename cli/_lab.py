"""What the commands of `hcodec lab` share: options, where models lie, errors in one line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hcodec.cli._options import together
from hcodec.errors import HcodecError
from hcodec.models import lab
from hcodec.models.runtime import threads

if TYPE_CHECKING:
    from hcodec.models.lab.model_file import Trained

_FOLDER = "lab"
INSTALLED = ("mnist", "color")
WEIGHTS = Path(lab.__file__).parent / "weights"


def _find_folder(_context: click.Context, _option: click.Parameter, value: str) -> Path:
    """Returns the folder of trained models, or of those installed under a name; a folder `mnist` may hold digits alone."""
    return WEIGHTS / value if value in INSTALLED and not any(Path(value).glob("*.safetensors")) else Path(value)


def beside(models: Path) -> Path:
    """Returns where to write what is made of models: their folder, or a folder of its own if they are installed."""
    return Path(_FOLDER) / "installed" / models.name if models.parent == WEIGHTS else models


def _set_threads(_context: click.Context, _option: click.Parameter, count: int) -> None:
    """Has torch compute with so many threads, no more than there are processors; what it computes depends on their number."""
    try:
        import torch
    except ImportError as error:
        raise click.ClickException("the lab needs torch, which is not installed: pip install hcodec[torch]") from error
    torch.set_num_threads(min(count, threads.num_processors()))  # torch crashes when it cannot start as many as it is told


class Number(click.FloatRange):
    """A finite number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns it; fails if it is infinite or none."""
        number: float = super().convert(value, param, ctx)
        return number if math.isfinite(number) else self.fail(f"{value} is not a finite number.", param, ctx)


def check_name(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    """Returns the name of a run if files in a folder can be named so."""
    if name is not None and (not name or Path(name).name != name or "\0" in name):
        raise click.BadParameter(f"{name!r} is no name for files.")
    return name


MODELS = click.option("--models", default=_FOLDER, show_default=True, metavar="DIR", callback=_find_folder,
                      help="Where trained models lie; `mnist` and `color` are installed.")  # fmt: skip
DATA = click.option("--data", "sources", multiple=True, default=("glyphs",), show_default=True, metavar="DATA",
                    help="MNIST's folder; or shards and folders of pictures (repeatable), of which color crops of 32x32 are "
                         "made; or digits, glyphs, drawn.")  # fmt: skip
THREADS = click.option("-j", "--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                       callback=_set_threads, expose_value=False, help="Threads to compute with.")  # fmt: skip
BUDGET = together(
    DATA,
    click.option("--models", type=click.Path(path_type=Path), default=_FOLDER, show_default=True, metavar="DIR",
                 help="Where trained models go."),
    THREADS,
    click.option("--minutes", type=Number(min=0, min_open=True), default=8.0, show_default=True,
                 help="Budget; without a GPU, time of the processor for each thread."),
    click.option("--batch", type=click.IntRange(1, (1 << 31) - 1), default=32, show_default=True, help="Pictures a step."),
    click.option("--tiny", is_flag=True, help="The smallest network of the family."),
    click.option("-f", "--force", is_flag=True, help="Begin anew where something of the same name was trained."),
)  # fmt: skip


@contextmanager
def one_line() -> Iterator[None]:
    """Turns errors of the package and of files into one line and exit code 1."""
    try:
        yield
    except OSError as error:
        named = error.filename is not None and error.strerror is not None
        raise click.ClickException(f"{error.filename}: {error.strerror}" if named else str(error)) from error
    except (HcodecError, MemoryError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from error


def paths_of(folder: Path) -> list[Path]:
    """Returns the files of the models in a folder; click.ClickException if there are none."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise click.ClickException(f"no trained models in {folder}; `hcodec lab train` makes some, `--models mnist` is installed")
    return paths


def load_for(paths: Sequence[Path], channels: int, data: str | None) -> dict[str, Trained]:
    """Returns models by name; warns of those that were trained on other data, None being any.

    Raises PictureError if one wants pictures of other channels.
    """
    from hcodec.errors import PictureError
    from hcodec.models.lab import model_file

    found = {path.stem: model_file.load(path) for path in paths}
    for path, trained in zip(paths, found.values(), strict=True):
        if trained.config.channels != channels:
            raise PictureError(f"{path} was trained on pictures of {trained.config.channels} channels, the data has {channels}")
    others = {str(trained.facts.get("data")) for trained in found.values()} - {data}
    if data is not None and others:
        click.echo(f"Warning: models trained on {', '.join(sorted(others))} are shown pictures of {data} (--data)", err=True)
    return found


def chosen(models: Path, name: str) -> Trained:
    """Returns the model of a name in a folder; click.ClickException if it is not there."""
    from hcodec.models.lab import model_file

    names = [path.stem for path in paths_of(models)]
    if name not in names:
        raise click.ClickException(f"no model {name!r} in {models}; there are {', '.join(names)}")
    return model_file.load(models / f"{name}.safetensors")


def writer(models: Path, fields: dict[str, Any]) -> Trained:
    """Returns the model that wrote a file, from a folder or installed; click.ClickException if it is not there."""
    from hcodec.models.lab import model_file

    for path in (*models.glob("*.safetensors"), *WEIGHTS.glob("*/*.safetensors")):
        if model_file.digest(path) == fields.get("model"):
            return model_file.load(path)
    wanted = f"{fields.get('family')!r:.40} with the digest {fields.get('model')!r:.40}"
    raise click.ClickException(f"the model that wrote this file, {wanted}, is neither in {models} nor installed (--models DIR)")
