//! Words of generated sites: many short ones, so that few letters carry much randomness.

pub(super) const NOUNS: &str = "acorn album alder anchor anvil apple apron arbour arch atlas attic awning axle badge bag baker \
    ballad banner barge bark barn barrel basin basket beacon bead beam bean bee bell belt bench berry birch boat bobbin book boot \
    bottle bow bowl box brass brick bridge broom brush bucket buckle bugle buoy button cabin cable cairn cake camera candle canoe \
    canvas cape card carpet cart castle cedar cellar chair chalk chapel chart cheese cherry chest chime chisel clip cloak clock \
    cloth cloud coach coat cobble coin comb cone copse coral cord couch crane crate crayon creel crib crocus crow crown crumb \
    cuckoo cup cutter cygnet dairy daisy dam deck desk dial dinghy dish ditch dock donkey door dove drain drawer drill drum duck \
    dye easel egg elm ember engine face fair falcon fan farm fence fern ferry fiddle fig file finch fir fire flag flask flint \
    float flock flood flower flute foal fog folder forge fork fossil fox frame fruit funnel furrow gable gander garden gate gauge \
    gem glass glaze globe glove glue goat gourd grain grape guitar gull gutter hall hammer hamper handle hare harp hat hatch hawk \
    hazel hearth hedge helm hen herb heron hinge hive hoe holly hook hoop hop horn horse hotel house hull hut hymn inn iris island \
    ivy jacket jar jelly jetty jigsaw jug kayak keel kennel kettle key kiln kite knot label ladder ladle lagoon lake lamb lamp \
    lane larch lark lasso latch lathe lawn ledger lemon lens lever lid lilac lily lime linnet lobby lock locket lodge log loft \
    loom lorry lute lyric magnet mallet mangle manor mantle map maple marble market marrow mask mast mat meadow melon mile mill \
    mint mirror mist moat mole moon moth motor mound mule museum nail napkin needle nest net nettle newt nib nook nut nutmeg oak \
    oar oat oboe olive onion organ otter oven owl paddle pail paint palm pane panel pansy pantry paper parade parcel path patio \
    peach pear pebble pedal peg pen pencil penny pepper perch petal pickle picnic pie pier pigeon pillow pin pine pipe pit planet \
    plank plate plough plum pocket poem pony poplar poppy porch post pot press primer prism puddle pulley pump puppet purse quail \
    quarry quartz quay quill quilt quince rabbit raft rail rain rake ram raven recipe record reed reel relic ribbon ring river \
    road robin rock rook room root rope rose rotor rowan rudder rug ruler rush sack saddle sail sash sauce saw scale school scoop \
    scone screen screw scroll seed shawl shed shell ship shoe shop shovel shrub sickle sieve sill silo silver skate sketch sledge \
    sleeve slate sloop snail soap sofa song soup spade spark spice spinet spoke sponge spool spoon spout spring spruce squash \
    stable stage stair stall stamp star statue stem stile stone stool stove straw stream string studio swan swift table tablet \
    tailor tanner tart teapot tent thread throne thrush ticket tide tiger tile toast tool torch tower toy track trail train tram \
    tray tree trench trout trowel trunk tub tulip tune turnip turret urn valley valve van vase vault veil verse vessel vine violet \
    violin vole wafer wagon walnut waltz ward warp watch water weasel weaver well wheel whisk wick wicket widow willow winch wind \
    window wine wing wren yacht yard yarn yew yoke";

pub(super) const ADJECTIVES: &str = "able active agile airy alert alpine amber ample apt arched ashen autumn azure bald balmy \
    bare basic beige bent big bitter black blank blithe blond blue blunt bold bonny bony bottom boxy brave breezy brick brief \
    bright brisk broad bronze brown bumpy busy calm candid carved casual chalky cheap cheery chief chilly civil clean clear clever \
    close cloudy clumsy coarse cold common cool copper coral cosy creaky cream crisp curly curved daily damp dapper dark dear \
    decent deep dense dewy dim dizzy double dry dual dull dusky dusty eager early easy elder empty equal exact extra fabled faded \
    faint fair famous fancy far fast feudal few final fine firm first flat fleecy floral flush fond formal frank free fresh frosty \
    frugal full funny furry fussy gaunt gentle giant giddy gilded glad glassy global glossy golden good grainy grand grassy grave \
    great green grey gruff handy happy hardy harsh hasty hazy heavy hefty high hilly hoarse hollow homely honest hot huge humble \
    humid hushed icy idle ideal indoor inland inner ivory jagged jolly joint jovial just keen kind knotty lame large last late \
    lavish lazy leafy lean left level light lilac lime limp linen lined little lively local lofty lone lonely long loose lost loud \
    low loyal lucid lucky lunar lush magic main major mauve meek mellow merry mighty mild milky minor misty mobile modern modest \
    moist mossy moving muddy mute narrow native naval navy near neat new next nimble noble noisy normal noted novel nutty oaken \
    oblong odd oily old olive open orange ornate outer oval pale paper past pearly pink placid plain plump poetic polite poor \
    proud prim prime public pure purple quaint quick quiet rapid rare raw ready real red regal remote rich right ripe robust rocky \
    roomy rosy rough round royal ruddy rural rusty rustic sad safe salty sandy scenic secret sedate serene shady shaggy sharp \
    sheer shiny short shrewd shy silent silky silver simple single sleek sleepy slim slow small smart smoky smooth snowy snug \
    sober soft solar sole solemn solid sombre sour spare sparse spicy spiky square stable stark steady steel steep stern stiff \
    still stocky stony stout strong stubby sturdy subtle sudden sunny superb supple sure sweet swift tall tame tangy tart tawny \
    teal tender thick thin thorny tidal tidy tight tiny tough tribal trim true twin upland upper urban useful usual vacant vague \
    valid vast velvet vernal viable vivid warm wary weary wee weekly weird wet white whole wicker wide wild windy wintry wiry wise \
    witty woolly wooden woody worn worthy woven yellow young yearly zany zesty";

