"""Claims G1 to G11 of notebook 07 that are not about `helpers.dual` itself; see test_dual.py for those."""

import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from helpers import attention
from helpers.theory import dual

EXACT, WRONG = 1e-12, 1e-3
NOTEBOOK = ROOT / "notebooks" / "07_the_dual_form.ipynb"


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a, b, tolerance=EXACT):
    return (a - b).abs().max() <= tolerance * max(1.0, b.abs().max())


# --- G1 -------------------------------------------------------------------------------------------------------


@given(st.integers(2, 40), st.integers(0, 10_000), st.integers(1, 6))
def test_the_kernel_perceptron_makes_the_mistakes_of_the_perceptron(n, seed, passes):
    x, y = draw(n, 2, seed=seed), draw(n, seed=seed + 1).sign()
    a, b, root2 = *x.T, 2**0.5
    features = torch.stack([torch.ones_like(a), root2 * a, root2 * b, a * a, b * b, root2 * a * b], dim=1)
    K = (1 + x @ x.T) ** 2
    assert close(features @ features.T, K)
    w, alpha, mistakes = torch.zeros(6).double(), torch.zeros(n).double(), 0
    for i in [*range(n)] * passes:
        wrong = (y[i] * (w @ features[i]) <= 0).item()
        assert wrong == (y[i] * ((alpha * y) @ K[:, i]) <= 0).item()
        if wrong:
            w, alpha[i], mistakes = w + y[i] * features[i], alpha[i] + 1, mistakes + 1
    assert alpha.sum() == mistakes
    assert close(w, features.T @ (alpha * y))


def test_the_bound_on_mistakes_is_held(ran):
    names = ran(NOTEBOOK).namespace
    y, features, charges = names["y_ring"], names["features"], names["alpha"] * names["y_ring"]
    separator = names["circle"] / names["circle"].norm()
    margin = (y * (features @ separator)).min()
    assert margin > 0 and (y * (names["K"] @ charges) > 0).all()  # separable, and separated at the end
    assert 0 < names["alpha"].sum() <= features.norm(dim=1).max() ** 2 / margin**2


# --- G3, G4: closed forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.3, 0.9, 0.99])
def test_the_coefficient_under_momentum_is_a_geometric_sum(beta):
    T, t = 60, torch.arange(1, 61).double()
    start, c = dual.coefficients([{"lr": 0.05, "momentum": beta}] * T)
    assert start == 1 and close(c, -0.05 * (1 - beta ** (T - t + 1)) / (1 - beta))
    assert not close(c, -0.05 * (1 - beta) * beta ** (T - t), WRONG)  # what an average of gradients would be
    assert c[0] / c[-1] > 1.4  # the oldest counts most


def test_the_first_of_sixty_gradients_counts_half_with_a_rate_of_a_twentieth():
    c = dual.coefficients([{"lr": 0.05, "momentum": 0.9}] * 60)[1]
    assert abs(c[0] + 0.4991) < 1e-4 and abs(c[-1] + 0.05) < EXACT


@pytest.mark.parametrize("decay", [0.01, 0.5])
def test_under_weight_decay_the_past_fades_exponentially(decay):
    T, t = 60, torch.arange(1, 61).double()
    start, c = dual.coefficients([{"lr": 0.05, "weight_decay": decay}] * T)
    assert abs(start - (1 - 0.05 * decay) ** T) < EXACT and close(c, -0.05 * (1 - 0.05 * decay) ** (T - t))


def test_momentum_and_decay_together_can_turn_the_sign_of_the_past():
    c = dual.coefficients([{"lr": 0.05, "momentum": 0.95, "weight_decay": 0.1}] * 60)[1]
    assert c[0] > 0 > c[-1]  # a gradient that now *adds*
    W, m = [1.0, 0.0], [0.0, 0.0]  # coefficients of W_0 and G_1, forwards, by hand
    for t in range(60):
        m = [0.95 * m[i] + (0.1 * W[i] + (1.0 if t == 0 and i else 0.0)) for i in range(2)]
        W = [W[i] - 0.05 * m[i] for i in range(2)]
    assert abs(W[1] - c[0].item()) < EXACT


