"""Everything that needs a GPU, by one command, within a time budget: `python -m benchmarks.device`.

    python -m benchmarks.device [--minutes 8] [--only build,ceilings,...] [--filter upsample] [--out DIR] [--device cpu]

Stages run in order of value: build, ceilings, ops, tests, bench, networks, sanitizer, profile. Each gets a share of the
time left and runs in processes of its own, so a kernel that crashes or hangs loses nothing but itself. The record, JSON
and Markdown, is written again after every step (record.py describes it); a killed run keeps what it had. Nothing here
changes a setting of the card: clocks, power limit and modes are reported as found.

This process imports no torch: it starts, watches and ends those that do.
"""
