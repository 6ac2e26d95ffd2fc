"""Words that say what a noun phrase is made of, for sentences as referring data sets have them."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What may stand before a noun and says nothing of how it looks.
DETERMINERS = _words(
    "a an the this that these those some any all both each every either another other others which what whose its his her "
    "their my our your no several many few most more one two three four five six seven eight nine ten first second third "
    "fourth fifth last next only same single just also please find segment track mark show me"
)
# Place, order and comparison: SAM3 ignores them, and the judge sees to them.
PLACES = _words(
    "left right leftmost rightmost left-most right-most upper lower top bottom middle center centre central front back rear "
    "far near nearest closest farthest furthest leftward rightward topmost highest lowest left-hand right-hand left-side "
    "right-side lefthand righthand side corner edge biggest largest smallest tallest shortest longest fastest slowest oldest "
    "youngest bigger larger smaller taller shorter faster slower closer nearer farther outermost innermost foremost "
    "hindmost foreground background visible main remaining stationary motionless static still"
)
# What says where, when or how: no noun phrase goes on behind it.
BOUNDARIES = _words(
    "in on at to from of with without by for into onto over under above below behind beside besides between among near "
    "around along across through toward towards against off out up down away past after before during while when where "
    "who whom that which as than like about inside outside opposite beneath underneath upon within next until since because "
    "and or but then so if is are was were be been being am has have had does do did can could will would shall should may "
    "might must not never always slowly quickly back forth forward forwards backward backwards ahead aside together apart alone "
    "there here first again once twice itself himself herself themselves"
)
# Doing, by stem: dropped before a noun ("walking man"), the end of the phrase behind one ("man walks").
DOING = _words(
    "walk run jump move fly swim climb turn go come eat drink stand sit lie lay play hold carry ride drive look watch stare "
    "stay rotate spin follow chase fight rest sleep crawl hop roll slide fall rise lift raise push pull throw catch kick hit "
    "swing shake wave dance leap land pass cross enter leave approach circle hover drift float glide sail race gallop trot "
    "wander roam stroll graze feed peck dig scratch lick bite sniff touch face show appear disappear hide emerge reach "
    "travel head lead overtake reverse park stop start keep make take give get put pick drop open close bend lean squat "
    "kneel bow nod talk speak sing bark shift change exchange switch swap bounce juggle spring twist flip tumble perform "
    "do try begin continue remain accompany surround wear use ski skate surf cycle skateboard reward shuffle wag flap flutter "
    "transport load unload pour cut cook wash clean paint write read point clap hug kiss guide walk-around nurse pet seat"
)
# Words that end as what is being done does, and are none.
NO_DOING = _words(
    "building ring wing king string ceiling clothing earring railing duckling sibling thing something nothing anything "
    "everything awning pudding painting wedding evening morning herring icing gosling sapling darling dumpling sting being "
    "bed seed weed shed sled reed need feed speed breed red hundred tweed moped kid"
)
COLOURS = _words(
    "red orange yellow green blue purple violet pink brown black white gray grey silver golden gold beige tan cream cyan "
    "magenta maroon navy turquoise teal lime khaki dark light bright pale multicolored colorful colourful blond blonde"
)
# Other looks: a phrase of these and colours alone has no noun yet.
LOOKS = COLOURS | _words(
    "big large small little tiny huge giant tall short long thin thick fat slim wide narrow round square old young adult new "
    "baby male female striped spotted dotted plaid checkered furry fluffy hairy bald wooden metal metallic plastic glass "
    "leather stone brick electric wild hollow filled solid plain transparent shiny wet dry empty full broken bearded "
    "heavy strong beautiful cute pretty gray-haired armed masked naked shirtless barefoot"
)
# What one wears: "the man in a red shirt" is a concept, "the man in the water" is a place.
CLOTHES = _words(
    "shirt t-shirt tshirt tee jacket coat dress skirt trousers pants jeans shorts suit uniform hat cap helmet hood hoodie "
    "sweater vest jersey shoes boots gloves scarf glasses sunglasses tie bikini swimsuit kimono robe gown apron mask "
    "backpack bag clothes clothing outfit costume top stripes hair beard ponytail"
)
WEARING = _words("in with wearing")
GROUPS = _words("group pair bunch herd flock pack school couple set line row crowd number team lot kind type piece")
# What a word stands for that names nothing.
UNNAMED = "object"
PRONOUNS = dict.fromkeys(
    ["it", "one", "ones", "something", "anything", "thing", "things", "object", "objects", "item", "items"], UNNAMED
)
PRONOUNS |= dict.fromkeys(["he", "she", "him", "someone", "somebody", "anyone", "everyone"], "person")

# A broader concept of what is often referred to.
_BROADER = {
    "person": "man men woman women boy boys girl girls guy lady ladies kid kids child children baby toddler player rider "
    "driver skater surfer skier dancer worker people persons human pedestrian cyclist adult athlete performer gentleman "
    "soldier fighter wrestler boxer referee coach policeman officer cowboy jockey sailor farmer chef",
    "animal": "dog dogs puppy puppies cat cats kitten kittens horse horses foal cow cows calf bull sheep lamb goat goats pig "
    "pigs rabbit rabbits elephant elephants lion lions tiger tigers bear bears panda pandas monkey monkeys ape gorilla zebra "
    "zebras giraffe giraffes deer fox wolf leopard cheetah camel donkey mouse rat hamster squirrel lizard snake turtle "
    "turtles frog crocodile kangaroo hedgehog whale dolphin seal shark crab snail creature",
    "bird": "duck ducks duckling ducklings parrot parrots pigeon pigeons eagle owl chicken chickens hen rooster swan swans "
    "goose geese penguin penguins ostrich peacock parakeet budgie seagull crow sparrow flamingo",
    "fish": "goldfish carp salmon tuna",
    "vehicle": "car cars truck trucks bus buses van vans taxi suv jeep motorcycle motorcycles motorbike bike bikes bicycle "
    "bicycles tractor train trains tram scooter ambulance sedan pickup lorry",
    "aircraft": "plane planes airplane airplanes aeroplane helicopter helicopters jet jets drone",
    "boat": "ship ships yacht canoe kayak ferry sailboat raft",
}
BROADER = {word: broader for broader, words in _BROADER.items() for word in words.split()}
