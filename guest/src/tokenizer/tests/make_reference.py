"""Writes reference.json: what Hugging Face's tokenizers and transformers make of patterns, normalizers and
configurations.

    pip install tokenizers==0.23.3 transformers==5.24.0 sentencepiece==0.2.3 protobuf && python make_reference.py
"""

import base64
import io
import json
import pathlib
import shutil
import tempfile

import sentencepiece
import tokenizers
import transformers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, normalizers, pre_tokenizers

HERE = pathlib.Path(__file__).parent
FIXTURES = HERE.parents[3] / "tests" / "fixtures"

TEXTS = [
    "",
    "a",
    "  a\n  bb\n\nccc  \n",
    "\n\na\r\n b \r\n",
    "It's 12345 o'clock, WE'LL SEE 'ſo'; don't\tstop!!  \n\n  x",
    "naïve 世界です 한국어 ¹²³ ½ ٣٤ _under_ ﬁ ß ẞ \u200d\u200c x\u0301 \u00a0\u3000y\u2028z\x85w\x0b",
    "aaaa aa aaa a{2} [a-b] a.b a|b a\\b ^a$ #x -- ~~ && ]}",
    "İstanbul ǅ Ǆ ŉ K k Å 🦀👨‍👩‍👧 zz",
]

WELL_KNOWN = {
    "gpt2": r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    "llama3": r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    "qwen2": r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    "cl100k": r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+""",
    "cl100k possessive": r"""'(?i:ll|ve|re|s|d|m|t)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
    "o200k": r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    "deepseek": r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    "deepseek cjk": "[一-龥\u3040-ゟ゠-ヿ]+",
    "digits from behind": r"\d{1,3}(?=(?:\d{3})*\b)",
    "kimi": r"""[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    "bloom": r""" ?[^(\s|[.,!?…。，、।۔،])]+""",
    "starcoder": r"\p{N}",
    "clip": r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""",
}

CONSTRUCTS = [
    r"^", r"$", r"^a", r"a$", r"^ +", r" +$", r"^\s*$", r"\Aa", r"\A", r"\z", r"\Z", r"a\Z", r"\n\z", r"a.b", r"(?m:a.)", r".+", r"(?m:.+)", r"a*", r"a+?", r"a??", r"a{2}", r"a{2,}", r"a{,2}", r"a{1,2}", r"a{1,2}?", r"a{2}?", r"a{2}+", r"a{1,2}+", r"(?:a{2}){2}", r"a{2", r"a{", r"a{,}", r"{", r"]", r"}", r"a++", r"a*+a", r"a?+a", r"(?>a+)a", r"(?>a|aa)b",
    r"\w", r"\w+", r"\W+", r"[\w]+", r"[^\w]+", r"[\W]", r"\bx", r"x\b", r"\b", r"\B", r"\b\w", r"\d", r"\D+", r"\s", r"\S+", r"\h", r"\H+", r"[\h]", r"[\s\d]+", r"[^\s\d]+", r"\p{L}+", r"\P{L}+", r"\p{^L}+", r"\P{^L}+", r"\p{Han}", r"\p{Hiragana}+", r"\p{Latin}+", r"\p{Alpha}+", r"\p{Punct}", r"\p{Upper}", r"\p{Letter}", r"\p{Lu}\p{Ll}*", r"\pL", r"\p{Nope}", r"[[:alpha:]]+", r"[[:^alpha:]]+", r"[[:digit:]]", r"[[:alnum:]]+", r"[[:upper:]]", r"[[:lower:]]", r"[[:space:]]", r"[[:blank:]]", r"[[:punct:]]", r"[[:cntrl:]]", r"[[:xdigit:]]", r"[[:word:]]", r"[[:graph:]]", r"[[:alpha:][:digit:]_]+",
    r"[a-c]", r"[^a-c]+", r"[]a]", r"[^]a]+", r"[a\]]", r"[a-]", r"[-a]", r"[\-a]", r"[a\-c]", r"[\^a]", r"[a^]", r"[.]", r"[a-c&&b-z]", r"[\p{L}&&[^a]]", r"[[a]b]", r"[a[^b]]", r"[&]", r"[~]", r"[#]", r"[a--b]", r"[a~~b]", r"[{}]", r"[$]", r"[(|)]", r"[\n\r]+", r"[\t ]", r"[\x41-\x5A]", r"[\u4e00-\u9fa5]", r"[一-龥]", r"[\b]", r"[\\]", r"[/]", r"[']",
    r"\x61", r"\x{61}", r"\x{1F980}", r"\u0061", r"\xe4", r"\n", r"\r\n", r"\t", r"\.", r"\|", r"\\", r"\/", r"\-", r"\_", r"\#", r"\ ", r"\'", r"\é", r"\e", r"\v", r"\0", r"\1", r"(a)\1", r"(?<n>a)\k<n>", r"\g<0>", r"\K", r"\G\s", r"\R", r"\X", r"\N", r"\O", r"\y", r"\Q", r"\cA", r"\M-a",
    r"(?i:it's)", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"(?i)we", r"we(?i)", r"a(?i)b|c", r"(?i:k)", r"(?i:ss)", r"(?i:ß)", r"(?i:[a-z])+", r"(?i:\p{Lu})", r"(?i:i)", r"(?im:a.)", r"(?-i:a)", r"(?x: a )", r"(?s:a)", r"(?u:a)", r"(?a:a)", r"(?#c)a", r"a(?#c)b", r"(?=a)", r"a(?=a)", r"a(?!a)", r"(?<=a)a", r"(?<!a)a", r"(?<=a|aa)b", r"(?<=\s)\S", r"(?<! )a", r"(?~a)", r"(?(1)a|b)", r"(a|b)+", r"((a)|(b))*c", r"a|", r"|a", r"()", r"(?:)", r"(a|)b", r"x**", r"x+*", r"x?{2}", r"+", r"*a", r"?", r"(", r")", r"[", r"\\\\", r"a||b", r"(?:a|b|)+", r"(^a|b$)", r"(?:^|\s)\S+", r"\s+(?!\S)", r"\s*[\r\n]+", r"( )\s*", r" {2,}", r"(?<=[^\s])\s+(?=\S)",
]


