"""`hcodec models`: the models that are installed, and their cards. No torch."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from hcodec.cli._options import JSON, MODEL_NAME
from hcodec.errors import HcodecError


@click.command()
@MODEL_NAME
@JSON
def command(name: str | None, as_json: bool) -> None:
    """List the models, or show the card of one.

    \b
      hcodec models
      hcodec models photo-1
    """
    try:
        click.echo(_listing(as_json) if name is None else _card(name, as_json))
    except HcodecError as error:
        raise click.ClickException(str(error)) from error


def _listing(as_json: bool) -> str:
    from hcodec import models

    summaries = [models.summary(name) for name in models.names()]
    if as_json:
        return "\n".join(json.dumps(asdict(summary)) for summary in summaries)
    rows = [
        f"{one.name:<12}  {one.fingerprint:<11}  {one.num_levels:>6}  {one.num_bytes / 1e6:>5.1f} MB  {one.description}"
        for one in summaries
    ]
    return "\n".join([f"{'model':<12}  {'fingerprint':<11}  {'levels':>6}  {'weights':>8}", *rows])


def _card(name: str, as_json: bool) -> str:
    from hcodec import models

    summary, card = models.summary(name), models.card(name).rstrip()
    return json.dumps({**asdict(summary), "card": card}) if as_json else card
