"""The small GPT: no token reads a later one, one pass is many prompts, and its checkpoint is what it says it is."""

import math

import pytest
import torch

from helpers import metrics, tasks, training
from helpers.models.gpt import GPT, RegressionGPT
from helpers.trained import regression_gpts

EXACT = 1e-12
WRONG = 1e-3


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def core(**changed):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return GPT(**({"d_model": 8, "n_layers": 2, "n_heads": 2} | changed)).double().requires_grad_(False)


def small(**changed):
    return RegressionGPT(3, longest=6, **({"d_model": 8, "n_layers": 2, "n_heads": 2} | changed)).double()


def by_plain_loops(model, z):
    """The same function of tokens (T, d_model), one token, head and sum at a time."""

    def normed(vector, norm):
        off = vector - vector.mean()
        return off / (off.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias

    T, d = z.shape
    rows = [z[t] if model.positions is None else z[t] + model.positions[t] for t in range(T)]
    for block in model.blocks:
        qkv = [block.W_QKV.weight @ normed(row, block.norm_1) for row in rows]
        size, after = d // block.n_heads, []
        for t in range(T):
            heads = []
            for h in range(block.n_heads):
                at = slice(h * size, (h + 1) * size)
                q = qkv[t][:d][at]
                slope = 0.0 if model.positions is not None else 2.0 ** (-8 * (h + 1) / block.n_heads)
                scores = [q @ qkv[s][d : 2 * d][at] / math.sqrt(size) - slope * (t - s) for s in range(t + 1)]
                weights = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
                heads.append(sum(weights[s] * qkv[s][2 * d :][at] for s in range(t + 1)))
            row = rows[t] + block.P.weight @ torch.cat(heads)
            wide, narrow = block.mlp[0], block.mlp[2]
            inside = wide.weight @ normed(row, block.norm_2) + wide.bias
            gelu = inside * (1 + torch.erf(inside / math.sqrt(2))) / 2
            after.append(row + narrow.weight @ gelu + narrow.bias)
        rows = after
    return torch.stack([normed(row, model.norm) for row in rows])


@pytest.mark.parametrize("length", [None, 7])
def test_the_core_is_what_plain_loops_compute(length):
    model, z = core(length=length), random(1, 7, 8)
    assert metrics.max_gap(model(z)[0], by_plain_loops(model, z[0])) <= EXACT
    assert metrics.max_gap(model(z)[0], by_plain_loops(core(length=None if length else 7), z[0])) > WRONG


def without_mask(monkeypatch):
    attend = torch.nn.functional.scaled_dot_product_attention

    def unmasked(q, k, v, attn_mask=None, is_causal=False):
        return attend(q, k, v, attn_mask=None if attn_mask is None else attn_mask.nan_to_num(neginf=0.0))

    monkeypatch.setattr("helpers.models.gpt.F.scaled_dot_product_attention", unmasked)


@pytest.mark.parametrize("length", [None, 9])
def test_no_token_reads_a_later_one_bit_for_bit(length, monkeypatch):
    model, z = core(length=length), random(4, 9, 8)
    other = torch.cat([z[:, :5], random(4, 4, 8, seed=1)], dim=1)
    assert torch.equal(model(z)[:, :5], model(other)[:, :5])
    assert metrics.max_gap(model(z)[:, 5:], model(other)[:, 5:]) > WRONG
    without_mask(monkeypatch)
    assert metrics.max_gap(model(z)[:, :5], model(other)[:, :5]) > WRONG  # the twin


def test_the_prediction_at_an_input_knows_neither_its_label_nor_what_comes_later(monkeypatch):
    model, p = regression_gpts.load(), tasks.linear_regression(B=20, N=12, d_x=5, seed=2)
    other = tasks.linear_regression(B=20, N=12, d_x=5, seed=3)
    x, y = torch.cat([p.x[:, :7], other.x[:, 7:]], dim=1), torch.cat([p.y[:, :6], other.y[:, 6:]], dim=1)
    before, after = model.path(*p.shown), model.path(x, y, other.x_query)
    assert torch.equal(before[:, :7], after[:, :7])
    assert metrics.max_gap(before[:, 7:], after[:, 7:]) > WRONG
    without_mask(monkeypatch)
    assert metrics.max_gap(model.path(*p.shown)[:, :7], model.path(x, y, other.x_query)[:, :7]) > WRONG


def test_one_pass_gives_the_answers_to_all_shorter_prompts():
    model, p = regression_gpts.load(), tasks.linear_regression(B=20, N=12, d_x=4, seed=2)
    inputs, path = torch.cat([p.x, p.x_query[:, None]], dim=1), model.path(*p.shown)
    assert path.shape == (20, 13, 1)
    for k in range(13):
        assert metrics.max_gap(path[:, k], model(p.x[:, :k], p.y[:, :k], inputs[:, k])) <= EXACT
    assert torch.equal(path[:, -1], model(*p.shown))
    assert metrics.max_gap(path[:, 5], model(p.x[:, :6], p.y[:, :6], inputs[:, 5])) > WRONG


def test_fewer_coordinates_are_coordinates_that_are_0():
    model, p = regression_gpts.load(), tasks.linear_regression(B=20, N=12, d_x=2)
    x, x_query = torch.nn.functional.pad(p.x, (0, 3)), torch.nn.functional.pad(p.x_query, (0, 3))
    assert torch.equal(model(*p.shown), model(x, p.y, x_query))


def test_prompts_do_not_read_each_other():
    model, p = regression_gpts.load(), tasks.linear_regression(B=20, N=12, d_x=5)
    assert metrics.max_gap(model(*p.shown)[3:4], model(p.x[3:4], p.y[3:4], p.x_query[3:4])) <= EXACT


def test_the_same_seed_gives_the_same_weights():
    first, again, other = small().state_dict(), small().state_dict(), small(seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed.weight"], other["embed.weight"])


P = tasks.linear_regression(B=2, N=6, d_x=3)


@pytest.mark.parametrize(
    "prompt, error, message",
    [
        (
            tasks.linear_regression(B=2, N=7, d_x=3),
            ValueError,
            "at most 6 pairs of at most 3 inputs and 1 labels, got 7",
        ),
        (tasks.linear_regression(B=2, N=6, d_x=4), ValueError, "got 6 pairs of 4 and 1: the model was made for those"),
        (tasks.linear_regression(B=2, N=6, d_x=3, d_y=2), ValueError, "got 6 pairs of 3 and 2"),
        (P._replace(x=P.x * torch.nan), ValueError, "x"),
        (P._replace(x_query=P.x_query[:1]), ValueError, "x_query"),
        (P.to(torch.float32), TypeError, "weights"),
    ],
    ids=["too long", "too wide", "too many labels", "NaN", "another batch", "another dtype"],
)
def test_prompts_that_do_not_fit_are_refused(prompt, error, message):
    with pytest.raises(error, match=message):
        small()(*prompt.shown)


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"d_model": 9}, "d_model: expected a multiple of the 2 heads, got 9"),
        ({"n_layers": 0}, "n_layers: expected a whole number of at least 1, got 0"),
        ({"length": 0}, "length: expected a whole number of at least 1, got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        core(**sizes)


# --- its training, and the file -------------------------------------------------------------------------------


def test_training_prompts_have_no_noise_and_use_one_to_five_coordinates():
    p, d = regression_gpts.prompts(65, seed=4)
    assert d.bincount().tolist() == [0, 13, 13, 13, 13, 13]
    assert all((p.x[i, :, n:] == 0).all() and (p.x[i, :, :n] != 0).all() for i, n in enumerate(d.tolist()))
    assert torch.equal(p.y, p.x @ p.W.mT)
    assert torch.equal(p.y_query, (p.W @ p.x_query[..., None])[..., 0])
    again, other = regression_gpts.prompts(65, seed=4)[0], regression_gpts.prompts(65, seed=5)[0]
    assert torch.equal(p.x, again.x) and not torch.equal(p.W, other.W)


def test_the_training_loss_is_the_error_over_d_of_all_predictions():
    model, d_in_turn = RegressionGPT(5, longest=12, seed=1), [1, 2, 3, 4, 5] * 13
    p, _ = regression_gpts.prompts(65, seed=6)
    inputs, total = torch.cat([p.x, p.x_query[:, None]], dim=1), 0.0
    labels = torch.cat([p.y, p.y_query[:, None]], dim=1)
    with torch.no_grad():
        for k in range(13):
            off = model(p.x[:, :k], p.y[:, :k], inputs[:, k]) - labels[:, k]
            total += (off[:, 0].square() / torch.tensor(d_in_turn)).mean().item() / 13
        assert abs(regression_gpts.loss(model, seed=6).item() / total - 1) < 1e-5


def test_the_checkpoint_is_small_safe_and_frozen():
    model = regression_gpts.load()
    assert regression_gpts.FILE.stat().st_size <= 1_000_000
    assert sum(W.numel() for W in model.parameters()) == 151_489  # the number that notebook 01 gives
    assert not model.training and not any(W.requires_grad for W in model.parameters())
    assert all(W.dtype == torch.float64 and W.isfinite().all() for W in model.parameters())
    saved = torch.load(regression_gpts.FILE, weights_only=True)
    assert all(type(W) is torch.Tensor and W.dtype == torch.float32 for W in saved.values())


def test_the_learning_rate_rises_then_falls():
    rate = [training.warm_then_cosine(t / 100) for t in range(101)]
    assert rate[0] == 0.0 and rate[-1] == 0.0 and rate.index(max(rate)) == 5
