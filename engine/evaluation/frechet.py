"""The Fréchet distance of two sets of embeddings, taken as Gaussians."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protocols.errors import ErrorCode, RequestError


def frechet_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """The Fréchet distance of Gaussians with the means and covariances of two sets (Dowson and Landau, 1982; Heusel et al., 2017).

    It grows as sets become smaller, also between sets of one distribution: only distances of sets of equal size compare.

    Args:
        first: ``[rows, features]``.
        second: ``[rows, features]``.

    Raises:
        RequestError: ``empty`` for fewer than two rows.
    """
    if min(len(first), len(second)) < 2:
        raise RequestError(ErrorCode.EMPTY, "clips", f"{min(len(first), len(second))} embeddings", "2 or more")
    covariances = [np.cov(rows, rowvar=False).reshape(rows.shape[1], rows.shape[1]) for rows in (first, second)]
    root = _root(covariances[0])
    # The trace of the root of a product of two covariances is that of a symmetric one, whose eigenvalues are real.
    crossed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    shift = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    return float(max(0.0, shift + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * crossed))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
