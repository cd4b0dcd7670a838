"""The viewer of `hcodec serve`: a page, and a decoder in JavaScript that follows FORMAT.md. There is no Python here."""
