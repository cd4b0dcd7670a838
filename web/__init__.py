"""The viewer that `hcodec serve` shows pictures with: a page, and a decoder in JavaScript that follows FORMAT.md. No Python here."""