def replaced(pattern, text):
    try:
        return normalizers.Replace(Regex(pattern), "⟨⟩").normalize_str(text)
    except Exception:
        return None


def patterns():
    for pattern in [*WELL_KNOWN.values(), *CONSTRUCTS]:
        yield [pattern, [replaced(pattern, text) for text in TEXTS]]


UNITS = [" ", "a", "A", "Aa", "\n", " \n", "\t ", "1", "!", "'s", "é", "世", "\u3000", "a ", "\r\n", "_", "x\u0301"]


def long():
    """How many pieces long texts of one unit fall into. One pattern is left out: it is slow in any library."""
    for name, pattern in WELL_KNOWN.items():
        if name != "digits from behind":
            for unit in UNITS:
                text = unit * (150_000 // len(unit)) + "x"
                pieces = pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str(text)
                yield {"pattern": pattern, "unit": unit, "pieces": len(pieces)}


RULES = {"\u00a0": " ", "ﬁ": "fi", "½": "1/2", "ａ": "a", "e\u0301": "é", "\u200b": "", "½x": "", "世": "", "™": "TM", "가": "\u1100\u1161", "👨\u200d": "man"}
SPELLED = ["", "a\u00a0b ﬁ½", "½x½", "ａe\u0301 e\u0301x e\u0301\u0302", "\u200b\u200ba", "世界世", "™👨\u200d👩", "가각", "plain", "\u200b", "x\u200b\u0301y ™\u200b"]


def charsmap():
    """A precompiled one, by SentencePiece itself."""
    with tempfile.TemporaryDirectory() as folder:
        rules = pathlib.Path(folder) / "rules.tsv"
        code = lambda text: " ".join(f"{ord(c):X}" for c in text)
        rules.write_text("".join(f"{code(a)}\t{code(b)}\n" for a, b in RULES.items()))
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f g h"] * 20), model_writer=model, vocab_size=12, model_type="char", normalization_rule_tsv=str(rules), minloglevel=2
        )
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(model.getvalue())
        return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def precompiled():
    encoded = charsmap()
    normalizer = normalizers.Precompiled(base64.b64decode(encoded))
    return {"charsmap": encoded, "cases": [[text, normalizer.normalize_str(text)] for text in SPELLED]}


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": False, **flags}


