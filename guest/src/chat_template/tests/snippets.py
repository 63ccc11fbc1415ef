"""Pieces of templates, each rendered by itself with VARIABLES: what transformers' environment has, group by group.

make_snippets.py renders them.
"""

VARIABLES = {
    "messages": [
        {"role": "system", "content": " Be brief.\n"},
        {"role": "user", "content": "Why 1 < 2 & \"so\"?\r\nsecond line"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nJa, über 世界 🦀.", "n": 2},
        {"role": "user", "content": "", "name": None},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": {"type": ["string", "null"]}}}}],
    "text": "The quick brown fox jumps over the lazy dog, twice: naïve 世界 don't stop",
    "lines": "one\n  two\n\nthree\r\nfour",
    "numbers": [3, 1, 2],
    "mixed": [1, 1.0, 2.5, "a", None, True, False, [1, "x"], {"k": "v"}],
    "map": {"b": 2, "a": 1, "C": 3, "list": [1, 2]},
    "users": [
        {"name": "john", "city": "Rome", "age": 30},
        {"name": "Ann", "city": "Paris", "age": 25},
        {"name": "bob", "city": "rome", "age": 30},
        {"name": "eve", "city": "Paris"},
    ],
    "pi": 3.14159,
    "big": 12345678901234567890,
    "none": None,
    "nothing": "",
}


def expressions(*group):
    return ["{{ " + expression + " }}" for expression in group]


def _values():
    return expressions(
        # How values print.
        "1.0", "0.1 + 0.2", "1e20", "1e16", "1e15", "123456789.0", "1e-5", "0.0001", "1e300 * 1e10", "-1e300 * 1e10", "2.5e-7",
        "1.5e3", "-0.0", "100000.0", "1e22", "5 / 2", "4 / 2", "7 // 2", "-7 // 2", "7.5 // 2", "-7 % 3", "7.5 % 2", "-7.5 % 2", "2 ** 10", "2 ** -1", "2 ** 0.5", "10 ** 20",
        "2 ** 63", "9223372036854775807 + 1", "9223372036854775807", "big", "big + 1", "-big", "1_000", "0x1f", "0b11", "0o17", "1e3", "True", "False", "None", "true", "false",
        "none", "mixed", "map", "users[0]", "messages[1].content", "[1, 'a', \"b'c\", 'd\"e', 'f\\'\"g']", "['a\\nb\\t\\\\', 'é', '\\x00', '\\u200b', '世', '🦀', '\\x7f', '\\xa0', '\\xad']", "(1, 2)", "(1,)", "()", "[]", "{}", "[()]", "{'a': (1,)}",
        "{1: 2, 'a': none, true: 1.5}", "[1.0, 1e20, 1e-7, none, true]", "[missing]", "[missing, 1]", "[[1, [2]], {'a': {'b': []}}]", "range(3)", "range(3) | list", "range(1, 10, 3) | list",
        "range(5, 0, -2) | list", "[range(2)]", "messages[3]", "messages[2].n", "'a' 'b'", "'%s' % 1", "'a' ~ 1.0 ~ none ~ true ~ [1, 'x'] ~ {'a': 1}", "missing ~ 'x'",
        "1 ~ 2", "1e20 ~ ''", "['\\u200b', missing] ~ ''", "1.5 ~ '' ~ 1e3", "-1 ~ ''", "(1, 'a') ~ ''", "'\\'' ~ ['\\'']", "10 / 5 ~ ''", "1 == 1.0", "1 is sameas 1", "true == 1", "[1, 2] == (1, 2)", "'a' == 'a'", "{'a': 1} == {'a': 1.0}",
        "none == false", "missing == none", "missing == missing", "1 < 1.5", "'a' < 'b'", "[1, 2] < [1, 3]", "'B' < 'a'", "1 < 2 < 3", "3 > 2 > 2", "1 < 'a'", "none < 1", "not 1", "not none", "not ''", "not missing",
        "1 and 2", "0 and 2", "'' or 'x'", "0 or none", "1 or 2", "none and 1", "1 if none else 2", "('a' if false)", "('a' if false) is defined", "1 + true", "true + true", "'a' * 3", "3 * 'a'", "[1] * 2", "[1] + [2]",
        "(1,) + (2,)", "[1] + (2,)", "'a' + 'b'", "'a' + 1", "1 + 'a'", "none + 1", "missing + 1", "1 / 0", "1 // 0", "1 % 0", "+1", "-'a'", "-true", "- 2 ** 2", "-2 | abs", "2 ** 3 ** 2", "1 - -1", "8 // 3 * 2",
        "1.5 + 1", "3 * 1.0", "6 / 4", "1e308 * 10 - 1e308 * 10", "7 // 2.0", "5 % 3.0", "0.5 == 1 / 2", "10 // 3 ~ 10 % 3", "9007199254740993 * 1.0", "9007199254740993 / 1", "123456789 * 987654321 * 1000", "2 ** 64 // 3", "2 ** 100",
        "1 in [1.0]", "'a' in 'abc'", "'' in 'abc'", "1 in 'abc'", "'a' in {'a': 1}", "1 in {1: 2}", "'a' in none", "'a' in missing", "'x' not in 'abc'", "2 in (1, 2)", "3 in range(5)", "none in [none]", "[1] in [[1]]",
        "'a' in ['a'] and 'b' not in ['a']", "not 'a' in ['a']",
    )


def _indices():
    return expressions(
        "'hello'[0]", "'hello'[-1]", "'hello'[9]", "'hello'[1:3]", "'hello'[::-1]", "'hello'[::2]", "'hello'[-3:]", "'hello'[:-2]", "'hello'[10:]", "'hello'[-10:2]", "'naïve 世界'[2:8]", "'hello'[3:1]", "'hello'[4:0:-1]", "'hello'[-1::-2]",
        "[1, 2, 3][1:]", "[1, 2, 3][::-1]", "[1, 2, 3][-2:]", "[1, 2, 3][:-1]", "[1, 2, 3][::-2]", "[1, 2, 3][5:]", "[1, 2, 3][2:0:-1]", "(1, 2, 3)[1:]", "(1, 2, 3)[::-1]", "numbers[::-1]", "numbers[:2]", "range(9)[2:4]", "range(9)[3]", "range(9)[-1]",
        "numbers[9]", "numbers['a']", "map['b']", "map.b", "map['zz']", "map.zz", "map.items", "map['items'] is defined", "map.keys is defined", "none.a", "none['a']", "missing.a", "missing['a']", "missing.a.b", "'abc'.b", "'abc'['b']", "1 .a",
        "messages[0]['content']", "messages[0].content", "messages[-1].role", "messages[1:].0", "messages[0].0", "messages.0.role", "numbers.0", "numbers[true]", "numbers[1.0]", "'abc'[true]", "{1: 'a'}[1]", "{1: 'a'}[1.0]", "{1: 'a'}[true]", "{true: 'a'}[1]", "{none: 1}[none]", "{(1, 2): 3}[(1, 2)]",
        "[1, 2, 3][1:] is sequence", "messages[1:] is sequence", "messages[1:] | length", "messages[1:][0].role", "(messages[::-1] | list)[0].role", "messages[1:] is iterable", "messages[1:] is mapping", "'abc'[1:] is string", "messages[:1] + messages[2:3]", "messages[1:] == messages[1:]", "(messages | list)[1:] | map(attribute='role') | join(',')",
        "numbers[1:] + [9]", "[0] + numbers[1:]", "numbers[none:2]", "numbers[:none]", "numbers[0:2:none]", "numbers[::0]", "'abc'[::0]", "numbers['a':]", "map[1:]", "none[1:]", "missing[1:]",
        "numbers[0] is number", "[1, [2, 3]][1][0]", "{'a': {'b': [1]}}.a.b[0]", "{'a': 1}.get('a')", "dict(a=1, b=2)", "dict(a=1).a", "dict([('a', 1)])", "dict(map, z=1) | length", "dict(map)['b']", "[x for x in numbers]",
    )


def _str_methods():
    return expressions(
        "'a,b,,c'.split(',')", "' a  b\\tc\\n'.split()", "'a b c'.split(' ', 1)", "'a b c'.split(none, 1)", "'a b c '.split(maxsplit=1)", "'a,b'.split(sep=',')", "''.split()", "''.split(',')", "'abc'.split('')", "'a--b--c'.split('--')", "'a b  c'.rsplit(None, 1)", "'a,b,c'.rsplit(',', 1)", "'a b c'.rsplit()", "'a,b,c'.rsplit(',')",
        "'a b c'.rsplit(maxsplit=1)", "'a\\nb\\r\\nc\\rd'.splitlines()", "'a\\nb\\n'.splitlines(true)", "'a\\x0bb\\x0cc\\x1cd\\u2028e\\x85f'.splitlines()", "''.splitlines()", "'a\\n\\nb'.splitlines(keepends=true)", "'k=v=w'.partition('=')", "'kv'.partition('=')", "'k=v=w'.rpartition('=')", "'kv'.rpartition('=')",
        "' a '.strip() ~ '|'", "'xxaxx'.strip('x')", "'xyaxy'.strip('yx')", "'\\u3000\\u00a0a\\u2028'.strip() ~ '|'", "'\\x1ca\\x1f'.strip() ~ '|'", "'a'.strip(none)", "'xxa'.lstrip('x')", "'axx'.rstrip('x')", "'  a'.lstrip()", "'a \\n'.rstrip() ~ '|'", "'abc'.strip('')",
        "'abc'.startswith('a')", "'abc'.startswith(('x', 'a'))", "'abc'.startswith('b', 1)", "'abc'.startswith('')", "'abc'.startswith(['a'])", "'abc'.startswith(none)", "'abc'.endswith('c')", "'abc'.endswith(('x', 'bc'))", "'abc'.endswith('b', 0, 2)", "'abc'.startswith('bc', 1, 2)", "messages[0].content.startswith(' Be')",
        "'aXbX'.replace('X', '-')", "'aXbX'.replace('X', '-', 1)", "'abc'.replace('', '-')", "'abc'.replace('b', '')", "'aaa'.replace('a', 'b', -1)", "'aaa'.replace('a', 'b', 0)", "'abc'.replace('b', 1)", "'aXb'.replace(old='X', new='-')",
        "'hello world'.title()", "\"they're bill's\".title()", "'hello 3rd wORLD'.title()", "'ǆ ß'.title()", "'hELLO wORLD'.capitalize()", "'ßx'.capitalize()", "'éCOLE'.capitalize()", "''.capitalize()", "'aB'.upper()", "'ß'.upper()", "'İ'.lower() | length", "'ΑΣ'.lower()", "'AbC'.swapcase()", "'ẞ'.casefold()", "'Straße'.casefold()",
        "'banana'.find('an')", "'banana'.find('an', 2)", "'banana'.rfind('an')", "'banana'.find('z')", "'banana'.index('n')", "'banana'.index('z')", "'banana'.rindex('n')", "'世界世'.find('界')", "'世界世'.rfind('世')", "'banana'.count('an')", "'banana'.count('')", "'banana'.count('a', 2)", "'banana'.find('a', -2)", "'banana'.find('a', 1, 2)", "'abc'.find('')",
        "'12'.isdigit()", "'1.2'.isdigit()", "'²'.isdigit()", "'½'.isnumeric()", "'٣'.isdecimal()", "'12'.isdecimal()", "'²'.isdecimal()", "''.isdigit()", "'ab'.isalpha()", "'a1'.isalpha()", "'é世'.isalpha()", "'a1'.isalnum()", "'a '.isalnum()", "' \\t'.isspace()", "''.isspace()", "'\\u2003'.isspace()", "'AB'.isupper()", "'A1'.isupper()", "'1'.isupper()", "'ab'.islower()", "'aB'.islower()", "'Ab Cd'.istitle()", "'a_1'.isidentifier()", "'1a'.isidentifier()", "'abc'.isascii()", "'é'.isascii()", "'a\\n'.isprintable()",
        "', '.join(['a', 'b'])", "''.join([])", "','.join('abc')", "','.join([1])", "','.join({'a': 1, 'b': 2})", "','.join(('a', 'b'))", "'-'.join(users | map(attribute='name'))", "'ab'.center(6) ~ '|'", "'ab'.center(7, '*')", "'abc'.center(6, '*')", "'abc'.center(2)", "'a'.ljust(3) ~ '|'", "'a'.rjust(3, '.')", "'7'.zfill(3)", "'-7'.zfill(4)", "'+7'.zfill(4)", "'abc'.zfill(2)",
        "'a\\tb'.expandtabs()", "'a\\tb'.expandtabs(4)", "'prefix-x'.removeprefix('prefix-')", "'x.txt'.removesuffix('.txt')", "'x'.removeprefix('y')", "'x'.removesuffix('')", "'abc'.encode()", "'abc'.translate({97: 'x'})", "'abc'.maketrans('a', 'b')", "'abc'.nosuch()", "'abc'.nosuch", "'abc'.upper", "'abc'.upper(1)",
        "'{} {}'.format(1, 'a')", "'{0} {1} {0}'.format('a', 'b')", "'{a}'.format(a=1)", "'{:.2f}'.format(pi)", "'{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c')", "'{:05d}'.format(42)", "'{!r}'.format('a')", "'{{}}'.format()", "'{:,}'.format(1234567)", "'{:x}'.format(255)", "'{:%}'.format(0.5)", "'{a.b}'.format(a={'b': 1})", "'{a[b]}'.format(a={'b': 1})", "'{'.format()", "'{}'.format()",
        "messages[0].content.strip().split(' ')[0]", "text.split('quick')[-1].strip()[:5]", "messages[2].content.split('</think>')[-1].lstrip('\\n')", "messages[2]['content'].split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n')", "(1).bit_length()", "1.5.is_integer()", "(5).__class__", "''.__class__", "none.strip()", "missing.strip()", "[1].strip()",
    )


def _container_methods():
    return expressions(
        "map.items() | list", "map.keys() | list", "map.values() | list", "map.items()", "map.keys()", "map.values()", "map.get('a')", "map.get('zz')", "map.get('zz', 'd')", "map.get('zz') is none", "map.copy() | length", "map.items() | length", "map.items() | first", "map.items() | list | last", "'a' in map.keys()", "2 in map.values()", "map.get(1)", "map.get('a', default=1)",
        "map.update({'x': 1})", "map.pop('a')", "map.setdefault('a', 2)", "map.clear()", "map.nosuch()", "[1, 2].append(3)", "[1, 2].pop()", "[1, 2].index(2)", "[1, 2].index(9)", "[1, 2, 2].count(2)", "[1].extend([2])", "[2, 1].sort()", "[1].copy()", "(1, 2).index(2)", "(1, 2).count(1)", "[1, 2].reverse()", "[1].insert(0, 2)", "[1].nosuch()", "messages.nosuch()", "'a' in map.items()",
        "map.items() is sequence", "map.keys() is iterable", "map.items() is mapping", "map.keys() | sort", "map.values() | list | length", "range(3).index(1)", "users[0].items() | map('first') | join(',')", "users[0].items() | map('last') | join(',')", "dict(a=1).items() | list", "{}.items() | list", "map.items() | sort(attribute=0)", "map.keys() | map('upper') | join", "map.fromkeys(['a'])",
    )


def _filters():
    return expressions(
        "-1 | abs", "-1.5 | abs", "'a' | abs", "map | attr('a')", "namespace(a=1) | attr('a')", "users[0] | attr('name')", "numbers | batch(2) | list", "numbers | batch(2, 'x') | list", "[] | batch(2) | list", "'abc' | capitalize", "'ABC dEF' | capitalize", "none | capitalize", "1 | capitalize", "'ab' | center(6) ~ '|'", "'ab' | center ~ '|'", "'ab' | center(width=5) ~ '|'",
        "'abc' | center(6) ~ '|'", "1 | center(4) ~ '|'", "missing | default", "missing | default('d')", "none | default('d')", "none | default('d', true)", "'' | default('d', true)", "0 | default('d', boolean=true)", "'' | default('d')", "missing.a | default('d')", "none.a | default('d')", "map.zz | default('d')", "missing | d('x')", "false | d('x', true)", "missing | default(default_value='z')", "missing | default('x', boolean=false)",
        "map | dictsort", "map | dictsort(true)", "map | dictsort(false, 'value')", "{'b': 1, 'a': 2} | dictsort(by='value')", "{'b': 1, 'A': 2} | dictsort(case_sensitive=true)", "{'b': 1, 'a': 2} | dictsort(reverse=true)", "{'b': 1} | dictsort(by='x')", "[1] | dictsort", "'<a & \"b\\'>' | escape", "'<a>' | e", "'<a>' | e | e", "'<a>' | forceescape", "1 | escape", "'<a>' | safe", "'<a>' | safe | escape", "'<b>x</b> &amp; y  z' | striptags",
        "1024 | filesizeformat", "1000000 | filesizeformat", "1 | filesizeformat", "1 | filesizeformat(true)", "1048576 | filesizeformat(binary=true)", "1500 | filesizeformat", "0 | filesizeformat", "'2000' | filesizeformat", "numbers | first", "'abc' | first", "[] | first", "map | first", "[] | first is defined", "numbers | last", "'abc' | last", "[] | last", "map | last", "none | first", "'1.5' | float", "'x' | float", "'x' | float(2.5)", "1 | float", "none | float", "' 1e3 ' | float", "'inf' | float", "'nan' | float", "true | float", "[] | float",
        "'%s and %s' | format('a', 1)", "'%(a)s' | format(a=1)", "'%d%%' | format(5)", "'%05.1f|%-5s|%5s|%x|%e|%r' | format(pi, 'a', 'b', 255, 12345.678, 'q')", "'%s' | format", "'%s' | format(1, 2)", "'%d' | format('a')", "'%s %s' % ('a', 'b')", "'%s' % 'a'", "'%s' % (1,)", "'%d' % 3.7", "'%i' % 3", "'%.3f' % pi", "'%+d' % 5", "'% d' % 5", "'%5d|%-5d|%05d' % (1, 2, 3)", "'%c' % 97", "'%c' % 'x'", "'%s' % none", "'%s' % [1, 2]", "'%s' % {'a': 1}", "'%(a)s-%(b)d' % {'a': 'x', 'b': 2}", "'%%' % ()", "'%s' % ()", "'%s %s' % 'a'", "'a' % 1", "'a' % ()", "'%g' % 0.0001", "'%g' % 1e20", "'%G' % 1e-10", "'%o' % 8", "'%X' % 255", "'%#x' % 255", "'%5.2s|' % 'abc'", "'%*d' % (5, 1)", "'%s' % 1.0", "'%s' % true", "'%r' % 'a'", "'%a' % 'é'", "'%q' % 1", "'%' % 1", "'%d' % true", "'%f' % 1", "'%e' % 0", "'%.0f' % 2.5", "'%.0f' % 3.5", "'%.2f' % 1e10", "'%.1f' % 0.25", "'%s' % missing", "'%d' % big",
        "users | groupby('city')", "users | groupby('city') | map('first') | list", "users | groupby('city', case_sensitive=true) | map('first') | list", "users | groupby('age', default=0) | map('first') | list", "users | groupby('age')", "(users | groupby('city'))[0].grouper", "(users | groupby('city'))[0].list | length", "(users | groupby('city'))[0][1] | length", "users | groupby('nosuch')", "numbers | groupby(0)",
        "'a\\nb' | indent", "'a\\nb' | indent(2)", "'a\\n\\nb' | indent(2)", "'a\\n\\nb' | indent(2, blank=true)", "'a\\nb' | indent(2, true)", "'a\\nb' | indent(2, first=true)", "'a\\nb\\n' | indent(2)", "'a\\r\\nb' | indent(2)", "'a\\nb' | indent('> ')", "'a\\nb' | indent(width=1)", "'' | indent(2, true) ~ '|'", "lines | indent(4)", "1 | indent", "'a\\nb' | indent(0)", "'a\\nb' | indent(-1)",
        "'5' | int", "'5.7' | int", "'x' | int", "'x' | int(7)", "'0x1A' | int(0, 16)", "'1A' | int(base=16)", "'101' | int(0, 2)", "5.9 | int", "-5.9 | int", "none | int", "none | int(3)", "true | int", "' 5 ' | int", "'1_000' | int", "'1e3' | int", "'99999999999999999999' | int", "[] | int", "'' | int", "missing | int", "1e30 | int", "'0b11' | int(0, 0)", "map | items | list", "missing | items | list", "none | items | list", "[1] | items | list",
        "[1, 'a', none, 2.0] | join", "numbers | join(', ')", "users | join(',', attribute='name')", "'abc' | join('-')", "[] | join(',')", "map | join(',')", "[missing, 1] | join(',')", "[[1], 'a'] | join(';')", "numbers | join(d='+')", "none | join", "1 | join", "messages | map(attribute='content') | join('|')", "'abc' | length", "numbers | length", "map | length", "none | length", "1 | length", "missing | length", "'é世🦀' | length", "numbers | count", "range(5) | length", "messages[1:] | count",
        "'abc' | list", "map | list", "range(3) | list", "none | list", "(1, 2) | list", "1 | list", "missing | list", "'AbC' | lower", "1 | lower", "none | lower", "true | lower", "[1, 'A'] | lower", "users | map(attribute='name') | list", "users | map(attribute='age', default=0) | list", "users | map(attribute='age') | list", "users | map(attribute='nosuch') | list", "['a', 'B'] | map('upper') | list", "numbers | map('string') | list", "['a,b', 'c,d'] | map('replace', ',', '-') | list", "[[1, 2], [3]] | map('sum') | list", "[[1, 2], [3]] | map('length') | join", "[{'a': {'b': 1}}] | map(attribute='a.b') | list", "[[1, 2]] | map(attribute=1) | list", "[[1, 2]] | map(attribute='1') | list", "numbers | map('nosuch') | list", "numbers | map | list", "none | map('upper') | list", "numbers | map('default', 'x') | list", "['1', 'x'] | map('int', 5) | list", "'ab' | map('upper') | join", "users | map(attribute='name') | map('upper') | join(',')", "numbers | map(attribute='a', foo=1) | list", "users | map(attribute='name')",
        "numbers | max", "numbers | min", "['b', 'A'] | max", "['b', 'A'] | min", "['b', 'A'] | min(case_sensitive=true)", "users | max(attribute='name')", "[] | max", "[] | min is defined", "users | min(attribute='age')", "[1, 'a'] | max", "'abc' | max", "[1, 2.5] | max", "pi | pprint", "mixed | pprint", "map | pprint", "'a' | pprint", "numbers | random", "users | rejectattr('age') | map(attribute='name') | list", "users | rejectattr('age', 'defined') | map(attribute='name') | list", "users | rejectattr('age', 'equalto', 30) | map(attribute='name') | list", "numbers | reject('odd') | list", "numbers | reject('gt', 1) | list", "[0, 1, none] | reject | list", "'aXb' | replace('X', '-')", "'aaa' | replace('a', 'b', 2)", "'aaa' | replace('a', 'b', count=1)", "1 | replace('1', '2')", "'abc' | replace('', '-')", "none | replace('N', 'x')", "'a' | replace(old='a', new='b')",
        "numbers | reverse | list", "'abc' | reverse", "map | reverse | list", "none | reverse", "(1, 2) | reverse | list", "[] | reverse | list", "2.5 | round", "3.5 | round", "2.675 | round(2)", "2.1 | round(0, 'ceil')", "2.9 | round(0, 'floor')", "1234.5 | round(-2)", "5 | round", "42.55 | round(1)", "42.55 | round(precision=1, method='floor')", "2.5 | round | int", "-2.5 | round", "'a' | round", "1 | round(2)", "2.5 | round(method='x')", "1e20 | round", "0.5 | round", "1.005 | round(2)",
        "numbers | select('odd') | list", "[0, 1, none, 'a', ''] | select | list", "numbers | select('gt', 1) | list", "numbers | select('in', [1, 2]) | list", "['a', 1] | select('string') | list", "numbers | select('nosuch') | list", "numbers | select('divisibleby', 2) | list", "users | selectattr('age') | map(attribute='name') | list", "users | selectattr('age', 'defined') | list | length", "users | selectattr('age', 'undefined') | list | length", "users | selectattr('city', 'equalto', 'Paris') | map(attribute='name') | join", "users | selectattr('city', '==', 'Paris') | list | length", "users | selectattr('age', 'lt', 28) | list", "users | selectattr('name', 'in', ['Ann', 'eve']) | map(attribute='age', default='-') | list", "messages | selectattr('role', 'ne', 'user') | map(attribute='role') | list", "messages | selectattr('content') | list | length", "messages | selectattr('n', 'none') | list | length", "messages | selectattr | list", "messages | selectattr('role', 'nosuch') | list", "users | selectattr('name', 'match', 'x') | list", "users | selectattr('name') is sequence", "users | select('mapping') | list | length", "[{'a': {'b': 1}}, {'a': {}}] | selectattr('a.b') | list",
        "numbers | slice(2) | list", "[1, 2, 3, 4, 5] | slice(3) | list", "[1, 2, 3, 4] | slice(3, 'x') | list", "numbers | sort", "numbers | sort(reverse=true)", "['b', 'A', 'a', 'B'] | sort", "['b', 'A', 'a'] | sort(case_sensitive=true)", "users | sort(attribute='name') | map(attribute='name') | list", "users | sort(attribute='city,name') | map(attribute='name') | list", "users | sort(attribute='age') | list", "users | sort(true, attribute='name') | map(attribute='name') | list", "[1, 'a'] | sort", "[2, 1.5, true] | sort", "'bca' | sort", "map | sort", "[[2, 1], [1, 2]] | sort", "none | sort", "[] | sort", "[none, none] | sort", "(3, 1) | sort", "1 | string", "1.0 | string", "none | string", "[1, 'a'] | string", "true | string", "missing | string", "'é' | string", "1e20 | string | length",
        "numbers | sum", "[1.5, 2] | sum", "[] | sum", "users | sum(attribute='age')", "numbers | sum(start=10)", "[[1], [2]] | sum(start=[])", "['a'] | sum", "none | sum", "'hello world' | title", "\"they're x-ray (foo) [bar] a.b a/b\" | title", "'HELLO wORLD' | title", "1 | title", "'3rd place' | title", "'  x ' | trim ~ '|'", "'xxaxx' | trim('x')", "1 | trim", "none | trim", "'\\n a \\t' | trim", "'\\u3000a' | trim", "'\\x1ca' | trim", "'xax' | trim(chars='x')", "text | truncate(20)", "text | truncate(20, true)", "text | truncate(20, false, '…')", "text | truncate(20, true, '…', 0)", "text | truncate(3)", "text | truncate(71)", "text | truncate(66)", "text | truncate(length=15, killwords=true, end='--')", "'foo bar baz qux' | truncate(9)", "'foo bar baz qux' | truncate(11)", "'foo bar baz qux' | truncate(11, false, '...', 0)", "'foobar' | truncate(3, false, '', 0)", "text | truncate(leeway=0, length=69)", "text | truncate(2)", "'abc' | truncate", "1 | truncate(1)",
        "[1, 1, 2, 'a', 'A'] | unique | list", "['a', 'A'] | unique(case_sensitive=true) | list", "users | unique(attribute='city') | map(attribute='name') | list", "[[1], [1]] | unique | list", "[1, 1.0, true] | unique | list", "'aab' | unique | join", "'AbC' | upper", "1 | upper", "none | upper", "'ß' | upper", "'a b/c?d=é&' | urlencode", "{'a': 1, 'b': 'x y'} | urlencode", "[('a', 1)] | urlencode", "'a/b' | urlencode", "'see http://a.de now' | urlize", "'a b  c\\nd' | wordcount", "text | wordcount", "'' | wordcount", "\"don't-stop now_x\" | wordcount", "1 | wordcount", "text | wordwrap(20)", "text | wordwrap(20, true, '|')", "text | wordwrap(5, false)", "text | wordwrap(5)", "text | wordwrap(10, wrapstring='\\n> ')", "'a-b-c-d e-f' | wordwrap(4)", "'a-b-c-d e-f' | wordwrap(4, break_on_hyphens=false)", "lines | wordwrap(4)", "'a\\n\\nb  c' | wordwrap(3)", "'abcdefghij' | wordwrap(4)", "'' | wordwrap(4)", "'  a  b ' | wordwrap(3) ~ '|'",
        "{'a': 1, 'b': none, 'c': missing, 'd': '<&\"'} | xmlattr", "{'a': 1} | xmlattr(false)", "{} | xmlattr ~ '|'", "{'a b': 1} | xmlattr", "[1] | xmlattr", "map | tojson", "map | tojson(indent=2)", "mixed | tojson", "'é<>&\\'\"\\\\/' | tojson", "1.0 | tojson", "1e20 | tojson", "1e16 | tojson", "0.00001 | tojson", "1e300 * 1e10 | tojson", "(1e300 * 1e10) | tojson", "[1, {'a': []}] | tojson(indent=4)", "map | tojson(sort_keys=true)", "map | tojson(separators=(',', ':'))", "map | tojson(ensure_ascii=true)", "'é' | tojson(true)", "'é' | tojson(false, 2)", "missing | tojson", "{1: 2, none: 3, true: 4, 1.5: 5} | tojson", "(1, 2) | tojson", "range(3) | tojson", "users | map(attribute='name') | tojson", "big | tojson", "[] | tojson(indent=2)", "map | tojson(indent='--')", "map | tojson(indent=0)", "map | tojson(indent=-1)", "{'b': {'z': 1, 'y': 2}} | tojson(sort_keys=true)", "'\\x7f\\x00\\u2028' | tojson", "tools | tojson(indent=2) | indent(2)", "map.items() | list | tojson", "namespace(a=1) | tojson", "numbers | nosuchfilter", "numbers | nosuchfilter(1)",
        "'a' | upper | lower ~ 'B' | lower", "1 + 2 | string", "(1 + 2) | string ~ '!'", "-1 | string", "'a' ~ 'b' | upper", "not 'a' | upper", "1 in numbers | sort", "'x' | upper == 'X'", "numbers | sort | first + 1", "'ab' | list | reverse | join",
    )


def _tests():
    values = ["1", "1.5", "'a'", "'A'", "''", "none", "true", "false", "[]", "(1,)", "{}", "missing", "range(2)", "map.items()", "users | map('first')", "messages[1:]", "lower", "namespace()"]
    names = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping", "sequence", "iterable", "callable"]
    crossed = [f"({value}) is {name}" for name in names for value in values]
    return expressions(
        *crossed,
        "2 is even", "3 is odd", "2.0 is even", "'a' is even", "4 is divisibleby 2", "4 is divisibleby(3)", "4 is divisibleby 0", "'ABC' is upper", "'abc' is lower", "'aB' is upper", "1 is upper", "none is none", "1 is not none", "1 is eq 1", "1 is equalto 1.0", "1 is == 1", "1 is ne 2", "1 is != 1", "1 is lt 2", "1 is lessthan 2", "1 is < 2", "2 is gt 1", "2 is greaterthan 1", "2 is ge 2", "2 is le 1", "'a' is in 'abc'", "1 is in [1]", "1 is in none", "none is sameas none", "true is sameas 1", "1 is sameas true", "'a' is escaped", "'upper' is filter", "'nosuch' is filter", "'even' is test", "'nosuch' is test", "1 is nosuch", "missing is nosuch",
        "not 1 is none", "1 is not even", "1 is defined and 2 is defined", "messages is defined and messages[0].role == 'system'", "messages[0].tool_calls is defined and messages[0].tool_calls is not none", "messages[0].content is string", "messages[0]['tool_calls'] is not defined", "x is not defined or x", "'content' in messages[0] and messages[0].content is not none", "1 is number and 1 is integer", "loop is defined", "self is defined", "caller is defined", "varargs is defined", "range is defined", "strftime_now is defined", "raise_exception is defined", "namespace is defined", "dict is callable", "lipsum is defined", "cycler is defined", "joiner is defined", "joiner is callable", "bos_token is defined", "eos_token is string", "pad_token is defined", "messages[0].n is defined", "messages[2].n is defined", "messages[3].name is defined", "messages[3].name is none", "none is not defined",
    )


LOOPS = [
    "{% for x in numbers %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}",
    "{% for x in numbers %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for x in numbers %}{{ loop.cycle('odd', 'even') }} {% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in users %}{{ loop.changed(x.city, x.age) }} {% endfor %}",
    "{% for x in [1, [2, [3]]] recursive %}{% if x is sequence %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }},{% endif %}{% endfor %}",
    "{% for x in [] %}x{% else %}empty{% endfor %}",
    "{% for x in none %}x{% endfor %}",
    "{% for x in missing %}x{% else %}nothing{% endfor %}",
    "{% for x in 5 %}x{% endfor %}",
    "{% for c in 'añ世' %}{{ c }},{% endfor %}",
    "{% for k in map %}{{ k }},{% endfor %}",
    "{% for k, v in map.items() %}{{ k }}={{ v }},{% endfor %}",
    "{% for k, v in map | dictsort %}{{ k }}={{ v }},{% endfor %}",
    "{% for k, v in map | items %}{{ loop.index }}{{ k }}={{ v }},{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}",
    "{% for a, b in [[1]] %}{{ a }}{% endfor %}",
    "{% for x in numbers if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}",
    "{% for x in numbers if loop.index > 1 %}{{ x }}{% endfor %}",
    "{% for x in numbers | sort %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in range(5) %}{% if x == 1 %}{% continue %}{% elif x == 3 %}{% break %}{% endif %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in range(3) %}{% for y in range(3) %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% for x in numbers %}{% set last = x %}{% endfor %}{{ last is defined }}",
    "{% set n = 0 %}{% for x in numbers %}{% set n = n + x %}{{ n }} {% endfor %}{{ n }}",
    "{% set ns = namespace(n=0, found=false) %}{% for x in numbers %}{% set ns.n = ns.n + x %}{% if x == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }}{{ ns.found }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b is defined }}",
    "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}",
    "{% set ns = namespace(a=1) %}{{ ns['a'] }}{{ ns }}",
    "{% set map.x = 1 %}{{ map.x }}",
    "{% set ns = namespace(l=[]) %}{% for x in numbers %}{% set ns.l = ns.l + [x] %}{% endfor %}{{ ns.l }}",
    "{% for x in numbers %}{{ loop }}{% endfor %}",
    "{% for x in numbers %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for x in numbers %}{% if loop.first %}A{% endif %}{% if loop.last %}Z{% endif %}{{ loop.length - loop.index }}{% endfor %}",
    "{% for m in messages %}{% if loop.index0 == 0 and m.role == 'system' %}S{% elif (m.role == 'user') != (loop.index0 % 2 == 0) %}U{% else %}A{% endif %}{% endfor %}",
    "{% for m in messages[1:] %}{{ loop.index }}{{ m.role }}{{ loop.length }} {% endfor %}",
    "{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.role }} {% endfor %}",
    "{% for m in messages | reverse %}{{ m.role }} {% endfor %}",
    "{% for m in messages | rejectattr('role', 'equalto', 'system') %}{{ loop.index }}{{ m.role }}{{ loop.last }} {% endfor %}",
    "{% for row in [1, 2, 3, 4, 5] | batch(2) %}{{ row | join }}/{% endfor %}",
    "{% for row in [1, 2, 3, 4, 5] | slice(2) %}{{ row | join }}/{% endfor %}",
    "{% for g in users | groupby('city') %}{{ g.grouper }}:{{ g.list | map(attribute='name') | join('+') }};{% endfor %}",
    "{% for city, list in users | groupby('city') %}{{ city }}={{ list | length }};{% endfor %}",
    "{% for x in numbers | map('string') %}{{ x }}{{ loop.last }}{% endfor %}",
    "{% for i in range(messages | length - 1, -1, -1) %}{{ i }}{{ messages[i].role }} {% endfor %}",
    "{% for x in [1, 2] %}{% for y in [3, 4] %}{{ loop.depth }}{% endfor %}{{ loop.depth }}{% endfor %}",
    "{% for x in 'ab' recursive %}{{ x }}{% if loop.depth < 3 %}{{ loop('c') }}{% endif %}{% endfor %}",
    "{% for loop in [1] %}{{ loop }}{% endfor %}",
    "{% for x in numbers -%}  {{ x }}  {%- endfor %}|",
    "{% set j = joiner(', ') %}{% for x in numbers %}{{ j() }}{{ x }}{% endfor %}",
    "{% set j = joiner() %}{{ j() }}a{{ j() }}b{{ j() }}c",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.reset() }}{{ c.next() }}",
    "{% set c = cycler() %}{{ c.next() }}",
    "{% for x in numbers %}{% set c = cycler('a', 'b') %}{{ c.next() }}{% endfor %}",
    "{{ lipsum(n=1) | length > 0 }}",
]

