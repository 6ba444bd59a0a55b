"""The fuzz suite: seeded calls of everything public, good ones and ones with a single known argument spoiled.

`draw` makes arguments, `kinds` and `tensor_kinds` know how each kind of argument can be wrong, `cases` is the form of a
target, `targets` declares them, `judge` gives the verdict on a case, `server` runs cases in forked children with limits
of time and memory, `run` hands out the work and adds up. `python -m tests.fuzz` runs a minute of it, with
`--minutes 600` hours; docs/reliability.md says what is held.
"""
