"""Fine-tuning side by side is what a plain loop over tasks does; and what each rule's gradient may depend on."""

import copy

import pytest
import torch
from torch.nn import functional as F

from helpers import metrics
from helpers.finetuning import inside, small_gpt, toy_language
from helpers.finetuning.small_gpt import Recipe
from helpers.models.gpt import WordGPT

EXACT, WRONG = 1e-12, 1e-6


def small(seed=0, dtype=torch.float64, n_layers=3):
    model = WordGPT(toy_language.VOCABULARY, d_model=16, n_layers=n_layers, n_heads=2, seed=seed)
    return model.to(dtype).eval().requires_grad_(False)


def tasks(B=3, k=4, Q=5, seed=1):
    return toy_language.few_shot(toy_language.draw(B, seed=seed), k, Q, seed=seed)


def by_a_plain_loop(model, demos, lr, loss="label", trained="W_K, W_V"):
    """torch.optim.SGD on a copy of the model for each task; the copies."""
    copies = []
    for task in demos:
        tuned = copy.deepcopy(model)
        weights = [block.W_QKV.weight.requires_grad_(True) for block in tuned.core.blocks]
        if trained == "attention":
            weights += [block.P.weight.requires_grad_(True) for block in tuned.core.blocks]
        sgd = torch.optim.SGD(weights, lr)
        for demo in task:
            sgd.zero_grad()
            logits = tuned(demo[None])[0]
            if loss == "label":
                F.cross_entropy(logits[-2:-1], demo[-1:]).backward()
            else:
                F.cross_entropy(logits[:-1], demo[1:]).backward()
            if trained == "W_K, W_V":
                for W in weights:
                    W.grad[:16] = 0  # W_Q
            sgd.step()
        copies.append(tuned.requires_grad_(False))
    return copies


def gap(weights, copies):
    return max(
        metrics.max_gap(W[b], dict(tuned.core.named_parameters())[name][-W.shape[1] :])
        for name, W in weights.items()
        for b, tuned in enumerate(copies)
    )


@pytest.mark.parametrize("dtype, allowed", [(torch.float64, EXACT), (torch.float32, 1e-5)])
@pytest.mark.parametrize("loss", small_gpt.LOSSES)
@pytest.mark.parametrize("trained", small_gpt.TRAINED)
def test_side_by_side_is_the_plain_loop_over_tasks(dtype, allowed, loss, trained):
    model, demos = small(dtype=dtype), tasks().demos
    copies = by_a_plain_loop(model, demos, 0.3, loss, trained)
    recipe = Recipe(0.3, loss=loss, trained=trained)
    assert gap(small_gpt.finetune(model, demos, recipe)[0], copies) <= allowed
    assert gap(small_gpt.finetune(model, demos, recipe._replace(lr=0.33))[0], copies) > 100 * allowed


def test_the_order_is_that_of_the_prompt_and_each_demonstration_is_used_once():
    model, episode = small(), tasks()
    copies = by_a_plain_loop(model, episode.demos, 0.5)
    weights, steps = small_gpt.finetune(model, episode.demos, Recipe(0.5), watch=lambda i, W, G: i)
    assert torch.equal(episode.prompts()[0, : 4 * 5], episode.demos[0].flatten())  # the prompt's order
    assert steps == [0, 1, 2, 3] and gap(weights, copies) <= EXACT
    assert gap(small_gpt.finetune(model, episode.demos.flip(1), Recipe(0.5))[0], copies) > WRONG
    k = episode.first(2)
    assert len(small_gpt.finetune(model, k.demos, Recipe(), watch=lambda *_: 1)[1]) == (k.prompts().shape[1] - 4) // 5


def test_weights_that_were_watched_stay_as_they_were_then():
    model, demos = small(), tasks().demos
    end, kept = small_gpt.finetune(model, demos, Recipe(0.5), watch=lambda i, W, G: W)
    for i, weights in enumerate((*kept[1:], end), start=1):
        assert gap(weights, by_a_plain_loop(model, demos[:, :i], 0.5)) <= EXACT
    assert all(
        torch.equal(W, kept[0][name]) for name, W in small_gpt.initial_weights(model, Recipe(), len(demos)).items()
    )


def test_the_fine_tuned_model_is_asked_as_any_model():
    model, episode = small(), tasks()
    copies = by_a_plain_loop(model, episode.demos, 0.5)
    state = small_gpt.with_weights(model, episode, small_gpt.finetune(model, episode.demos, Recipe(0.5))[0])
    for b, tuned in enumerate(copies):
        assert metrics.max_gap(state.logits[b], tuned(episode.query[b])[:, -1]) <= EXACT
        seen = inside.state(tuned, tuned.embed(episode.query[b]))
        assert all(metrics.max_gap(part[b], wanted) <= EXACT for part, wanted in zip(state, seen, strict=True))


