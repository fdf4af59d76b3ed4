"""Speed: how long a training step takes, and what lies around it, beside other frameworks in the same run.

In: the installed netc; PyTorch and JAX where they can be imported. Out: a table and JSON. ``python -m benchmarks``.
"""
