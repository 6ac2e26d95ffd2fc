"""How the camera moves: what the background does between frames, so that motion can be told from drift.

Corners outside the candidates' boxes are followed with Lucas-Kanade; the median of their shifts is the background's.

Legend: N candidates, T frames, H height, W width, P corners.
"""

import numpy as np
from numpy.typing import NDArray

from stages.evidence.views.scene import Scene

LONGEST = 160  # pixels of the longer side at which corners are followed
CORNERS, FEWEST = 80, 8
SEGMENT = 24  # frames that the same corners are followed
LARGEST_SHARE = 0.4  # of the picture: a larger box is background itself


def camera_path(scene: Scene) -> NDArray[np.float64]:
    """(T, 2) where the picture's corner is in the world, in pixels relative to the first frame; 0 where it cannot be told."""
    import cv2

    height, width = scene.size
    scale = min(1.0, LONGEST / max(height, width))
    shape = (max(8, round(height * scale)), max(8, round(width * scale)))
    path_T2 = np.zeros((scene.n_frames, 2))
    before_HW, start = None, 0
    origin_P12 = points_P12 = np.zeros((0, 1, 2), np.float32)
    for t in range(scene.n_frames):
        grey_HW = cv2.cvtColor(scene.frame(t), cv2.COLOR_RGB2GRAY)
        if shape != scene.size:
            grey_HW = cv2.resize(grey_HW, shape[::-1], interpolation=cv2.INTER_AREA)
        if before_HW is not None and len(points_P12) >= FEWEST:
            origin_P12, points_P12 = _follow(before_HW, grey_HW, origin_P12, points_P12)
            if len(points_P12) >= FEWEST:
                path_T2[t] = path_T2[start] - np.median((points_P12 - origin_P12)[:, 0], axis=0)
            else:
                path_T2[t], points_P12 = path_T2[t - 1], points_P12[:0]
        elif t:
            path_T2[t] = path_T2[t - 1]
        if len(points_P12) < FEWEST or t - start >= SEGMENT:
            start, points_P12 = t, _corners(scene, t, grey_HW, scale)
            origin_P12 = points_P12
        before_HW = grey_HW
    return path_T2 / scale


def _corners(scene: Scene, t: int, grey_HW: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    import cv2

    background_HW = np.full(grey_HW.shape, 255, np.uint8)
    for x0, y0, x1, y1 in scene.boxes_NT4[scene.visible_NT[:, t], t] * scale:
        if (x1 - x0) * (y1 - y0) < LARGEST_SHARE * grey_HW.size:
            background_HW[max(0, int(y0) - 3) : int(y1) + 4, max(0, int(x0) - 3) : int(x1) + 4] = 0
    found = cv2.goodFeaturesToTrack(grey_HW, CORNERS, 0.01, 5, mask=background_HW)
    return np.zeros((0, 1, 2), np.float32) if found is None else np.asarray(found, np.float32)


def _follow(
    before_HW: NDArray[np.uint8],
    grey_HW: NDArray[np.uint8],
    origin_P12: NDArray[np.float32],
    points_P12: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the corners are now, and where those that could be followed began."""
    import cv2

    moved_P12, status_P1, _ = cv2.calcOpticalFlowPyrLK(
        before_HW, grey_HW, points_P12, None, winSize=(15, 15), maxLevel=2
    )
    kept_P = status_P1[:, 0] == 1
    return origin_P12[kept_P], np.asarray(moved_P12, np.float32)[kept_P]
