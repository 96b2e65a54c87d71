"""Benchmarks: `python -m benchmarks` lists them, `python -m benchmarks NAME` runs one.

Each file has a docstring that says what is measured and ``run(quick=False)``, which returns a row
(a dictionary) for each measurement.
"""
