"""What is measured: each module runs codecs on pictures and writes result files, which `reports` shows.

`codecs` measures whole curves of any codec; the others ask one question each. Only `inside` and `chains` look behind hcodec's
public names.
"""
