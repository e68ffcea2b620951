"""Template expansion: choices in braces, slots in brackets, then articles and capitals are put right.

`{red|blue}` picks one branch (branches may nest and may be empty), `[key]` inserts ctx[key] or a macro; the inserted
text is expanded again. All randomness comes from the caller's random.Random, so a seed fixes every text.
"""
import re

INNER_CHOICE = re.compile(r"\{([^{}]*)\}")
SLOT = re.compile(r"\[([a-z0-9_.]+)\]")
AN_WORDS = re.compile(r"\b([Aa]) (?=(?!(?:one|once|uni|use|usual|eu))[aeiouAEIOU]|hour|honest)")
SENTENCE_START = re.compile(r"(^|(?<=[.!?] )|(?<=\.\" )|(?<=\n))([a-z])")

MACROS = {
    "happy": "{happy|glad|happy|pleased|delighted|cheerful|full of joy|proud and happy}",
    "sad": "{sad|unhappy|sad|upset|gloomy|very sad|close to tears}",
    "scared": "{scared|afraid|frightened|nervous|a little scared}",
    "very": "{very|so|really|very, very}",
    "big": "{big|large|huge|great big}",
    "small": "{small|little|tiny}",
    "smiled": "{smiled|laughed|grinned|clapped|smiled a big smile|jumped for joy|beamed|giggled}",
    "soon": "{soon|after a while|before long|a little later|in a short time|a few minutes later}",
    "said": "{said|said|told [a.him]|answered}",
    "thanks": "{Thank you|Thank you so much|Oh, thank you|Thanks}",
    "nice": "{kind|nice|good|gentle|friendly|sweet|brave|clever|cheerful|quiet|curious|helpful|patient}",
    "day": "{One day|One morning|One sunny day|One afternoon|One [weather] day|One [weather] morning|"
           "Early one morning|On a [weather] day|One day in {spring|summer|autumn|winter}|"
           "On {Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday}|Late one afternoon|Yesterday}",
    "walked": "{walked|went|ran|hurried|skipped}",
    "looked": "{looked|searched|hunted}",
    "tired": "{tired|sleepy|worn out}",
    "good_end": "{It was {a wonderful|a lovely|a very good|the best} day.|"
                "[a] {never forgot|always remembered} that day.|"
                "That night, [a] {slept well|went to sleep with a smile|had sweet dreams|dreamed about it}.|"
                "From that day on, [a] was always in a good mood.|[a] went home with a {big|warm|happy} smile.|"
                "Everyone was happy in the end.|And that was the end of a {long|busy|happy} day.|"
                "[a] could not wait {for|to see} {the next day|tomorrow}.|[a] felt warm inside.}",
    "friends_end": "{[a] and [b] were {best|good|close} friends from that day on.|"
                   "After that, [a] and [b] played together every day.|[a] and [b] stayed friends forever.|"
                   "From then on, [a] and [b] did everything together.|[a] and [b] walked home side by side.}",
    "open": "{Once upon a time, there was a [a.desc] named [a].|There once was a [a.desc] named [a].|"
            "[a] was a [a.desc].|[a] was a [a.desc] who lived [a.lives].|"
            "Once there was a [a.desc] called [a].|A [a.desc] named [a] lived [a.lives].|"
            "Long ago, a [a.desc] named [a] lived [a.lives].|"
            "Once upon a time, a [a.desc] named [a] lived [a.lives].|"
            "In a {small|quiet|pretty|far away} {village|town|valley}, there lived a [a.desc] named [a].}",
    "open_b": "{[a] had a friend named [b], who was a [b.desc].|[a.his] best friend was a [b.desc] named [b].|"
              "[b], a [b.desc], was [a.his] {best|dear|good} friend.|"
              "[a] had a good friend, a [b.desc] named [b].}",
    "likes": "{[a] {loved|liked} to [hobby].|[a] {loved|liked} to [hobby] and to [hobby2].|"
             "Every day, [a] liked to [hobby].|More than anything, [a] loved to [hobby].|"
             "[a] was [nice] and [nice2].|Everyone said that [a] was [nice] and [nice2].|"
             "[a.he] had a [color] {scarf|hat|coat|bag|blanket} that [a.he] loved very much.}",
}


def expand(template, ctx, rng):
    """Expand choices and slots of one template until none is left. Unknown slots raise KeyError."""
    text = template
    while True:
        found = INNER_CHOICE.search(text)
        if found:
            text = text[:found.start()] + rng.choice(found.group(1).split("|")) + text[found.end():]
            continue
        slot = SLOT.search(text)
        if not slot:
            return text
        key = slot.group(1)
        text = text[:slot.start()] + (ctx[key] if key in ctx else MACROS[key]) + text[slot.end():]


def polish(text):
    """Fix a/an, sentence capitals and doubled spaces."""
    text = re.sub(r" {2,}", " ", text).replace(" ,", ",").replace(" .", ".").strip()
    text = AN_WORDS.sub(r"\1n ", text)
    return SENTENCE_START.sub(lambda m: m.group(1) + m.group(2).upper(), text)


def render(templates, ctx, rng, keep=0.5):
    """Render a list of sentence templates; one that starts with '?' is kept with probability `keep`."""
    parts = []
    for template in templates:
        if template.startswith("?"):
            if rng.random() >= keep:
                continue
            template = template[1:]
        parts.append(expand(template, ctx, rng))
    return polish(" ".join(part for part in parts if part))
