"""Writes reference.json: what Jinja2, set up as transformers does for chat templates, makes of the
templates and conversations below.

    pip install jinja2==3.1.6 && python make_reference.py
"""

import json
import pathlib

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent


class Generation(Extension):
    """{% generation %} ... {% endgeneration %} renders what is inside."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
)
environment.filters["tojson"] = tojson
environment.globals["raise_exception"] = raise_exception

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def m(role, content, **more):
    return {"role": role, "content": content, **more}


CHATS = {
    "one": [m("user", "Hi.")],
    "system": [m("system", " Be brief.\n"), m("user", "  Why?\n\n")],
    "turns": [
        m("user", "1 < 2 & \"quoted\" 'too' {{ braces }} {% raw %}"),
        m("assistant", " Sure.\n"),
        m("user", "näive 世界 🦀\tand\r\nlines"),
        m("assistant", "<think>\nhm\n</think>\n\nYes."),
        m("user", "More?"),
    ],
    "reply last": [m("user", "a"), m("assistant", "<think>\nlong\nthought\n</think>\n\nb")],
    "twice": [m("user", "a"), m("user", "b")],
    "narrator": [m("user", "a"), m("assistant", "b"), m("user", "c"), m("narrator", "d")],
    "late system": [m("user", "a"), m("system", "b")],
    "empty content": [m("system", ""), m("user", "")],
    "only system": [m("system", "Be brief.")],
    "two systems": [m("system", "a"), m("system", "b"), m("user", "c")],
    "many turns": [m(["user", "assistant"][i % 2], f"turn {i}\n") for i in range(9)],
    "named": [m("user", "a", name="Ann"), m("assistant", "b"), m("user", "c", name="")],
    "braces": [m("user", "{{ 1 }}{% if %}{# #}'\"\\\\n%s"), m("assistant", "</think>")],
}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Today's weather <here> & \"there\" – über 世界",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer", "default": 1, "enum": []},
                    "exact": {"type": "boolean", "default": False, "extra": None, "scale": 0.5},
                },
                "required": ["city", "days"],
            },
        },
    },
    {"type": "function", "function": {"name": "noop", "parameters": {}}},
]

CALL = {"name": "weather", "arguments": {"city": "Zürich \"old\\town\"\n", "days": 2, "x": [1, 2.5, None]}}
TOOL_CHAT = [
    m("system", "Use tools."),
    m("user", "Rain?"),
    m("assistant", "", tool_calls=[{"id": "abcdefghi", "type": "function", "function": CALL}]),
    m("tool", "sunny", name="weather", tool_call_id="abcdefghi"),
]

# As OpenAI has them: nothing said besides the calls.
SILENT_TOOL_CHAT = [message | ({"content": None} if "tool_calls" in message else {}) for message in TOOL_CHAT]

INLINE = [
    # White space: lstrip_blocks, trim_blocks, and the signs that overrule them.
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
    "a\n  {%+ if true +%}\n  b\n  {%- endif -%}\n\n c\n\n",
    "  {# comment #}\n  x {# inline #} y\n  {{- 1 }}\n  {{ 2 -}}\n  3\n",
    "\n\n{{ 'x' }}\n",
    "{% for i in [1, 2] %}\n\t{{ i }}\n{% endfor %}",
    "{% raw %}{{ not run }}{% endraw %}\n{{ '{{' }}",
    # How values print.
    "{{ none }} {{ true }} {{ false }} {{ 1 }} {{ 1.0 }} {{ 1.5 }} {{ missing }} {{ 'é' }} {{ -3 }}",
    "{{ '<b>&\"' }} {{ '\\u00e9\\n\\t\\'' }}",
    # Python's methods of str.
    "{{ ' a b '.strip() }}|{{ '\\n a'.lstrip() }}|{{ 'a \\n'.rstrip() }}|{{ 'xxaxx'.strip('x') }}",
    "{{ 'a,b,,c'.split(',') | join('+') }} {{ ' a  b '.split() | join('+') }} {{ 'a,b,c'.split(',', 1)[1] }}",
    "{{ 'a,b,c'.rsplit(',', 1)[0] }} {{ 'a,b'.rsplit(',')[1] }} {{ 'k=v=w'.partition('=') | join('|') }}",
    "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'abc'.startswith(('x', 'y')) }}",
    "{{ 'hello world'.title() }} {{ 'hello'.capitalize() }} {{ 'aB'.upper() }} {{ 'aB'.lower() }}",
    "{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.txt'.removesuffix('.txt') }} {{ 'x'.removeprefix('y') }}",
    "{{ 'aXbX'.replace('X', '-') }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'banana'.count('an') }}",
    "{{ 'banana'.find('n') }} {{ 'banana'.rfind('n') }} {{ 'banana'.find('z') }} {{ '12'.isdigit() }}",
    "{{ ', '.join(['a', 'b']) }} {{ 'a\\nb\\n'.splitlines() | length }} {{ 'Ab'.isalpha() }} {{ ' '.isspace() }}",
    "{{ '</think>' in '<think>x</think>' }} {{ 'a' not in 'b' }} {{ 'ab' * 2 }}",
    # Slices and indices.
    "{{ 'hello'[1:3] }} {{ 'hello'[:-1] }} {{ 'hello'[::-1] }} {{ [1, 2, 3][-1] }} {{ [1, 2, 3][1:] | length }}",
    "{% for x in [1, 2, 3][::-1] %}{{ x }}{% endfor %} {{ (1, 2)[0] }} {{ {'a': 1}['a'] }} {{ {'a': 1}.a }}",
    "{{ 'hello'[0] }} {{ 'hello'[-1] }}",
    # Python's methods of dict, in order of insertion.
    "{% set d = {'z': 1, 'a': 2, 'm': none} %}{% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}",
    "{% set d = {'z': 1} %}{{ d.get('z') }} {{ d.get('y') }} {{ d.get('y', 'none') }} {{ d.keys() | list | length }}",
    "{% set d = {'z': 1, 'a': 2} %}{{ d.values() | sum }} {{ 'z' in d }} {{ d | length }} {{ d | list | join }}",
    "{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %} {% for k, v in {'b': 1} | items %}{{ k }}{% endfor %}",
    # Tests.
    "{{ 'a' is string }} {{ 1 is string }} {{ none is none }} {{ missing is defined }} {{ missing is none }}",
    "{{ 'a' is iterable }} {{ [] is iterable }} {{ {} is iterable }} {{ 1 is iterable }} {{ none is iterable }}",
    "{{ 'a' is sequence }} {{ [] is sequence }} {{ {} is sequence }} {{ 1 is sequence }} {{ none is sequence }}",
    "{{ missing is sequence }} {{ missing is iterable }} {{ missing is mapping }} {{ range(3) is iterable }}",
    "{% for c in 'añ' %}{{ c }},{{ loop.index }} {% endfor %}",
    "{{ {} is mapping }} {{ [] is mapping }} {{ 1 is number }} {{ true is boolean }} {{ false is false }}",
    "{{ 1 is equalto 1 }} {{ 'a' is in ['a'] }} {{ 2 is even }} {{ 3 is divisibleby 3 }} {{ x.y is defined }}" .replace("x.y", "messages[0].y"),
    "{{ not missing }} {{ missing or 'default' }} {{ missing | default('d') }} {{ none | default('d', true) }}",
    # Logic and arithmetic.
    "{{ 7 // 2 }} {{ 7 % 3 }} {{ 2 ** 5 }} {{ 7 / 2 }} {{ 1 + 2 * 3 }} {{ (0 == 0) != (1 % 2 == 0) }}",
    "{{ 'a' if false }}|{{ 'a' if 1 else 'b' }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ 1 < 2 and 2 < 3 }} {{ [1] == [1] }}",
    "{{ 'a' ~ 1 ~ none ~ 'b' }}",
    "{{ ('a' ~ 1) | string }} {{ '5' | int + 1 }} {{ 3.7 | int }} {{ 'abc' | length }} {{ [3, 1] | sort | first }}",
    # Scopes, macros, loops.
    "{% set ns = namespace(n=0, s='') %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{% endfor %}{{ x }}",
    "{% macro say(who, what='hi') %}{{ who }}:{{ what }};{% endmacro %}{{ say('a') }}{{ say('b', what='c') }}",
    "{% macro nested(xs) %}{% for x in xs %}{{ x }}{% endfor %}{% endmacro %}{% set out = nested([1, 2]) %}[{{ out }}]",
    "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for x in ['a', 'b', 'c'] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for x in [1, 2, 3] %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ m.content }}{% else %}nobody{% endfor %}",
    "{% set block %}captured {{ 1 }}{% endset %}{{ block | upper }}",
    "{% filter upper %}abc{% endfilter %} {% with y = 3 %}{{ y }}{% endwith %}",
    # Filters over lists of mappings.
    "{{ messages | map(attribute='role') | join(',') }} {{ (messages | first).role }} {{ (messages | last)['role'] }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'in', ['user']) | list | length }}",
    "{{ [1, none, 2] | select | list | length }} {{ ['b', 'a'] | sort | join }} {{ [1, 2] | sum }} {{ ['a', 'a'] | unique | list | length }}",
    "{{ '  x ' | trim }} {{ 'a b' | replace(' ', '_') }} {{ 'ab' | upper | lower | capitalize }} {{ [1, 2] | reverse | list | first }}",
    "{{ 'a\\nb' | indent(2) }} {{ 'x' | indent(2, true) }}",
    # JSON as Python writes it.
    "{{ tools | tojson }}",
    "{{ tools | tojson(indent=2) }}",
    "{{ tools[0] | tojson(sort_keys=true, separators=(',', ':')) }}",
    "{{ 'é \\u2028 🦀 <&>\\x7f\\x1f/\\\\' | tojson }} {{ 'é🦀' | tojson(ensure_ascii=true) }} {{ [] | tojson(indent=4) }} {{ {} | tojson(indent=4) }}",
    "{{ {'a': [1, {'b': []}], 'c': {}} | tojson(indent=4) }} {{ none | tojson }} {{ 1.0 | tojson }} {{ 'x' | tojson }}",
    # Training marks.
    "{% for m in messages %}\n{%- generation -%} {{ m.content }} {%- endgeneration %}\n{% endfor %}\nend",
    "  {% generation %}\n  {{ 1 }}\n  {% endgeneration %}\n.",
    # Refusals and mistakes of the template.
    "{{ raise_exception('no ' ~ messages[0].role) }}",
    "{{ messages[99].role }}",
    "{{ 'a' + 1 }}",
    "{{ missing.attribute }}",
    "{{ messages[0].content + none }}",
]


def case(template, variables, inline):
    source = template if inline else (HERE / template).read_text()
    entry = {"template": template, "inline": inline, "variables": variables}
    try:
        entry["expected"] = environment.from_string(source).render(**variables, **TOKENS)
    except jinja2.exceptions.UndefinedError:
        entry["fails"] = None
    except jinja2.exceptions.TemplateError as e:
        entry["fails"] = str(e)
    except TypeError:
        entry["fails"] = None
    return entry


def variables(messages, generate, tools=None, **more):
    return {
        "messages": messages,
        "add_generation_prompt": generate,
        "tools": tools,
        "documents": None,
        **more,
    }


def cases():
    for template in sorted(path.name for path in HERE.glob("*_style.jinja")):
        for chat in CHATS.values():
            for generate in [True, False]:
                yield case(template, variables(chat, generate), False)
        for chat in [CHATS["one"], TOOL_CHAT, TOOL_CHAT + [m("assistant", "Sunny.")]]:
            yield case(template, variables(chat, True, TOOLS), False)
        for chat in [TOOL_CHAT, SILENT_TOOL_CHAT]:
            yield case(template, variables(chat, True), False)
        yield case(template, variables(CHATS["turns"], True, []), False)
        yield case(template, variables(CHATS["one"], True, enable_thinking=False), False)
        yield case(template, variables(CHATS["one"], True, date_string="today"), False)
    for template in INLINE:
        yield case(template, variables(CHATS["turns"], True, TOOLS), True)


if __name__ == "__main__":
    reference = {"computed_with": f"Jinja2 {jinja2.__version__}", "tokens": TOKENS, "cases": list(cases())}
    text = json.dumps(reference, ensure_ascii=False, indent=1)
    (HERE / "reference.json").write_text(text + "\n")