# Laid over the files of a checkpoint: tokenizer_config.json and special_tokens_map.json. Ids are those that transformers
# would take anyway: it does not look at them.
CONFIGURATIONS = {
    "one new token": ({"added_tokens_decoder": {"4096": token("<|tool|>", special=True)}}, None),
    "new tokens": ({"added_tokens_decoder": {"4098": token("<|b|>"), "4097": token("<|a|>", special=True), "4096": token(" the"), "262": token("\u0120the")}}, None),
    "flags": (
        {
            "added_tokens_decoder": {
                "4095": token("<|im_end|>", lstrip=True, special=True),
                "4094": token("<|im_start|>", rstrip=True, special=True),
                "4093": token("<|endoftext|>", single_word=True, special=False),
                "1541": token("word", single_word=True),
                "4096": token("Ab", normalized=True),
            }
        },
        None,
    ),
    "named tokens": ({"bos_token": "<|bos|>", "pad_token": {"__type": "AddedToken", **token("<|pad|>", lstrip=True)}, "image_token": "<|image|>", "add_bos_token": True, "unk_token": None}, None),
    "listed tokens": ({"additional_special_tokens": ["<|x|>", {"__type": "AddedToken", **token("<|y|>", rstrip=True, special=True)}]}, None),
    "extra tokens": ({"extra_special_tokens": ["<|x|>"], "additional_special_tokens": ["<|z|>"]}, None),
    "named extra tokens": ({"extra_special_tokens": {"image_token": "<|image|>"}}, None),
    "a map": ({"eos_token": "<|im_end|>"}, {"bos_token": token("<|bos|>", rstrip=True), "cls_token": "<|cls|>", "eos_token": "<|other|>"}),
    "a map beside a decoder": ({"eos_token": "<|im_end|>", "added_tokens_decoder": {"4095": token("<|im_end|>", special=True)}}, {"bos_token": "<|bos|>"}),
    "a named token that is not special": ({"bos_token": "<|b|>", "added_tokens_decoder": {"4096": token("<|b|>")}}, None),
    "split": ({"split_special_tokens": True}, None),
    "nothing": ({}, None),
}
SAID = [
    "x<|tool|>y <|a|> <|b|>the the<|endoftext|> x<|endoftext|>x",
    "a  <|im_end|>  b <|im_start|>  c word wordy Ab ab sword",
    "<|bos|> <|pad|> <|image|> <|x|> x <|y|> y <|z|> <|cls|> <|other|><unk>",
]


def configurations():
    source = FIXTURES / "demo-qwen3"
    for name, (config, special_map) in CONFIGURATIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            shutil.copy(source / "tokenizer.json", folder)
            config = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
            (folder / "tokenizer_config.json").write_text(json.dumps(config))
            if special_map is not None:
                (folder / "special_tokens_map.json").write_text(json.dumps(special_map))
            tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
            ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in SAID]
            tokenizer.chat_template = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ cls_token }}|{{ unk_token }}|{{ image_token }}|{{ additional_special_tokens }}|{{ extra_special_tokens }}"
            yield {
                "name": name,
                "config": config,
                "map": special_map,
                "ids": ids,
                "decoded": [tokenizer.decode(each, skip_special_tokens=True) for each in ids],
                "variables": tokenizer.apply_chat_template([{"role": "user", "content": ""}], tokenize=False),
            }


if __name__ == "__main__":
    parts = {
        "patterns": [json.dumps(case, ensure_ascii=False) for case in patterns()],
        "long": [json.dumps(case, ensure_ascii=False) for case in long()],
        "configurations": [json.dumps(case, ensure_ascii=False) for case in configurations()],
    }
    head = {
        "computed_with": f"tokenizers {tokenizers.__version__}, transformers {transformers.__version__}, sentencepiece {sentencepiece.__version__}",
        "texts": TEXTS,
        "said": SAID,
        "precompiled": precompiled(),
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    lines += [f"{json.dumps(key)}: [\n" + ",\n".join(cases) + "\n]" for key, cases in parts.items()]
    (HERE / "reference.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
