"""What happens in context, taken apart: exact splits; who is listened to; where the linear story is exact."""

import pytest
import torch
from test_small_gpt import by_a_plain_loop, small, tasks

from helpers import metrics
from helpers.finetuning import attribution, effects, inside, small_gpt
from helpers.finetuning.small_gpt import Recipe

EXACT, WRONG = 1e-10, 1e-6


# --- exact splits ---------------------------------------------------------------------------------------------


def test_the_change_is_direct_plus_indirect_in_every_layer():
    found = effects.effects(small(), tasks())
    assert metrics.max_gap(found.total, found.direct + found.indirect) <= EXACT
    assert metrics.max_gap(found.total, found.direct) > WRONG  # the bracket that Dai et al. take for 0
    assert metrics.max_gap(found.total, 1.1 * found.direct + found.indirect) > WRONG
    assert 0 < found.gate.min() and found.gate.max() < 1


def test_in_the_first_layer_all_is_direct():
    """With relative positions, neither the query's tokens nor what they see of one another know of the context."""
    found = effects.effects(small(), tasks())
    assert found.indirect[:, :, 0].abs().max() <= EXACT < WRONG < found.indirect[:, :, 1].abs().max()


def test_softmax_attention_moves_towards_the_demonstrations_by_the_gate():
    """Attn([X'; X]) = (1 - λ) Attn(X) + λ Attn(X'): an interpolation, not a sum."""
    scores, values = torch.randn(9, generator=torch.Generator().manual_seed(1)).double(), torch.eye(9).double()
    both, own, demos = (
        s.softmax(0) @ v for s, v in [(scores, values), (scores[6:], values[6:]), (scores[:6], values[:6])]
    )
    gate = torch.sigmoid(scores[:6].logsumexp(0) - scores[6:].logsumexp(0))
    assert metrics.max_gap(both, (1 - gate) * own + gate * demos) <= EXACT
    assert metrics.max_gap(both, own + gate * demos) > WRONG


def linear_attention_parts(seed=0):
    """The last layer's matrices and inputs, for attention without the softmax (Dai et al. 2023, equations 10 to 12)."""
    model, episode = small(seed), tasks()
    inputs = inside.run(model, model.embed(episode.prompts()[:1])).inputs[-1, 0]
    _, W_K, W_V = model.core.blocks[-1].W_QKV.weight.double().unflatten(0, (3, 16))
    return W_K, W_V, inputs[:-4].T, inputs[-4:].T  # tokens as columns


def test_without_the_softmax_demonstrations_add_a_matrix():
    W_K, W_V, X_demos, X = linear_attention_parts()
    both = torch.cat([X_demos, X], dim=1)
    q = X[:, -1]
    W_zsl, change = (W_V @ X) @ (W_K @ X).T, (W_V @ X_demos) @ (W_K @ X_demos).T
    assert metrics.max_gap((W_V @ both) @ (W_K @ both).T @ q, (W_zsl + change) @ q) <= EXACT
    soft = (W_V @ both) @ ((W_K @ both).T @ q).softmax(0)
    soft_parts = (W_V @ X) @ ((W_K @ X).T @ q).softmax(0) + (W_V @ X_demos) @ ((W_K @ X_demos).T @ q).softmax(0)
    assert metrics.max_gap(soft, soft_parts) > WRONG


def test_that_matrix_is_one_step_on_a_loss_without_labels():
    """-sum_i <W_V x'_i, W W_K x'_i>: its gradient is the same at every W, and nothing in it is a label."""
    W_K, W_V, X_demos, _ = linear_attention_parts()
    for W in (torch.zeros(16, 16).double(), torch.randn(16, 16, generator=torch.Generator().manual_seed(2)).double()):
        G = torch.func.grad(lambda W: -((W_V @ X_demos) * (W @ W_K @ X_demos)).sum())(W)
        change = (W_V @ X_demos) @ (W_K @ X_demos).T
        assert metrics.max_gap(-G, change) <= EXACT and metrics.max_gap(-1.1 * G, change) > WRONG