def test_what_is_seen_inside_makes_the_attention():
    """Scores, values and P, put together by hand, are the update; and block by block the tokens are the model's."""
    model, episode = small(), tasks()
    z = model.embed(episode.prompts())
    found, state = inside.run(model, z), inside.state(model, z)
    assert metrics.max_gap(found.logits, model(episode.prompts())) <= EXACT
    values, penalty = found.qkv[..., 2, :, :], -model.core.slopes[:, None] * torch.arange(24).flip(0)
    assert metrics.max_gap(inside.penalty(model, 24), penalty) <= EXACT
    for l, block in enumerate(model.core.blocks):
        weight, without = ((state.scores[:, l] + by).softmax(-1) for by in (penalty, 0))
        read = torch.einsum("bht,bthd->bhd", weight, values[l]).flatten(1)
        assert metrics.max_gap(read @ block.P.weight.T, state.updates[:, l]) <= EXACT
        assert metrics.max_gap(torch.einsum("bht,bthd->bhd", without, values[l]).flatten(1), read) > WRONG
        before = found.outputs[l - 1] if l else z
        assert metrics.max_gap(block.norm_1(before), found.inputs[l]) <= EXACT
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())  # nothing is left hanging


def test_after_looks_one_token_later():
    model, episode = small(), tasks()
    rows = torch.cat([episode.prompts(), episode.options[:, :1].repeat_interleave(5, 0)], 1)
    assert (
        metrics.max_gap(small_gpt.in_context(model, episode, after=True).logits.flatten(0, 1), model(rows)[:, -1])
        <= EXACT
    )
    weights, _ = small_gpt.finetune(model, episode.demos, Recipe(0.0))
    late, zsl = (small_gpt.in_context(model, episode.first(0), after=after) for after in (True, False))
    assert metrics.max_gap(small_gpt.with_weights(model, episode, weights, after=True).updates, late.updates) <= EXACT
    assert metrics.max_gap(late.updates, zsl.updates) > WRONG


# --- rules ----------------------------------------------------------------------------------------------------


def gradients(model, demos, **recipe):
    return small_gpt.finetune(model, demos, Recipe(**recipe), watch=lambda i, W, G: list(G.values()))[1]


def test_at_the_last_layer_the_first_layer_causal_step_is_gradient_descents():
    model, demos = small(), tasks().demos
    gd, code, paper = (gradients(model, demos, rule=rule)[0] for rule in small_gpt.RULES[:3])
    assert metrics.max_gap(code[-1], gd[-1]) <= EXACT
    assert all(metrics.max_gap(a, b) > WRONG for a, b in zip(code[:-1], gd[:-1], strict=True))
    assert metrics.max_gap(paper[-1], gd[-1]) > WRONG  # the paper's loss is taken before the MLP
    later = [gradients(model, demos, rule=rule, lr=1.0)[1][-1] for rule in small_gpt.RULES[:2]]
    assert metrics.max_gap(*later) > WRONG  # and only the first step: then the layers below differ


@pytest.mark.parametrize("rule", small_gpt.RULES[1:3])
def test_layer_causal_losses_are_those_written_out_block_by_block(rule):
    model, demos = small(), tasks(B=1, k=1).demos
    tuned = copy.deepcopy(model)
    weights = [block.W_QKV.weight.requires_grad_(True) for block in tuned.core.blocks]
    z, total, T = tuned.embed(demos[0]), 0.0, demos.shape[2]
    back = torch.arange(T)[:, None] - torch.arange(T)
    penalty = (-tuned.core.slopes[:, None, None] * back).masked_fill(back < 0, -torch.inf)[None]
    for block in tuned.core.blocks:
        out = block(z.detach(), penalty)
        says = out
        if rule == "layer-causal (paper)":
            q, k, v = block.W_QKV(block.norm_1(z.detach())).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
            weight = (q.detach() @ k.mT / 8**0.5 + penalty).softmax(-1)
            says = block.P((weight @ v).transpose(1, 2).flatten(2))
        total = total + F.cross_entropy(tuned.unembed(tuned.core.norm(says))[0, -2:-1], demos[0, :, -1])
        z = out
    total.backward()
    found = gradients(model, demos, rule=rule)[0]
    assert all(metrics.max_gap(G[0], W.grad[16:]) <= EXACT for G, W in zip(found, weights, strict=True))


def test_what_layers_above_do_matters_to_gradient_descent_only():
    """Layer causality: the update of a layer in context, and of layer-causal GD, knows nothing of the layers above."""
    model, episode = small(n_layers=3), tasks()
    other = copy.deepcopy(model)
    g = torch.Generator().manual_seed(3)
    for W in other.core.blocks[2].parameters():
        W.add_(0.3 * torch.randn(W.shape, generator=g, dtype=W.dtype))

    def updates(model, rule):
        weights, _ = small_gpt.finetune(model, episode.demos, Recipe(0.5, rule))
        return small_gpt.with_weights(model, episode, weights).updates[:, :, :2]

    icl = [small_gpt.in_context(m, episode).updates for m in (model, other)]
    assert torch.equal(icl[0][:, :, :2], icl[1][:, :, :2]) and not torch.equal(icl[0][:, :, 2], icl[1][:, :, 2])
    for rule in small_gpt.RULES[1:3]:
        assert torch.equal(updates(model, rule), updates(other, rule))
    assert metrics.max_gap(updates(model, "GD"), updates(other, "GD")) > WRONG


