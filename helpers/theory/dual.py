"""A linear layer that was trained, as attention over its training run.

    z_T(x)  =  a_T W_0 x  +  sum_i c_(t_i, T) e_i (x_i^T x)

Row i of the run is an input x_i that the layer saw (the key) and the error dL/dz_i that came back to its output in
step t_i (c e_i is the value). W_0 are the weights at the start; a 1 is appended to x if there is a bias. The numbers a
and c hold learning rate, momentum and weight decay; with plain SGD a = 1 and c = -lr. Exact for any loss. (Aizerman
et al. 1964 for the perceptron; Irie et al. 2022; Dai et al. 2023.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from helpers import checks

SGD = {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False, "maximize": False}


def coefficients(steps: Sequence[Mapping[str, float]]) -> tuple[float, Tensor]:
    """What the start and each step's gradient G_t count in the weights at the end: W_T = a W_0 + sum_t c_t G_t.

    `steps` holds the settings of torch.optim.SGD in each step, as far as they are not those of `dual.SGD`. A step,

        g = G + weight_decay W,   m <- momentum m + (1 - dampening) g,   W <- W - lr m,

    is linear in W, m and G, so one pass from the last step to the first tells what each counts. Returns a and c (T,).

    >>> coefficients([{"lr": 0.1}] * 3)
    (1.0, tensor([-0.1000, -0.1000, -0.1000], dtype=torch.float64))
    >>> coefficients([{"lr": 0.1, "momentum": 0.5}] * 3)[1]              # -lr (1 - 0.5^(T-t+1)) / (1 - 0.5)
    tensor([-0.1750, -0.1500, -0.1000], dtype=torch.float64)
    >>> coefficients([{"lr": 0.1, "weight_decay": 0.1}] * 2)             # W_0 and old gradients fade
    (0.9801, tensor([-0.0990, -0.1000], dtype=torch.float64))
    """
    steps = [SGD | dict(step) for step in steps]
    first = next((t for t, step in enumerate(steps) if step["momentum"]), None)  # torch sets m = g there, undamped
    on_W, on_m, c = 1.0, 0.0, []  # what W and m, as they are after step t, count in W_T
    for t, step in reversed(list(enumerate(steps))):
        direct = on_W * step["lr"]
        if step["momentum"]:
            on_m -= direct * (step["momentum"] if step["nesterov"] else 1)
            on_g = on_m * (1 if t == first else 1 - step["dampening"]) - (direct if step["nesterov"] else 0)
            on_m *= step["momentum"]
        else:
            on_g = -direct
        on_W += on_g * step["weight_decay"]
        c.append(-on_g if step["maximize"] else on_g)
    return on_W, torch.tensor(c[::-1], dtype=torch.float64, device="cpu")


class History:
    """The training run of one linear layer, which `record` makes and each step of the optimizer makes longer.

    - `W_0` (d_out, d_key): the weights at the start; with a bias, d_key = d_in + 1 and the bias is the last column.
    - `keys` (rows, d_key): the layer's inputs, in the order in which they were seen.
    - `errors` (rows, d_out): dL/dz for each, at the weights of the step it belongs to.
    - `ends`: how many rows there were after 0, 1, 2, … steps; `steps`: the optimizer's settings in each.
    """

    def __init__(self, layer: nn.Linear):
        self.bias = layer.bias is not None
        self.W_0 = _join(layer.weight, layer.bias)
        self.steps: list[dict[str, float]] = []
        self.ends = [0]
        self._rows = [tuple(self.W_0.new_zeros(0, size) for size in reversed(self.W_0.shape))]

    def __repr__(self) -> str:
        return f"History(steps={len(self.steps)}, rows={self.ends[-1]}, W_0={tuple(self.W_0.shape)})"

    @property
    def keys(self) -> Tensor:
        return self._merged()[0]

    @property
    def errors(self) -> Tensor:
        return self._merged()[1]

    def _merged(self) -> tuple[Tensor, Tensor]:
        if len(self._rows) > 1:
            self._rows = [tuple(torch.cat(parts) for parts in zip(*self._rows, strict=True))]
        return self._rows[0]

    def _add(self, rows: list[tuple[Tensor, Tensor]], layer: nn.Linear, settings: dict[str, float]) -> None:
        """One step: its rows, if they add up to the gradient that the optimizer is about to use."""
        if not rows or layer.weight.grad is None:
            raise ValueError("step: expected a gradient for the layer, got none: was backward() called before step()?")
        keys, errors = (torch.cat(parts) for parts in zip(*rows, strict=True))
        gradient = _join(layer.weight.grad, layer.bias.grad if self.bias else None)
        tolerance = 100 * torch.finfo(keys.dtype).eps * keys.norm() * errors.norm()
        if ((errors.T @ keys - gradient).abs() > tolerance).any():
            raise ValueError(
                "step: expected the gradient to be the sum of errors times inputs, got another one: was it clipped, "
                "is there a penalty on the weights in the loss, or was zero_grad() left out?"
            )
        self._rows.append((keys, errors))
        self.steps.append(settings)
        self.ends.append(self.ends[-1] + len(keys))

    def values(self, steps: int | None = None) -> tuple[float, Tensor]:
        """After so many steps (all when None): what W_0 counts, and the values c e (rows till then, d_out)."""
        T = len(self.steps) if steps is None else checks.count("steps", steps, least=0)
        if T > len(self.steps):
            raise ValueError(f"steps: expected at most {len(self.steps)}, as many as were recorded, got {T}.")
        a, c = coefficients(self.steps[:T])
        rows = torch.tensor(self.ends[: T + 1], device="cpu").diff()
        return a, c.to(self.W_0.dtype).repeat_interleave(rows)[:, None] * self.errors[: self.ends[T]]

    def queries(self, x: Tensor) -> Tensor:
        """Inputs x (B, d_in) in the form of keys, (B, d_key): with a 1 for the bias, if there is one."""
        checks.tensor("x", x, "B d_in", {"d_in": self.W_0.shape[1] - self.bias})
        checks.same_dtype(x=x, W_0=self.W_0)
        return _augment(x, self.bias)

    def dual(self, x: Tensor, steps: int | None = None) -> Tensor:
        """The layer's output for x (B, d_in) after so many steps, (B, d_out), from W_0 and attention over the run.

        The trained weights are not used and not formed: every query meets every key.
        """
        queries, (a, values) = self.queries(x), self.values(steps)
        return a * queries @ self.W_0.T + (queries @ self.keys[: len(values)].T) @ values


def record(layer: nn.Linear, optimizer: torch.optim.SGD) -> History:
    """Keep what `layer` sees while `optimizer` trains it. Call it before the first step; then train as ever.

    Any loss, any batch, any depth above the layer; learning rate, momentum (dampening, Nesterov) and weight decay may
    change from step to step. Each step is checked: when the gradient that the optimizer is about to use is not
    the sum of errors times inputs (it was clipped, or the loss has a term on the weights), a ValueError says so. Other
    optimizers are refused: what Adam adds to W is no sum of one outer product per example.

    >>> layer = nn.Linear(3, 2)
    >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    >>> history = record(layer, optimizer)
    >>> for x in torch.eye(3):
    ...     optimizer.zero_grad()
    ...     layer(x).square().sum().backward()
    ...     optimizer.step()
    >>> history
    History(steps=3, rows=3, W_0=(2, 4))
    >>> torch.allclose(history.dual(torch.ones(1, 3)), layer(torch.ones(1, 3)), atol=1e-6)
    True
    """
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"layer: expected a torch.nn.Linear, got {type(layer).__name__}: record its layers one by one.")
    if type(optimizer) is not torch.optim.SGD:
        raise TypeError(
            f"optimizer: expected torch.optim.SGD, got {type(optimizer).__name__}: only where each step is linear in "
            "the gradient is the change of W a sum of errors times inputs."
        )
    _settings(layer, optimizer)
    if any(optimizer.state.get(p, {}).get("momentum_buffer") is not None for p in layer.parameters()):
        raise ValueError("optimizer: expected a new one, got one that has a velocity: record before the first step.")
    history, pending = History(layer), []

    def keep(layer, inputs, output):
        if output.requires_grad:
            x = _augment(inputs[0].detach().reshape(-1, layer.in_features).clone(), history.bias)
            output.register_hook(lambda error: pending.append((x, error.detach().reshape(len(x), -1).clone())))

    def close(optimizer, args, kwargs):
        history._add(pending, layer, _settings(layer, optimizer))
        pending.clear()

    layer.register_forward_hook(keep)
    optimizer.register_step_pre_hook(close)
    return history


def _settings(layer: nn.Linear, optimizer: torch.optim.SGD) -> dict[str, float]:
    """The optimizer's settings for this layer, the same for weight and bias."""
    found = [
        {name: float(group[name]) for name in SGD}
        for p in layer.parameters()
        for group in optimizer.param_groups
        if any(p is other for other in group["params"])
    ]
    if len(found) < len(list(layer.parameters())):
        raise ValueError("optimizer: expected it to train the layer's weight and bias, got one that leaves some out.")
    if any(settings != found[0] for settings in found):
        raise ValueError("optimizer: expected the same settings for the layer's weight and bias, got different ones.")
    return found[0]


def _join(weight: Tensor, bias: Tensor | None) -> Tensor:
    """Weight and bias as one matrix (d_out, d_key), a copy."""
    parts = [weight] if bias is None else [weight, bias[:, None]]
    return torch.cat(parts, dim=1).detach().clone()


def _augment(x: Tensor, bias: bool) -> Tensor:
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1) if bias else x
