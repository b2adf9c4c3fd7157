"""Where a spot lies: how deep within the tissue, and how far along the axis of expression."""

import numpy as np
import pytest
from scipy import sparse
from told_tissues import lattice

from skst.narration.position import expression_axis, tissue_depth

# Where it lies


def test_depth_follows_a_bay_and_not_the_hull():
    points = lattice(21, 21)
    in_bay = (np.abs(points[:, 0] - 10) <= 3) & (points[:, 1] >= 7)
    points = points[~in_bay]
    depth = tissue_depth(points)
    rim = (np.abs(points[:, 0] - 10) == 4) & (points[:, 1] >= 7)
    floor = (np.abs(points[:, 0] - 10) <= 3) & (points[:, 1] == 6)
    outer = (points.min(axis=1) == 0) | (points.max(axis=1) == 20)
    # A disc does not reach into the two corners of the bay.
    in_corner = (points[:, 1] < 9) & (np.abs(points[:, 0] - 10) > 1)
    np.testing.assert_array_equal((depth == 0)[~in_corner], (rim | floor | outer)[~in_corner])
    edge = points[depth == 0]
    distance = np.sqrt(((points[:, None] - edge) ** 2).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(depth, distance / distance.max(), atol=1e-8)


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0])
def test_a_hole_is_no_edge_but_a_gap_between_pieces_is(angle):
    points = lattice(21, 21)
    hole = np.linalg.norm(points - 10, axis=1) < 5
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    whole = tissue_depth(points)[~hole]
    np.testing.assert_allclose(tissue_depth(points[~hole] @ turn), whole / whole.max(), atol=1e-8)
    gap = np.abs(points[:, 0] - 10) <= 3
    depth = tissue_depth(points[~gap] @ turn)
    assert (depth[np.isin(points[~gap, 0], [6, 14])] == 0).all()


def test_depth_where_there_is_no_area():
    line = np.column_stack([np.arange(5.0), 2 * np.arange(5.0)])
    np.testing.assert_allclose(tissue_depth(line), [0, 0.5, 1, 0.5, 0])
    np.testing.assert_array_equal(tissue_depth([[1.0, 2.0]]), [0])
    np.testing.assert_array_equal(tissue_depth(np.ones((4, 2))), np.zeros(4))
    np.testing.assert_array_equal(tissue_depth([[0, 0], [0, 1], [1, 0]]), np.zeros(3))
    # Slices in space: a plane has its edge within it, a block its surface.
    flat = np.column_stack([lattice(5, 5), np.full(25, 3.0)])
    np.testing.assert_allclose(tissue_depth(flat), tissue_depth(lattice(5, 5)))
    block = np.stack(np.meshgrid(*[np.arange(5.0)] * 3), axis=-1).reshape(-1, 3)
    inward = np.minimum(block, 4 - block).min(axis=1)
    np.testing.assert_allclose(tissue_depth(block), inward / 2, atol=1e-8)
    twice = np.repeat(lattice(5, 5), 2, axis=0)
    np.testing.assert_allclose(tissue_depth(twice), np.repeat(tissue_depth(lattice(5, 5)), 2))


def test_axis_runs_where_expression_changes_and_not_where_the_slice_is_long():
    points = lattice(30, 6)
    counts = sparse.csr_array(np.column_stack([points[:, 1], 5 - points[:, 1]]))
    axis = expression_axis(points, counts, np.ones(2))
    assert abs(np.corrcoef(axis.along, points[:, 1])[0, 1]) > 0.999
    ends = {axis.end_gene(sign, np.ones(2)) for sign in (-1, 1)}
    assert ends == {0, 1}
    top = axis.along[np.argmax(points[:, 1])]
    assert axis.end_gene(np.sign(top), np.ones(2)) == 0
    assert expression_axis(points, counts[:, :0], np.ones(0)) is None
    assert expression_axis(np.zeros((5, 2)), counts[:5], np.ones(2)) is None
    round_slice = lattice(9, 9)
    distance = ((round_slice - 4) ** 2).sum(axis=1, keepdims=True)
    assert expression_axis(round_slice, sparse.csr_array(distance), np.ones(1)) is None
    # Two genes along two axes: no direction comes first, unless one gene has more weight.
    assert expression_axis(round_slice, sparse.csr_array(round_slice), np.ones(2)) is None
    axis = expression_axis(round_slice, sparse.csr_array(round_slice), np.array([1.0, 2.0]))
    assert abs(np.corrcoef(axis.along, round_slice[:, 1])[0, 1]) > 0.999
