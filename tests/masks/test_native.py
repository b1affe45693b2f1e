from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_plugin.errors import ImageReadError
from fiftyone_plugin.masks.refine import at_most, create_refiner, labels_or_error, native_labels
from fiftyone_plugin.masks.scores import LabelScores


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 128))
def test_thinned_values_are_some_of_the_values_and_few_enough(height, width, side):
    values = np.arange(height * width).reshape(height, width)
    thin = at_most(values, side)
    assert 1 <= thin.shape[0] <= side
    assert 1 <= thin.shape[1] <= side
    assert np.isin(thin, values).all()
    if max(height, width) <= side:
        np.testing.assert_array_equal(thin, values)


def scores() -> LabelScores:
    values = np.zeros((2, 4, 4), np.float32)
    values[0, :, :2] = values[1, :, 2:] = 1
    return LabelScores(np.array([3, 7]), values)


def refuse() -> np.ndarray:
    raise ImageReadError("a.jpg", "gone")


def test_scores_become_class_ids_at_native_size():
    image = np.zeros((40, 60, 3), np.uint8)
    mask = native_labels(scores(), (40, 60), lambda: image, create_refiner("none"))
    assert mask.shape == (40, 60)
    assert mask.dtype == np.uint8
    assert (mask[:, :29] == 3).all()
    assert (mask[:, 31:] == 7).all()


def test_the_image_is_read_only_where_it_is_needed_and_an_error_is_handed_back():
    done = scores()
    done.refined = True
    assert native_labels(done, (8, 8), refuse, create_refiner("none")).shape == (8, 8)
    error = labels_or_error(scores(), (8, 8), refuse, create_refiner("none"))
    assert isinstance(error, ImageReadError)
    assert error.reason == "gone"


def test_class_ids_above_255_take_two_bytes():
    given = LabelScores(np.array([3, 700]), scores().scores)
    mask = native_labels(given, (40, 60), lambda: np.zeros((40, 60, 3), np.uint8), create_refiner("none"))
    assert mask.dtype == np.uint16
    assert np.unique(mask).tolist() == [3, 700]
