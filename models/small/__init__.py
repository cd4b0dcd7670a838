"""The model family of small pictures (up to 64x64), which an archive codes losslessly, with bits back over all levels."""
