"""Bytes that nobody meant, by the million: what comes from outside must be read or refused, and nothing else.

A target is a module here with

    COUNT     how many inputs `make fuzz` tries
    prepare() -> what all its inputs share; called once in each process
    attempt(random, shared) -> str
              makes one input from `random` alone, tries it, and returns how it ended, in a word that is counted
              ("read", "refused", ...). What it raises is a finding, and so is a crash, or an input that takes
              SECONDS_MAX (`harness.py`).

and a line in `TARGETS` (`test_fuzz.py`). An input has a number, and its generator is seeded with that number and the
target's name: `python -m tests.fuzz.harness resp 4711 1` tries input 4711 again, in this process.

Inputs run in a child process, so that a segmentation fault is a finding and not the end; the harness then says which
input it was. `guarded` lays bytes directly before a page that nobody may read; `mutated` damages sound bytes.

A short run belongs to `make test` (SHORT inputs a target); `make fuzz` tries COUNT of each and prints the figures,
`make fuzz FUZZ=0.1` a tenth. `NURT_FUZZ_FROM=1000000` begins with other numbers.
"""
