"""Writes snippets.json: small templates with what jinja2 makes of them, one per feature or corner.

An entry has the source and either the text or the error of the reference. Run with the Python that
has jinja2; the environment is the one of make_expected.py.
"""
import json
import pathlib

from make_expected import environment

VARIABLES = {
    "messages": [{"role": "user", "content": " Hi <b> & 'you' "}, {"role": "assistant", "content": "Größe\n"}],
    "s": "Hello, World", "u": "naïve ß ΣΑΣ 😀 e\u0301", "n": 7, "f": 2.5, "z": 0, "t": True, "no": None, "e": "",
    "l": [3, 1, 2], "words": ["pear", "Apple", "fig"], "empty": [], "big": 18446744073709551615,
    "d": {"b": 1, "a": [1, 2.0, None, True, "x'y"], "items": "shadow"},
    "people": [{"name": "Ann", "age": 30, "home": {"city": "Graz"}}, {"name": "bob", "age": 25},
               {"name": "Cid", "age": 30, "home": {"city": "Linz"}}],
    "lines": "one\ntwo\n\nthree\r\nfour\u2028five\n",
}

# One expression per line, each rendered as {{ expression }}.
EXPRESSIONS = (pathlib.Path(__file__).parent / "expressions.txt").read_text(encoding="utf-8").splitlines()

