"""Curves of rate against quality, and what is computed from them. No codec runs here, no file is read or written."""
