"""torch's global state is the reader's own: whatever it is, the helpers do the same.

A device without data ("meta") stands in for a GPU: what is made on it cannot meet what is on the CPU.
"""

import contextlib

import pytest
import torch

from helpers import attention, constructions, learners, metrics, probes, tasks, training, walkthrough
from helpers.finetuning import attribution, effects, side_by_side, similarity, small_gpt, toy_language
from helpers.models import copying, features, gpt, induction, stacks
from helpers.theory import bayes, closed_forms, dual, kernels, mixing, population
from helpers.trained import (
    copying_runs,
    deep_stacks,
    depth_gpts,
    filter_gpts,
    induction_runs,
    regression_gpts,
    sine_runs,
    softmax_runs,
    textbook_runs,
    word_gpts,
)


def float64_by_default():
    torch.set_default_dtype(torch.float64)


def another_device_by_default():
    torch.set_default_device("meta")


def gradients_off_and_two_threads():
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)


STATES = [float64_by_default, another_device_by_default, gradients_off_and_two_threads]


@contextlib.contextmanager
def with_torch(state):
    try:
        state()
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_grad_enabled(True)
        torch.set_num_threads(1)


def prompt(**law):
    return tasks.linear_regression(**{"B": 3, "N": 6, "d_x": 4, "seed": 1} | law)


def episode():
    return toy_language.few_shot(toy_language.draw(4, 2, seed=1), 8, Q=4, seed=2)


def answers(model, **law):
    p = prompt(**law)
    return model(*(part.to(next(model.parameters())) for part in p.shown))


def one_step(*shown):
    return learners.gd(*shown, eta=1.0)


def trains(module, *which):
    model = module.untrained(*which)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_gpts, "progress", lambda model: [0.0, 0.0])  # takes long, and has a row of its own
        return module.train(model, 2).losses, list(model.parameters())


def fits():
    model = stacks.LinearTransformer(4)
    loss = lambda seed: (model(*prompt(seed=seed).shown) - prompt(seed=seed).y_query).square().mean()  # noqa: E731
    return training.fit(model, loss, torch.optim.Adam(model.parameters(), 0.1), 3), list(model.parameters())


def records():
    layer = torch.nn.utils.skip_init(torch.nn.Linear, 4, 1, dtype=torch.float64, device="cpu")
    layer.weight.data.fill_(0.5)
    layer.bias.data.fill_(0.0)
    history, p = dual.record(layer, optimizer := torch.optim.SGD(layer.parameters(), 0.1)), prompt()
    for x, y in zip(p.x, p.y, strict=True):
        optimizer.zero_grad()
        with torch.enable_grad():
            (layer(x) - y).square().mean().backward()
        optimizer.step()
    return history.dual(p.x_query), layer(p.x_query)


def copies():
    words = induction.sequences(2, 16, 5, periods=(3, 6))[0]
    return induction.run(induction.one_hot(words, 5), constructions.induction(5, 16, beta=50.0))


