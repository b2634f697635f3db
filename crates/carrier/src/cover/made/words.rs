//! Words that made sites are drawn from.

pub(super) const NOUNS: &str = "garden boat kettle lantern orchard bicycle piano camera harbour window ladder meadow river bridge basket \
    candle carpet chapel chimney clock cottage cradle cushion drawer engine fence ferry fiddle forge fountain furnace gallery glove \
    granary hammer hedge helmet island jacket jetty kennel kitchen knife lagoon ledger library loom mantle market mill mirror monument \
    mosaic museum needle notebook oven paddle parcel pasture path pebble pencil picnic pillow plough pocket pottery quarry quilt \
    railway recipe ribbon saddle sail salad school scissors shelf shutter sketch sleigh spade spoon stable station stove studio \
    summer tablecloth tavern teapot telescope terrace thimble ticket tower trail trolley trumpet tunnel valley veranda village vineyard \
    violin wagon walnut wardrobe wharf whistle willow workshop yard";

pub(super) const ADJECTIVES: &str = "amber ancient autumn blue brief bright broad calm careful cheerful clear coastal cold copper crisp \
    curious deep distant early eastern empty faint fair famous fine first folded fresh gentle golden grand green grey hidden hollow \
    humble inland iron joint kind late lively local lonely long lower mild modest narrow neat new northern odd old open painted pale \
    patient plain proud quiet rare red round rural rusty sandy second secret shallow silent silver simple slow small smooth soft \
    southern spare stony straight summer sunny tall tidy tiny upper useful warm western white wide wild winter wooden woven yellow young";

pub(super) const VERBS: &str = "admired arranged borrowed built carried chose cleaned collected copied counted crossed described drew \
    explored fetched filled finished followed found framed gathered grew hung improved joined kept knitted learned left lifted loved \
    measured mended mixed moved named noticed opened ordered packed painted passed photographed planned planted polished prepared \
    printed pulled reached repaired replaced restored saved sewed shared sketched sold sorted started stitched stored taught tended \
    tested traced traded tuned turned visited walked washed watched weighed wrapped";

pub(super) const PLACES: &str = "bay beach brook cape cliff corner creek dale dunes field fjord forest ford gate glen green grove hall \
    heath hill hollow lake lane marsh moor mountain park pass plain point pond port prairie reef ridge shore square strait street \
    summit vale wood";

pub(super) const SYLLABLES: &str = "al an ar bel ber bo bra cal car cor da del den dor du el en er fa fen fi gal gar gel go gri ha hal \
    hel hol il in is ja jor ka kel kin ko la lan len lin lo lu ma mar mel min mo na nel nor o os pa pel per po qui ra ren ri ro ru sa \
    sel sen si sol su ta tel ten ti to tra tu ul un va vel ven vi vo wa wel wen wi ya yo za zel zo";
