"""Makes one story: picks a plot and a cast, fills every slot with a word of the right type, renders the beats."""
import grammar
import plots
import plots_adventure
import plots_more
import words

PLOTS = (plots.LOSS + plots.FRIENDS + plots_more.GROWTH + plots_more.HOME + plots_adventure.FINDS
         + plots_adventure.TRIPS)
CLOTHES = "hat scarf cap ribbon bonnet".split()
FLYING = ["kite", "balloon", "ball", "toy airplane", "paper plane"]
BREAKABLE = ["vase", "cup", "plate", "lamp", "bowl", "teapot", "clock", "mirror"]
PETS = ["kitten", "puppy", "rabbit", "bird", "hamster", "cat", "dog"]
FRUIT = "apples pears berries plums cherries peaches strawberries nuts grapes".split()
PLAYED = ["played ball", "played tag", "climbed trees", "picked berries", "built a little house", "danced and sang",
          "played hide and seek", "jumped in the leaves", "flown kites", "looked for shells"]
TROUBLE = ["sick in bed", "always sad", "very lonely", "far from home", "too weak to walk"]


def add_character(ctx, key, rng, animal, kind=None, name=None):
    """Put a named child or animal under `key`: name, he, him, his, kind, desc (adjective and kind), lives, trouble."""
    girl = rng.random() < 0.5
    if kind is None:
        kind = rng.choice(list(words.ANIMALS)) if animal else ("girl" if girl else "boy")
    if kind in ("girl", "boy"):
        girl = kind == "girl"
        name = name or rng.choice(words.GIRLS if girl else words.BOYS)
        lives = rng.choice(words.HOMES)
    else:
        name = name or rng.choice(words.ANIMAL_NAMES + (words.GIRLS if girl else words.BOYS)[:30])
        lives = words.ANIMALS[kind][0]
    he, him, his = ("she", "her", "her") if girl else ("he", "him", "his")
    ctx.update({key: name, f"{key}.he": he, f"{key}.him": him, f"{key}.his": his, f"{key}.kind": kind,
                f"{key}.desc": f"{rng.choice(words.HERO_ADJ)} {kind}", f"{key}.lives": lives,
                f"{key}.trouble": rng.choice(TROUBLE)})


def add_places(ctx, rng):
    """Three different places, hiding spots inside and outside."""
    for suffix, (place, prep) in zip(["", "2", "3"], rng.sample(words.PLACES, 3)):
        ctx["place" + suffix] = place
        ctx["at" + suffix] = f"{prep} {place}"
    outside = rng.sample(words.HIDE_OUT, 3)
    inside = rng.sample(words.HIDE_IN, 2)
    ctx.update({"hide_out": outside[0], "hide_out2": outside[1], "hide_out3": outside[2], "hide_in": inside[0],
                "hide_in2": inside[1], "hide_in.cap": inside[0][0].upper() + inside[0][1:],
                "hide_in.home": rng.choice(["next to the bed", "on the shelf", "by the door", "in a safe place"])})


def add_things(ctx, rng):
    """Objects, food, colours, skills, fears and the other typed words."""
    skill, fear = rng.choice(words.SKILLS), rng.choice(words.FEARS)
    hobby, hobby2 = rng.sample(words.HOBBIES, 2)
    color, color2 = rng.sample(words.COLORS, 2)
    nice, nice2 = rng.sample(words.TRAITS, 2)
    ctx.update({
        "lost": rng.choice(words.LOSABLE), "toy": rng.choice(words.TOYS), "find": rng.choice(words.FINDS),
        "cloth": rng.choice(CLOTHES), "fly": rng.choice(FLYING), "break": rng.choice(BREAKABLE),
        "petkind": rng.choice(PETS), "pet": rng.choice(words.ANIMAL_NAMES), "played": rng.choice(PLAYED),
        "food": rng.choice(words.FOODS), "fruit": rng.choice(FRUIT), "dish": rng.choice(words.DISHES), "treat": rng.choice(words.TREATS),
        "flower": rng.choice(words.FLOWERS), "weather": rng.choice(words.WEATHER), "look": rng.choice(words.LOOKS),
        "color": color, "color2": color2, "hobby": hobby, "hobby2": hobby2, "nice": nice, "nice2": nice2,
        "skill": skill[0], "skill.ing": skill[1], "skill.fail": skill[2], "skill.win": skill[3],
        "fear": fear[0], "fear.when": fear[1], "fear.calm": fear[2], "fear.win": fear[3],
        "thanks.low": "thank you", "smiled.pl": rng.choice(["laughed", "cheered", "jumped for joy", "clapped"])})


def make_context(rng, heroes="any", **fixed):
    """Every slot of the plots, drawn independently; `fixed` may set a_kind, a_name and any plain slot."""
    ctx = {}
    animal = {"child": False, "animal": True, "any": rng.random() < 0.5}[heroes]
    if fixed.get("a_kind"):
        animal = fixed["a_kind"] not in ("girl", "boy")
    add_character(ctx, "a", rng, animal, fixed.get("a_kind"), fixed.get("a_name"))
    while "b" not in ctx or ctx["b"] == ctx["a"] or (animal and ctx["b.kind"] == ctx["a.kind"]):
        add_character(ctx, "b", rng, animal if heroes != "any" else animal or rng.random() < 0.2)
    grown = rng.choice(words.GROWN)
    worker = rng.choice(words.WORKERS)
    wild = rng.choice([kind for kind in words.ANIMALS if kind not in (ctx["a.kind"], ctx["b.kind"], "owl")])
    ctx.update({"grown": grown[0], "grown.he": grown[1], "worker": worker[0], "worker.he": worker[1], "wild": wild})
    add_places(ctx, rng)
    add_things(ctx, rng)
    ctx.update({key: value for key, value in fixed.items() if not key.startswith("a_")})
    return ctx


def introduce(text, ctx):
    """First mention of the friend gets "his friend"; later mentions of "a gardener" become "the gardener"."""
    at = text.find(ctx["b"])
    known = at < 0 or text[:at].endswith(("named ", "friend ", "called ")) or text[at:].startswith(ctx["b"] + ", a")
    if not known and text[:at].count('"') % 2 == 0:
        friend = ctx["a.his"] + " friend "
        text = text[:at] + (friend.capitalize() if text[:at].endswith((". ", '." ')) else friend) + text[at:]
    worker = ctx["worker"]
    if worker.startswith("a"):
        head, found, tail = text.partition(worker)
        name = worker.split(" ", 1)[1]
        text = head + found + tail.replace(worker, "the " + name).replace(worker.capitalize(), "The " + name)
    return grammar.polish(text)


def make_story(rng, short=False, plot=None, **fixed):
    """Returns (story, subject, context). `short` leaves out most of the optional beats."""
    subjects, heroes, beats = plot or rng.choice(PLOTS)
    ctx = make_context(rng, heroes, **fixed)
    text = introduce(grammar.render(beats, ctx, rng, keep=0.15 if short else 0.6), ctx)
    subject = grammar.polish(grammar.expand(rng.choice(subjects), ctx, rng))
    return text, subject[0].lower() + subject[1:] if not subject.startswith(ctx["a"]) else subject, ctx


def find_plots():
    """Plots about a hero who finds an object: every slot [find] of their subject is the object asked for."""
    return [plot for plot in PLOTS if any("who finds a [find]" in subject for subject in plot[0])]
