"""Fusions of features and text: the formulas by hand, what they learn, and what they refuse."""

import pytest
import torch

from skst.nn import (
    FUSIONS,
    NoSemantics,
    SemanticAddition,
    SemanticConcatenation,
    SemanticCrossAttention,
    SemanticModulation,
    make_fusion,
)

N_SPOTS, N_FEATURES, N_TEXT, N_OUT = 9, 6, 10, 4
WITH_TEXT = [name for name in FUSIONS if name is not None]


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def _spots(n_spots=N_SPOTS):
    return torch.randn(n_spots, N_FEATURES), torch.randn(n_spots, N_TEXT)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_dtypes(fusion, dtype):
    features, text = (t.to(dtype) for t in _spots())
    result = make_fusion(fusion, N_FEATURES, N_TEXT, N_OUT).to(dtype)(features, text)
    assert result.shape == (N_SPOTS, N_OUT)
    assert result.dtype == dtype
    assert make_fusion(fusion, N_FEATURES, N_TEXT)(*_spots()).shape == (N_SPOTS, N_FEATURES)
    assert make_fusion(fusion, 1, 1)(torch.randn(2, 1), torch.randn(2, 1)).shape == (2, 1)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_each_spot_is_fused_with_its_own_text(fusion):
    module = _disturbed(make_fusion(fusion, N_FEATURES, N_TEXT, N_OUT))
    features, text = _spots()
    whole = module(features, text)
    order = torch.randperm(N_SPOTS)
    torch.testing.assert_close(module(features[order], text[order]), whole[order])
    torch.testing.assert_close(module(features[2:3], text[2:3]), whole[2:3])
    changed = text.clone()
    changed[3] += 1
    moved = (module(features, changed) - whole).abs().amax(dim=1) > 1e-6
    assert moved.nonzero().flatten().tolist() == ([] if fusion is None else [3])


@pytest.mark.parametrize("fusion", WITH_TEXT)
def test_text_parameters_learn(fusion):
    """After the first step every parameter, those of the text's first layer included, receives a gradient."""
    module = make_fusion(fusion, N_FEATURES, N_TEXT, N_OUT)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    features, text = _spots(60)
    target = torch.randn(60, N_OUT)
    for _ in range(2):
        optimizer.zero_grad()
        (module(features, text) - target).square().mean().backward()
        optimizer.step()
    silent = [name for name, p in module.named_parameters() if not p.grad.any()]
    # A softmax ignores what is added to all scores alike, so the bias of the keys never has a gradient but rounding.
    assert [name for name in silent if name != "key.bias"] == []


def test_modulation_by_hand():
    module = _disturbed(SemanticModulation(2, 3, 1, hidden=2, ratio=1.0))
    features, text = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, -1.0, 2.0]])
    code = text
    linear = [layer for layer in module.mlp if isinstance(layer, torch.nn.Linear)]
    for i, layer in enumerate(linear):
        code = code @ layer.weight.T + layer.bias
        if i < len(linear) - 1:
            code = code.clamp(min=0)
    alpha, beta = code[:, :2], code[:, 2:]
    expected = ((1 + alpha) * features + beta) @ module.project.weight.T
    torch.testing.assert_close(module(features, text), expected)
    torch.testing.assert_close(module.factors(text), (alpha, beta))
    assert alpha.abs().min() > 0 and beta.abs().min() > 0


@pytest.mark.parametrize(
    ("options", "widths"),
    [
        ({}, [(5, 10), (32, 5), (16, 32), (12, 16)]),
        ({"ratio": 1.2, "hidden": 10}, [(5, 10), (10, 5), (12, 10), (12, 12)]),
    ],
)
def test_layers_of_the_modulation(options, widths):
    module = SemanticModulation(N_FEATURES, N_TEXT, N_OUT, **options)
    assert [tuple(layer.weight.shape) for layer in module.mlp if hasattr(layer, "weight")] == widths
    assert module.project.bias is None


def test_modulation_starts_with_the_features_as_they_are():
    module = SemanticModulation(N_FEATURES, N_TEXT, N_OUT)
    features, text = _spots()
    for factor in module.factors(text):
        assert factor.shape == (N_SPOTS, N_FEATURES)
        assert (factor == 0).all()
    torch.testing.assert_close(module(features, text), module.project(features))


