"""helpers.theory.dual: a trained linear layer is attention over its training run. Each identity has a twin that fails.

The oracle is torch's own optimizer: the primal weights are the ones that it has trained.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from helpers.theory import dual

EXACT = 1e-12  # relative, float64
WRONG = 1e-3  # what a broken twin must exceed

LOSSES = {
    "squared": lambda z, g: (z - draw(z.shape, g)).square().mean(),
    "absolute": lambda z, g: (z - draw(z.shape, g)).abs().mean(),
    "cross-entropy": lambda z, g: nn.functional.cross_entropy(
        z, torch.randint(z.shape[1], (len(z),), generator=g), reduction="sum"
    ),
    "logistic": lambda z, g: nn.functional.softplus(-z * draw(z.shape, g).sign()).mean(),
}


def draw(shape, generator):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def network(sizes, bias=True):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(*pair, bias=bias).double() for pair in zip(sizes, sizes[1:], strict=False)]
    return layers, nn.Sequential(*[part for layer in layers for part in (layer, nn.Tanh())][:-1])


def train(sizes=(5, 3), loss="squared", batch=2, steps=20, bias=True, seed=0, rates=None, **settings):
    """Layers, their histories and what each is given now, for eleven new inputs."""
    g = torch.Generator().manual_seed(seed)
    layers, net = network(sizes, bias)
    optimizer = torch.optim.SGD(net.parameters(), **{"lr": 0.05, **settings})
    histories = [dual.record(layer, optimizer) for layer in layers]
    for t in range(steps):
        optimizer.param_groups[0]["lr"] *= 1 if rates is None else rates[t % len(rates)]
        optimizer.zero_grad()
        LOSSES[loss](net(draw((batch, sizes[0]), g)), g).backward()
        optimizer.step()
    inputs = [draw((11, sizes[0]), g)]
    for layer in layers[:-1]:
        inputs.append(layer(inputs[-1]).detach().tanh())
    return layers, histories, inputs


def off(answer, layer, x):
    """Relative distance to what the layer itself says."""
    z = layer(x).detach()
    return ((answer - z).abs().max() / z.abs().max().clamp_min(1)).item()


def as_if(history, x, settings):
    """The dual with the values of other settings than those of the run."""
    a, c = dual.coefficients([settings] * len(history.steps))
    rows = torch.tensor(history.ends).diff()
    values = c.repeat_interleave(rows)[:, None] * history.errors
    queries = history.queries(x)
    return a * queries @ history.W_0.T + (queries @ history.keys.T) @ values


optimizers = st.fixed_dictionaries(
    {
        "lr": st.floats(0.001, 0.1),
        "momentum": st.sampled_from([0.0, 0.5, 0.9]),
        "weight_decay": st.sampled_from([0.0, 0.01, 0.2]),
        "dampening": st.sampled_from([0.0, 0.3]),
        "nesterov": st.booleans(),
        "maximize": st.booleans(),
    }
).map(lambda s: {**s, "nesterov": s["nesterov"] and s["momentum"] > 0 and s["dampening"] == 0})


@given(
    sizes=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    loss=st.sampled_from(list(LOSSES)),
    batch=st.integers(1, 4),
    steps=st.integers(1, 30),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
    settings=optimizers,
)
def test_every_layer_is_attention_over_its_run(sizes, loss, batch, steps, bias, seed, settings):
    """G2 to G6: any loss, shape, batch size; momentum, decay, both; each layer of a network."""
    settings["maximize"] = settings["maximize"] and loss != "squared"  # uphill on a square blows up
    layers, histories, inputs = train(sizes, loss, batch, steps, bias, seed, **settings)
    for layer, history, x in zip(layers, histories, inputs, strict=True):
        assert off(history.dual(x), layer, x) <= EXACT


TWINS = {
    "momentum ignored": ({"momentum": 0.9}, {}),
    "decay ignored": ({"weight_decay": 0.2}, {}),
    "decay ignored beside momentum": ({"momentum": 0.9, "weight_decay": 0.2}, {"momentum": 0.9}),
    "Nesterov ignored": ({"momentum": 0.9, "nesterov": True}, {"momentum": 0.9}),
    "dampening ignored": ({"momentum": 0.9, "dampening": 0.3}, {"momentum": 0.9}),
    "step size off by a tenth": ({}, {"lr": 0.055}),
}


@pytest.mark.parametrize("twin", TWINS)
def test_values_of_other_settings_fail(twin):
    run, other = TWINS[twin]
    (layer,), (history,), (x,) = train(**run)
    assert off(as_if(history, x, {"lr": 0.05, **run}), layer, x) <= EXACT
    assert off(as_if(history, x, {"lr": 0.05, **other}), layer, x) > WRONG


def test_frozen_errors_fail():
    """S8: errors at W_0 instead of those of their step."""
    g = torch.Generator().manual_seed(1)
    (layer,), net = network((4, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    history = dual.record(layer, optimizer)
    x, y = draw((12, 4), g), draw((12, 2), g)
    for x_i, y_i in zip(x, y, strict=True):
        optimizer.zero_grad()
        (net(x_i) - y_i).square().sum().backward()
        optimizer.step()
    assert off(history.dual(x), layer, x) <= EXACT
    queries = history.queries(x)
    frozen = 2 * (queries @ history.W_0.T - y)
    assert torch.allclose(history.errors[0], frozen[0], rtol=0, atol=EXACT)  # the first step is taken at W_0
    answer = queries @ history.W_0.T - 0.1 * (queries @ history.keys.T) @ frozen
    assert off(answer, layer, x) > 0.1


def test_keys_of_the_new_network_fail_above_the_first_layer():
    """G5: the keys of an upper layer are what it was given then, not what it would be given now."""
    g = torch.Generator().manual_seed(2)
    layers, net = network((4, 5, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    first, second = (dual.record(layer, optimizer) for layer in layers)
    for _ in range(30):
        optimizer.zero_grad()
        LOSSES["squared"](net(draw((1, 4), g)), g).backward()
        optimizer.step()
    h = layers[0](draw((6, 4), g)).detach().tanh()
    assert off(second.dual(h), layers[1], h) <= EXACT
    keys_now = second.queries(layers[0](first.keys[:, :4]).detach().tanh())
    a, values = second.values()
    queries = second.queries(h)
    assert off(a * queries @ second.W_0.T + (queries @ keys_now.T) @ values, layers[1], h) > WRONG


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"weight_decay": 0.1, "momentum": 0.5}])
def test_it_holds_after_any_number_of_steps(settings):
    short, whole = train(steps=7, **settings), train(steps=20, **settings)
    x = short[2][0]
    assert off(whole[1][0].dual(x, 7), short[0][0], x) <= EXACT
    assert off(whole[1][0].dual(x, 8), short[0][0], x) > WRONG
    start = whole[1][0]
    assert torch.equal(start.dual(x, 0), start.queries(x) @ start.W_0.T)


def test_settings_may_change_from_step_to_step():
    (layer,), (history,), (x,) = train(rates=[1.5, 0.5, 1.2], momentum=0.9, weight_decay=0.1)
    assert off(history.dual(x), layer, x) <= EXACT
    assert off(as_if(history, x, history.steps[0]), layer, x) > WRONG


@pytest.mark.parametrize("momenta", [[0.0, 0.9, 0.9, 0.5, 0.0, 0.0, 0.9], [0.9, 0.0, 0.8]])
def test_momentum_may_begin_late_and_pause(momenta):
    """torch takes the first velocity undamped, whenever it comes, and keeps it through steps without momentum."""
    W = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([W], lr=0.1, dampening=0.2, weight_decay=0.3)
    gradients = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0, 0.25, 2.0]).double()[: len(momenta)]
    for gradient, momentum in zip(gradients, momenta, strict=True):
        optimizer.param_groups[0]["momentum"] = momentum
        W.grad = gradient[None].clone()
        optimizer.step()
    steps = [{"lr": 0.1, "dampening": 0.2, "weight_decay": 0.3, "momentum": momentum} for momentum in momenta]
    assert abs((dual.coefficients(steps)[1] @ gradients).item() - W.item()) < EXACT


def test_rows_of_sequences_and_layers_used_twice_add_up():
    g = torch.Generator().manual_seed(3)
    (layer,), _ = network((4, 4))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05, momentum=0.9)
    history = dual.record(layer, optimizer)
    for _ in range(10):
        optimizer.zero_grad()
        layer(layer(draw((2, 3, 4), g)).tanh()).square().mean().backward()
        optimizer.step()
    x = draw((5, 4), g)
    assert history.ends[-1] == 10 * 2 * 6
    assert off(history.dual(x), layer, x) <= EXACT


def test_looking_at_the_network_on_the_way_leaves_no_row():
    (layer,), _ = network((4, 2))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    history = dual.record(layer, optimizer)
    layer(torch.ones(9, 4).double())
    layer(torch.ones(1, 4).double()).sum().backward()
    optimizer.step()
    assert history.keys.shape == (1, 5)


def test_what_the_network_was_given_may_be_overwritten():
    (layer,), _ = network((4, 2), bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    history, x = dual.record(layer, optimizer), torch.ones(1, 4).double()
    layer(x).sum().backward()
    optimizer.step()
    x.zero_()
    assert torch.equal(history.keys, torch.ones(1, 4).double())


# --- Adam -----------------------------------------------------------------------------------------------------


def two_steps(Optimizer, seed):
    g = torch.Generator().manual_seed(seed)
    W = nn.Parameter(draw((4, 6), g))
    before, optimizer = W.detach().clone(), Optimizer([W], lr=0.01)
    keys, errors = [], []
    for _ in range(2):
        x, y = draw((6,), g), draw((4,), g)
        optimizer.zero_grad()
        (W @ x - y).square().sum().backward()
        keys.append(x)
        errors.append(2 * (W.detach() @ x - y))
        optimizer.step()
    return W.detach() - before, torch.stack(keys), torch.stack(errors)


@pytest.mark.parametrize("seed", range(3))
def test_adam_leaves_the_span_of_what_it_saw(seed):
    """G6: two single-sample steps: rank 2 for SGD, 4 (all there is in 4 x 6) for Adam."""
    assert torch.linalg.matrix_rank(two_steps(torch.optim.SGD, seed)[0], rtol=1e-9) == 2
    assert torch.linalg.matrix_rank(two_steps(torch.optim.Adam, seed)[0], rtol=1e-9) == 4


def test_adam_treated_as_sgd_fails_with_any_value_weights():
    """The twin: no numbers c_t, and not even free values, make Adam's change a sum over the two keys."""

    def residual(change, keys):
        values = torch.linalg.lstsq(keys.T, change.T).solution  # the best values there are, (2, 4)
        return ((change.T - keys.T @ values).norm() / change.norm()).item()

    assert residual(*two_steps(torch.optim.SGD, 0)[:2]) < EXACT
    assert residual(*two_steps(torch.optim.Adam, 0)[:2]) > 0.1


