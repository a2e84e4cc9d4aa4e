"""Side-by-side speed: ropecore and what people use today, in turn, in one process with the same
threads.

    python -m benchmarks                      every case (some minutes)
    python -m benchmarks --quick              the same cases on small tensors, to see that they run
    python -m benchmarks in_place decode      the cases whose names contain these words
    python -m benchmarks --json results.json --plot results.png --markdown benchmarks/RESULTS.md

A figure is a ratio of medians within one run, with the quartiles of the ratios of neighbouring
calls; times themselves depend on the machine and on what else it does.  Before it is timed, a case
checks that both sides give the same numbers.
"""
