"""The plots: eighteen shapes of story, in the template language that grammar.py explains.

They are written to be read aloud, and to be learned: a name, a colour, a thing or a place is chosen once and then
comes back, a number is at most nine, and a quotation closes within the sentence or two that somebody says. Where two
people act, "he" and "she" tell them apart; elders, animals and pets go by name or as "it".
"""

from .grammar import Grammar
from .words import VARIABLES

PASSAGES = {
    "opening": """
        (
            Once upon a time, there was|Once upon a time, there lived|Once upon a time there was|
            In a little house there lived
        )
        a (little|kind|brave|cheerful|clever|gentle|merry) {hero.girl} (named|called) {hero}.
    """,
    "one_day": """
        One (sunny|warm|bright|quiet|cool|fine) (day|morning|afternoon),
    """,
    "end_two": """
        (
            {hero} and {friend} (were|stayed) (good|best|true) friends (ever after|from that day on).
        |
            It was (a happy|a lovely|a wonderful|an amazing) day for {hero} and {friend}.
        |
            (That night|At bedtime), {hero} told {elder} all about it
            (and smiled|and fell asleep|from start to end).
        |
            {hero} and {friend} (sang|laughed|danced|skipped) all the way home.
        )
    """,
    "end_home": """
        (
            {hero} and {friend} (were|stayed) (good|best|true) friends (ever after|from that day on).
        |
            It was (a happy|a lovely|a wonderful|an amazing) day for {hero} and {friend}.
        |
            (That night|At bedtime), {hero} (smiled|laughed) and thought of {friend}.
        )
    """,
    "end_one": """
        (
            {hero} was (happy|proud|glad) all (day|week) long.
        |
            (That night|At bedtime), {hero} (slept well|had sweet dreams|smiled in {hero.his} sleep).
        |
            It was (the best|the nicest|the happiest) day of the (week|month|year).
        |
            {hero} never forgot (that day|what {elder} said).
        )
    """,
}

