from __future__ import annotations

import numpy as np
import pytest
from skimage import data as photos


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return photos.chelsea()[:120, :90]
