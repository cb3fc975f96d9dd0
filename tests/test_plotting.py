"""The recurring pictures: what they draw, beside their doctests."""

import numpy as np
from matplotlib.figure import Figure

from helpers import plotting


def test_a_matrix_is_drawn_in_diverging_colours_around_0_with_its_blocks():
    ax = Figure().subplots()
    image = plotting.matrix(ax, np.array([[1.0, -2.0], [0.0, 0.5]]), "W", blocks=(1,))
    assert image.get_cmap().name == plotting.WEIGHTS_MAP and image.get_clim() == (-2.0, 2.0)
    assert [line.get_ydata()[0] for line in ax.lines[:1]] == [0.5] and ax.lines[1].get_xdata()[0] == 0.5
    assert plotting.matrix(Figure().subplots(), np.eye(2), limit=3.0).get_clim() == (-3.0, 3.0)
