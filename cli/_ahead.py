"""What is said before a picture is coded: the memory that it needs if that is much, and progress if it takes long."""

from __future__ import annotations

from hcodec.cli._batch import Console

_LARGE = 5_000_000  # pixels, above which coding takes long


def expect(console: Console, height: int, width: int, job: str, slow: bool) -> None:
    """Says what is to come. job: as `hcodec.needs.note` takes it; slow: it takes long whatever the size."""
    from hcodec import needs

    note = needs.note(height, width, job)
    if note:
        console.note(note)
    if slow or height * width > _LARGE:
        console.take_long()
