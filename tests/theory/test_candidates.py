"""How far a learner is from each of a list, and that the list is what it says."""

import pytest
import torch

from helpers import learners, metrics, tasks
from helpers.theory import candidates, closed_forms

PROMPT = tasks.linear_regression(B=30, N=6, d_x=4, seed=1)


@pytest.mark.parametrize("name", candidates.CANDIDATES)
def test_every_candidate_is_nearest_to_itself(name):
    apart = candidates.distances(candidates.CANDIDATES[name], PROMPT)
    assert apart[name].max() == 0 and all(apart[other].mean() > 1e-4 for other in apart if other != name)


def test_the_mean_distance_is_the_squared_prediction_difference():
    answers = learners.ridge(*PROMPT.shown, lam=0.5)
    for name, apart in candidates.distances(lambda *p: learners.ridge(*p, lam=0.5), PROMPT).items():
        spd = metrics.squared_prediction_difference(answers, candidates.CANDIDATES[name](*PROMPT.shown))
        assert apart.mean().item() == pytest.approx(spd / 4, rel=1e-12) and apart.shape == (30,)


def test_the_step_is_of_the_best_size_for_what_it_is_shown():
    for N in (6, 3):
        p = PROMPT.first(N)
        wanted = learners.gd(*p.shown, closed_forms.best_step(N, 4))
        assert torch.equal(candidates.one_step(*p.shown), wanted)
        assert metrics.max_gap(learners.gd(*p.shown, 1.1 * closed_forms.best_step(N, 4)), wanted) > 1e-3


def test_the_published_four_are_on_the_list_in_the_papers_order():
    names = list(candidates.CANDIDATES)
    assert [names.index(name) for name in candidates.PUBLISHED] == sorted(map(names.index, candidates.PUBLISHED))
    assert set(names) - set(candidates.PUBLISHED) == {"always 0", "three short steps", "five steps"}
