"""How well the outlines of a mask follow those of the truth."""

import cv2
import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.uint8]

TOLERANCE = 0.0075  # of the photo's diagonal, as in the benchmark's code


def boundary_f(truth: Ids, prediction: Ids, classes: int) -> float:
    """The boundary F-score of one photo (Csurka et al. 2013, BMVC), the mean over the classes in its truth; 0..1.

    For each class: precision is the share of the prediction's boundary pixels that lie within the tolerance of the
    truth's boundary, recall the other way round. truth, prediction: uint8[h,w]; pixels with a truth of 255 are no
    boundary.
    """
    reach = max(1.0, TOLERANCE * float(np.hypot(*truth.shape)))
    known = truth < classes
    scores = [
        _f(_boundary((truth == index) & known), _boundary((prediction == index) & known), reach)
        for index in range(classes)
        if (truth == index).any()
    ]
    return float(np.mean(scores)) if scores else 1.0


def _boundary(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a class that touch another one."""
    # Erosion repeats the outermost pixels outwards, so the photo's edge does not count as a boundary.
    eroded = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(inside & (eroded == 0))


def _f(truth: NDArray[np.bool_], prediction: NDArray[np.bool_], reach: float) -> float:
    if not truth.any() and not prediction.any():
        return 1.0
    if not truth.any() or not prediction.any():
        return 0.0
    precision = float((_distance(truth)[prediction] <= reach).mean())
    recall = float((_distance(prediction)[truth] <= reach).mean())
    return 2 * precision * recall / max(precision + recall, 1e-12)


def _distance(boundary: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Each pixel's distance to the nearest pixel of the boundary."""
    return np.asarray(cv2.distanceTransform((~boundary).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
