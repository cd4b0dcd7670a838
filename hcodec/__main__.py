"""`python -m hcodec`: the same command line as `hcodec`."""

from hcodec.cli import main

main(prog_name="hcodec")