def test_modulation_learns_a_scale_that_text_alone_tells():
    """The sign of the result is in the text: addition and no text cannot fit it, modulation can."""
    features, text = torch.randn(200, 2), torch.randn(200, 4)
    target = features * text[:, :1].sign()

    def error(fusion):
        module = make_fusion(fusion, 2, 4, 2) if fusion != "fsm" else SemanticModulation(2, 4, 2, hidden=8)
        optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
        for _ in range(250):
            optimizer.zero_grad()
            loss = (module(features, text) - target).square().mean()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert error("fsm") < 0.4
    assert min(error("add"), error(None)) > 0.7


def test_alternatives_by_hand():
    features, text = _spots()
    concatenation = SemanticConcatenation(N_FEATURES, N_TEXT, N_OUT, hidden=3)
    left, right = concatenation.project.weight.T.split([N_FEATURES, 3])
    torch.testing.assert_close(concatenation(features, text), features @ left + concatenation.mlp(text) @ right)
    addition = SemanticAddition(N_FEATURES, N_TEXT, N_OUT)
    expected = (features + addition.mlp(text)) @ addition.project.weight.T
    torch.testing.assert_close(addition(features, text), expected)
    nothing = NoSemantics(N_FEATURES, None, N_OUT)
    torch.testing.assert_close(nothing(features, None), features @ nothing.project.weight.T)


@pytest.mark.parametrize(("n_features", "n_heads", "used"), [(6, 4, 3), (8, 4, 4), (7, 4, 1), (2, 4, 2)])
def test_cross_attention_is_a_softmax_over_the_tokens_of_a_spot(n_features, n_heads, used):
    module = SemanticCrossAttention(n_features, N_TEXT, N_OUT, n_tokens=5, n_heads=n_heads)
    assert module.n_heads == used
    features, text = torch.randn(3, n_features), torch.randn(3, N_TEXT)
    rows = []
    width = n_features // used
    for spot in range(3):
        tokens = module.tokens(text[spot]).reshape(5, n_features)
        query, key, value = module.query(features[spot]), module.key(tokens), module.value(tokens)
        heads = []
        for head in range(used):
            part = slice(head * width, (head + 1) * width)
            attention = (key[:, part] @ query[part] / width**0.5).softmax(dim=0)
            heads.append(attention @ value[:, part])
        rows.append(module.project(features[spot] + torch.cat(heads)))
    torch.testing.assert_close(module(features, text), torch.stack(rows))


@pytest.mark.parametrize("fusion", WITH_TEXT)
def test_wrong_sizes_are_named(fusion):
    module = make_fusion(fusion, N_FEATURES, N_TEXT, N_OUT)
    features, text = _spots()
    name = type(module).__name__
    for arguments, message in {
        (features[:, 1:], text): rf"^features is of shape \(9, 5\) but {name} was built for 6 columns; give a tensor",
        (features, text[:, 1:]): rf"^semantic is of shape \(9, 9\) but {name} was built for 10 columns; give a tensor",
        (features, text[0]): r"^semantic is of shape \(10,\) but",
        (features, None): r"^semantic is None but",
        (features, text[1:]): r"^semantic has 8 rows but features have 9; give one text vector a spot\.$",
    }.items():
        with pytest.raises(ValueError, match=message):
            module(*arguments)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SemanticModulation(0, 3), r"^n_features=0 is not a size"),
        (lambda: SemanticAddition(3, 0), r"^n_semantic=0 is not a size"),
        (lambda: NoSemantics(3, None, 0), r"^n_out=0 is not a size"),
        (lambda: SemanticModulation(3, 3, ratio=0), r"ratio=0"),
        (lambda: SemanticModulation(3, 3, hidden=0), r"hidden=0"),
        (lambda: SemanticConcatenation(3, 3, hidden=0), r"hidden=0"),
        (lambda: SemanticCrossAttention(3, 3, n_tokens=0), r"n_tokens=0"),
        (lambda: make_fusion("film", 3, 3), r"^fusion='film' is unknown; choose one of 'fsm', .*None\.$"),
        (lambda: make_fusion(["fsm"], 3, 3), r"^fusion=\['fsm'\] is unknown"),
        (lambda: make_fusion("fsm", 3, None), r"n_semantic"),
    ],
)
def test_wrong_options_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def _disturbed(module):
    """Parameters away from the zero start, so that text acts."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module
