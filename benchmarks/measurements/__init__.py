"""What is measured: each module runs codecs on pictures and writes result files, which `reports` shows.

`codecs` measures whole curves of any codec, with the other modules beside it asking one question each. `inside` alone looks
behind hcodec's public names.
"""