PLOTS = {
    "a lost toy": """
        <opening> {hero.He} had {colour.a} {toy} and
        (loved it very much|took it everywhere|played with it every day).
        <one_day> the {colour} {toy} was gone. "Where is my {toy}?" (asked|cried) {hero}.
        {hero.He} looked {first_spot}, but it was not there. (Then|Next) {hero.he} looked {next_spot}, but it was not
        there.
        {hero} (sat down and cried|felt very sad|did not know what to do).
        {hero.His} friend {friend} came to (help|see what was wrong).
        "(Do not worry|Do not cry|Cheer up), {hero}," said {friend}.
        "(We will find it|I will help you look|Let us look together)."
        {friend} looked {last_spot}. There (it was|was the {colour} {toy})!
        "(Thank you|Hooray|How clever you are), {friend}!" (said|cried|shouted) {hero}.
        {hero.He} hugged the {toy}, and then {hero.he} hugged {friend} (too|as well). <end_home>
    """,
    "a broken toy": """
        <opening> {hero.His} (best|favorite|dearest) toy was {colour.a} {toy}.
        <one_day> {hero} (tripped|slipped|stumbled) {place}, and the {toy} broke in two.
        "(Oh no|Oh dear)! My {colour} {toy}!" (said|cried) {hero}. A tear rolled down {hero.his} (cheek|nose|chin).
        {hero.He} (carried|took|brought) the pieces to {elder}. "Can you mend it?" {hero.he} asked.
        "We can mend it together," said {elder}. First they found (some glue|some string|some tape|a little hammer).
        Then they worked (slowly|quietly|very gently), and {hero} (held the pieces still|hummed a little tune).
        At last the {colour} {toy} was (whole again|as good as new). It had
        (a small crack|a tiny bump|a funny line) now,
        but {hero} (loved it even more|did not mind at all). "(Thank you|You are the best|We did it), {elder},"
        said {hero}.
        <end_one>
    """,
    "a race": """
        <opening> {hero.He} could run (very fast|like the wind|as fast as a pony).
        <one_day> {hero.he} met {friend} {place}. "Let us race to the {goal}!" said {friend}.
        "(Ready, set, go|One, two, three, go)!" (shouted|called|cried) {hero}, and off they ran.
        At first {hero} was (ahead|in front). (Then|But then|All at once) {friend}
        (tripped on a root|slipped in the mud|fell over a stone|lost a shoe).
        {hero} saw the {goal} close by. {hero.He} could win! But {hero.he} (stopped|turned around) and went back.
        "Are you all right?" {hero.he} asked. "(Yes, thank you|I think so|Only a little sore)," said {friend}.
        {hero} took {friend.his} hand and (helped|pulled) {friend.him} up. They (walked|ran|hopped) on side by side
        and touched the {goal} (together|at the very same time). "(We both won|Nobody lost)!" (laughed|said)
        {friend}.
        <end_two>
    """,
    "a birthday": """
        <opening> Today was {hero.his} birthday, and {hero.he} was {number} years old.
        {elder} (baked|made) a (big|round|tall|sweet) cake with {number} candles on it.
        {hero} counted them: {number.count}.
        {friend} came to the party with a (box|bag|present) tied with {ribbon_colour.a} ribbon.
        "Happy birthday, {hero}!" said {friend}. "(Open it|Guess what it is|This is for you)!"
        {hero} pulled the {ribbon_colour} ribbon, and (inside was|out came) {other_colour.a} {toy}.
        "It is just what I (wanted|wished for)!" (said|cried|shouted) {hero}.
        Then {hero.he} took a deep breath and blew out all {number} candles. Everyone (clapped|cheered|sang).
        They ate the cake and played with the {other_colour} {toy} until (the sun went down|it was dark|bedtime).
        <end_home>
    """,
    "sharing food": """
        <opening> <one_day> {hero} sat {place} with {snack.a} that {elder} had given {hero.him}.
        (Just then|Soon) {friend} came (along|by). {friend.He} looked (hungry|tired|sad).
        "I (lost|forgot|dropped) my lunch," said {friend}. {hero} looked at the {snack}.
        It (looked|smelled) so (good|sweet|fresh)! {hero.He} thought for a (moment|while).
        Then {hero.he} broke the {snack} in two and gave {friend} (half|the bigger half).
        "(Here|Please take it), {friend}," said {hero}. "(This is for you|We can share)."
        "(Thank you|You are so kind)," said {friend} with a (big|warm|wide) smile.
        They ate the {snack} and (watched the clouds|listened to the birds|told silly jokes).
        "Tomorrow I will bring {other_snack.a} for you," said {friend}. And {friend.he} did. <end_two>
    """,
    "taking turns": """
        <opening> {elder} gave {hero.him} {colour.a} {toy}. {hero} (took|carried|brought) it {place.to}.
        {friend} was there too. "(May|Can) I play with your {toy}?" asked {friend}.
        "No, it is mine!" said {hero}, and {hero.he} held the {colour} {toy} tight.
        {friend} (walked away|sat down alone|looked at the ground). {hero} played alone, but it was (no|not much)
        fun.
        {hero.He} looked at {friend} and felt (sorry|bad|sad). "I am sorry, {friend}," said {hero}.
        "You can have (a turn|the first turn|a long turn)." {friend} (smiled|jumped up|clapped).
        {friend.He} played with the {toy}, and then {hero} had a turn again.
        So they played (on and on|turn by turn) until (the sun went down|it was dark|supper).
        "It is more fun with two," said {hero}. <end_two>
    """,
    "the wind": """
        <opening> {elder} (gave|made) {hero.him} {colour.a} {garment}.
        One windy (day|morning|afternoon), {hero} wore the {garment} {place.to}. (Whoosh|Puff)!
        The wind (blew|pulled|swept) it off and away. The {colour} {garment} flew up and (hung|landed|stuck) in a
        (tree|bush).
        "Come back!" (shouted|called|cried) {hero}. {hero.He} jumped (high|twice|and jumped), but {hero.he} could
        not reach it.
        Then {friend} came by with a (ladder|long stick|fishing net). "(Wait|Stand back), {hero}," said {friend}.
        "(I can get it|I know what to do|This will help)." {friend.He} reached up and (caught|got|pulled down) the
        {garment}.
        "Thank you, {friend}!" said {hero}. {hero.He} put the {garment} on and held it with (both hands|one hand).
        The wind (blew and blew|huffed and puffed|howled), but the {colour} {garment} stayed where it was. <end_two>
    """,
    "the rain": """
        <opening> {hero} wanted to (play|run|dance) {place}, but it was raining.
        "Rain, rain, go away," (said|sang|sighed) {hero}. "(Rain is good|Rain can be fun), {hero}," said {elder}.
        "Put on your {colour} {garment}, and we will jump in puddles."
        {hero} put on {hero.his} {colour} {garment} and (ran|went|hopped) outside with {elder}. Splash!
        They jumped in the puddles and counted them: {number.count}.
        In the last puddle sat (a little|a wet|a tiny) {animal}.
        "{animal.Noise}!" it said and (hopped|ran|hurried) away.
        Then the (rain|storm) (stopped|was over), and the sun came out. "Look! A rainbow!" (said|cried|shouted)
        {hero}.
        The rainbow shone (high|bright) over the (trees|house|hills). "Without the rain there would be no rainbow," said
        {elder}.
        {hero} hung up {hero.his} {garment} to dry and (hugged|thanked) {elder}. <end_one>
    """,
    "counting": """
        <opening> {hero} liked to (collect|look for) {treasure.s}.
        <one_day> {hero.he} went {place.to} with {colour.a} {holder}.
        {hero.He} looked (here and there|high and low|all around) and put every {treasure} into the {holder}.
        (Then|At last|After a while) {hero.he} sat down and counted: {number.count}.
        "I have {number} {treasure.s}!" (said|sang|cried) {hero}.
        {friend} came (along|by) and looked into the {colour} {holder}. "(How pretty|How nice|How lovely)!" said
        {friend}.
        "I (found|have) one too." {friend.He} held out a (small|round|shiny|smooth) {treasure}.
        "(You may have it|It is for you|Please take it)," said {friend}. Now {hero} had {number.more} {treasure.s}.
        "Thank you, {friend}," said {hero}. "(Let us find more|Let us look for more) together!"
        They (looked|searched) until the {holder} was (full|heavy). <end_two>
    """,
    "a new pet": """
        <opening> <one_day> {hero} heard a (small|soft|sad) sound {place}. "{animal.Noise}! {animal.Noise}!"
        It was {animal.a}. The {animal} was (cold and hungry|wet and cold|all alone). "(Poor thing|Come here),"
        said {hero}.
        {hero.He} wrapped it in {hero.his} {colour} {wrap} and gave it (warm milk|some bread|fresh water).
        "{animal.Noise}," said the {animal}, and it closed its eyes.
        "I will call you {pet}," (said|whispered) {hero}. {hero.He} carried {pet} home. {elder} opened the door.
        "(Can|May) {pet} stay with us?" asked {hero}. "Yes, if you take good care of {pet}," said {elder}.
        {hero} made a (soft|warm|little) bed {spot}. {pet} lay down on the {colour} {wrap} and (slept|rested).
        From that day on, {pet} went (everywhere|wherever {hero} went|with {hero} to every game). <end_one>
    """,
    "a noise at night": """
        <opening> One (dark|cold|stormy) night, {hero} could not sleep. "{sound.Text}, {sound}, {sound}," went
        something {spot}.
        "(Is it|Could it be) a {monster}?" (whispered|thought) {hero}.
        {hero.He} pulled the {colour} blanket over {hero.his} (head|nose|ears). "{sound.Text}, {sound}, {sound},"
        it went again.
        {hero} (called|shouted) for {elder}. {elder} came (at once|right away) with a (lamp|candle|light).
        Together they (tiptoed|walked) closer and looked {spot}.
        It was not a {monster}. It was only a (little|small|tiny) {animal}!
        "{animal.Noise}," said the {animal}, and {hero} laughed (out loud|and laughed).
        {elder} opened the (door|window), and the {animal} went home. "Were you afraid?" asked {elder}.
        "Only a (little|bit)," said {hero}. Then {hero.he} (crept|climbed|jumped) back under the {colour} blanket
        and (slept until morning|slept like a log|fell fast asleep).
    """,
    "a seed": """
        <opening> {elder} gave {hero.him} a (tiny|small|brown|round) seed. "What will it be?" asked {hero}.
        "Wait and see," said {elder}. {hero} (dug|made) a hole {place} and put the seed in.
        {hero.He} gave it water every (day|morning|evening). After {number} days there was (still nothing|only mud)
        to see.
        "(Please grow|Wake up), little seed," said {hero}. "Do not give up," said {elder}. "Good things take time."
        Then a green leaf (came up|peeked out). The plant grew (and grew|taller and taller|day by day).
        At last it had a (big|beautiful|bright) {colour} flower. "Look, {elder}! It is {colour}!"
        (called|cried|shouted) {hero}.
        {hero.He} (ran|went) to get {friend}, and they sat beside the {colour} flower.
        "It smells (like honey|like summer|so sweet)," said {friend}. "(You grew it well|You are a real gardener),
        {hero}." <end_two>
    """,
    "learning": """
        <opening> {hero} wanted to learn to {skill}. <one_day> {hero.he} went {place.to} to try.
        The first time, it went (wrong|badly). The second time, it went (even worse|no better).
        "I will never learn to {skill}," (said|sighed|cried) {hero}.
        {friend} was there and (saw|heard) {hero.him}. "I could not {skill} at first," said {friend}.
        "(Try again|Try once more|Keep trying), and (do not hurry|I will help you|take your time)."
        {friend.He} (showed|told) {hero} how to do it. {hero} tried again and counted: {number.count}.
        After {number} (tries|turns) it (worked|went well). "Look, {friend}! I can {skill}!" (shouted|cried|called)
        {hero}.
        "I knew you could do it," said {friend}. They (clapped|cheered) so loudly that
        (the birds flew up|a dog barked). <end_two>
    """,
    "baking": """
        <opening> <one_day> {hero} and {elder} wanted to bake {bake.a}. {hero} put on {colour.a} apron.
        "We need {number} eggs," said {elder}. {hero} counted the eggs: {number.count}.
        Then they added (flour|milk|sugar) and (butter|honey|salt). {hero} stirred until {hero.his} arms were tired.
        (Oops|Oh dear)! Some of it (fell|dripped|splashed) on the {colour} apron.
        {elder} laughed, and {hero} laughed too. They put the {bake} in the oven and waited.
        Soon the (kitchen|house) smelled (sweet|good|wonderful). "Is it ready?" asked {hero}. "(Not yet|Almost),"
        said {elder}.
        (Ding|Ping)! The {bake} was done. There was a knock at the door, and {friend} came in.
        "What smells so good?" asked {friend}. "Sit down and have some," said {hero}.
        They ate the {bake} until (every crumb|all of it) was gone. <end_home>
    """,
    "hide and seek": """
        <opening> <one_day> {hero} and {friend} played hide and seek. "You count, and I will hide," said {friend}.
        {hero} closed {hero.his} eyes and counted: {number.count}.
        "(Ready or not, here I come|Now I will find you)!"
        (called|shouted|cried) {hero}. {hero.He} looked {first_spot}, but {friend} was not there.
        {hero.He} looked {next_spot}, but there was only {colour.a} {toy}.
        Then {hero.he} heard a (giggle|sneeze|cough). Somebody was {last_spot}!
        {hero} (tiptoed|crept) closer and looked. "(I see you|I found you), {friend}!" (said|laughed) {hero}.
        {friend} (jumped|crawled|rolled) out, and they both laughed.
        "Now it is your turn to hide," said {friend}. This time {hero} hid {next_spot}, and {friend}
        (looked|searched) for a long time.
        "(You win|I give up), {hero}!" {friend.he} called at last, and {hero} came out with the {colour} {toy}.
        <end_home>
    """,
    "a picture": """
        <opening> {hero} loved to paint. <one_day> {hero.he} saw {animal.a} {place}.
        "(Sit still|Please stay there), and I will paint you," said {hero}. {hero.He} took out (some paper|a brush),
        but there was only {colour} paint left. So {hero.he} painted {colour.a} {animal}
        (in the grass|with a big smile|under the sun).
        {friend} came by and looked at the picture. "I have never seen {colour.a} {animal}," (said|laughed)
        {friend}.
        "Well, now you have," said {hero}. The {animal} looked at the picture too.
        "{animal.Noise}!" it said (proudly|softly|loudly). "I think the {animal} likes it," said {friend}.
        {hero} (gave|showed) the picture to {elder}, and {elder} hung it on the wall.
        Everyone who came (smiled|laughed|stopped to look) when they saw the {colour} {animal}. <end_two>
    """,
    "finding the owner": """
        <opening> <one_day> {hero} found {colour.a} {garment} {place}. It was so (soft|pretty|warm) that {hero.he}
        wanted to keep it.
        "But somebody (must miss|is looking for) it," (said|thought) {hero}.
        So {hero.he} went to {elder}. "Is this your {garment}?" asked {hero}.
        "No, it is not mine," said {elder}. "(Ask|Go and ask) {friend}."
        {hero} (ran|walked|hurried) to {friend}, who was (sad|crying|upset). "I lost my {colour} {garment}," said
        {friend}.
        "(Is it this one|Did it look like this)?" asked {hero}. "Yes! (You found it|That is mine)!" (cried|shouted)
        {friend}.
        {friend.He} put on the {colour} {garment} and (jumped|danced|spun around) for joy.
        Then {friend.he} gave {hero} {food.a} to say thank you.
        {hero} ate the {food} and felt (warm|happy|good) inside. <end_two>
    """,
    "a snowman": """
        <opening> It had snowed all (night|day|week). {hero} and {friend} went {place.to} to build a snowman.
        They rolled a (big|huge|giant) ball of snow and put a (small|little) one on top.
        {friend} found two {treasure.s} for the eyes. {hero} gave the snowman {hero.his} {colour} {garment}.
        "It needs a name," said {friend}. "(Let us call it|We will call it) {pet}," said {hero}.
        They (danced|sang|ran) around {pet} until their (toes|ears|hands) were cold.
        But after {number} days the sun came out, and {pet} (melted|was gone).
        Only the {colour} {garment} and two {treasure.s} lay on the (grass|ground). {friend} (felt|looked) sad.
        "(Do not be sad|Cheer up), {friend}," said {hero}. "{pet} will come back with the (next|first) snow."
        <end_two>
    """,
}

GRAMMAR = Grammar(PLOTS, PASSAGES, VARIABLES)