BLOCKS = [
    "{% macro say(who, what='hi') %}{{ who }}:{{ what }};{% endmacro %}{{ say('a') }}{{ say('b', what='c') }}{{ say(what='x', who='y') }}{{ say() }}",
    "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=1) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}",
    "{% macro m() %}x{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.caller }}{{ m.catch_varargs }}",
    "{% macro m() %}x{% endmacro %}{{ m is callable }}{{ m is defined }}{{ m }}",
    "{% macro m(x) %}{% if x > 0 %}{{ x }}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro m() -%}\n  x\n{%- endmacro %}[{{ m() }}]",
    "{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap('b') %}in{% endcall %}",
    "{% macro list(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) list(numbers) %}<{{ x }}>{% endcall %}",
    "{% macro m() %}{{ outer }}{% endmacro %}{% set outer = 1 %}{{ m() }}",
    "{% set outer = 1 %}{% macro m() %}{{ outer }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{% set inner = 1 %}{% endmacro %}{{ m() }}{{ inner is defined }}",
    "{% macro m() %}{{ messages | length }}{% endmacro %}{{ m() }}",
    "{% macro m(x) %}{{ x }}{% endmacro %}{{ numbers | map('m') | list }}",
    "{% macro m(x) %} {{ x }} {% endmacro %}{{ m(1) | trim }}{{ m(2) ~ '|' }}{{ m(3) | length }}{{ m(4) is string }}",
    "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m('&') | upper }}{{ (m('a') + 'b') }}",
    "{% set block %}captured {{ 1 }}{% endset %}{{ block | upper }}{{ block is string }}{{ block | length }}",
    "{% set block | upper %}captured{% endset %}{{ block }}",
    "{% set block | replace('a', 'b') | upper %}captured{% endset %}{{ block }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = [1, 2] %}{{ a }}{{ b }}",
    "{% set (a, b) = (1, 2) %}{{ a }}{{ b }}",
    "{% set x = 1, 2 %}{{ x }}",
    "{% set x = [1, 2,] %}{{ x }}{{ {'a': 1,} }}",
    "{% set x %}{% endset %}[{{ x }}]{{ x is string }}",
    "{% filter upper %}abc{{ 'd' }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}abc{% endfilter %}",
    "{% with y = 3, z = 4 %}{{ y }}{{ z }}{% endwith %}{{ y is defined }}",
    "{% with %}{% set y = 1 %}{{ y }}{% endwith %}{{ y is defined }}",
    "{% with a = 1 %}{% with b = a + 1 %}{{ b }}{% endwith %}{% endwith %}",
    "{% if 0 %}a{% elif '' %}b{% elif [] %}c{% elif {} %}d{% elif none %}e{% elif missing %}f{% elif 0.0 %}g{% elif () %}h{% else %}i{% endif %}",
    "{% if 'x' %}a{% endif %}{% if [0] %}b{% endif %}{% if ' ' %}c{% endif %}{% if range(0) %}d{% endif %}{% if map.items() %}e{% endif %}",
    "{% if messages | selectattr('role', 'equalto', 'x') %}generator{% endif %}",
    "{% if messages | selectattr('role', 'equalto', 'x') | list %}some{% else %}none{% endif %}",
    "{% if true %}{% set x = 1 %}{% endif %}{{ x }}",
    "{% block a %}in block{% endblock %}",
    "{% block a %}{{ self is defined }}{% endblock a %}",
    "{% block a %}1{% endblock %}{{ self.a() }}",
    "{% raw %}{{ x }}{% y %}{# z #}{% endraw %}",
    "{%- raw -%}  {{ x }}  {%- endraw -%}",
    "a {# comment {{ x }} {% y %} #} b",
    "a {#- comment -#} b",
    "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "{% autoescape false %}{{ '<' }}{% endautoescape %}",
    "{% do numbers.append(4) %}{{ numbers }}",
    "{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% trans %}x{% endtrans %}", "{% debug %}", "{% nosuch %}", "{% endif %}", "{% if %}", "{% if true %}", "{{ }}", "{{ 1", "{% set %}", "{{ 1 2 }}", "{{ [1, }}", "{{ 'a }}", "{% for x %}{% endfor %}", "{% raw %}", "{#", "{{ a b }}", "{% set 1 = 2 %}", "{% set a.b.c = 1 %}", "{{ a = 1 }}", "{% macro %}{% endmacro %}", "{% else %}", "{{ 1 if }}", "{% break %}", "{% generation %}", "{{ $ }}", "{{ `a` }}", "{{ 'a' | }}", "{{ 1 is }}", "{{ not }}", "{{ x. }}", "{{ x[ }}", "{% for in x %}{% endfor %}", "{% if a %}{% endfor %}",
    "{% generation %}{{ 1 }}{% endgeneration %}", "  {% generation %}\n  x\n  {% endgeneration %}\ny", "{%- generation -%}  x  {%- endgeneration -%}", "{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}", "{% generation %}{% set y = 1 %}{% endgeneration %}{{ y is defined }}", "{{ '{% generation %}' }}", "{% raw %}{% generation %}{% endraw %}", "{# {% generation %} #}x", "{% set y = 1 %}{% generation %}{% set y = 2 %}{{ y }}{% endgeneration %}{{ y }}",
    "{{ raise_exception('no') }}", "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}", "{{ raise_exception('x ' ~ messages | length) }}", "{{ raise_exception() }}", "{{ raise_exception(1) }}", "{{ raise_exception(message='m') }}", "{{ messages[99].role }}", "{{ missing() }}", "{{ map.b() }}", "{{ 'a'() }}", "{{ range('a') }}", "{{ range() }}", "{{ range(100000000) | length }}", "{{ dict(1) }}", "{{ namespace(1) }}",
]

