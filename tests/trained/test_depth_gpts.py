"""Nine small GPTs: that their training goes on where it stopped, and what is shipped."""

import pytest
import torch

from helpers.trained import depth_gpts


def test_a_short_run_goes_on_where_it_stopped(tmp_path):
    whole, parts = depth_gpts.untrained(1), depth_gpts.untrained(1)
    history = depth_gpts.train(whole, iterations=60)
    real, calls = depth_gpts.loss, []

    def interrupted(model, seed):
        calls.append(seed)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return real(model, seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth_gpts, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            depth_gpts.train(parts, iterations=60, keep=tmp_path / "run.pt")
    again = depth_gpts.untrained(1)
    assert torch.equal(depth_gpts.train(again, iterations=60, keep=tmp_path / "run.pt").losses, history.losses)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_the_shipped_file_is_small_and_holds_nine_models():
    assert depth_gpts.FILE.stat().st_size < 1e6
    saved = torch.load(depth_gpts.FILE, weights_only=True)
    assert len(saved) == 9 and all(W.dtype == torch.float16 for model in saved.values() for W in model.values())
    with pytest.raises(ValueError, match="n_layers, seed: expected one of .1, 2, 3. and of .0, 1, 2., got 4 and 0"):
        depth_gpts.load(4)
