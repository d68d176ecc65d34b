"""Numbers small enough for a page to carry by the ten thousand: whole hundredths, and histograms in bins of them."""

import numpy as np


def hundredths(values) -> np.ndarray:
    """The values in whole hundredths.

    Raises:
        ValueError: for a value that is not finite.

    >>> hundredths([0.123, -4.0]).tolist()
    [12, -400]
    """
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"hundredths: {np.count_nonzero(~np.isfinite(values))} values are NaN or infinite")
    return np.rint(100 * values).astype(np.int64)


def middle_and_reach(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The median over the first axis, and how far below and above it the samples reach.

    >>> [part.tolist() for part in middle_and_reach(np.array([[0.0], [1.0], [5.0]]))]
    [[1.0], [1.0], [4.0]]
    """
    middle = np.median(samples, axis=0)
    return middle, middle - samples.min(axis=0), samples.max(axis=0) - middle


def histograms(values: np.ndarray, bins: int) -> dict[str, np.ndarray]:
    """Counts of the finite values along the last axis in equal bins, each histogram with its own.

    Args:
        values: (…, samples); −inf is counted apart.
        bins: how many, at least 1.

    Returns:
        ``low`` (…) and ``size`` (…), the first bin's lower edge and the bins' width in hundredths, integers;
        ``counts`` (…, bins); ``absent`` (…), how many values are not finite.

    >>> found = histograms(np.array([0.0, 0.004, 0.031, -np.inf]), 4)
    >>> found["low"].item(), found["size"].item(), found["counts"].tolist(), found["absent"].item()
    (0, 1, [2, 0, 0, 1], 1)
    """
    finite = np.isfinite(values)
    scaled = np.where(finite, 100 * values, 0.0)
    low = np.floor(np.where(finite, scaled, np.inf).min(axis=-1))
    high = np.where(finite, scaled, -np.inf).max(axis=-1)
    low, high = (np.where(finite.any(axis=-1), edge, 0.0) for edge in (low, high))
    size = np.floor((high - low) / bins) + 1  # so that the highest value lies within the last bin
    place = np.where(finite, (scaled - low[..., None]) // size[..., None], bins)
    counts = (place[..., None] == np.arange(bins + 1)).sum(axis=-2)
    return {
        "low": low.astype(np.int64),
        "size": size.astype(np.int64),
        "counts": counts[..., :bins],
        "absent": counts[..., bins],
    }
