"""Bad input gets one clear error that says what was expected, what came and what probably happened."""

import math

import pytest
import torch
from matplotlib.figure import Figure

from helpers import attention, constructions, learners, metrics, plotting, tasks

GOOD = tasks.linear_regression(B=2, N=5, d_x=3, d_y=2)
W_0 = torch.ones(2, 3, dtype=torch.float64)
STEP = constructions.gd_step(0.1, 5, 3, 2)


def with_nan(t, value=math.nan):
    t = t.clone()
    t.view(-1)[0] = value
    return t


BAD_PROMPTS = {
    "too few examples in y": (
        GOOD._replace(y=GOOD.y[:, :4]),
        r"y: expected \(B, N, d_y\).*N=5.*got \(2, 4, 2\).*differs in N",
    ),
    "another batch": (
        GOOD._replace(x_query=GOOD.x_query[:1]),
        r"x_query: expected \(B, d_x\).*B=2.*got \(1, 3\).*in B",
    ),
    "another d_x": (GOOD._replace(x_query=GOOD.x_query[:, :2]), r"x_query:.*d_x=3, got \(2, 2\): it differs in d_x"),
    "y without d_y": (
        GOOD._replace(y=GOOD.y[..., 0]),
        r"y: expected.*got \(2, 5\): 2 dimensions instead of 3; is one missing",
    ),
    "no example": (GOOD._replace(x=GOOD.x[:, :0], y=GOOD.y[:, :0]), r"x:.*got \(2, 0, 3\): N = 0, but at least 1"),
    "no input": (GOOD._replace(x=GOOD.x[..., :0], x_query=GOOD.x_query[:, :0]), r"x:.*d_x = 0, but at least 1"),
    "NaN in x": (
        GOOD._replace(x=with_nan(GOOD.x)),
        "x: expected finite numbers, got nan: look at the step that made it",
    ),
    "inf in y": (GOOD._replace(y=with_nan(GOOD.y, math.inf)), "y: expected finite numbers, got inf"),
    "NaN in the query": (GOOD._replace(x_query=with_nan(GOOD.x_query)), "x_query: expected finite numbers, got nan"),
    "integers": (GOOD._replace(y=GOOD.y.long()), "y: expected float32 or float64, got torch.int64: call .double"),
    "mixed dtypes": (
        GOOD._replace(y=GOOD.y.float()),
        "expected one dtype, got x float64, y float32, x_query float64: convert",
    ),
    "a list": (GOOD._replace(x=[[1.0]]), "x: expected a torch tensor, got list: wrap it"),
}


@pytest.mark.parametrize("case", BAD_PROMPTS)
@pytest.mark.parametrize("door", ["tokens", "gd"])
def test_bad_prompts(case, door):
    prompt, message = BAD_PROMPTS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        tasks.tokens(prompt) if door == "tokens" else learners.gd(*prompt.shown, eta=0.1)


