"""Measures hcodec and its real peers on a folder of images: `python -m benchmarks --help`.

Rooms: `peers` (codecs, each as one small adapter), `curves` (rate against quality, computed), `measurements` (what is measured,
and written as result files) and `reports` (tables and plots of result files). `peers` uses hcodec through its public names;
compressai is reached through `peers.bridge` only. Not installed with the package.
"""
