"""The translator: text in, text out, whatever the batches; saved and loaded strictly."""

import json

import pytest
import torch

from tfmlib.blocks.tokens import BytePairTokenizer
from tfmlib.generation.translation import Casing, Translator
from tfmlib.transformer.transformer import Transformer, TransformerConfig

TEXT = [
    "Ein Hund läuft.",
    "Zwei Kinder spielen im Schnee.",
    "Eine Frau liest ein sehr langes Buch über alte Häuser.",
    "Ein Mann.",
]


@pytest.fixture(scope="module")
def translator():
    torch.manual_seed(0)
    tokenizer = BytePairTokenizer.train(TEXT, vocab_size=300)
    model = Transformer(
        TransformerConfig(
            vocab_size=tokenizer.vocab_size,
            d_model=16,
            n_heads=2,
            d_ff=32,
            n_encoder_layers=1,
            n_decoder_layers=1,
            max_length=64,
        )
    )
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return Translator(model.eval(), tokenizer)


def test_batches_do_not_matter(translator):
    """One by one, all at once, in any order: the same translations, in the order of the input."""
    alone = [translator.translate([text], beam=3)[0] for text in TEXT]
    assert len(set(alone)) == len(TEXT)
    assert translator.translate(TEXT, beam=3) == alone
    assert translator.translate(TEXT[::-1], beam=3, batch_tokens=20) == alone[::-1]


def test_blank_lines_and_casing(translator):
    assert translator.translate(["", "  ", TEXT[0]], beam=1)[:2] == ["", ""]
    assert translator.translate([]) == []
    upper, lower = translator.translate([TEXT[0].upper(), TEXT[0].lower()], beam=1)
    assert upper == lower  # the source is read in lower case
    casing = Casing()
    assert casing.source("Ein ÄSSER") == "ein ässer"
    assert casing.target("A Man") == "a Man"
    assert casing.restore("a Man") == "A Man"
    assert casing.target("") == casing.restore("") == ""
    kept = Casing(lowercase_source=False, decapitalize_target=False)
    assert kept.source("Ein") == kept.target("Ein") == "Ein"
    assert kept.restore("ein") == "ein"
    source, target = translator.encode_pair("EIN", "Ein")
    assert source == translator.tokenizer.encode("ein")
    assert target == translator.tokenizer.encode("ein")


def test_mode_is_left_as_it_was(translator):
    translator.model.train()
    translator.translate(["Ein Hund"], beam=1)
    assert translator.model.training
    translator.model.eval()


def test_save_and_load(translator, tmp_path):
    translator.save(tmp_path / "run")
    loaded = Translator.load(tmp_path / "run")
    assert loaded.translate(TEXT, beam=2) == translator.translate(TEXT, beam=2)
    assert loaded.casing == translator.casing
    assert loaded.model.config == translator.model.config


def test_bad_input_is_named(translator, tmp_path):
    with pytest.raises(TypeError, match=r"got one string; pass \[sentence\]"):
        translator.translate("Ein Hund")
    with pytest.raises(ValueError, match=r"sentence 2 has .* tokens; the model reads 64 at most"):
        translator.translate(["Ein", "Haus " * 100])
    with pytest.raises(ValueError, match=r"there is no translator\.json"):
        Translator.load(tmp_path)
    translator.save(tmp_path)
    path = tmp_path / "translator.json"
    good = json.loads(path.read_text())
    for change, words in [
        ({"format": "else"}, "its format is not 'tfmlib translator'"),
        ({"version": 99}, "has version 99; expected 1"),
        ({"model": {"d_model": 3}}, "for TransformerConfig; got .'d_model'."),
        ({"casing": None}, "for Casing; got None"),
    ]:
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(ValueError, match=words):
            Translator.load(tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not a translator file"):
        Translator.load(tmp_path)
    path.write_text(json.dumps(good))
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        Translator.load(tmp_path)


def test_tokenizer_and_model_must_fit(translator):
    other = BytePairTokenizer.train(TEXT[:1], vocab_size=300)
    with pytest.raises(ValueError, match=r"the model has \d+ tokens and the tokenizer \d+"):
        Translator(translator.model, other)