# --- at the door ----------------------------------------------------------------------------------------------


class OwnSGD(torch.optim.SGD):
    pass


@pytest.mark.parametrize("Optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, OwnSGD])
def test_other_optimizers_are_refused(Optimizer):
    (layer,), _ = network((3, 2))
    with pytest.raises(TypeError, match=f"expected torch.optim.SGD, got {Optimizer.__name__}"):
        dual.record(layer, Optimizer(layer.parameters()))


def test_other_layers_are_refused():
    _, net = network((3, 4, 2))
    with pytest.raises(TypeError, match="layer: expected a torch.nn.Linear, got Sequential"):
        dual.record(net, torch.optim.SGD(net.parameters()))


def test_an_optimizer_of_something_else_is_refused():
    (layer, other), _ = network((3, 3, 3))
    with pytest.raises(ValueError, match="got one that leaves some out"):
        dual.record(layer, torch.optim.SGD(other.parameters()))
    groups = [{"params": [layer.weight], "weight_decay": 0.1}, {"params": [layer.bias]}]
    with pytest.raises(ValueError, match="expected the same settings for the layer's weight and bias"):
        dual.record(layer, torch.optim.SGD(groups))


def test_an_optimizer_with_a_velocity_is_refused():
    (layer,), _ = network((3, 2))
    optimizer = torch.optim.SGD(layer.parameters(), momentum=0.9)
    layer(torch.ones(1, 3).double()).sum().backward()
    optimizer.step()
    with pytest.raises(ValueError, match="got one that has a velocity"):
        dual.record(layer, optimizer)


def clipped(layer):
    layer(torch.ones(1, 3).double()).sum().backward()
    nn.utils.clip_grad_norm_(layer.parameters(), 0.1)


def penalised(layer):
    (layer(torch.ones(1, 3).double()).sum() + layer.weight.square().sum()).backward()


def forgotten_zero_grad(layer):
    layer(torch.ones(1, 3).double()).sum().backward()
    layer.weight.grad += 1


@pytest.mark.parametrize("spoil", [clipped, penalised, forgotten_zero_grad])
def test_a_gradient_that_is_no_sum_of_errors_times_inputs_is_noticed(spoil):
    (layer,), _ = network((3, 2))
    optimizer = torch.optim.SGD(layer.parameters())
    dual.record(layer, optimizer)
    spoil(layer)
    with pytest.raises(ValueError, match="expected the gradient to be the sum of errors times inputs"):
        optimizer.step()


def test_a_step_without_a_gradient_is_noticed():
    (layer,), _ = network((3, 2))
    optimizer = torch.optim.SGD(layer.parameters())
    dual.record(layer, optimizer)
    with pytest.raises(ValueError, match="was backward"):
        optimizer.step()


def test_questions_that_do_not_fit_are_refused():
    history = train(steps=3)[1][0]
    with pytest.raises(ValueError, match=r"x: expected \(B, d_in\) with d_in=5"):
        history.dual(torch.ones(2, 6).double())
    with pytest.raises(TypeError, match="expected one dtype"):
        history.dual(torch.ones(2, 5))
    with pytest.raises(ValueError, match="expected at most 3, as many as were recorded, got 4"):
        history.dual(torch.ones(2, 5).double(), 4)


def test_a_run_that_blows_up_is_a_result_and_not_an_error():
    _, (history,), (x,) = train(steps=200, lr=100.0)
    assert not history.dual(x).isfinite().all()
