"""Vocabulary of the generator, by type, so that every slot of a template gets a word that makes sense there."""

GIRLS = """Lily Emma Mia Anna Sara Lucy Rosie Molly Daisy Ella Nora Clara Ruby Alice Grace Hazel Ivy Jane Kate Maya Nina
Olive Penny Sophie Tess Zoe Amy Bella Cora Dora Elsie Fiona Gina Holly Iris June Kira Lena Mary Nell Poppy Rita Stella
Tina Vera Wendy Ada Beth Carla Eva Julia Leah Marta Pia Rose Susan Amina Leila Priya Mei Yuki Ines Freya""".split()
BOYS = """Tom Ben Sam Max Tim Leo Jack Finn Oscar Noah Luke Henry Peter Adam Billy Charlie Danny Eddie Felix George
Harry Ian Jake Kevin Louis Mark Nick Owen Paul Ralph Simon Ted Victor Will Alex Bobby Carl David Eric Fred Gus Hugo Ivan
Joe Karl Larry Milo Ned Otto Rob Theo Toby Walter Zack Omar Ravi Kenji Diego Pablo Amir Jonas Emil Anton""".split()
ANIMAL_NAMES = """Pip Coco Fluffy Spot Benny Bruno Buddy Bubbles Chip Clover Dot Dusty Fern Fuzzy Ginger Hoppy Honey Jolly
Kiki Lulu Mimi Mossy Nibbles Nutmeg Patch Peanut Pepper Pippa Poco Puff Rusty Sandy Scout Shadow Snowy Socks Star Sunny
Tango Tiny Toto Twinkle Velvet Whiskers Willow Ziggy Bingo Biscuit Pickles Pumpkin Daffy Bella Rocky Misty""".split()

# kind: (home sentence after "lived", sound, food, baby name, number of legs, what it can do, where it lives in short)
ANIMALS = {
    "rabbit": ("in a burrow under a hill", None, "carrots", "kit", 4, "hop", "a burrow"),
    "fox": ("in a den in the forest", "barks", "mice and berries", "cub", 4, "run fast", "a den"),
    "bear": ("in a cave in the mountains", "growls", "honey and fish", "cub", 4, "climb trees", "a cave"),
    "mouse": ("in a tiny hole in the wall", "squeaks", "cheese and seeds", "pup", 4, "hide in small holes", "a hole"),
    "cat": ("in a house by the sea", "says meow", "fish", "kitten", 4, "climb trees", "a house"),
    "dog": ("on a farm", "barks", "meat and bones", "puppy", 4, "run and fetch", "a kennel"),
    "duck": ("by a pond", "quacks", "plants and bugs", "duckling", 2, "swim", "a pond"),
    "frog": ("on a lily pad in a pond", "croaks", "flies", "tadpole", 4, "jump far", "a pond"),
    "owl": ("in an old oak tree", "hoots", "mice", "owlet", 2, "fly at night", "a tree"),
    "squirrel": ("in a hole in a tall tree", None, "nuts", "kit", 4, "jump from tree to tree", "a tree"),
    "hedgehog": ("under a pile of leaves", None, "bugs and worms", "hoglet", 4, "roll into a ball", "a nest of leaves"),
    "turtle": ("near a quiet lake", None, "leaves and small fish", "hatchling", 4, "hide in its shell", "a lake"),
    "elephant": ("on a wide green plain", "trumpets", "grass and fruit", "calf", 4, "lift heavy things", "the wild"),
    "lion": ("on a sunny plain", "roars", "meat", "cub", 4, "roar loudly", "the wild"),
    "monkey": ("in the jungle", "chatters", "bananas", "infant", 4, "swing from branches", "the jungle"),
    "pig": ("on a muddy farm", "oinks", "corn", "piglet", 4, "roll in the mud", "a sty"),
    "cow": ("in a green field", "moos", "grass", "calf", 4, "give milk", "a barn"),
    "horse": ("in a red barn", "neighs", "hay", "foal", 4, "gallop", "a stable"),
    "sheep": ("on a grassy hill", "says baa", "grass", "lamb", 4, "give wool", "a field"),
    "goat": ("on a rocky mountain", "bleats", "grass and leaves", "kid", 4, "climb rocks", "a farm"),
    "hen": ("in a cozy coop", "clucks", "corn and seeds", "chick", 2, "lay eggs", "a coop"),
    "penguin": ("on the ice by the cold sea", "honks", "fish", "chick", 2, "swim", "the ice"),
    "bee": ("in a golden hive", "buzzes", "nectar", "larva", 6, "make honey", "a hive"),
    "butterfly": ("in a garden full of flowers", None, "nectar", "caterpillar", 6, "fly", "a garden"),
    "snail": ("under a big green leaf", None, "leaves", "hatchling", 0, "crawl slowly", "a garden"),
    "deer": ("at the edge of the woods", None, "grass and leaves", "fawn", 4, "leap", "the woods"),
    "wolf": ("in a dark forest", "howls", "meat", "pup", 4, "howl at the moon", "a den"),
    "crow": ("in a tall pine tree", "caws", "seeds and bugs", "chick", 2, "fly", "a nest"),
    "robin": ("in a nest of twigs", "sings", "worms", "chick", 2, "fly and sing", "a nest"),
    "beaver": ("in a lodge on the river", None, "bark and leaves", "kit", 4, "build dams", "a lodge"),
    "otter": ("by a clear river", None, "fish", "pup", 4, "swim", "a river bank"),
    "mole": ("in a long tunnel under the field", None, "worms", "pup", 4, "dig tunnels", "a tunnel"),
    "donkey": ("on a small farm", "brays", "hay", "foal", 4, "carry heavy bags", "a stable"),
    "giraffe": ("on a warm plain", None, "leaves", "calf", 4, "reach high branches", "the wild"),
    "badger": ("in a warm den under the roots", None, "worms and berries", "cub", 4, "dig", "a den"),
    "parrot": ("in a bright green jungle", "squawks", "fruit and nuts", "chick", 2, "fly and talk", "the jungle"),
}
HOMES = ["in a small house near the woods", "in a little house by the sea", "in a big city", "on a farm",
         "in a quiet village", "in a tall house with a red door", "near a wide river", "at the edge of a forest",
         "in a house on a hill", "with [a.his] {mom and dad|grandma|family|two brothers|big sister}",
         "in a cozy cottage", "next to a {bakery|school|park|library}"]