# --- G2: the notebook's layer ---------------------------------------------------------------------------------


def test_the_sum_is_a_linear_attention_layer_over_inputs_and_errors():
    X, E, x, W_0 = draw(30, 6), draw(30, 3, seed=1), draw(9, 6, seed=2), draw(3, 6, seed=3)
    read_x, read_e = torch.diag(torch.tensor([1.0] * 6 + [0.0] * 3)), torch.diag(torch.tensor([0.0] * 6 + [1.0] * 3))
    layer = attention.Layer(read_x, read_x, read_e, torch.eye(9)).to(torch.float64)
    z = torch.cat([torch.cat([X, E], 1).expand(9, -1, -1), torch.nn.functional.pad(x, (0, 3))[:, None]], 1)
    said = x @ W_0.T + attention.linear(z, layer)[:, -1, 6:]
    assert close(said, x @ (W_0 + E.T @ X).T)
    assert not close(x @ W_0.T + attention.softmax(z, layer)[:, -1, 6:], x @ (W_0 + E.T @ X).T, WRONG)


def test_digits_from_the_history_alone(ran):
    """The bar of the digits: dual logits equal the network's on all test images, and a layer left out is noticed."""
    names = ran(NOTEBOOK).namespace
    test = names["x"][1297:]
    assert test.shape == (500, 64)
    for net, histories, _ in names["networks"].values():
        assert len(histories[-1].steps) >= 2000
        h = test
        for n, history in enumerate(histories):
            h = history.dual(h.tanh() if n else h)
        assert close(h, net(test).detach(), 1e-10)
        fewer = histories[-1].dual(net[:-1](test).detach(), 1990)
        assert not close(fewer, net(test).detach(), WRONG)


def test_the_parts_of_a_logit_add_up_to_it(ran):
    names = ran(NOTEBOOK).namespace
    spotlight = names["spotlight_widget"]
    for network, (net, _, _) in names["networks"].items():
        for image in (0, 379, 499):
            now = spotlight.compute(image=image, cls="5", t=2000, network=network)
            assert close(now.parts.sum(1), net(names["x"][1297 + image]).detach())


# --- G8 -------------------------------------------------------------------------------------------------------


def test_the_top_ten_make_up_the_share_that_the_text_states(ran):
    names = ran(NOTEBOOK).namespace
    net, histories, seen = names["networks"]["linear"]
    scores = histories[0].queries(names["x"][1297:]) @ histories[0].keys.T
    values = histories[0].values()[1][:, net(names["x"][1297:]).argmax(1)].T
    adds = torch.zeros(500, 1297).double().index_add_(1, seen, scores * values).abs()
    share = (adds.topk(10).values.sum(1) / adds.sum(1)).median()
    assert 0.14 < share < 0.21


def test_about_half_of_the_agreements_of_centred_images_are_negative(ran):
    x = ran(NOTEBOOK).namespace["x"]
    negative = ((x[1297:] @ x[:1297].T) < 0).double().mean()
    assert 0.45 < negative < 0.62


# --- G9, G10 --------------------------------------------------------------------------------------------------


def weights(V, K, X):
    return (V @ X) @ (K @ X).T


@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 6), st.integers(0, 10_000))
def test_attention_to_demonstrations_and_context_splits(n_demos, n_context, d, seed):
    V, K, demos, X, q = (
        draw(*s, seed=seed + i) for i, s in enumerate([(3, d), (3, d), (d, n_demos), (d, n_context), (3,)])
    )
    icl = sum(torch.outer(V @ x, K @ x) for x in demos.T)
    assert close(weights(V, K, torch.cat([demos, X], 1)) @ q, (weights(V, K, X) + icl) @ q)
    assert torch.linalg.matrix_rank(icl) <= n_demos


def test_the_icl_update_is_a_step_on_a_loss_without_labels_or_curvature():
    """I4: minus the gradient of -sum <V x, W K x>, the same at any W."""
    V, K, demos = draw(3, 6), draw(3, 6, seed=1), draw(6, 4, seed=2)

    def loss(W):
        return -((V @ demos) * (W @ K @ demos)).sum()

    for W in (torch.zeros(3, 3).double(), draw(3, 3, seed=3)):
        assert close(-torch.func.grad(loss)(W), weights(V, K, demos))