pub(super) const VERBS: &str = "added amused arched aired armed ate baked baited banned barred bathed beat became began bent \
    bless boiled bolted booked bored bought bowed boxed braced broke built buffed buried called came carted carved caught caused \
    chased chose closed coated coaxed coiled combed cooked cooled copied corked crated cured curled cut dabbed danced dared dated \
    dealt decked dipped dodged dotted drank drew dried drove dug dusted dyed earned eased echoed edged edited eyed faced fanned \
    feared felt fenced fed filed filled filmed fired fished fitted fixed flew folded forged formed found framed freed fried gained \
    gave gilded glazed glued graced grazed grew ground guided hailed halted halved hauled heard heated hedged heeded held helped \
    hemmed herded hid hinged hired hooked hugged hung ironed joined joked judged keyed kept kicked kissed knew laced landed lashed \
    laid led leased left lent licked lifted liked limed lined linked listed lit loaded loaned locked logged looped lost loved made \
    mailed mapped marked meant melted mended met milked mimed mined missed mixed moored mopped moved mowed named needed nested \
    netted noted nudged oiled opened owed owned paced packed padded paid paired parked parted passed pasted paved peeled pegged \
    picked piled pinned placed planed played poured priced primed prized probed pruned pulled pumped pushed put quoted raced \
    raised raked ran rang ranked read reeled rented reused rigged rinsed rode rolled roofed rowed rubbed ruled sailed salted \
    sanded sang sat saved sawed saw scaled sealed sent served set sewed shaded shaped shared shaved shod shook shot showed shut \
    sifted signed sliced smelt smoked soaked sold solved sorted sought spared spent spilt split spread spun stored stowed struck \
    strung swam swept swung tacked tamed tanned taped tapped tarred taught tended tested threw tied tiled tilled tilted timed \
    tinned tipped told took topped tossed towed traced traded tried trod tuned turned typed used valued varied viewed voiced \
    walked wanted warmed washed waved waxed weeded welded went wired wished woke won wore wound wove wrote yoked";

pub(super) const PLACES: &str = "alley arcade avenue bank bay beach bend border bower brae brook bypass canal cave chase close \
    coast common coombe corner court cove crag creek cross dale dell delta den dene depot dike down drive dune edge end estate \
    fell fen field firth fjord flats fold ford forest fork fort gap garth gate glade glen gorge grange green grotto grove gulf \
    hamlet haven head heath hill hollow holm inlet isle knoll lea ledge level lido lines link loch marina marsh mere mews moor \
    mount mouth ness nook parade parish park pass patch peak pike pitch place plain plaza point pond pool port ranch range rapids \
    ravine reach rest ridge rise row sands sea shore side siding slope sluice sound spit spur square stead steps strand street \
    summit swamp tarn thorpe tor town tract tunnel turn upland vale verge view wade walk wall warren waste weir wick wold wood";

pub(super) const SYLLABLES: &str = "ab ac ad af ag al am an ap ar as at av ax ba be bel ber bi bo bra bri bu ca cal car ce cha \
    ci co cor cu da dal de del den di do dor dra du ec ed el em en er es et ev fa fen fi fo fra fu ga gal gar ge gi gla go gri gu \
    ha hal he hel hi ho hu ib id il im in ip ir is it iv ja jo ju ka ke kel ki ko kra ku la lan le len li lo lu ma mar me mel mi \
    min mo mu na ne nel ni no nor nu ob oc od ol om on op or os ot ov pa pe pel per pi plo po pra pu qua qui ra re ren ri ro ru sa \
    se sel sha shi si so sta su ta te tel ti to tra tre tu ud ul um un up ur us ut va ve vel vi vo vu wa we wel wi wo xa ya ye yo \
    yu za ze zel zi zo zu";
