"""The error of a layer with all its weights, for any tasks: Monte Carlo through the attention, and automatic slopes."""

import pytest
import torch

from helpers import attention, constructions, tasks
from helpers.attention import Layer
from helpers.theory import closed_forms, population, whole_layers

EXACT = 1e-12


def random_layer(d_x, scale=0.4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return Layer(*(scale * torch.randn(4, d_x + 1, d_x + 1, generator=generator, dtype=torch.float64)))


def few(M, d_x, seed=0):
    return torch.randn(M, d_x, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def errors_on_prompts(layer, W, N, noise, B=100_000):
    """Squared errors of the attention itself, token by token, on tasks picked from W: no formula in common."""
    p, e = tasks.linear_regression(B, N, W.shape[1], seed=5), tasks.linear_regression(B, N, 1, seed=6).x
    pick = torch.randint(len(W), (B,), generator=torch.Generator().manual_seed(7))
    w = W[pick][:, None]  # (B, 1, d_x)
    prompt = tasks.Prompt(p.x, p.x @ w.mT + noise * e, p.x_query)
    y_hat = tasks.read(attention.linear(tasks.tokens(prompt), layer))
    return (y_hat - (w @ p.x_query[..., None])[..., 0]).square()


def standard_errors(errors, exact):
    return ((errors.mean() - exact).abs() / (errors.std() / len(errors) ** 0.5)).item()


@pytest.mark.parametrize("M, d_x, N, noise", [(1, 3, 5, 0.0), (4, 3, 5, 0.6), (3, 2, 4, 2.0), (2, 1, 8, 1.0)])
def test_the_formula_is_the_mean_of_sampled_errors(M, d_x, N, noise):
    W, layer = few(M, d_x), random_layer(d_x)
    errors = errors_on_prompts(layer, W, N, noise)
    assert standard_errors(errors, whole_layers.excess(layer, W, N, noise=noise)) < 4
    assert standard_errors(errors, whole_layers.excess(layer, 1.1 * W, N, noise=noise)) > 6  # twins
    assert noise == 0 or standard_errors(errors, whole_layers.excess(layer, W, N)) > 6


@pytest.mark.parametrize("N, noise", [(1, 0.0), (6, 0.7)])
def test_for_gaussian_tasks_it_is_the_loss_of_the_population(N, noise):
    """Derived on another road, for w ~ N(0, I) alone; weights of the nodes that are all alike are the twin."""
    W, weights = whole_layers.gaussian_tasks(torch.zeros(3).double())
    for seed in range(5):
        layer = random_layer(3, seed=seed)
        known = 2 * population.half_loss(layer, N, noise=noise).item()
        assert whole_layers.excess(layer, W, N, noise=noise, weights=weights).item() == pytest.approx(known, rel=EXACT)
        assert whole_layers.excess(layer, W, N, noise=noise).item() != pytest.approx(known, rel=1e-3)


def test_quadrature_has_the_moments_of_the_gaussian():
    mu = torch.tensor([2.0, 0.0, -1.0]).double()
    W, weights = whole_layers.gaussian_tasks(mu)
    centred = W - mu
    assert torch.allclose(weights @ W, mu, atol=EXACT)
    assert torch.allclose((weights[:, None] * centred).mT @ centred, torch.eye(3).double(), atol=EXACT)
    assert torch.allclose(weights @ centred**4, torch.full((3,), 3.0).double(), atol=1e-10)
    assert not torch.allclose(weights @ centred**6, torch.full((3,), 15.0).double(), atol=1)  # degree 6 is too much


def test_skewed_tasks_have_mean_zero_and_covariance_one_and_are_skewed():
    W, weights = whole_layers.skewed_tasks(3)
    assert weights.sum().item() == pytest.approx(1) and (weights @ W).abs().max() < EXACT
    assert torch.allclose((weights[:, None] * W).mT @ W, torch.eye(3).double(), atol=EXACT)
    assert (weights @ W**3)[0].item() == pytest.approx(3.75) and (weights @ W**3)[1:].abs().max() < EXACT


SKEWED = whole_layers.skewed_tasks(3)
LAWS = {
    "few tasks": (few(4, 3), None, 8, 0.0),
    "few tasks, noise": (few(6, 3, seed=2), None, 8, 0.5),
    "a mean": (*whole_layers.gaussian_tasks(torch.tensor([2.0, 0.0, 0.0]).double()), 10, 0.0),
    "no mean": (*whole_layers.gaussian_tasks(torch.zeros(3).double()), 10, 0.4),
    "skewed, no mean": (*SKEWED, 10, 0.0),
    "both ways, no mean": (torch.cat([SKEWED[0], -SKEWED[0]]), SKEWED[1].repeat(2) / 2, 10, 0.3),
}


@pytest.mark.parametrize("law", LAWS)
def test_at_the_best_layer_every_weight_is_at_its_best(law):
    """The slope in all four matrices vanishes, and no layer around it errs less."""
    W, weights, N, noise = LAWS[law]

    def excess(*Ws):
        return whole_layers.excess(Layer(*Ws), W, N, noise=noise, weights=weights)

    best = whole_layers.best_layer(W, N, noise=noise, weights=weights)
    slopes = torch.func.grad(excess, argnums=(0, 1, 2, 3))(*best)
    assert max(slope.abs().max() for slope in slopes) < 1e-5
    off = [slope.abs().max() for slope in torch.func.grad(excess, argnums=(0, 1, 2, 3))(1.1 * best.W_Q, *best[1:])]
    assert max(off) > 1e-2
    least, generator = excess(*best).item(), torch.Generator().manual_seed(3)
    for scale in (1e-3, 0.03, 0.3):
        for _ in range(20):
            moved = (X + scale * torch.randn(X.shape, generator=generator, dtype=X.dtype) for X in best)
            assert excess(*moved).item() > least - 1e-10


@pytest.mark.parametrize("law", LAWS)
def test_the_best_matrix_in_w_q_alone_is_beaten_unless_tasks_are_as_likely_as_their_negatives(law):
    """Ledger D9 and D10: the preconditioner is the optimum for W_V without an x block only."""
    W, weights, N, noise = LAWS[law]
    weights = torch.full((len(W),), 1 / len(W), dtype=W.dtype) if weights is None else weights
    I, prior = torch.eye(3).double(), (weights[:, None] * W).mT @ W
    A = closed_forms.preconditioner(I, N, noise=noise, prior=prior)
    alone = closed_forms.preconditioned_excess(A, I, N, noise=noise, prior=prior)
    layer = whole_layers.preconditioned_step(A, N)
    assert whole_layers.excess(layer, W, N, noise=noise, weights=weights).item() == pytest.approx(alone, rel=1e-10)
    best = whole_layers.best_layer(W, N, noise=noise, weights=weights)
    whole = whole_layers.excess(best, W, N, noise=noise, weights=weights).item()
    if law in ("no mean", "both ways, no mean"):
        assert whole == pytest.approx(alone, rel=1e-9)
    else:
        assert whole < 0.975 * alone


@pytest.mark.parametrize("d_x, N, matrix, whole", [(3, 10, 0.8571, 0.8316), (5, 20, 1.1538, 1.1367)])
def test_a_mean_of_zero_does_not_save_the_best_matrix(d_x, N, matrix, whole):
    """By the formula, and by 100,000 prompts of both layers, paired."""
    W, weights = whole_layers.skewed_tasks(d_x)
    best = whole_layers.best_layer(W, N, weights=weights)
    step = whole_layers.preconditioned_step(closed_forms.best_step(N, d_x) * torch.eye(d_x).double(), N)
    ends = [whole_layers.excess(layer, W, N, weights=weights).item() for layer in (step, best)]
    assert ends == pytest.approx([matrix, whole], abs=1e-4)
    p = tasks.linear_regression(100_000, N, d_x, seed=21)
    pick = torch.multinomial(weights, 100_000, replacement=True, generator=torch.Generator().manual_seed(22))
    y, truth = p.x @ W[pick][..., None], (W[pick] * p.x_query).sum(1, keepdim=True)
    by_step, by_best = ((constructions.learner([layer])(p.x, y, p.x_query) - truth).square() for layer in (step, best))
    assert standard_errors(by_best - by_step, whole - matrix) < 4 < standard_errors(by_best - by_step, 0.0)


def test_the_step_is_preconditioned_by_a_and_not_by_its_transpose():
    p = tasks.linear_regression(50, 7, 3, seed=1)
    A = torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y_hat = constructions.learner([whole_layers.preconditioned_step(A, 7)])(*p.shown)[:, 0]
    moment = (p.x * p.y).mean(1)
    assert torch.allclose(y_hat, torch.einsum("bi,ij,bj->b", p.x_query, A, moment), rtol=0, atol=EXACT)
    assert not torch.allclose(y_hat, torch.einsum("bi,ij,bj->b", p.x_query, A.mT, moment), rtol=0, atol=1e-2)


def test_more_random_starts_find_nothing_lower():
    for seed in range(3):
        W = few(5, 4, seed)
        some, many = (whole_layers.best_layer(W, 10, seeds=seeds) for seeds in (2, 12))
        ends = [whole_layers.excess(layer, W, 10).item() for layer in (some, many)]
        assert ends[0] == pytest.approx(ends[1], rel=1e-6)


def test_training_all_four_matrices_from_small_weights_ends_no_lower():
    """Adam on the same loss, all weights free and no parabola used."""
    W = few(4, 3)
    least = whole_layers.excess(whole_layers.best_layer(W, 8), W, 8).item()
    ends = []
    for seed in range(3):
        Ws = [X.clone().requires_grad_() for X in random_layer(3, 0.3, seed)]
        optimizer = torch.optim.Adam(Ws, lr=0.03)
        for _ in range(800):
            optimizer.zero_grad()
            whole_layers.excess(Layer(*Ws), W, 8).backward()
            optimizer.step()
        ends.append(whole_layers.excess(Layer(*Ws), W, 8).item())
    assert min(ends) > least - 1e-9 and min(ends) < 1.02 * least


def test_bad_input():
    layer, W = random_layer(3), few(4, 3)
    with pytest.raises(ValueError, match=r"W: expected \(M, d_x\) with d_x=3"):
        whole_layers.excess(layer, W[:, :2], 5)
    with pytest.raises(ValueError, match="noise: expected a standard deviation"):
        whole_layers.best_layer(W, 5, noise=-1)
    with pytest.raises(ValueError, match="N: expected a whole number"):
        whole_layers.best_layer(W, 0)
    with pytest.raises(ValueError, match=r"weights: expected \(M\) with M=4"):
        whole_layers.excess(layer, W, 5, weights=torch.ones(3).double())
    with pytest.raises(ValueError, match="expected a Layer with one head"):
        whole_layers.excess(constructions.two_relu_heads(layer), W, 5)