def test_the_fine_tuning_update_has_three_terms_and_is_quadratic_in_the_context():
    V, K, dV, dK, X, other = (draw(*s, seed=i) for i, s in enumerate([(3, 6)] * 4 + [(6, 5)] * 2))

    def update(X):
        return weights(V + dV, K + dK, X) - weights(V, K, X)

    first_order = (dV @ X) @ (K @ X).T + (V @ X) @ (dK @ X).T
    assert close(update(X), first_order + (dV @ X) @ (dK @ X).T)
    assert not close(update(X), first_order, WRONG)
    assert close(update(2 * X), 4 * update(X)) and not close(update(2 * X), 2 * update(X), WRONG)
    assert not close(update(other), update(X), WRONG)
    rotation = torch.linalg.qr(draw(5, 5, seed=9)).Q
    assert close(update(X @ rotation), update(X))  # it sees the context through X X^T only


def test_for_one_context_a_value_change_can_imitate_the_demonstrations():
    """Why "never the same matrix" is about all contexts, not about one."""
    V, K, demos, X = draw(3, 6), draw(3, 6, seed=1), draw(6, 4, seed=2), draw(6, 5, seed=3)
    icl, G = weights(V, K, demos), X @ (K @ X).T
    dV = icl @ torch.linalg.pinv(G)
    assert close(weights(V + dV, K, X) - weights(V, K, X), icl, 1e-10)
    assert not close(weights(V + dV, K, 2 * X) - weights(V, K, 2 * X), icl, WRONG)


# --- G11 ------------------------------------------------------------------------------------------------------


@given(st.integers(2, 30), st.floats(0.05, 0.99), st.integers(0, 10_000))
def test_the_extra_term_of_momentum_attention_is_a_toeplitz_matrix(T, beta, seed):
    v, lag = draw(T, 4, seed=seed), torch.arange(T).double()[:, None] - torch.arange(T)
    toeplitz = torch.where(lag > 0, beta**lag, 0.0)
    by_loop = torch.stack([sum((beta ** (t - i) * v[i] for i in range(t)), torch.zeros(4).double()) for t in range(T)])
    m = [torch.zeros(4).double()]
    for v_t in v[:-1]:
        m.append(beta * (m[-1] + v_t))
    assert close(toeplitz @ v, by_loop) and close(torch.stack(m), by_loop)


def test_true_momentum_favours_the_old_and_the_average_the_recent():
    beta, T = 0.8, 24
    k, v, q = draw(T, 4), draw(T, 4, seed=1), draw(4, seed=2)
    W = velocity = torch.zeros(4, 4).double()
    for k_t, v_t in zip(k, v, strict=True):
        velocity = beta * velocity + torch.outer(v_t, k_t)
        W = W + velocity
    age = torch.arange(T - 1, -1, -1).double()  # 0 for the newest
    position, average = (1 - beta ** (age + 1)) / (1 - beta), beta**age
    assert close(W @ q, (position * (k @ q)) @ v)
    assert close(velocity @ q, (average * (k @ q)) @ v)  # the average of values copies the velocity
    assert not close(W @ q, (average * (k @ q)) @ v, WRONG)
    assert (position.diff() < 0).all() and (average.diff() > 0).all()


# --- section 5 ------------------------------------------------------------------------------------------------


@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 10_000))
def test_adams_first_step_is_an_outer_product_of_signs_and_its_second_is_none(rows, columns, seed):
    W = torch.nn.Parameter(torch.zeros(rows, columns).double())
    adam, steps = torch.optim.Adam([W], lr=0.1, eps=0.0), []
    for t in range(2):
        before, e, x = W.detach().clone(), draw(rows, seed=seed + 2 * t), draw(columns, seed=seed + 2 * t + 1)
        W.grad = torch.outer(e, x)
        adam.step()
        steps.append((W.detach() - before, torch.outer(e.sign(), x.sign())))
    assert close(steps[0][0], -0.1 * steps[0][1])
    assert not close(steps[1][0], -0.1 * steps[1][1], WRONG)
