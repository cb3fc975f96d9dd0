"""Layers by hand, stacked, and random prompts to try them on: for the tests of constructions and of notebook 03."""

import torch
from hypothesis import strategies as st

from helpers import attention, constructions, tasks

EXACT = 1e-12  # float64; the largest gap of any identity here
WRONG = 1e-3  # what a broken twin must exceed


def start(d_y, d_x, scale=1.0, seed=50):
    return scale * torch.randn(d_y, d_x, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stack_of_layers(prompt, etas, W_0=None, include_query=False):
    _, N, d_x = prompt.x.shape
    d_y = prompt.y.shape[-1]
    z = tasks.tokens(prompt, W_0)
    for eta in etas:
        layer = constructions.gd_step(eta, N, d_x, d_y, W_0).to(z.dtype)
        z = attention.linear(z, layer, include_query=include_query)
    return tasks.read(z, d_y)


# Step sizes are kept where the numbers stay of the size of 1: beyond 2/lambda_max both roads grow like a power, and
# round-off with them (see the test on divergence in claims/test_claims_03.py).
prompts = st.builds(
    tasks.linear_regression,
    B=st.integers(1, 5),
    N=st.integers(1, 40),
    d_x=st.integers(1, 12),
    d_y=st.integers(1, 4),
    inputs=st.sampled_from(list(tasks.INPUT_LAWS)),
    noise=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 10_000),
)