def test_linearised_is_the_limit_of_small_steps():
    model, episode = small(), tasks()

    def change(rule, lr):
        weights, _ = small_gpt.finetune(model, episode.demos, Recipe(lr, rule))
        state = small_gpt.with_weights(model, episode, weights, linear=rule == "linearised")
        return state.logits - small_gpt.in_context(model, episode.first(0)).logits

    errors = []
    for lr in (1e-3, 1e-2):
        gd, linear = change("GD", lr), change("linearised", lr)
        errors.append((metrics.max_gap(gd, linear) / gd.abs().max()).item())
    assert errors[0] < 2e-2 and 5 < errors[1] / errors[0] < 20  # first order: ten times the rate, ten times the error
    first = [gradients(model, episode.demos, rule=rule)[0] for rule in ("GD", "linearised")]
    assert all(metrics.max_gap(a, b) <= EXACT for a, b in zip(*first, strict=True))


def test_matched_steps_have_the_length_of_the_rate():
    model, demos = small(), tasks(k=1).demos
    for rule in small_gpt.RULES:
        weights, _ = small_gpt.finetune(model, demos, Recipe(0.2, rule, matched=True))
        plain = small_gpt.initial_weights(model, Recipe(), len(demos))
        moved = sum((W - plain[name]).square().sum((1, 2)) for name, W in weights.items()).sqrt()
        assert torch.allclose(moved, torch.full((3,), 0.2, dtype=torch.float64), rtol=0, atol=EXACT)


# --- what the papers say of the weight change -------------------------------------------------------------------


def test_the_weight_change_reads_inputs_not_queries():
    """dW = sum_t e_t x_t^T, x_t the layer's inputs: every gradient lives in their span, and not in the queries'."""
    model, demos = small(), tasks(k=1).demos
    found = inside.run(model, model.embed(demos[:, 0]))
    for G, x, qkv in zip(gradients(model, demos)[0], found.inputs, found.qkv, strict=True):
        for b in range(len(demos)):

            def outside(rows, G=G[b]):
                return (G - G @ torch.linalg.pinv(rows) @ rows).abs().max().item()

            assert outside(x[b]) <= EXACT < WRONG < outside(qkv[b, :, 0].flatten(1))


def test_a_bias_on_the_keys_has_no_gradient():
    """It adds q^T b to all scores of a row, which the softmax cancels; a bias on the values has one."""
    model, demo = small(), tasks(B=1, k=1).demos[0]
    for part, is_zero in ((1, True), (2, False)):
        biased = copy.deepcopy(model)
        biases = torch.zeros(3, 3, 16, dtype=torch.float64, requires_grad=True)  # (L, q k v, d)
        for block, bias in zip(biased.core.blocks, biases, strict=True):
            block.W_QKV.register_forward_hook(lambda layer, _, out, bias=bias: out + bias.flatten())
        F.cross_entropy(biased(demo)[0, -2:-1], demo[0, -1:]).backward()
        assert (biases.grad[:, part].abs().max() < EXACT) == is_zero


def test_an_error_in_a_layer_says_which():
    model, episode = small(), tasks(B=3, Q=5)
    weights = small_gpt.initial_weights(model, Recipe(), B=2)
    with pytest.raises(ValueError, match="blocks.0.W_QKV.weight: expected rows to be shared by 2 tasks evenly, got 15"):
        small_gpt.with_weights(model, episode, weights)
    weights = small_gpt.initial_weights(model, Recipe(), B=3)
    weights["blocks.1.W_QKV.weight"] = weights["blocks.1.W_QKV.weight"][..., :8]
    with pytest.raises(RuntimeError) as caught:
        small_gpt.with_weights(model, episode, weights)
    assert caught.value.__notes__ == ["in blocks.1.W_QKV.weight: weights (3, 32, 8), tokens (15, 4, 16)"]
    assert not any(m._forward_hooks for m in model.modules())


def test_bad_recipes_are_refused():
    model, demos = small(), tasks().demos
    with pytest.raises(ValueError, match="rule: expected one of GD; layer-causal .* got 'SGD'"):
        small_gpt.finetune(model, demos, Recipe(rule="SGD"))
    with pytest.raises(ValueError, match="lr: expected one finite number, got nan"):
        small_gpt.finetune(model, demos, Recipe(float("nan")))
    with pytest.raises(ValueError, match="trained: expected W_K, W_V with the paper's layer-causal rule"):
        small_gpt.finetune(model, demos, Recipe(rule="layer-causal (paper)", trained="attention"))
    with pytest.raises(TypeError, match=r"demos: expected \(B, k, L\) of dtype int64 .* got torch.float32 \(3, 4, 5\)"):
        small_gpt.finetune(model, demos.float(), Recipe())
