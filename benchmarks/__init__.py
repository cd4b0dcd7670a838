"""Measures hcodec and its real peers on a folder of images: `python -m benchmarks --help`.

Not installed with the package. Uses hcodec through its public names only, and compressai through `bridge` only.
"""