HERO_ADJ = "little young small kind happy clever brave curious shy cheerful quiet gentle funny playful friendly".split()

COLORS = "red blue green yellow orange purple pink white black brown golden silver gray".split()
LOOKS = """shiny old new tiny round smooth soft pretty strange small bright heavy dusty lovely wooden beautiful little
broken big long plain magic""".split()
TOYS = """kite|ball|doll|toy car|drum|toy boat|teddy bear|toy train|puzzle|balloon|yo-yo|scooter|bicycle|toy robot|
top|toy truck|jump rope|wagon|toy airplane|puppet|toy horse|flute|sled|book|toy rabbit|box of crayons""".replace("\n", "").split("|")
LOSABLE = """ball|doll|toy car|toy boat|teddy bear|toy train|hat|scarf|book|blanket|toy rabbit|mitten|shoe|necklace|
bracelet|cap|toy truck|whistle|spoon|toy horse|ribbon|lunch box|pencil|umbrella|toy robot""".replace("\n", "").split("|")
FINDS = """key|coin|shell|feather|stone|button|ring|bell|map|box|lamp|mirror|bottle|book|hat|whistle|ribbon|marble|
basket|lantern|crown|egg|seed|letter|spoon|compass|necklace|drum|umbrella|boot|mitten|clock|kite|flute|star|acorn|
penny|candle|blanket|ball""".replace("\n", "").split("|")
FOODS = """apples|pears|berries|cookies|nuts|carrots|plums|cherries|peaches|grapes|muffins|pancakes|sandwiches|
oranges|bananas|tomatoes|strawberries|potatoes|buns""".replace("\n", "").split("|")
DISHES = """apple pie|chocolate cake|vegetable soup|fresh bread|berry pie|pumpkin soup|carrot cake|lemon cake|
honey cake|banana bread|rice pudding|cheese pie|fruit salad|tomato soup|ginger cake""".replace("\n", "").split("|")
TREATS = """ice cream|hot chocolate|warm milk|a cookie|a slice of cake|lemonade|popcorn|toast with jam|a sweet bun|
a piece of pie|a big red apple|a bowl of berries|warm soup|a cup of tea with honey""".replace("\n", "").split("|")
# (noun phrase, preposition)
PLACES = [("the park", "in"), ("the forest", "in"), ("the garden", "in"), ("the beach", "at"), ("the river", "by"),
          ("the lake", "by"), ("the hill", "on"), ("the meadow", "in"), ("the farm", "on"), ("the market", "at"),
          ("the village", "in"), ("the old mill", "near"), ("the field", "in"), ("the bridge", "near"),
          ("the pond", "by"), ("the playground", "at"), ("the orchard", "in"), ("the valley", "in"),
          ("the woods", "in"), ("the school", "at"), ("the town square", "in"), ("the old barn", "in")]
WILD = [("the forest", "in"), ("the river", "by"), ("the lake", "by"), ("the hill", "on"), ("the meadow", "in"),
        ("the field", "in"), ("the pond", "by"), ("the valley", "in"), ("the woods", "in"), ("the garden", "in"),
        ("the orchard", "in"), ("the beach", "on")]
