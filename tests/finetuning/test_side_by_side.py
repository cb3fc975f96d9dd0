"""The comparison is three forward passes; its measures against loops; its controls change one thing only."""

import pytest
import torch
from test_small_gpt import by_a_plain_loop, small, tasks

from helpers import metrics
from helpers.finetuning import side_by_side, toy_language
from helpers.finetuning.small_gpt import Recipe

EXACT, WRONG = 1e-10, 1e-6


def test_a_comparison_is_three_forward_passes():
    model, episode = small(), tasks()
    three = side_by_side.compare(model, episode, Recipe(0.5))
    assert metrics.max_gap(three.icl.logits.flatten(0, 1), model(episode.prompts())[:, -1]) <= EXACT
    assert metrics.max_gap(three.zsl.logits.flatten(0, 1), model(episode.query.flatten(0, 1))[:, -1]) <= EXACT
    tuned = by_a_plain_loop(model, episode.demos, 0.5)
    assert metrics.max_gap(three.ft.logits[1], tuned[1](episode.query[1])[:, -1]) <= EXACT
    assert three.own == 4 and side_by_side.compare(model, episode, Recipe(), after=True).own == 5


def test_measures_are_means_over_queries_and_heads():
    model, episode = small(), tasks()
    three = side_by_side.compare(model, episode, Recipe(0.5))
    found = side_by_side.by_layer(three)
    assert all(value.shape == (3, 3) for value in found.values())
    b, l = 1, 2
    z, ft, icl = (at.updates[b, :, l] for at in three[:3])
    each = [((i - a) @ (f - a) / ((i - a).norm() * (f - a).norm())).item() for a, f, i in zip(z, ft, icl, strict=True)]
    assert found["SimAOU"][b, l].item() == pytest.approx(sum(each) / 5, abs=EXACT)
    a, b_ = (at.scores[b, :, l, :, -4:] for at in (three.icl, three.ft))
    each = (a * b_).sum(-1) / (a.norm(dim=-1) * b_.norm(dim=-1))
    assert found["SimAM"][b, l].item() == pytest.approx(each.mean().item(), abs=EXACT)


def test_what_all_queries_share_is_left_out_per_query():
    three = side_by_side.compare(small(), tasks(), Recipe(0.5))
    shift = torch.ones(16, dtype=torch.float64)
    moved = three._replace(icl=three.icl._replace(updates=three.icl.updates + 9 * shift))
    assert metrics.max_gap(side_by_side.per_query(three), side_by_side.per_query(moved)) < EXACT
    plain = side_by_side.METRICS["SimAOU"]
    assert metrics.max_gap(plain(three), plain(moved)) > 0.1


# --- controls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("control", side_by_side.CONTROLS)
def test_controls_change_what_they_say_and_nothing_else(control):
    episode = tasks(B=4, k=16)
    other = side_by_side.other_context(episode, control)
    assert other.demos.shape == episode.demos.shape
    assert all(torch.equal(a, b) for a, b in zip(episode[1:], other[1:], strict=True))
    words, labels = (torch.equal(episode.demos[..., p], other.demos[..., p]) for p in (slice(0, 4), 4))
    assert (words, labels) == {"the same": (True, True), "labels shuffled": (True, False)}.get(control, (False, False))
    if control == "labels shuffled":
        assert torch.equal(episode.demos[..., 4].sort(1).values, other.demos[..., 4].sort(1).values)
    elif control == "random words":
        assert (other.demos[..., 4, None] == episode.options[:, None]).any(-1).all()
        assert (other.demos[..., :4] < toy_language.WORDS).all()
    with pytest.raises(ValueError, match="control: expected one of the same, others of the task, labels shuffled"):
        side_by_side.other_context(episode, "none")


