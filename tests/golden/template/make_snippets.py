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

EXPRESSIONS = """
1 + 2 * 3 - 4
7 // 2 ~ -7 // 2 ~ 7 % 3 ~ -7 % 3 ~ 7 % -3
7 / 2
2 ** 3 ** 2
-2 ** 2
2 ** -1
7.5 // 2
-7.5 % 2
1e3
1.5e-7
123456789012345680.0
1e16
0.1 + 0.2
1_000 + 0x1f + 0b11 + 0o17
1 / 0
1 // 0
'a' ~ 1 ~ none ~ true ~ 1.0
'a' + 'b'
'a' 'b' "c"
'a' + 1
'ab' * 3
3 * 'ab'
[1] * 2 + [3]
(1, 2) + (3,)
(1,)
()
[]
{}
{'a': 1, 'b': [1, 'x']}
{1: 2, none: 3, true: 4}
[1, 'a', none, true, 2.0, "it's", 'say "hi"', "both ' and \\""]
"tab\\t nl\\n uni\\u00e9 hex\\x41 oct\\101 bad\\q quote\\' back\\\\"
['tab\\t', 'nl\\n', '\\x00\\x7f\\xa0\\u200b😀']
1 < 2 < 3
3 > 2 > 2
1 == 1.0
1 == true
'a' < 'b'
'a' < 1
[1, 2] < [1, 3]
(1, 2) == (1, 2)
[1] == (1,)
{'a': 1} == {'a': 1.0}
1 in [1, 2]
'ell' in s
'x' not in s
1 in s
'b' in d
no in [none]
missing in [1]
missing == missing2
not missing
missing
missing.attr
missing['x']
missing + 1
missing ~ 'x'
missing()
no.attr
no['x']
no.attr.more
n.attr
s.attr
d.missing
d['missing']
d.missing.more
d['items']
d.items()
d.keys() | list
d.values() | list
d.get('b')
d.get('q')
d.get('q', 5)
d.b
d['a'][-1]
d.a[10]
l[0] ~ l[-1]
l[5]
l[1:]
l[::-1]
l[:-1]
l[-2:]
l[5:]
l[0:10:2]
s[0]
s[-1]
s[1:4]
s[::-1]
s[::2]
u[0:6]
u[-3:]
u | length
u[::-1]
no[1:]
s['0']
s[100]
l['x']
l.0
'yes' if t else 'no'
'yes' if z
('yes' if z) is undefined
z or 'other'
t and 'both'
n and z
not t
t is true
t is boolean
n is integer
t is integer
f is float
t is number
n is number
s is string
l is sequence
s is sequence
d is sequence
d is mapping
d.items() is sequence
d.items() is iterable
l is iterable
n is iterable
missing is iterable
missing is defined
n is defined
d.q is defined
d.b is not none
no is none
n is odd
n is even
n is divisibleby 7
n is divisibleby(2)
n is eq 7
n is equalto 8
n is ne 8
n is lt 8
n is gt 8
n is ge(7)
n is le 6
n is in [7, 8]
n is not in([7])
s is lower
'abc' is lower
'ABC1' is upper
s is upper
range is callable
s is callable
s.upper is callable
missing is callable
s is sameas s
l is sameas l
none is sameas none
'upper' is filter
'nothing' is filter
'odd' is test
s | upper
s | lower
u | upper
u | lower
u | title
u | capitalize
'hello wORLD-foo (bar)' | title
'hello wORLD' | capitalize
s.title()
"they're bill's".title()
s.swapcase()
'ŒUVRE ﬁn ŉ'.upper()
'  x '.strip() ~ '|' ~ '  x '.lstrip() ~ '|' ~ '  x '.rstrip() ~ '|'
'xxhixx'.strip('x')
'abcba'.strip('ab')
'\\u3000 wide \\u00a0'.strip()
'  x ' | trim ~ '|'
'xxhix' | trim('x')
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a b  c '.split()
'a b  c '.split(none, 1)
' a b  c '.split(' ')
'a,b,c'.rsplit(',', 1)
' a b  c '.rsplit()
' a b  c '.rsplit(none, 1)
' a  b  c '.rsplit(none, 0)
' a  b  c '.split(none, 0)
''.split()
''.split(',')
'abc'.split('')
lines.splitlines()
lines.splitlines(true)
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('x')
'abc'.rpartition('x')
'prefix-x'.removeprefix('prefix-')
'x.jinja'.removesuffix('.jinja')
s.startswith('Hell')
s.startswith(('x', 'H'))
s.endswith('ld')
s.endswith('World', 7)
s.find('o')
s.find('o', 5)
s.rfind('o')
s.find('zz')
u.find('ß')
s.index('W')
s.index('zz')
s.count('l')
s.count('')
u.count('')
'aaa'.replace('a', 'b', 2)
'abc'.replace('', '-')
'abc' | replace('b', 'XX')
'a1b1' | replace(1, 2)
'aaa' | replace('a', 'b', 1)
s.join(['a', 'b'])
','.join(['x', 1])
','.join('abc')
'7'.zfill(3) ~ '-7'.zfill(4)
'x'.ljust(3) ~ '|' ~ 'x'.rjust(3, '.') ~ '|' ~ 'xy'.center(5, '*')
'xy' | center(7) ~ '|'
'123'.isdigit() ~ '12a'.isdigit() ~ ''.isdigit() ~ '²'.isdigit()
'abc'.isalpha() ~ 'ab1'.isalpha() ~ 'ß'.isalpha()
'ab1'.isalnum() ~ ' '.isspace() ~ 'A'.isupper() ~ 'a'.islower() ~ 'A B'.istitle()
'²'.isdecimal() ~ '½'.isnumeric() ~ 'é'.isascii() ~ ''.isascii()
'{} {1}'.format(1, 2)
'{} {}'.format(1, 'x')
'{0} {a} {b[0]} {b[k]}'.format('z', a=1, b={'k': 2, 0: 3})
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:05d} {:+d} {:,} {:x} {:#x} {:b}'.format(42, 42, 1234567, 255, 255, 5)
'{:.2f} {:8.3f} {:e} {:%} {:g}'.format(3.14159, 2.5, 12345.678, 0.25, 1e10)
'{!r} {!s}'.format('a', 'b')
'{{}} {}'.format(1)
'{}'.format()
'{x}'.format(y=1)
'{.__class__}'.format(1)
'{0.__class__.__mro__}'.format(s)
'%s and %d' % ('a', 3)
'%s' % 'x'
'%s' % [1, 2]
'%d' % 3.7
'%05d|%-5d|%+d|%x|%o' % (42, 42, 42, 255, 8)
'%.2f %5.1f %e %g' % (3.14159, 2.25, 12345.678, 0.00001)
'%(a)s %(b)05.1f' % {'a': 1, 'b': 2.55}
'%r %%' % ('x',)
'%s %s' % 'x'
'%s' % ('x', 'y')
'%d' % 'x'
'%s-%s' | format('a', 'b')
'%(x)s' | format(x=5)
[1, 2, 3] | join
[1, 2, 3] | join(', ')
people | join(', ', attribute='name')
'abc' | join('-')
l | length
d | length
n | length
'' | length
missing | length
l | first
l | last
empty | first
empty | last
'abc' | first ~ 'abc' | last
'abc' | list
d | list
l | sort
l | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
people | sort(attribute='age') | map(attribute='name') | list
people | sort(attribute='age,name', reverse=true) | map(attribute='name') | join(',')
[1, 'a'] | sort
l | reverse | list
'abc' | reverse
l | sum
people | sum(attribute='age')
[0.1, 0.2] | sum
[] | sum(start=5)
l | min ~ l | max
words | min ~ words | max
empty | min
people | max(attribute='age')
[1, 1.0, 2, true] | unique | list
['a', 'A', 'b'] | unique | list
['a', 'A', 'b'] | unique(case_sensitive=true) | list
people | map(attribute='home.city') | list
people | map(attribute='home.city', default='none') | list
people | map(attribute='nick', default='none') | list
words | map('upper') | list
words | map('replace', 'p', 'P') | join(' ')
words | map('length') | sum
[1, 2, 3, 4] | select('odd') | list
[1, 2, 3, 4] | reject('odd') | list
[1, 0, 2] | select | list
[1, 2, 3] | select('gt', 1) | list
[1, 2, 3] | select('in', [1, 3]) | list
people | selectattr('home') | map(attribute='name') | list
people | selectattr('age', 'equalto', 30) | list | length
people | selectattr('age', '>=', 26) | map(attribute='name') | list
people | rejectattr('home', 'defined') | map(attribute='name') | list
missing | selectattr('x') | list
people | groupby('age') | length
people | groupby('name') | map(attribute='grouper') | list
people | groupby('home.city', default='?')| map(attribute='grouper') | join(',')
l | batch(2) | list
l | batch(2, 'x') | list
l | slice(2) | list
l | slice(2, 'x') | list
d | items | list | length
d | dictsort | map('first') | list
{'b': 1, 'A': 2} | dictsort
{'b': 1, 'A': 2} | dictsort(true)
{'b': 1, 'A': 2} | dictsort(by='value', reverse=true)
missing | items | list
n | items | list
missing | default('x')
e | default('x')
e | default('x', true)
no | d('x', boolean=true)
z | default(5)
missing | default
'42' | int + 1
'0x1f' | int(base=16)
'abc' | int
'abc' | int(5)
'42.9' | int
' 12 ' | int
'1_000' | int
3.9 | int
-3.9 | int
true | int
none | int
missing | int
'1e3' | int
'3.5' | float
'x' | float
'inf' | float
3 | float
2.5 | round
3.5 | round
2.675 | round(2)
1234.5 | round(-2)
7 | round
7 | round(-1)
2.1 | round(method='ceil')
2.99 | round(1, 'floor')
-5 | abs
-2.5 | abs
'x' | abs
n | string ~ 'x'
no | string
d | string
'a<b>&"\\'' | e
'a<b>' | escape | upper
('<' | safe) + '<'
('<' | safe) ~ '<'
'<' | safe | string
('<' | e) is escaped
'a b/c?d=é&' | urlencode
{'a b': 'c/d', 'e': 1} | urlencode
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'foo bar baz qux' | truncate(11)
'foo bar baz qux' | truncate(11, false, '..', 0)
'one two-three  four' | wordcount
lines | indent
lines | indent(2, true)
lines | indent(2, true, true)
lines | indent('> ')
lines | indent(width=1, first=true)
n | indent
'' | indent
d | tojson
d | tojson(indent=2)
l | tojson(indent=0)
[] | tojson(indent=2)
{'a': {}, 'b': []} | tojson(indent=1)
d | tojson(separators=(',', ':'))
{'b': 1, 'a': 2} | tojson(sort_keys=true)
{'b': 1, 'a': {'z': 1, 'y': 2}} | tojson(indent=2, sort_keys=true)
u | tojson
u | tojson(ensure_ascii=true)
"a\\"b\\\\c\\n\\t\\r\\x08\\x0c\\x01\\x7f</script>&'" | tojson
[1.0, 1e20, 1e-7, 100000.0, 1e16, none, true] | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
(1, 2) | tojson
big | tojson
big
missing | tojson
range(3) | tojson
[1, 2] | map('string') | tojson
s | tojson | safe
'"' ~ (s | tojson) ~ '"'
range(5) | list
range(2, 8, 3) | list
range(5, 0, -2) | list
range(0)
range(3)
range(1, 10, 4)
range(3)[1] ~ range(3)[-1]
range(5)[1:3] | list
range(200000)
dict(a=1, b=2)
dict({'x': 1}, y=2)
dict([('k', 'v')])
namespace(a=1).a
namespace(a=1).b
namespace({'a': 1}, b=2)
s.__class__
s.__class__.__mro__
s['__class__']
s.__class__ is defined
l.__init__.__globals__
d.__class__
namespace(a=1).__class__
range.__globals__
s | attr('__class__')
s | attr('upper') is callable
d | attr('b')
l.append(1)
l.append is defined
l.pop()
d.update({'a': 1})
d.pop('b')
d.setdefault('q', 1)
l.copy()
l.index(1)
l.index(9)
l.count(1)
(1, 2, 1).count(1)
(1, 2, 1).index(2)
s.nothing()
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y %H:%M:%S %A %B %j %%')
strftime_now('%-d %-m %y %I %p')
raise_exception('my words')
s | upper | lower | title
-n | abs
- n
+ n
(1 + 2) * 3
not n == 7
not n in [7]
1 if 0 else 2 if 0 else 3
'a' if t else 'b' if t else 'c'
[1, 2, 3][1]
{'a': {'b': 3}}.a.b
{'a': 1}['a']
'abc'[1]
(1, 2, 3)[0]
[x for x in l]
l | sort | first
s.upper().lower()
s.split(', ')[1][0]
'a' ~ 'b' * 2 ~ 'c'
'a' < 'b' and 'b' < 'c'
1 + 1 == 2
'%s' % none
loop
loop.index
1 is number and 2 is string
1 is not string
x is y is z
s is string and n is integer or t
range(*[1, 3]) | list
dict(**{'a': 1})
s.replace(*['l', 'L'])
messages[0]['content'] | trim
messages[0].content.strip() ~ '!'
messages | map(attribute='role') | join
messages[::-1] | map(attribute='role') | list
messages[-1].role
messages[0:1]
messages | tojson
'\\n'.join(messages | map(attribute='content'))
""".strip("\n").split("\n")

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
    "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% do n %}", "{{ lipsum() }}", "{% set none = 1 %}",
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
