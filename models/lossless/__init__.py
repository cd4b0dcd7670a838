"""The model family of the lossless layer: the likelihood of every pixel, given the state that a level left."""