def test_a_sequence_of_steps_is_attention_only_with_the_errors_of_each_step():
    """W_N x = W_0 x + sum_i e_i (x_i^T x), e_i at the weights of step i; with those at the start it is another sum."""
    g = torch.Generator().manual_seed(5)
    x, W, x_q = (torch.randn(s, generator=g, dtype=torch.float64) for s in [(12, 6), (4, 6), (6,)])
    y, W_0, lr = torch.arange(12) % 4, W.clone(), 0.3
    live, frozen = [], []
    for x_i, y_i in zip(x, y, strict=True):
        target = torch.eye(4, dtype=torch.float64)[y_i]
        live.append(-lr * ((W @ x_i).softmax(0) - target))
        frozen.append(-lr * ((W_0 @ x_i).softmax(0) - target))
        W = W - lr * torch.func.grad(lambda M, x_i=x_i, y_i=y_i: -(M @ x_i).log_softmax(0)[y_i])(W)
    told = [W_0 @ x_q + sum(e * (x_i @ x_q) for e, x_i in zip(errors, x, strict=True)) for errors in (live, frozen)]
    assert metrics.max_gap(told[0], W @ x_q) <= EXACT < 1e-2 < metrics.max_gap(told[1], W @ x_q)


# --- who is listened to ---------------------------------------------------------------------------------------


def test_who_is_listened_to_against_a_plain_loop():
    model, episode, lr = small(), tasks(B=2, k=3, Q=2), 0.5
    found = attribution.attributions(model, episode, Recipe(lr))
    assert [tuple(part.shape) for part in found] == [(2, 2, 3, 15)] * 4 + [(2, 2, 3, 3)]
    b, q, l = 1, 0, 1
    rows = {"queries": [], "keys": []}
    before, zero = model, []
    name = f"blocks.{l}.W_QKV.weight"
    W_start = dict(model.core.named_parameters())[name]
    probe = torch.cat([episode.query[b, q], episode.target[b, q, None]])
    for i in range(3):
        seen = inside.run(before, before.embed(episode.demos[b, i][None]))
        rows["keys"].append(seen.inputs[l, 0])
        rows["queries"].append(seen.qkv[l, 0, :, 0].flatten(1))
        after = by_a_plain_loop(model, episode.demos[b : b + 1, : i + 1], lr)[0]
        step = (dict(before.core.named_parameters())[name] - dict(after.core.named_parameters())[name]) / lr
        tuned = by_a_plain_loop(model, probe[None, None], 1.0)[0]
        zero.append((step * (W_start - dict(tuned.core.named_parameters())[name])).sum())
        before = after
    last = inside.run(before, before.embed(episode.query[b, q][None]))
    keys = torch.cat(rows["keys"]) @ last.inputs[l, 0, -1]
    queries = torch.cat(rows["queries"]) @ last.qkv[l, 0, -1, 0].flatten()
    assert metrics.max_gap(found.keys[b, q, l], keys) <= EXACT
    assert metrics.max_gap(found.queries[b, q, l], queries) <= EXACT
    assert metrics.max_gap(found.gradients[b, q, l], torch.stack(zero)) <= EXACT
    assert metrics.max_gap(found.keys, found.queries) > WRONG
    content = small_gpt.in_context(model, episode).scores.sum(3)[..., :15]
    assert metrics.max_gap(found.content, content) <= EXACT
    with pytest.raises(ValueError, match="recipe: expected GD on W_K, W_V, got linearised"):
        attribution.attributions(model, episode, Recipe(rule="linearised"))


def test_the_content_of_a_score_is_q_times_k_without_the_penalty():
    model, episode = small(), tasks(B=2, k=3, Q=2)
    found = attribution.attributions(model, episode, Recipe(0.5))
    b, q, l = 1, 0, 2
    prompt = torch.cat([episode.demos[b].flatten(), episode.query[b, q]])[None]
    asked, heard, _ = inside.run(model, model.embed(prompt)).qkv[l, 0].unbind(1)  # (T, H, d_k) each
    heads = range(len(model.core.slopes))
    by_hand = [sum(asked[-1, h] @ heard[t, h] for h in heads) / asked.shape[2] ** 0.5 for t in range(15)]
    assert metrics.max_gap(found.content[b, q, l], torch.stack(by_hand)) <= EXACT
    assert metrics.max_gap(found.icl, found.content) > WRONG
    penalty = found.content - found.icl  # one token further back costs the sum of the slopes
    assert metrics.max_gap(penalty.diff(dim=-1), -model.core.slopes.sum().expand(2, 2, 3, 14)) <= EXACT


def test_the_order_by_class_is_who_has_the_querys_label():
    episode = tasks(B=3, k=6, Q=4)
    found = attribution.of_right_class(episode)
    for b, q, i in ((0, 1, 2), (2, 3, 5)):
        assert found[b, q, i] == (episode.demos[b, i, -1] == episode.target[b, q])
