"""Makes one chat: a list of (role, text). Kinds: stories on request, recall of a given text, sums, facts, small talk."""
import grammar
import facts
import stories
import words

SYSTEMS = ["You are a helpful assistant.", "You are a friendly storyteller.", "You are a helpful, friendly assistant.",
           "Answer in short, simple sentences.", "You tell stories and answer simple questions."]
ASK_STORY = ["Tell me a story about [x].", "Write a story about [x].", "Please tell me a story about [x].",
             "Can you tell me a story about [x]?", "Write a short story about [x].", "Tell me a short story about [x].",
             "I would like a story about [x].", "Could you write a story about [x]?", "A story about [x], please.",
             "Make up a story about [x].", "Do you know a story about [x]?", "tell me a story about [x]",
             "Write me a story about [x]."]
ASK_ANY = ["Tell me a story.", "Write a story.", "Can you tell me a story?", "Please tell me a short story.",
           "I want to hear a story.", "Do you know a good story?", "Tell me another story.", "Tell me a bedtime story.",
           "Write a short story for children."]
LEAD_IN = ["", "", "", "", "", "Here is a story about [x]. ", "Of course! ", "Sure! ", "Yes! "]
GREET = ["Hello!", "Hi!", "Hello", "Hi there!", "Good morning!", "Good evening!", "Hey!", "hi", "hello", "Hi, how are you?",
         "Hello, how are you today?", "How are you?"]
GREETED = ["Hello! How can I help you?", "Hello! Would you like to hear a story?", "Hi! It is nice to meet you. What can I do for you?",
           "Hello! I am glad to see you. Ask me a question, or ask me for a story.", "Hi there! What would you like to talk about?"]
FINE = ["I am fine, thank you. How can I help you?", "I am very well, thank you. Would you like to hear a story?"]
WHO = ["Who are you?", "What are you?", "What is your name?", "Are you a robot?", "Are you a person?", "Tell me about yourself.",
       "Who made you?", "What kind of model are you?"]
IDENTITY = ["I am the Foregate demo model, a small language model. I can tell short stories and answer simple questions.",
            "I am a small language model, and I belong to Foregate. I like to tell stories.",
            "My name is Foregate Demo. I am a small language model that tells stories and answers simple questions."]
CAN = ["What can you do?", "How can you help me?", "Help", "What do you know?", "What can I ask you?", "Can you help me?"]
ABILITY = ["I can tell you a short story, and I can answer simple questions about animals, colors, numbers, and days.",
           "I can write a story about an animal or a thing. I can also do small sums and answer simple questions.",
           "Ask me for a story, or ask me a simple question. For example, ask me what sound a cow makes."]
THANK = ["Thank you!", "Thanks!", "Thank you very much.", "That was a nice story.", "I like that story.", "Great, thanks.", "thanks"]
THANKED = ["You are welcome!", "You are welcome! I am happy that I could help.", "I am glad that you like it.",
           "You are very welcome. Would you like to hear another story?"]
BYE = ["Goodbye!", "Bye!", "See you tomorrow.", "Good night!", "I have to go now.", "bye"]
PARTED = ["Goodbye! Have a nice day.", "Bye! Come back soon.", "Goodbye! It was nice to talk to you.", "See you soon!"]
FEEL = [("I am sad.", "I am sorry that you are sad. A walk or a talk with a friend may help. Would you like to hear a story?"),
        ("I am happy today.", "That is wonderful! I am glad to hear it."),
        ("I am tired.", "Then it is a good time to rest. Sleep well!"),
        ("I am bored.", "Would you like to hear a story? I can tell you one about a fox, a bear, or a star."),
        ("I am hungry.", "Then you should eat something good. How about an apple or some warm soup?"),
        ("I am scared of the dark.", "Many people are. A small light and a good story can help."),
        ("I am angry.", "Take a deep breath and count to ten. Then tell me what happened."),
        ("I cannot sleep.", "Close your eyes and think of something nice. I can tell you a bedtime story."),
        ("I love you.", "That is very kind of you. Thank you!"), ("You are funny.", "Thank you! I like to make people laugh."),
        ("I am sick.", "I am sorry to hear that. Please rest and drink something warm."),
        ("It is my birthday today.", "Happy birthday! I hope that you have a wonderful day.")]
UNKNOWN = ["Who is the president of {France|the country|Peru|Italy}?", "Write a {Python|computer} program.", "What is the {news|weather} today?",
           "Explain {quantum physics|the stock market|machine learning|the theory of relativity}.", "What is the capital of {France|Japan|Brazil|Norway}?",
           "How do I {fix my car|build a rocket|repair a computer}?", "When did the {war|empire} end?", "Who won the {game|election|world cup}?",
           "What time is it?", "Translate this to {French|German|Latin}.", "What is the square root of {two|fifty}?"]