CALLS = {
    "prompts": lambda: [prompt(inputs=law, noise=0.1) for law in tasks.INPUT_LAWS],
    "tokens": lambda: tasks.tokens(prompt()),
    "a layer by hand": lambda: attention.linear(tasks.tokens(prompt()), constructions.gd_step(1.0, 6, 4)),
    "a walkthrough": lambda: walkthrough.compute(9, 1.0, 2.0, 1.2).numbers,
    "a causal layer": lambda: attention.causal_softmax(tasks.tokens(prompt()), constructions.gd_step(1.0, 6, 4)),
    "GD++ by hand": lambda: constructions.learner([constructions.gd_pp_step(1.0, 0.01, 6, 4)])(*prompt().shown),
    "copying by hand": lambda: constructions.copying(4, 1, 13, next_token=True),
    "induction by hand": copies,
    "gradient descent": lambda: learners.gd(*prompt().shown, eta=0.5, steps=3),
    "GD++": lambda: learners.gd_pp(*prompt().shown, eta=0.5, gamma=0.01, steps=2),
    "GD++'s weights": lambda: learners.gd_pp_weights(prompt().x, prompt().y, 0.5, 0.01, 2),
    "ridge": lambda: learners.ridge_weights(prompt().x, prompt().y, 0.1),
    "online": lambda: learners.online_gd_weights(prompt().x, prompt().y, 0.1),
    "gaps": lambda: [metrics.max_gap(prompt().x, prompt(seed=2).x), metrics.mean_cosine(prompt().W, prompt(seed=2).W)],
    "weights implied": lambda: metrics.implied_weights(one_step, prompt().x, prompt().y, prompt(N=5).x[0]),
    "probes": lambda: [probe(one_step, prompt()) for probe in (probes.bend_in_labels, probes.growth)],
    "shuffles": lambda: probes.order_spread(one_step, prompt()),
    "Bayes": lambda: bayes.dmmse(*prompt().shown, prompt(B=20, seed=3).W[:, 0], noise=0.5),
    "expected losses": lambda: closed_forms.preconditioner(prompt().x[0].mT @ prompt().x[0], N=6),
    "a kernel": lambda: kernels.gp(prompt().x, prompt().y, prompt(seed=2).x, kernels.linear, 0.1),
    "functions drawn": lambda: kernels.draw(prompt().x, kernels.linear, lam=1e-3, seed=3),
    "a training recorded": records,
    "a mixture": lambda: mixing.gate(prompt().y[..., 0], prompt(seed=2).y[..., 0]),
    "the population": lambda: population.train(6, 4, steps=5),
    "a stack": lambda: answers(stacks.LinearTransformer(4, n_layers=2)),
    "its weights": lambda: stacks.LinearTransformer(4, n_layers=2).weights(prompt().x, prompt().y),
    "a softmax layer": lambda: answers(stacks.SoftmaxLayer(4, n_heads=2)),
    "positions": lambda: copying.sinusoids(5, 6),
    "a copying model": lambda: answers(copying.CopyingTransformer(4, positions=copying.sinusoids(13, 4))),
    "features": lambda: answers(features.AttentionLearner(features.Features()), d_x=1),
    "a layer of features": lambda: features.AttentionLearner(features.Features()).layer(5),
    "sines": lambda: features.sines(3, 4, dtype=torch.float32),
    "words": lambda: induction.sequences(3, 12, 9, periods=(2, 4), distinct=True),
    "a model of words": lambda: induction.AttentionOnly(9, 12)(induction.sequences(3, 12, 9, periods=(2, 4))[0]),
    "a small GPT": lambda: answers(gpt.RegressionGPT(4, longest=6, d_model=8, n_layers=1, n_heads=2)),
    "one of words": lambda: gpt.WordGPT(80, d_model=8, n_layers=1, n_heads=2)(episode().demos[:, 0] % 80),
    "a toy language": episode,
    "other contexts": lambda: [side_by_side.other_context(episode(), control) for control in side_by_side.CONTROLS],
    "in context": lambda: small_gpt.in_context(word_gpts.load(), episode()),
    "fine-tuned": lambda: side_by_side.after_finetuning(word_gpts.load(), episode(), small_gpt.Recipe(0.1)),
    "attributions": lambda: attribution.attributions(word_gpts.load(), episode(), small_gpt.Recipe(0.1)),
    "effects": lambda: effects.effects(word_gpts.load(), episode()),
    "bootstrap": lambda: similarity.bootstrap(prompt().x),
    "copying, trained": lambda: [copying_runs.load().losses, list(copying_runs.load().frame(-1).parameters())],
    "depth, trained": lambda: answers(depth_gpts.load(2)),
    "filters, trained": lambda: filter_gpts.load("mean of 4"),
    "induction, trained": lambda: list(induction_runs.load()[2].frame(3).parameters()),
    "deep stacks, trained": lambda: answers(deep_stacks.load()[0], d_x=10),
    "softmax, trained": lambda: answers(softmax_runs.ends("layer norm")[0], d_x=10),
    "textbook, trained": lambda: list(textbook_runs.load().parameters()),
    "regression, trained": lambda: answers(regression_gpts.load()),
    "sines, trained": lambda: answers(sine_runs.load()["attention"].model, d_x=1),
    "words, trained": lambda: word_gpts.hits(word_gpts.load(), episode()),
    "copying trains": lambda: trains(copying_runs),
    "depth trains": lambda: trains(depth_gpts, 1),
    "filters train": lambda: trains(filter_gpts, "4 taps, learned"),
    "induction trains": lambda: trains(induction_runs, 1),
    "regression trains": lambda: trains(regression_gpts),
    "deep stacks train": lambda: trains(deep_stacks),
    "softmax trains": lambda: trains(softmax_runs, "layer norm"),
    "a textbook trains": lambda: trains(textbook_runs),
    "sines train": lambda: trains(sine_runs, "attention"),
    "a loop": fits,
}


def leaves(found):
    """All that a call returned, tensors one by one."""
    if isinstance(found, dict):
        return [leaf for part in found.values() for leaf in leaves(part)]
    if isinstance(found, (list, tuple)):
        return [leaf for part in found for leaf in leaves(part)]
    return [found]


def test_the_states_are_felt_by_code_that_minds_nothing():
    with with_torch(float64_by_default):
        assert torch.zeros(1).dtype == torch.float64
    with with_torch(another_device_by_default):
        assert torch.zeros(1).device.type == "meta"
    with with_torch(gradients_off_and_two_threads):
        assert not (torch.zeros(1, requires_grad=True) * 2).requires_grad


@pytest.fixture(scope="module")
def as_usual():
    return {}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("name", CALLS)
def test_the_helpers_do_the_same_in_every_state(name, state, as_usual):
    if name not in as_usual:
        as_usual[name] = leaves(CALLS[name]())
    with with_torch(state):
        found = leaves(CALLS[name]())
    for expected, got in zip(as_usual[name], found, strict=True):
        if isinstance(expected, torch.Tensor):
            assert (got.dtype, got.device) == (expected.dtype, expected.device)
            near = {"rtol": 1e-9, "atol": 1e-12} if got.dtype == torch.float64 else {"rtol": 1e-3, "atol": 1e-4}
            torch.testing.assert_close(got, expected, **near, equal_nan=True)
        elif isinstance(expected, float):
            assert got == pytest.approx(expected, nan_ok=True)
