"""What result files say: each module makes texts, tables and plots from them, and runs no codec.

A report is a function from a results folder to its `parts`; `contents` lists all of them, `pages` puts them into README.md and
RESULTS.md.
"""
