"""Weights that were trained for longer than a notebook may take, and the scripts that trained them."""