STATEMENTS = [
    "{% if t %}yes{% endif %}", "{% if z %}a{% elif n %}b{% else %}c{% endif %}", "{% if z: %}a{% else: %}c{% endif %}",
    "{% if z %}a{% elif z %}b{% elif t %}B{% else %}c{% endif %}",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in [] %}a{% else %}none{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}{{ x }}{{ loop.length }} {% else %}none{% endfor %}",
    "{% for x in l if x > 5 %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}"
    "{{ loop.revindex0 }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}",
    "{% for k, v in d | dictsort %}{{ k }}{% endfor %}", "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for c in 'añb' %}[{{ c }}]{% endfor %}", "{% for x in n %}{% endfor %}", "{% for x in missing %}a{% else %}b{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{{ x }}{{ y }} {% endfor %}{{ loop.index }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %}{{ x }}{% endfor %}",
    "{% break %}", "{% set x = 1 %}{% for i in l %}{{ x }}{% set x = x + i %}{% endfor %}{{ x }}",
    "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b }}{{ ns }}", "{% set d.x = 1 %}", "{% set q.x = 1 %}",
    "{% set ns = namespace(on=true) %}{% for x in l if ns.on %}{{ x }}{% set ns.on = false %}{% endfor %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set a, b = [1] %}",
    "{% set x %}in {{ n }}{% endset %}[{{ x }}]", "{% set x | upper %}in {{ n }}{% endset %}[{{ x }}]",
    "{% set x | trim | upper %} in {% set y = 5 %}{% endset %}[{{ x }}]{{ y }}",
    "{% if t %}{% set x = 5 %}{% endif %}{{ x }}", "{% if z %}{% set n = 5 %}{% endif %}{{ n }}", "{% set n = n + 1 %}{{ n }}",
    "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, 3) }}|{{ m(1, c=4) }}|{{ m(b=1, a=0) }}",
    "{% macro m(a) %}[{{ a }}]{{ a is defined }}{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(q=2) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k=3) }}",
    "{% macro m(a) %}{{ a }}{{ varargs | length }}{% endmacro %}{{ m(1, 2, 3) }}",
    "{% macro m(x) %}<{{ caller(x) }}>{% endmacro %}{% call(y) m(4) %}[{{ y }}{{ n }}]{% endcall %}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}a{% endmacro %}{% call m() %}in{% endcall %}", "{% macro f(k) %}{{ k }}{% if k %}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro m() %}{{ n }}{% endmacro %}{% set n = 9 %}{{ m() }}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
    "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m() %}x{% endmacro %}{{ m() | upper ~ 'y' }}",
    
    "{% macro m(a, a2) %}{% set a = a + 1 %}{{ a }}{% endmacro %}{{ m(1) }}{{ a }}", "{{ m() }}{% macro m() %}x{% endmacro %}",
    "{% filter upper %}ab{{ n }}c{% endfilter %}", "{% filter replace('a', 'b') | upper %}aac{% endfilter %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set n = 1 %}{{ n }}{% endwith %}{{ n }}",
    "{% generation %}a{{ n }}{% endgeneration %}b", "{% generation %}{% set n = 1 %}{% endgeneration %}{{ n }}",
    "{% raw %}{{ not }} {% this %}{% endraw %}", "a {%- raw -%}  {{ x }}  {%- endraw -%} b", "{# comment {{ x }} #}a", "a {#- c -#} b",
    "{% print n, s %}", "{{ 1, 2 }}", "{{ }}", "{{ n", "{% if %}", "{% if t %}", "{% for x l %}{% endfor %}", "{% endif %}", "{% nonsense %}",
    "{{ 'abc }}", "{{ (1 }}", "{{ 1) }}", "{{ n | nofilter }}", "{{ n is notest }}", "{% if z %}{{ n | nofilter }}{% endif %}ok", "{{ 1 2 }}",
    "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% do n %}", "{% set none = 1 %}",
    "  {% if t %}\n  yes\n  {% endif %}\n  end\n", "  {%+ if t %}\n  yes\n  {%+ endif %}\n  end", "a\n  {%- if t -%}\n  yes\n  {%- endif -%}\n end\n\n",
    "{% if t +%}\nyes{% endif %}", "  {{ n }}\n  {{- n -}}  \n x", "  {# c #}\nline\n  {# d #} x\n", "x  {# c #}\ny", "a\r\nb\rc\n", "\n\n{{ n }}\n\n",
    "{%- for x in l %}\n  {{- x }}\n{%- endfor %}\n", "{% for x in l -%}\n  {{ x }}\n{%- endfor %}", "  {% set a = 1 %}  \n  {{ a }}", "\u3000{% if t %}x{% endif %}",
    "{{ {'a': {'b': 1}} }}", "{{ {'a': {'b': {}}}}}", "{{ '}}' }}{{ '%}' }}", "{{ \"a\nb\" }}", "{{ s\n|\nupper }}", "{{n}}{{-n-}}{{+n}}", "{#- -#}x{#+ +#}\n",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.current }}",
    "{% set j = joiner('; ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}",
    "{% set g = l | select %}{{ g | first }}{{ g | list }}{{ 'y' if g }}", "{% for x in l | map('string') %}{{ loop.length }}{{ x }}{% endfor %}",
    "{% for g in people | groupby('age') %}{{ g.grouper }}:{{ g.list | map(attribute='name') | join(',') }};{% endfor %}",
    "{% for m in messages %}{{ m['role'] + '\\n' + m['content'] | trim + '\\n' }}{% endfor %}",
    "{% for x in range(3) %}{% set y = x %}{{ y }}{{ loop.last }}{% endfor %}", "{% set x = l %}{% set x = x + [9] %}{{ x }}{{ l }}",
    "{% set ns = namespace(l=[]) %}{% for x in l %}{% set ns.l = ns.l + [x * 2] %}{% endfor %}{{ ns.l }}", "{% set ns = namespace(__x=1) %}", "{% set ns = namespace(_x=1) %}{{ ns._x }}",
    "{% for x in 'ab' %}{% for y in 'cd' %}{{ loop.parent }}{{ x }}{{ y }}{% endfor %}{% endfor %}", "{% for m in messages[1:] %}{{ m.role }}{% endfor %}",
    "{% if messages[0].role == 'user' and messages | length > 1 %}ok{% endif %}", "{% if d.a is string %}s{% elif d.a is iterable %}i{% endif %}",
    "{% set x = 'a' if n > 5 else 'b' %}{{ x }}", "{% if not (n is defined and n is not none) %}x{% else %}y{% endif %}", "{% for x in l recursive %}{{ x }}{% endfor %}",
    "{% call(x) q() %}{% endcall %}", "{% call n %}{% endcall %}", "{% macro m(a=1, b) %}{% endmacro %}", "{% set x = n | string | length > 0 %}{{ x }}",
    "{{ '{{' }} {{ '{%' }} { { } } {", "{% set x = [1, 2,] %}{{ x }}{{ (1, 2,) }}{{ {'a': 1,} }}", "{{ range(3,) | list }}", "{{ dict(a=1,) }}", "{% for x, in [[1]] %}{{ x }}{% endfor %}",
]


def main():
    env = environment()
    sources = ["{{ " + line + " }}" for line in EXPRESSIONS] + STATEMENTS
    entries = []
    for source in sources:
        entry = {"source": source}
        try:
            entry["text"] = env.from_string(source).render(**VARIABLES)
        except Exception as error:
            entry["error"] = f"{type(error).__name__}: {error}"[:160]
        entries.append(entry)
    out = pathlib.Path(__file__).parent / "snippets.json"
    out.write_text(json.dumps({"variables": VARIABLES, "snippets": entries}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