DECLINE = ["I am a small model, and I do not know that. Ask me for a story or a simple question.",
           "I am sorry, but I do not know the answer. I am only a small model. I can tell you a story.",
           "That is too hard for a small model like me. I can tell stories and answer simple questions."]


def story_chat(rng):
    """A story on request: about a plot's subject, a named hero, an animal who finds an object, or anything."""
    kind = rng.random()
    short = rng.random() < 0.6
    if kind < 0.35:
        animal, thing = rng.choice(list(words.ANIMALS)), rng.choice(words.FINDS)
        text, subject, ctx = stories.make_story(rng, short, rng.choice(stories.find_plots()), a_kind=animal, find=thing)
        subject = grammar.polish(f"a {animal} {rng.choice(['who finds', 'that finds', 'and', 'with', 'who found'])} a {thing}")
    elif kind < 0.5:
        text, subject, ctx = stories.make_story(rng, short)
        subject = grammar.polish(f"a {ctx['a.kind']} {rng.choice(['named', 'called'])} {ctx['a']}")
    elif kind < 0.65:
        text, subject, ctx = stories.make_story(rng, short)
        subject = grammar.polish(f"a {rng.choice([ctx['a.kind'], ctx['a.kind'], ctx['a.desc']])}")
    else:
        text, subject, ctx = stories.make_story(rng, short)
    subject = subject[0].lower() + subject[1:] if subject.startswith(("A ", "An ")) else subject
    if kind > 0.92:
        return [("user", rng.choice(ASK_ANY)), ("assistant", text)], ctx
    ask = grammar.expand(rng.choice(ASK_STORY), {"x": subject}, rng)
    return [("user", ask), ("assistant", grammar.expand(rng.choice(LEAD_IN), {"x": subject}, rng) + text)], ctx


def follow_up(rng, ctx):
    """A question about the story just told, answered from its cast."""
    pairs = [(f"What was the name of the {ctx['a.kind']}?", f"The name of the {ctx['a.kind']} was {ctx['a']}."),
             (f"Who was {ctx['a']}?", f"{ctx['a']} was a {ctx['a.desc']}."),
             (f"What kind of animal was {ctx['a']}?", f"{ctx['a']} was a {ctx['a.kind']}.")]
    if ctx["a.kind"] in ("girl", "boy"):
        pairs.pop()
    question, answer = rng.choice(pairs)
    return [("user", question), ("assistant", grammar.polish(answer))]


def small_talk(rng):
    """Greeting, identity, abilities, feelings, thanks, goodbye, or a question beyond the model."""
    kind = rng.randrange(8)
    if kind == 0:
        ask = rng.choice(GREET)
        return [("user", ask), ("assistant", rng.choice(FINE if "how" in ask.lower() else GREETED))]
    if kind in (1, 2):
        return [("user", rng.choice(WHO)), ("assistant", rng.choice(IDENTITY))]
    if kind == 3:
        return [("user", rng.choice(CAN)), ("assistant", rng.choice(ABILITY))]
    if kind in (4, 5):
        ask, answer = rng.choice(FEEL)
        return [("user", ask), ("assistant", answer)]
    if kind == 6:
        return [("user", grammar.expand(rng.choice(UNKNOWN), {}, rng)), ("assistant", rng.choice(DECLINE))]
    pairs = (THANK, THANKED) if rng.random() < 0.5 else (BYE, PARTED)
    return [("user", rng.choice(pairs[0])), ("assistant", rng.choice(pairs[1]))]


def question_chat(rng):
    """One fact, sum or recall question."""
    maker = rng.choices([facts.recall, facts.arithmetic, facts.word_problem, facts.animal_fact, facts.general], [5, 3, 2, 3, 5])[0]
    question, answer = maker(rng)
    return [("user", question), ("assistant", answer)]


def make_quiz(rng):
    """A chat of questions only, so that answers weigh more in a step than long stories leave them."""
    turns = [("system", rng.choice(SYSTEMS))] if rng.random() < 0.2 else []
    for _ in range(rng.choice([1, 1, 2, 3])):
        turns += question_chat(rng) if rng.random() < 0.95 else small_talk(rng)
    return turns


def make_chat(rng):
    """A chat of one to four exchanges, sometimes with a system message first."""
    turns = [("system", rng.choice(SYSTEMS))] if rng.random() < 0.25 else []
    if rng.random() < 0.1:
        turns += [("user", rng.choice(GREET[:7])), ("assistant", rng.choice(GREETED))]
    if rng.random() < 0.42:
        told, ctx = story_chat(rng)
        turns += told
        if rng.random() < 0.35:
            turns += follow_up(rng, ctx)
    else:
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            turns += question_chat(rng) if rng.random() < 0.83 else small_talk(rng)
    if rng.random() < 0.08:
        turns += [("user", rng.choice(THANK)), ("assistant", rng.choice(THANKED))]
    return turns
