"""Rules anybody can follow, against plain loops; and the positive control does depend on its demonstrations."""

import math

import pytest
import torch

from helpers.finetuning import rules, toy_language

EXACT = 1e-12


@pytest.fixture
def prompt():
    return toy_language.as_numbers(toy_language.few_shot(toy_language.draw(5, 2, seed=1), k=12, Q=3, seed=2))


def test_naive_bayes_is_that_of_a_plain_count(prompt):
    x, y, x_query = prompt
    found = rules.naive_bayes(*prompt)
    for r in range(len(x)):
        log_odds = 0.0
        for sign in (1, -1):
            mine = [x[r, i] for i in range(12) if y[r, i] == sign]
            counts = sum(mine, torch.zeros(64)).tolist()
            total = sum(counts) + 64
            evidence = sum(n * math.log((c + 1) / total) for n, c in zip(x_query[r].tolist(), counts, strict=True))
            log_odds += sign * (evidence + math.log(len(mine) + 1))
        assert found[r, 0].item() == pytest.approx(log_odds, abs=1e-10)


def test_naive_bayes_is_scikit_learns(prompt):
    from sklearn.naive_bayes import MultinomialNB

    x, y, x_query = prompt
    found = rules.naive_bayes(*prompt)
    for r in range(0, len(x), 4):
        theirs = MultinomialNB(alpha=1.0, fit_prior=False).fit(x[r].numpy(), y[r, :, 0].numpy())
        proba = theirs.predict_log_proba(x_query[r : r + 1].numpy())[0]
        n = [(y[r] == sign).sum().item() + 1 for sign in (1, -1)]
        assert found[r, 0].item() == pytest.approx(proba[1] - proba[0] + math.log(n[0] / n[1]), abs=1e-10)


def test_matching_is_softmax_attention_and_sharpens_to_the_nearest(prompt):
    x, y, x_query = prompt
    read = torch.nn.functional.scaled_dot_product_attention(x_query[:, None], x, y, scale=1.0)[:, 0]
    assert (rules.soft_match(*prompt) - read).abs().max() <= EXACT
    assert (rules.soft_match(*prompt, sharpness=500.0) - rules.nearest(*prompt)).abs().max() <= EXACT
    assert (rules.soft_match(*prompt) - rules.nearest(*prompt)).abs().max() > 0.1


@pytest.mark.parametrize("rule", [rules.naive_bayes, rules.soft_match, rules.nearest])
def test_a_rule_learns_the_task_and_nothing_else(rule):
    e = toy_language.few_shot(toy_language.draw(200, 2, seed=3), k=32, Q=4, seed=4)
    x, y, x_query = toy_language.as_numbers(e)
    truth = (e.target == e.options[:, :1]).flatten()
    assert ((rule(x, y, x_query)[:, 0] > 0) == truth).double().mean() > 0.95
    shuffled = y[:, torch.randperm(32, generator=torch.Generator().manual_seed(0))]
    assert abs(((rule(x, shuffled, x_query)[:, 0] > 0) == truth).double().mean() - 0.5) < 0.1
    assert (rule(x, -y, x_query) + rule(x, y, x_query)).abs().max() < 1e-10  # it has no favourite


def test_the_readers_depend_on_the_demonstrations_that_they_stored():
    g = torch.Generator().manual_seed(0)
    values, matches = torch.randn(2, 3, 1, 5, generator=g), torch.tensor([[[0.0, 2.0, 1.0], [2.0, 2.0, 0.0]]] * 2)
    nearest, written = rules.reads_the_nearest(values, matches), rules.written_by_each(values, matches)
    assert torch.allclose(nearest[:, 0, 0], values[:, 1, 0])
    assert torch.allclose(nearest[:, 1, 0], (values[:, 0, 0] + values[:, 1, 0]) / 2)  # a tie is shared
    assert torch.allclose(written[:, 0, 0], 2 * values[:, 1, 0] + values[:, 2, 0])