SPACE = [
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%+ if true +%}\n  b\n  {%- endif -%}\n\n c\n\n", "  {# comment #}\n  x {# inline #} y\n  {{- 1 }}\n  {{ 2 -}}\n  3\n", "\n\n{{ 'x' }}\n", "\n\n{{ 'x' }}\n\n", "x\n", "x\n\n", "x\r\n", "x\r", "x\r\n\r\n", "\r\n", "",
    "{% for i in [1, 2] %}\n\t{{ i }}\n{% endfor %}", "{% for i in [1, 2] -%}\n\t{{ i }}\n{%- endfor %}", "x  {% if true %}  y{% endif %}", "  {%- if true %}  y  {%- endif %}  z", "  {%+ if true %}y{% endif %}", "{% if true -%}\n\n  a\n\n{%- endif %}\n\nb", "{% if true +%}\na{% endif %}", "  {{ 1 }}\n  {{ 2 }}", "  {{+ 1 }}", "a{%- set x = 1 -%}b", "a  {%- set x = 1 %}  \n b", "{% set x = 1 %}\n{% set y = 2 %}\nz", "{% set x = 1 %} \nz", "a\n{#- c -#}\nb", "a\n  {# c #}\nb", "a\n  {# c #} \nb", "a {# c #}\nb", "  {# c #}x", "  {#+ c #}x", "{# c +#}\nx", "{% raw %}\n a\n{% endraw %}\nb", "  {% raw %}  a  {% endraw %}  b", "{{ 'a' }}\n\n{{ 'b' }}\n", "\t{% if 1 %}\t\n\tx\n\t{% endif %}\t\ny", "a\n\n  {% if 1 %}\n\n  x\n{% endif %}\n\ny", "\u00a0{% if 1 %}x{% endif %}", "\u3000{% if 1 %}x{% endif %}", "a\x0b{% if 1 %}x{% endif %}", "a\n\x0c{% if 1 %}x{% endif %}", "a\u2028  {%- if 1 %}x{% endif %}",
    "a\r\n  {% if true %}\r\n  b\r\n  {% endif %}\r\nc\r\n", "a\r  {% if true %}\r  b\r  {% endif %}\rc\r", "{{ 'a\r\nb' }}", "{{ 'a\rb' | length }}", "{{ 'a\\r\\nb' }}", "{% set x %}a\r\nb{% endset %}{{ x | length }}", "{% raw %}a\r\nb{% endraw %}", "{# a\r\nb #}c\r\nd", "{%- if true -%}\r\n x \r\n{%- endif -%}\r\n", "a\n\r\nb\r\r\nc", "{{ messages[1].content }}\r\n.", "{% for x in numbers %}\r\n{{ x }}\r\n{% endfor %}",
    "{{ 'a\\\nb' }}", "{{ 'a\nb' }}", "{{ \"tab\\tq\\\"q\" }}", "{{ '\\x41\\u00e9\\U0001F980\\101\\N{DIGIT ONE}' }}", "{{ '\\u0041' }}", "{{ '\\x41' }}", "{{ '\\101' }}", "{{ '\\0' | length }}", "{{ '\\q' }}", "{{ '\\ud83e\\udd80' | length }}", "{{ '\\U0001F980' }}", "{{ '\\a\\b\\f\\v' | length }}", "{{ 'it''s' }}", "{{ '\\'' }}", "{{ 'a' \"b\" }}", "{{ 'é' | length }}",
    "{{1}}{{-1}}{{ -1 }}", "{{ 1 -}}  x", "x  {{- 1 }}", "{{- 1 -}}", "{%if 1%}x{%endif%}", "{%-if 1-%} x {%-endif-%}", "{% if 1 %}{{ '%}' }}{% endif %}", "{{ '}}' }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {'b': 1}} }}", "{{{'a': 1}}}", "{{ '{{' ~ '}}' }}", "{ { x } }", "{%", "}}", "%}", "#}", "{ {", "a}}b%}c", "# line\n## x", "-- {{ 1 }} --",
]

GROUPS = {
    "values": _values(),
    "indices": _indices(),
    "str methods": _str_methods(),
    "container methods": _container_methods(),
    "filters": _filters(),
    "tests": _tests(),
    "loops": LOOPS,
    "blocks": BLOCKS,
    "white space": SPACE,
}