def test_exchanged_takes_out_all_that_does_not_depend_on_the_demonstrations():
    model, episode = small(), tasks(Q=5)
    other = toy_language.other_demonstrations(episode, seed=9)
    one, two = (side_by_side.compare(model, few, Recipe(0.5)) for few in (episode, other))
    a, b = ((getattr(one, way).updates - getattr(two, way).updates)[1, :, 2] for way in ("icl", "ft"))  # (Q, d)
    a, b = a - a.mean(0), b - b.mean(0)
    each = [(x @ y / (x.norm() * y.norm())).item() for x, y in zip(a, b, strict=True)]
    assert side_by_side.exchanged(one, two)[1, :, 2].tolist() == pytest.approx(each, abs=EXACT)
    shift = torch.randn(16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = [c._replace(icl=c.icl._replace(updates=c.icl.updates + shift)) for c in (one, two)]  # known without them
    assert metrics.max_gap(side_by_side.exchanged(*moved), side_by_side.exchanged(one, two)) <= EXACT
    assert metrics.max_gap(side_by_side.METRICS["SimAOU"](moved[0]), side_by_side.METRICS["SimAOU"](one)) > WRONG


def test_the_pattern_of_the_queries_has_no_axes():
    three = side_by_side.compare(small(), tasks(), Recipe(0.5))
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).Q
    turned = three._replace(
        zsl=three.zsl._replace(updates=0 * three.zsl.updates),
        icl=three.icl._replace(updates=(three.icl.updates - three.zsl.updates) @ turn),
        ft=three.ft._replace(updates=three.ft.updates - three.zsl.updates),
    )
    assert metrics.max_gap(side_by_side.pattern(turned), side_by_side.pattern(three)) <= EXACT
    assert metrics.max_gap(side_by_side.per_query(turned), side_by_side.per_query(three)) > WRONG


def after(model, episode, lr):
    return side_by_side.accuracy(side_by_side.compare(model, episode, Recipe(lr)).ft, episode).mean()


def test_the_best_rate_is_that_of_the_largest_accuracy_over_all_models():
    models, episode, rates = [small(), small(seed=1)], tasks(B=8, k=8, Q=8), (0.0, 0.3, 1.0, 3.0)
    right = [[after(model, episode, lr) for lr in rates] for model in models]
    by_hand = torch.tensor(right)
    for chosen in ([0], [1], [0, 1]):
        best = side_by_side.best_rate([models[i] for i in chosen], episode, Recipe(), rates)
        assert best == rates[by_hand[chosen].mean(0).argmax()]
    assert by_hand.mean(0).unique().numel() > 1
    ft = side_by_side.compare(models[0], episode, Recipe(0.3)).ft
    found = (toy_language.answers(ft.logits.flatten(0, 1), episode) == episode.target).double().mean(1)
    assert torch.equal(side_by_side.accuracy(ft, episode), found)
    assert torch.equal(side_by_side.accuracy(ft, episode), side_by_side.accuracy(ft, episode.first(0)))


def test_counts_of_corrections_are_those_of_the_queries():
    three = side_by_side.compare(small(), tasks(), Recipe(1.0))
    zsl, ft, icl = (side_by_side.right(at, tasks()) for at in three[:3])
    counts = side_by_side.recall(three, tasks())
    assert counts[:, 1].tolist() == [
        sum(f and not z for f, z in zip(*rows, strict=True)) for rows in zip(ft, zsl, strict=True)
    ]
    assert counts[:, 3].tolist() == (~zsl).sum(1).tolist() and counts.shape == (3, 4)


@pytest.mark.parametrize("rule", ["GD", "layer-causal (code)", "layer-causal (paper)"])
def test_a_comparison_makes_no_tensor_on_another_device(rule, monkeypatch):
    """On the device "meta" nothing is computed, but a tensor of the CPU that gets in between is an error."""
    monkeypatch.setattr(type(small()), "_check", lambda *_: None)  # it asks for the largest token
    three = side_by_side.compare(small().to("meta"), tasks().to("meta"), Recipe(rule=rule))
    assert {part.device.type for state in three[:3] for part in state} == {"meta"}
    assert three.icl.scores.shape == (3, 5, 3, 2, 24)
    with pytest.raises(RuntimeError, match="device"):
        side_by_side.compare(small().to("meta"), tasks(), Recipe(rule=rule))


def test_before_fine_tuning_is_the_comparison_with_zero_shot():
    model, episode = small(), tasks()
    found = side_by_side.compare(model, episode, Recipe(lr=0.3))
    untouched = found._replace(ft=found.zsl)
    before, after = (side_by_side.METRICS[name] for name in ("SimAM, before FT", "SimAM"))
    assert torch.equal(before(found), after(untouched)) and not torch.equal(before(found), after(found))
