"""Coding tables, made at export from what was counted: integers, stored with the weights and read by entropy coding."""
