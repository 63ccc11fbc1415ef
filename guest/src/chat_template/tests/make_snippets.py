"""Writes snippets.json: what Jinja2, set up by transformers itself for chat templates, makes of each snippet.

    pip install jinja2==3.1.6 transformers==5.24.0 && python make_snippets.py
"""

import json
import pathlib

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

from snippets import GROUPS, VARIABLES

HERE = pathlib.Path(__file__).parent
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def rendered(template):
    """A text, or None where Jinja2 fails."""
    try:
        return _compile_jinja_template(template).render(**VARIABLES, **TOKENS)
    except Exception:
        return None


def stable(template):
    """Texts of addresses, sets and chance are nothing to compare."""
    text = rendered(template)
    if text is not None and (" at 0x" in text or "random" in template):
        return False
    return text == rendered(template)


if __name__ == "__main__":
    groups = {
        name: [[template, rendered(template)] for template in dict.fromkeys(group) if stable(template)]
        for name, group in GROUPS.items()
    }
    head = {"computed_with": f"Jinja2 {jinja2.__version__}, transformers {transformers.__version__}", "tokens": TOKENS, "variables": VARIABLES}
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    for name, cases in groups.items():
        body = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
        lines.append(f"{json.dumps(name)}: [\n{body}\n]")
    (HERE / "snippets.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
