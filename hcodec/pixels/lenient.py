"""Reading what can be read of damaged image files, which Pillow knows as a setting of the whole process.

Room: pixels (encode step 2), below `picture`. Imports Pillow only.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import ImageFile

_LOCK = threading.Lock()  # two threads must not restore each other's setting


@contextmanager
def lenient() -> Iterator[None]:
    """Within it, Pillow fills in what is missing of a file instead of refusing it; in other threads meanwhile, too."""
    with _LOCK:
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before
