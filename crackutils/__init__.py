"""Helpers of the notebooks: everything that is longer than a cell."""
