import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from drscale.losses import chance, contrastive_entropy, mask_repeats, pool_scores

SCORES = arrays(np.float64, (4, 6), elements=st.floats(-30, 30))


@given(SCORES, st.floats(-100, 100), st.integers(0, 5))
def test_entropy_is_cross_entropy_and_does_not_see_a_shift(scores, shift, positive):
    s = torch.from_numpy(scores)
    got = contrastive_entropy(s, positive)
    same = torch.nn.functional.cross_entropy(s, torch.full((4,), positive), reduction="none")
    torch.testing.assert_close(got, same)
    torch.testing.assert_close(contrastive_entropy(s + shift, positive), got, atol=1e-6, rtol=1e-6)
    assert (got >= 0).all()


@given(SCORES, st.permutations(range(1, 6)))
def test_the_order_of_negatives_does_not_matter(scores, order):
    s = torch.from_numpy(scores)
    torch.testing.assert_close(contrastive_entropy(s[:, [0, *order]]), contrastive_entropy(s))


def test_chance():
    assert chance() == pytest.approx(5.549, abs=5e-4)
    assert contrastive_entropy(torch.zeros(1, 257)).item() == pytest.approx(chance())
    assert contrastive_entropy(torch.randn(2, 9), temperature=1e9)[0].item() == pytest.approx(math.log(9), abs=1e-6)


def test_pools():
    torch.manual_seed(0)
    q, p = torch.randn(3, 4), torch.randn(8, 4)  # three positives, five shared negatives
    targets = torch.arange(3)
    shared, at = pool_scores(q, p, targets, "shared", own_to=3)
    assert shared.shape == (3, 6)
    assert at.tolist() == [0, 0, 0]
    torch.testing.assert_close(shared[:, 0], (q * p[:3]).sum(-1))
    torch.testing.assert_close(shared[:, 1:], q @ p[3:].T)
    both, at = pool_scores(q, p, targets, "both", own_to=3)
    assert both.shape == (3, 8)
    assert at.tolist() == [0, 1, 2]
    in_batch, _ = pool_scores(q, p[:3], targets, "in_batch", own_to=3)
    torch.testing.assert_close(in_batch, both[:, :3])


def test_what_is_relevant_leaves_the_pool_and_the_target_stays():
    scores = torch.zeros(2, 4)
    masked = mask_repeats(scores, torch.tensor([0, 1]), torch.tensor([7, 8, 7, 9]), torch.tensor([[7, -1], [8, 9]]))
    assert masked.isinf().tolist() == [[False, False, True, False], [False, False, False, True]]
    assert contrastive_entropy(masked, torch.tensor([0, 1])).tolist() == pytest.approx([math.log(3)] * 2)
