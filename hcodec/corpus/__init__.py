"""Many pictures on many machines: a folder of them, wherever it lies, to one of hcodec files.

Room: corpus, above `codec`: `folder` knows addresses, `manifest` what is done, `work` what a worker does with one picture,
and `run` Dask. Nothing of the package imports it but its command. The extra "cluster" brings what it needs.
"""