BAD_CALLS = {
    "W_0 of another size": (
        lambda: learners.gd(*GOOD.shown, 0.1, W_0=W_0[:, :2]),
        r"W_0: expected \(d_y, d_x\) with d_y=2, d_x=3, got \(2, 2\)",
    ),
    "W_0 in float32": (lambda: tasks.tokens(GOOD, W_0.float()), "one dtype, got.*W_0 float32"),
    "W_0 with NaN": (
        lambda: constructions.gd_step(0.1, 5, 3, 2, with_nan(W_0)),
        "W_0: expected finite numbers, got nan",
    ),
    "W_0 without d_y": (
        lambda: constructions.gd_step(0.1, 5, 3, W_0=W_0),
        r"W_0:.*d_y=1, d_x=3, got \(2, 3\): it differs in d_y",
    ),
    "eta NaN": (lambda: learners.gd(*GOOD.shown, math.nan), "eta: expected one finite number, got nan"),
    "eta inf in a layer": (lambda: constructions.gd_step(math.inf, 5, 3), "eta: expected one finite number, got inf"),
    "one eta too many": (lambda: learners.gd(*GOOD.shown, [0.1] * 3, steps=2), "one for each of the 2 steps, got 3"),
    "negative steps": (
        lambda: learners.gd(*GOOD.shown, 0.1, steps=-1),
        "steps: expected a whole number of at least 0, got -1",
    ),
    "half a step": (lambda: learners.gd(*GOOD.shown, 0.1, steps=1.5), "steps: expected a whole number.*got 1.5"),
    "a layer for N = 0": (lambda: constructions.gd_step(0.1, 0, 3), "N: expected a whole number of at least 1, got 0"),
    "a layer for d_x = 0": (
        lambda: constructions.gd_step(0.1, 5, 0),
        "d_x: expected a whole number of at least 1, got 0",
    ),
    "a layer for other tokens": (
        lambda: attention.linear(tasks.tokens(GOOD), constructions.gd_step(0.1, 5, 3)),
        r"W_Q: expected \(d_k, D\) with D=5, got \(4, 4\): it differs in D",
    ),
    "a float32 layer": (
        lambda: attention.linear(tasks.tokens(GOOD), constructions.gd_step(0.1, 5, 3, 2).to(torch.float32)),
        "one dtype, got z float64, W_Q float32",
    ),
    "tokens without a context": (
        lambda: attention.linear(tasks.tokens(GOOD)[:, -1:], constructions.gd_step(0.1, 5, 3, 2)),
        "z: expected at least 2 tokens.*got 1: is the context empty",
    ),
    "a stack with a missing prompt dimension": (
        lambda: constructions.learner([])(GOOD.x[0], GOOD.y[0], GOOD.x_query[0]),
        r"x: expected \(B, N, d_x\), got \(5, 3\): 2 dimensions instead of 3",
    ),
    "d_y as wide as the token": (
        lambda: tasks.read(tasks.tokens(GOOD), d_y=5),
        "d_y: expected less than the token's width 5",
    ),
    "a gauge of the wrong size": (
        lambda: constructions.change_gauge(
            constructions.gd_step(0.1, 5, 3), torch.eye(3).double(), torch.eye(4).double()
        ),
        r"R: expected \(d_k, d_k\) with d_k=4, got \(3, 3\)",
    ),
    "a gauge scaled by 0": (
        lambda: constructions.change_gauge(constructions.gd_step(0.1, 5, 3), *[torch.eye(4).double()] * 2, scale=0),
        "scale: expected a number other than 0",
    ),
    "unknown inputs": (
        lambda: tasks.linear_regression(1, 1, 1, inputs="cauchy"),
        "inputs: expected one of gaussian, uniform",
    ),
    "negative noise": (
        lambda: tasks.linear_regression(1, 1, 1, noise=-1),
        "noise: expected a standard deviation of at least 0",
    ),
    "no prompts": (lambda: tasks.linear_regression(0, 1, 1), "B: expected a whole number of at least 1, got 0"),
    "eta None": (lambda: learners.gd(*GOOD.shown, None), "eta: expected one finite number, got None"),
    "eta in words": (lambda: constructions.gd_step("0.1", 5, 3), "eta: expected one finite number, got '0.1'"),
    "an eta for each coordinate": (
        lambda: constructions.gd_step(torch.ones(4), 5, 3),
        "eta: expected one finite number",
    ),
    "noise NaN": (
        lambda: tasks.linear_regression(1, 1, 1, noise=math.nan),
        "noise: expected one finite number, got nan",
    ),
    "no seed": (lambda: tasks.linear_regression(1, 1, 1, seed=None), "seed: expected a whole number of at least 0"),
    "W_0 NaN in a learner": (lambda: learners.gd(*GOOD.shown, 0.1, W_0=with_nan(W_0)), "W_0: expected finite numbers"),
    "W_0 NaN in tokens": (lambda: tasks.tokens(GOOD, with_nan(W_0)), "W_0: expected finite numbers, got nan"),
    "weights of a y that does not fit": (lambda: learners.gd_weights(GOOD.x, GOOD.y[:1], 0.1), "y:.*it differs in B"),
    "half precision": (lambda: tasks.tokens(GOOD.to(torch.float16)), "expected float32 or float64, got torch.float16"),
    "whether": (lambda: tasks.tokens(GOOD._replace(y=GOOD.y > 0)), "expected float32 or float64, got torch.bool"),
    "a tuple for a layer": (lambda: attention.linear(tasks.tokens(GOOD), (1, 2)), "layer: expected a Layer, got tuple"),
    "a layer for a list": (
        lambda: constructions.learner(constructions.gd_step(0.1, 5, 3)),
        "expected a list of layers",
    ),
    "heads in P only": (
        lambda: attention.linear(tasks.tokens(GOOD), STEP._replace(P=STEP.P[None])),
        r"layer: expected 2 dimensions in each matrix, or 3 for heads, got \[2, 2, 2, 3\]",
    ),
    "a singular gauge": (
        lambda: constructions.change_gauge(STEP, torch.zeros(5, 5).double(), torch.eye(5).double()),
        "R, R_v: expected invertible matrices, got a singular one",
    ),
    "nothing to compare": (lambda: metrics.max_gap(torch.zeros(0), torch.zeros(0)), "that are not empty, got.*shape"),
    "a number to compare": (lambda: metrics.max_gap(1.0, 1.0), "expected two float tensors.*got float"),
    "a vector for a matrix": (lambda: plotting.matrix(Figure().subplots(), [1, 2]), r"W: expected a matrix.*\(2,\)"),
    "no pairs": (lambda: GOOD.first(0), "N: expected a whole number of at least 1, got 0"),
    "more pairs than there are": (lambda: GOOD.first(6), "N: expected 1 to 5, the pairs that the prompt has, got 6"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls(case):
    call, message = BAD_CALLS[case]
    with pytest.raises((ValueError, TypeError), match=message):
        call()
