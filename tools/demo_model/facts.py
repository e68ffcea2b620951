"""Question and answer pairs: recall from a short text, sums, animal facts and general knowledge of a young child."""
import grammar
import stories
import words

NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty""".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
OPPOSITES = """big small|hot cold|up down|day night|happy sad|fast slow|old new|open closed|left right|wet dry|
hard soft|light dark|long short|tall short|full empty|clean dirty|early late|loud quiet|strong weak|rich poor|high low|
near far|thick thin|good bad|inside outside|first last|black white|yes no|sweet sour|easy difficult|brave scared|
awake asleep|begin end|push pull|come go|give take|laugh cry|heavy light|smooth rough|young old|wide narrow|
true false|safe dangerous|win lose|remember forget|buy sell|north south|east west|above below|warm cool""".replace("\n", "").split("|")
COLOR_OF = {"the sky on a clear day": "blue", "grass": "green", "snow": "white", "a banana": "yellow", "a tomato": "red",
            "a carrot": "orange", "coal": "black", "the sun": "yellow", "a strawberry": "red", "a leaf in summer": "green",
            "milk": "white", "chocolate": "brown", "a lemon": "yellow", "a pumpkin": "orange", "a plum": "purple",
            "an elephant": "gray", "a frog": "green", "a crow": "black", "a flamingo": "pink", "a polar bear": "white",
            "a fire truck": "red", "the sea": "blue", "a pea": "green", "blood": "red", "cheese": "yellow", "a cloud": "white"}
MIXES = [("red", "yellow", "orange"), ("blue", "yellow", "green"), ("red", "blue", "purple"), ("red", "white", "pink"),
         ("black", "white", "gray")]
USES = {"a spoon": "eat soup", "a knife": "cut things", "an umbrella": "stay dry in the rain", "a pen": "write", "a bed": "sleep",
        "a key": "open a door", "a broom": "sweep the floor", "soap": "wash our hands", "a clock": "see the time",
        "a lamp": "make light", "a hammer": "hit nails", "a needle": "sew", "a cup": "drink", "a book": "read stories",
        "a boat": "travel on water", "scissors": "cut paper", "a ladder": "climb up high", "a towel": "dry ourselves",
        "an oven": "bake bread", "a map": "find the way", "glasses": "see better", "a brush": "paint or brush hair",
        "a shovel": "dig", "a telescope": "look at the stars", "a bag": "carry things", "a rope": "tie things"}
KINDS = {"fruit": "apple pear plum cherry peach banana orange lemon grape strawberry", "vegetable": "carrot potato onion pea cabbage bean",
         "animal": "dog cat horse bear lion rabbit mouse", "color": "red blue green yellow purple pink", "bird": "robin owl crow duck hen parrot",
         "toy": "doll kite ball puzzle", "tool": "hammer saw shovel", "flower": "rose tulip daisy poppy sunflower"}
MISC = [("How many days are in a week?", "There are seven days in a week."), ("How many months are in a year?", "There are twelve months in a year."),
        ("How many legs does a spider have?", "A spider has eight legs."), ("What do we drink?", "We drink water, milk, and juice."),
        ("How many fingers do you have on one hand?", "There are five fingers on one hand."), ("What gives us light in the day?", "The sun gives us light in the day."),
        ("What can we see in the sky at night?", "At night we can see the moon and the stars."), ("Where do fish live?", "Fish live in water."),
        ("What is ice made of?", "Ice is made of frozen water."), ("What do plants need to grow?", "Plants need water, light, and air to grow."),
        ("What falls from the sky when it is very cold?", "Snow falls from the sky when it is very cold."), ("What do bees make?", "Bees make honey."),
        ("Where does milk come from?", "Milk comes from cows."), ("What is the color of a rainbow?", "A rainbow has many colors: red, orange, yellow, green, blue, and purple."),
        ("What do we use to see?", "We use our eyes to see."), ("What do we use to hear?", "We use our ears to hear."), ("What do we use to smell?", "We use our nose to smell."),
        ("How many wheels does a bicycle have?", "A bicycle has two wheels."), ("How many wheels does a car have?", "A car has four wheels."),
        ("Which season comes after winter?", "Spring comes after winter."), ("Which season comes after spring?", "Summer comes after spring."),
        ("Which season comes after summer?", "Autumn comes after summer."), ("Which season comes after autumn?", "Winter comes after autumn."),
        ("What season is cold?", "Winter is cold."), ("What season is hot?", "Summer is hot."), ("How many sides does a triangle have?", "A triangle has three sides."),
        ("How many sides does a square have?", "A square has four sides."), ("What shape is a ball?", "A ball is round."), ("Is the sun hot or cold?", "The sun is hot."),
        ("Can a fish walk?", "No, a fish cannot walk. It swims."), ("Can a stone talk?", "No, a stone cannot talk."), ("Do cats like fish?", "Yes, many cats like fish."),
        ("What is bigger, a mouse or an elephant?", "An elephant is bigger than a mouse."), ("What is faster, a snail or a horse?", "A horse is faster than a snail."),
        ("What do you do when you are tired?", "When you are tired, you should rest or sleep."), ("What do you say when someone helps you?", "You say thank you."),
        ("Why should I brush my teeth?", "You should brush your teeth to keep them clean and strong."), ("What is a friend?", "A friend is someone who is kind to you and likes to be with you."),
        ("Why is sharing good?", "Sharing is good because it makes other people happy."), ("What is the moon?", "The moon is a big round rock that goes around the earth."),
        ("How do birds fly?", "Birds fly by flapping their wings."), ("What should I wear when it is cold?", "You should wear a warm coat, a hat, and a scarf."),
        ("What should I take when it rains?", "You should take an umbrella."), ("What is your favorite color?", "I like blue, because it is the color of the sky and the sea."),
        ("What is your favorite animal?", "I like foxes, because they are clever."), ("Do you like stories?", "Yes, I like stories very much. Would you like to hear one?")]


def recall(rng):
    """A short text with facts, and a question that the text answers."""
    ctx = stories.make_context(rng)
    facts = [("[a] found a [color] [find] [at].", [("What did [a] find?", "[a] found a [color] [find]."), ("Where did [a] find the [find]?", "[a] found the [find] [at]."),
                                                   ("What color was the [find]?", "The [find] was [color]."), ("Who found the [find]?", "[a] found the [find].")]),
             ("[a] is a [a.desc].", [("Who is [a]?", "[a] is a [a.desc].")]),
             ("[a] likes to [hobby], and [b] likes to [hobby2].", [("What does [a] like to do?", "[a] likes to [hobby]."), ("What does [b] like to do?", "[b] likes to [hobby2]."),
                                                                    ("Who likes to [hobby2]?", "[b] likes to [hobby2].")]),
             ("[b] has a [color2] [toy].", [("What does [b] have?", "[b] has a [color2] [toy]."), ("Who has the [toy]?", "[b] has the [toy]."), ("What color is the [toy]?", "The [toy] is [color2].")]),
             ("[a] went to [place2] with [b].", [("Where did [a] go?", "[a] went to [place2]."), ("Who went to [place2] with [a]?", "[b] went to [place2] with [a].")]),
             ("[a.his] [grown] made [dish] for [a].", [("What did the [grown] make?", "The [grown] made [dish]."), ("Who made [dish]?", "The [grown] of [a] made [dish].")]),
             ("[b] hid the [lost] [hide_out].", [("Where is the [lost]?", "The [lost] is [hide_out]."), ("What did [b] hide?", "[b] hid the [lost]."), ("Who hid the [lost]?", "[b] hid the [lost].")]),
             ("[a] was [sad2] because the [break] broke.", [("Why was [a] [sad2]?", "[a] was [sad2] because the [break] broke."), ("How did [a] feel?", "[a] felt [sad2].")]),
             ("[b] wanted to eat [food].", [("What did [b] want to eat?", "[b] wanted to eat [food]."), ("Who wanted to eat [food]?", "[b] wanted to eat [food].")])]
    ctx["sad2"] = rng.choice(["sad", "angry", "upset", "unhappy"])
    chosen = rng.sample(facts, rng.choice([1, 2, 2, 3, 3]))
    question, answer = rng.choice(rng.choice(chosen)[1])
    text = grammar.polish(" ".join(grammar.expand(sentence, ctx, rng) for sentence, _ in chosen))
    question, answer = (grammar.polish(grammar.expand(part, ctx, rng)) for part in (question, answer))
    return rng.choice([f"{text} {question}", f"{text}\n{question}", f"Read this: {text} {question}"]), answer


def arithmetic(rng):
    """Sums, differences and small products, in digits or words."""
    if rng.random() < 0.15:
        left, right = rng.randint(1, 5), rng.randint(1, 5)
        total, word, sign = left * right, "times", "x"
    elif rng.random() < 0.6:
        left, right = rng.randint(0, 10), rng.randint(0, 10)
        total, word, sign = left + right, "plus", "+"
    else:
        total, right = rng.randint(0, 10), rng.randint(0, 10)
        left, word, sign = total + right, "minus", "-"
    if rng.random() < 0.3 and total <= 20:
        left, right, total = NUMBERS[left], NUMBERS[right], NUMBERS[total]
        return f"What is {left} {word} {right}?", grammar.polish(f"{left} {word} {right} is {total}.")
    question = rng.choice([f"What is {left} {word} {right}?", f"What is {left} {sign} {right}?", f"How much is {left} {word} {right}?",
                           f"{left} {sign} {right} = ?", f"Can you tell me what {left} {word} {right} is?"])
    return question, f"{left} {word} {right} is {total}."


def word_problem(rng):
    """A sum told as a very short story."""
    ctx = stories.make_context(rng)
    first, second = rng.randint(2, 10), rng.randint(1, 9)
    name, he, food = ctx["a"], ctx["a.he"], ctx["food"]
    if rng.random() < 0.5:
        text = rng.choice([f"{he} gets {second} more.", f"{ctx['b']} gives {ctx['a.him']} {second} more.", f"{he} finds {second} more."])
        total, steps = first + second, f"{first} plus {second} is {first + second}"
    else:
        second = min(second, first - 1)
        text = rng.choice([f"{he} eats {second} of them.", f"{he} gives {second} of them to {ctx['b']}.", f"{he} loses {second} of them."])
        total, steps = first - second, f"{first} minus {second} is {first - second}"
    answer = grammar.polish(f"{name} has {total} {food}, because {steps}.") if total != 1 else f"{name} has only one left, because {steps}."
    return grammar.polish(f"{name} has {first} {food}. {text} How many {food} does {name} have now?"), answer


def animal_fact(rng):
    """Sound, food, young, legs, ability and home of one animal."""
    kind = rng.choice(list(words.ANIMALS))
    _, sound, food, young, legs, can, home = words.ANIMALS[kind]
    has = f"{NUMBERS[legs]} legs" if legs else "no legs"
    pairs = [(f"What does a {kind} eat?", f"A {kind} eats {food}."), (f"What is a baby {kind} called?", f"A baby {kind} is called a {young}."),
             (f"How many legs does a {kind} have?", f"A {kind} has {has}."), (f"What can a {kind} do?", f"A {kind} can {can}."),
             (f"Where does a {kind} live?", f"A {kind} lives in {home}.")]
    if sound:
        pairs += [(f"What sound does a {kind} make?", f"A {kind} {sound}.")] * 2
        pairs += [(f"What does a {kind} say?", f"A {kind} {sound}."), (f"Which animal {sound}?", f"A {kind} {sound}.")]
    if kind not in ("horse", "lion"):
        pairs.append((f"Tell me something about a {kind}.", f"A {kind} lives in {home}. It eats {food}, and it can {can}."))
    question, answer = rng.choice(pairs)
    return grammar.polish(question), grammar.polish(answer)


def sequence_fact(rng):
    """Days, months, numbers: what comes before or after, counting."""
    kind = rng.randrange(4)
    if kind == 3:
        start, end = rng.randint(1, 5), rng.randint(6, 12)
        if rng.random() < 0.5:
            return f"Count from {start} to {end}.", ", ".join(map(str, range(start, end + 1))) + "."
        return f"Count to {end}.", ", ".join(map(str, range(1, end + 1))) + "."
    names = [DAYS, MONTHS, [str(number) for number in range(1, 31)]][kind]
    at = rng.randrange(1, len(names) - 1)
    what = ["day ", "month ", "number "][kind]
    ask, word, answer = rng.choice([("comes after", "after", names[at + 1]), ("comes before", "before", names[at - 1])])
    question = rng.choice([f"What {what}{ask} {names[at]}?", f"Which {what}{ask} {names[at]}?"])
    return question, f"{answer} comes {word} {names[at]}."


def general(rng):
    """Opposites, colours, uses, jobs, kinds of things, sequences and a fixed list."""
    kind = rng.randrange(9)
    if kind == 0:
        pair = rng.choice(OPPOSITES).split()
        word, other = pair if rng.random() < 0.6 or pair[1] in ("short", "light", "old") else pair[::-1]
        return rng.choice([f"What is the opposite of {word}?", f"Tell me the opposite of {word}."]), f"The opposite of {word} is {other}."
    if kind == 1:
        thing, color = rng.choice(list(COLOR_OF.items()))
        return rng.choice([f"What color is {thing}?", f"Which color is {thing}?"]), f"{thing[0].upper()}{thing[1:]} is {color}."
    if kind == 2:
        first, second, mix = rng.choice(MIXES)
        return f"What color do you get when you mix {first} and {second}?", f"When you mix {first} and {second}, you get {mix}."
    if kind == 3:
        thing, use = rng.choice(list(USES.items()))
        return rng.choice([f"What do we use {thing} for?", f"What is the use of {thing}?"]), f"We use {thing} to {use}."
    if kind == 4:
        job, does = rng.choice(list(words.JOBS.items()))
        return rng.choice([f"What does a {job} do?", f"What is the job of a {job}?"]), f"A {job} {does}."
    if kind == 5:
        group, members = rng.choice(list(KINDS.items()))
        names = rng.sample(members.split(), 3)
        if rng.random() < 0.5:
            plural = group + "s"
            return f"Name three {plural}.", grammar.polish(f"Three {plural} are {names[0]}, {names[1]}, and {names[2]}.")
        other = rng.choice([name for name in KINDS if name not in (group, "animal", "bird", "color")])
        return grammar.polish(f"Is {names[0]} a {group} or a {other}?"), grammar.polish(f"{names[0]} is a {group}.")
    return sequence_fact(rng) if kind in (6, 7) else rng.choice(MISC)