HIDE_OUT = """under a bush|behind a big rock|in the tall grass|inside a hollow log|under a bench|behind a tree|
next to the gate|under a pile of leaves|beside the path|between two stones|near the well|under the old bridge|
behind the shed|at the foot of an oak tree|on a low branch""".replace("\n", "").split("|")
HIDE_IN = """under the bed|behind the sofa|in the kitchen drawer|under the table|inside a basket|behind the curtain|
on the top shelf|under a pillow|in the laundry basket|behind the door|in the toy box|inside an old boot|
under the stairs|in the closet|next to the lamp|in the bathtub""".replace("\n", "").split("|")
WEATHER = "sunny warm windy cloudy rainy cold bright cool snowy foggy hot".split()
HOBBIES = """sing|draw pictures|read books|climb hills|pick flowers|count the stars|tell stories|play outside|
dance in the rain|look at the clouds|collect pretty stones|paint|bake|splash in puddles|watch the birds|
run in the grass|build little houses|make new friends|play hide and seek|listen to the wind|help others|
explore the woods|swim in the lake|jump over puddles|whistle|play the drum|feed the ducks|
work in the garden""".replace("\n", "").split("|")
TRAITS = "kind|gentle|brave|clever|funny|patient|careful|honest|friendly|quiet|strong|helpful|polite|cheerful".split("|")
GROWN = [("mom", "she", "her", "her"), ("dad", "he", "him", "his"), ("grandma", "she", "her", "her"),
         ("grandpa", "he", "him", "his"), ("aunt", "she", "her", "her"), ("uncle", "he", "him", "his"),
         ("mother", "she", "her", "her"), ("father", "he", "him", "his")]
WORKERS = [("the baker", "he", "him", "his"), ("the teacher", "she", "her", "her"), ("an old farmer", "he", "him", "his"),
           ("an old woman", "she", "her", "her"), ("a fisherman", "he", "him", "his"), ("the mail carrier", "she", "her", "her"),
           ("a shopkeeper", "he", "him", "his"), ("the librarian", "she", "her", "her"), ("a gardener", "he", "him", "his"),
           ("an old man", "he", "him", "his"), ("the doctor", "she", "her", "her"), ("a painter", "she", "her", "her")]
SKILLS = [("ride a bicycle", "riding a bicycle", "fell off", "rode all the way down the street"),
          ("swim", "swimming", "swallowed some water", "swam across the pond"),
          ("whistle", "whistling", "made only a puff of air", "whistled a whole song"),
          ("fly a kite", "flying a kite", "watched the kite crash", "saw the kite dance high in the sky"),
          ("jump rope", "jumping rope", "tripped on the rope", "jumped twenty times in a row"),
          ("skate", "skating", "slipped on the ice", "glided across the ice"),
          ("play the flute", "playing the flute", "made a squeaky noise", "played a sweet tune"),
          ("catch a ball", "catching a ball", "dropped the ball", "caught the ball with both hands"),
          ("climb the big tree", "climbing", "slid back down", "reached the highest branch"),
          ("paint a picture", "painting", "spilled the paint", "painted a bright sunset"),
          ("tie a knot", "tying knots", "got tangled up", "tied a perfect knot"),
          ("dance", "dancing", "stepped on the wrong foot", "danced without a mistake"),
          ("row a boat", "rowing", "went around in circles", "rowed straight across the lake")]
FEARS = [("the dark", "turned off the light", "The dark is just the day taking a rest", "slept without a light"),
         ("thunder", "heard a loud boom in the sky", "Thunder is only the clouds clapping their hands", "listened to the storm from the window"),
         ("deep water", "saw the blue water of the lake", "You can start with just your toes", "floated on the water"),
         ("high places", "looked down from the hill", "Take one small step at a time", "stood at the top and looked at the view"),
         ("loud noises", "heard a big bang", "It is only a noise, and a noise cannot hurt you", "laughed at the noise"),
         ("spiders", "saw a spider in its web", "The spider is much smaller than you, and it is shy", "watched the spider spin its web"),
         ("new people", "saw many new faces", "Just smile and say hello", "said hello to everyone"),
         ("the wind", "heard the wind howl around the house", "The wind is only singing", "hummed along with the wind")]
FLOWERS = "sunflower rose tulip daisy pumpkin bean carrot tomato poppy pear apple lemon".split()
JOBS = {"baker": "bakes bread and cakes", "farmer": "grows food and takes care of animals", "teacher": "helps children learn",
        "doctor": "helps sick people get well", "pilot": "flies airplanes", "painter": "paints pictures",
        "fisherman": "catches fish", "gardener": "takes care of plants", "cook": "makes food", "tailor": "makes clothes",
        "carpenter": "makes things out of wood", "firefighter": "puts out fires", "librarian": "takes care of books",
        "sailor": "works on a ship", "singer": "sings songs", "dentist": "takes care of teeth", "writer": "writes books",
        "mail carrier": "brings letters", "nurse": "cares for sick people", "shoemaker": "makes and fixes shoes"}
