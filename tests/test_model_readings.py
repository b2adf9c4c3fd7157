"""The architectures of the papers' models, with random weights, read as a plain forward pass reads them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skst import GeneTextEncoder, limits
from skst.text import TextModel, model_folder, named_models, precision
from skst.text.batches import batches_by_tokens, token_lengths
from skst.text.models import PUBLISHED
from skst.text.text_vectors import TextVectors
from skst.text.tokens import count_tokens

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WORDS = "insulin glucose lowers raises glucagon myelin makes query passage gene expressed highly beta cell axon".split()
# Of many lengths, so that batches are padded; the last is longer than the context.
TEXTS = [
    "insulin lowers glucose",
    "glucagon",
    " ".join(WORDS),
    "myelin",
    "beta cell gene expressed highly",
    "axon " * 80,
]
CHAT = (
    "{% for message in messages %}<start>{{ message.role }} {{ message.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<start>assistant\n{% endif %}"
)


def tokenizer_of(padding_side="right", chat_template=None):
    """A tokenizer of byte pairs, trained on the spot."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<unk>", "<pad>", "<start>", "<end>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>", padding_side=padding_side, model_max_length=64
    )
    fast.chat_template = chat_template
    return fast


def qwen3(directory, **parameters):
    """A decoder of the family of Qwen3, in a plain Hugging Face folder."""
    tokenizer = tokenizer_of("left", CHAT)
    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, **heads, **parameters
    )
    transformers.Qwen3Model(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def e5(directory):
    """An encoder of the family of BERT, as models called e5 and bge are."""
    tokenizer = tokenizer_of()
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)
    transformers.BertModel(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@torch.no_grad()
def plain_states(directory, written):
    """States of the last layer, one text at a time, so that nothing is padded."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    model = transformers.AutoModel.from_pretrained(directory).eval()
    for text in written:
        yield model(**tokenizer(text, truncation=True, max_length=64, return_tensors="pt")).last_hidden_state[0].numpy()


def vectors_of(directory, texts=TEXTS, **parameters):
    return TextModel(str(directory), device="cpu", dtype="float32").set_params(**parameters).backend().encode(texts)


def assert_alike_in_any_batch(directory, expected, **parameters):
    order = np.random.default_rng(0).permutation(len(TEXTS))
    for batch_size, n_tokens in ((1, 2048), (2, 2048), (64, 2048), (64, 20), (64, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(limits, "TOKENS_AT_ONCE", n_tokens)
            found = vectors_of(directory, [TEXTS[i] for i in order], batch_size=batch_size, **parameters)
        np.testing.assert_allclose(found, np.stack(expected)[order], atol=1e-5)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    if not hasattr(transformers, "Qwen3Config"):
        pytest.skip("this release of transformers has no Qwen3")
    return qwen3(tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return e5(tmp_path_factory.mktemp("e5"))


def test_a_chat_is_told_and_pooled_by_the_mean_of_the_last_layer(decoder):
    import sentence_transformers

    # Older releases cut off white space at the ends of a text.
    end = "" if sentence_transformers.__version__ < "6" else "\n"
    written = [f"<start>system Think of genes.<end><start>user {text}<end><start>assistant{end}" for text in TEXTS]
    expected = [states.mean(axis=0) for states in plain_states(decoder, written)]
    assert_alike_in_any_batch(decoder, expected, system="Think of genes.")


def test_a_decoder_without_a_system_line_reads_the_text_alone(decoder):
    expected = [states.mean(axis=0) for states in plain_states(decoder, TEXTS)]
    assert_alike_in_any_batch(decoder, expected)


def test_a_prompt_stands_before_the_text_or_around_it(encoder):
    expected = [states.mean(axis=0) for states in plain_states(encoder, [f"query: {text}" for text in TEXTS])]
    assert_alike_in_any_batch(encoder, expected, prompt="query: ")
    np.testing.assert_array_equal(vectors_of(encoder, prompt="query: {text}"), vectors_of(encoder, prompt="query: "))
    around = [states.mean(axis=0) for states in plain_states(encoder, [f"a {text} {{b}}" for text in TEXTS])]
    np.testing.assert_allclose(vectors_of(encoder, prompt="a {text} {b}"), np.stack(around), atol=1e-5)


def test_a_model_that_says_how_it_is_pooled_is_pooled_so(tmp_path, decoder):
    model_folder.load("it", decoder, "cpu").save(str(tmp_path / "last"))
    settings = tmp_path / "last" / "1_Pooling" / "config.json"
    content = settings.read_text()
    if "pooling_mode_lasttoken" in content:
        content = content.replace('"pooling_mode_lasttoken": false', '"pooling_mode_lasttoken": true')
        content = content.replace('"pooling_mode_mean_tokens": true', '"pooling_mode_mean_tokens": false')
    else:
        content = content.replace('"mean"', '"lasttoken"')
    settings.write_text(content)
    expected = [states[-1] for states in plain_states(decoder, TEXTS)]
    assert_alike_in_any_batch(tmp_path / "last", expected)


def test_leading_numbers_have_unit_length(encoder):
    whole, part = vectors_of(encoder), vectors_of(encoder, n_dims=8)
    assert part.shape == (len(TEXTS), 8)
    np.testing.assert_allclose(part, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), rtol=1e-5)
    with pytest.raises(ValueError, match=r"n_dims=33, but model='.*' makes vectors of 32 numbers; ask for fewer\."):
        vectors_of(encoder, n_dims=33)


@given(st.lists(st.integers(0, 300), max_size=80), st.integers(1, 64), st.integers(1, 500) | st.none())
def test_each_text_is_in_one_batch_among_its_like(lengths, n_texts, n_tokens):
    lengths = np.array(lengths, dtype=np.int64)
    batches = list(batches_by_tokens(lengths, n_texts, n_tokens))
    assert sorted(np.concatenate([*batches, np.empty(0)])) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * lengths[batch].max()
        assert 1 <= len(batch) <= n_texts and (n_tokens is None or padded <= n_tokens or len(batch) == 1)
    for longer, shorter in zip(batches, batches[1:], strict=False):
        assert lengths[longer].min() >= lengths[shorter].max()
        # no batch leaves room for the next text
        full = n_tokens is not None and (len(longer) + 1) * lengths[longer].max() > n_tokens
        assert len(longer) == n_texts or full


def test_lengths_are_those_that_the_model_reads(encoder):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(encoder), device="cpu")
    expected = [len(states) for states in plain_states(encoder, TEXTS)]
    assert token_lengths(model, TEXTS).tolist() == expected and max(expected) == 64

    class Words:
        tokenizer, max_seq_length = object(), None

    assert token_lengths(Words, TEXTS).tolist() == [count_tokens(text) for text in TEXTS]


def test_nothing_much_is_padded(encoder, monkeypatch):
    from sentence_transformers import SentenceTransformer

    texts = [f"{text} {'glucose ' * i}" for i in range(20) for text in TEXTS[:5]]
    read, encode = [], SentenceTransformer.encode
    model = SentenceTransformer(str(encoder), device="cpu")
    lengths = dict(zip(texts, token_lengths(model, texts), strict=True))
    monkeypatch.setattr(limits, "TOKENS_AT_ONCE", 256)
    monkeypatch.setattr(SentenceTransformer, "encode", lambda *a, **k: read.append(a[1]) or encode(*a, **k))
    TextModel(model).backend().encode(texts)
    sizes = [len(batch) * max(lengths[text] for text in batch) for batch in read]
    assert sorted(text for batch in read for text in batch) == sorted(texts)
    assert max(sizes) <= 256 and sum(sizes) < 1.2 * sum(lengths.values())


@torch.no_grad()
def test_half_precision_is_pooled_in_float32(encoder):
    model = transformers.AutoModel.from_pretrained(encoder).to(torch.bfloat16).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    for text in TEXTS[:3]:
        states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        expected = states.float().mean(axis=0).numpy()
        np.testing.assert_allclose(vectors_of(encoder, [text], dtype="bfloat16")[0], expected, atol=1e-6)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_processor_with_tiles_reads_in_bfloat16_unless_told(encoder, monkeypatch, device):
    def model(**parameters):
        return TextModel(str(encoder), device=device, cache=False, **parameters)

    keys, fitted = [], []
    for tiles in (True, False):
        monkeypatch.setattr(named_models, "has_tiles", lambda tiles=tiles: tiles)
        expected = vectors_of(encoder, dtype="bfloat16" if tiles else "float32")
        np.testing.assert_array_equal(model().backend().encode(TEXTS), expected)
        np.testing.assert_array_equal(model(dtype="float32").backend().encode(TEXTS), vectors_of(encoder))
        assert not model(dtype="float32").backend().key.endswith("in bfloat16")
        keys.append(model().backend().key)
        fitted.append(TextVectors(model()).identity)
    # kept apart, and yet one model: what was fitted on one processor is used on the other
    assert keys[0] == f"{keys[1]} in bfloat16"
    for identity in fitted:
        TextVectors(model(), fitted=identity)
    with pytest.raises(ValueError, match="is not the one that was fitted"):
        TextVectors(model(prompt="query: "), fitted=fitted[0])


def test_tiles_are_told_by_the_flags_of_the_processor(tmp_path, monkeypatch):
    flags = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "_FLAGS", flags)
    assert not precision.has_tiles.__wrapped__()
    for content, expected in (("flags\t\t: fpu amx_bf16 amx_tile\n", True), ("flags : fpu avx512_bf16\n", False)):
        flags.write_text(f"model name\t: amx_bf16\n{content}")
        assert precision.has_tiles.__wrapped__() is expected


def test_half_precision_is_near_and_is_not_the_same(decoder):
    exact, rough = vectors_of(decoder), vectors_of(decoder, dtype="bfloat16")
    assert rough.dtype == np.float32 and not np.array_equal(exact, rough)
    cosines = (exact * rough).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    assert cosines.min() > 0.99


def test_what_is_read_otherwise_is_kept_apart(encoder, monkeypatch):
    monkeypatch.setattr(named_models, "has_tiles", lambda: False)
    ways = [{}, {"prompt": "query: "}, {"prompt": ""}, {"system": "s"}, {"n_dims": 8}, {"dtype": "bfloat16"}]
    keys = [TextModel(str(encoder), **way).backend().key for way in ways]
    assert len(set(keys)) == len(keys) and all(key.startswith(keys[0]) for key in keys)


def test_several_devices_share_the_texts(encoder, monkeypatch):
    from sentence_transformers import SentenceTransformer

    # Processes of its own take seconds to begin; here they are played.
    pools, alone = [], SentenceTransformer.encode

    def encode(model, texts, pool=None, **parameters):
        if pool is None:
            return alone(model, texts, **parameters)
        assert pool in pools
        return np.concatenate([alone(model, part) for part in np.array_split(texts, len(pool))])

    monkeypatch.setattr(SentenceTransformer, "start_multi_process_pool", lambda _, names: pools.append(names) or names)
    monkeypatch.setattr(SentenceTransformer, "encode", encode)
    monkeypatch.setattr(SentenceTransformer, "stop_multi_process_pool", lambda _, pool: pools.remove(pool))
    expected = vectors_of(encoder, dtype="float32")
    found = vectors_of(encoder, dtype="float32", device=["cpu", "cpu"])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not pools
    with pytest.raises(ValueError, match="which is no device"):
        vectors_of(encoder, device=["cuda:0", "auto"])
    monkeypatch.setattr(SentenceTransformer, "encode", lambda _, texts, pool=None, **parameters: texts[-1][0] / 0)
    with pytest.raises(ValueError, match="cannot make vectors of texts"):
        vectors_of(encoder, dtype="float32", device=("cpu", "cpu"))
    assert not pools  # its processes have ended


def test_an_instance_is_told_too(encoder):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(encoder), device="cpu")
    found = TextModel(model, prompt="query: ", n_dims=8).backend().encode(TEXTS)
    np.testing.assert_allclose(found, vectors_of(encoder, prompt="query: ", n_dims=8), atol=1e-6)
    for way in ({"dtype": "bfloat16"}, {"system": "Think."}):
        with pytest.raises(ValueError, match="is for models that are loaded by name, and SentenceTransformer is there"):
            TextModel(model, **way).backend()


def test_vectors_of_an_exported_model_are_not_kept(encoder):
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(encoder), device="cpu")
    assert TextVectors(model).cache is not None
    model.backend = "onnx"  # two such models differ by nothing that can be seen
    assert TextVectors(model).cache is None
    np.testing.assert_allclose(TextVectors(model)(TEXTS), vectors_of(encoder), atol=1e-6)


class Lengths:
    key = "lengths"

    def encode(self, texts):
        return np.array([[len(text), 2.0, 1.0] for text in texts])


def test_an_object_is_told_what_needs_no_tokenizer():
    found = TextModel(Lengths(), prompt="12", n_dims=2).backend()
    np.testing.assert_allclose(found.encode(["", "3"]), [[0.5**0.5, 0.5**0.5], [3 / 13**0.5, 2 / 13**0.5]], rtol=1e-6)
    assert found.key != "lengths" and TextModel(Lengths()).backend().key == "lengths"
    with pytest.raises(ValueError, match="system='s' is for models that are loaded by name, and Lengths is there"):
        TextModel(Lengths(), system="s").backend()


def test_a_model_without_a_chat_template_is_told_nothing(encoder):
    with pytest.raises(ValueError, match="has no chat template to put it in; pass prompt= instead"):
        vectors_of(encoder, system="s")


def test_cells_are_read_by_a_model_of_chats(decoder, tmp_path):
    counts = np.random.default_rng(0).poisson(3.0, (6, 4)).astype(np.float32)
    names = ["INS", "GCG", "MBP", "GAD1"]
    model = TextModel(str(decoder), system="Think of genes.", dtype="bfloat16", device="cpu", cache=tmp_path)
    text = GeneTextEncoder(mode="prompt", k_g=2, model=model, gene_names=names)
    found = text.fit_transform(counts)
    assert found.shape[0] == 6 and np.isfinite(found).all()
    kept = text.set_params(model__device="toaster").fit_transform(counts)  # nothing is read again
    np.testing.assert_allclose(kept, found, atol=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_models_of_the_papers_are_one_line(name):
    model = TextModel.paper(name, batch_size=8).check()
    assert name in str(model.model) and model.batch_size == 8


def test_a_model_of_no_paper():
    with pytest.raises(ValueError, match="name='gpt' is no model of the papers that is loaded by name; choose one of"):
        TextModel.paper("gpt")
