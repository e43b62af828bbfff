//! The words: verbs, argument keys, and the 32 domains of the paper with the nouns they speak of.
//!
//! A tool *family* is a verb and a noun of one domain, `book` and `flight`, whose tool is called `book_flight`.
//! A tenth of the families belongs to the exam and a tenth to the development set; each verb and each noun still
//! occurs in many families that are trained on, so what the exam asks for is the composition, not the words.
//!
//! The tables are plain text, one entry a line, because that is the shape in which they can be read and extended.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::values::Kind;

/// Which part of the language a family, a value or a sentence pattern belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Seen in training text.
    Train,
    /// Only in the development set, which every choice of a constant is made on.
    Dev,
    /// Only in the exam.
    Exam,
}

impl Split {
    /// The split that `text` falls into by its hash: one in `parts` each for exam and development set.
    ///
    /// A rule instead of a list, because pseudo-words are drawn from millions. Case is ignored, so that a word
    /// cannot change sides at the start of a sentence.
    pub fn of(text: &str, parts: u64) -> Self {
        // FNV-1a, finished with a multiply-shift, since its low bits alone are weak for short words.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
        }
        let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        match mixed % parts {
            0 => Self::Exam,
            1 => Self::Dev,
            _ => Self::Train,
        }
    }
}

/// An argument that exists in no schema, which some verbs invite in the wrong habit `stray`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stray {
    /// `"confirm": true`
    Confirm,
    /// `"note": ""`
    Note,
}

/// What a tool does.
#[derive(Clone, Debug)]
pub struct Verb {
    /// As in the tool's name.
    pub name: &'static str,
    /// How a user says it, the name first. No form belongs to two verbs.
    pub forms: Vec<&'static str>,
    /// Plain keys that this verb brings to any noun, as indices into [`Lexicon::keys`].
    pub keys: Vec<usize>,
    /// The stray argument that the wrong habit adds to calls of this verb.
    pub stray: Option<Stray>,
}

/// A parameter: its name, the kind of its values, and how a sentence mentions it.
#[derive(Clone, Debug)]
pub struct Key {
    /// As in the schema.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Clauses of this key alone, `{}` where the value goes; may be empty.
    pub clauses: Vec<&'static str>,
    /// The name as it is said: underscores are spaces.
    pub spoken: String,
    /// The allowed values of a [`Kind::Choice`], by split: train, development set, exam.
    pub choices: [Vec<&'static str>; 3],
}

/// A thing that tools act on.
#[derive(Clone, Debug)]
pub struct Noun {
    /// As in the tool's name and in the sentence.
    pub word: &'static str,
    /// Plain keys that belong to it, as indices into [`Lexicon::keys`].
    pub keys: Vec<usize>,
}

/// One of the paper's 32 domains.
#[derive(Clone, Debug)]
pub struct Domain {
    /// As in a task specification.
    pub name: &'static str,
    /// Indices into [`Lexicon::verbs`].
    pub verbs: Vec<usize>,
    /// The nouns, owned by this domain alone.
    pub nouns: Vec<Noun>,
    /// Plain keys that any tool here may have.
    pub plain: Vec<usize>,
    /// Boolean keys.
    pub flags: Vec<usize>,
    /// Keys with a closed set of values.
    pub choices: Vec<usize>,
    /// Keys whose values are strings of digits.
    pub digits: Vec<usize>,
}

/// A verb and a noun of one domain.
#[derive(Clone, Debug)]
pub struct Family {
    /// Index into [`Lexicon::domains`].
    pub domain: usize,
    /// Index into [`Lexicon::verbs`].
    pub verb: usize,
    /// Index into the domain's nouns.
    pub noun: usize,
    /// The tool's name, `verb_noun`.
    pub name: String,
    /// Who may use it.
    pub split: Split,
}

/// All tables, read once.
#[derive(Debug)]
pub struct Lexicon {
    /// All verbs.
    pub verbs: Vec<Verb>,
    /// All keys.
    pub keys: Vec<Key>,
    /// All domains, in the order of the paper.
    pub domains: Vec<Domain>,
    /// All families, grouped by domain.
    pub families: Vec<Family>,
    /// Families of a domain, by domain index: a range of [`Lexicon::families`].
    pub of_domain: Vec<std::ops::Range<usize>>,
    verb_by_name: HashMap<&'static str, usize>,
}

/// The lexicon.
pub fn lexicon() -> &'static Lexicon {
    static LEXICON: LazyLock<Lexicon> = LazyLock::new(read);
    &LEXICON
}

impl Lexicon {
    /// The verb and the noun of a tool's name; `None` for a name that no family has the verb of.
    pub fn parts<'a>(&self, tool: &'a str) -> Option<(&Verb, &'a str)> {
        let (verb, noun) = tool.split_once('_')?;
        Some((&self.verbs[*self.verb_by_name.get(verb)?], noun))
    }

    /// The key called `name`.
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The noun of a family.
    pub fn noun(&self, family: &Family) -> &Noun {
        &self.domains[family.domain].nouns[family.noun]
    }
}

/// Parts of ten: a tenth of the families is the exam's, a tenth the development set's.
const FAMILY_PARTS: u64 = 10;

/// Verb, the user's forms of it, the keys it brings along, and the stray argument it invites.
const VERBS: &str = "
book | reserve, secure | date time name | confirm
cancel | call off, drop | date | note
find | look for, search for | limit city |
postpone | put off, push back | date time |
create | make, set up | title |
delete | remove, erase | | note
update | change, modify | |
send | dispatch, forward | recipient email |
check | inspect, verify | date |
list | show, display | limit |
compare | contrast, weigh | budget |
order | buy, purchase | quantity amount | confirm
track | follow, trace | code |
share | pass along, distribute | email recipient |
schedule | plan, arrange | date time | confirm
start | launch, begin | time minutes |
stop | halt, shut down | time |
open | unlock, pull up | |
close | shut, wrap up | |
rate | score, grade | points |
review | examine, go over | author |
pay | settle, cover | amount | confirm
transfer | wire, hand over | amount recipient | confirm
report | flag, log | date reporter | note
translate | convert, render | |
compute | calculate, work out | |
renew | extend, prolong | months | confirm
approve | accept, authorize | manager | note
reject | decline, turn down | | note
assign | allocate, delegate | owner |
archive | store, put away | |
restore | recover, bring back | date |
scan | probe, sweep | |
block | ban, bar | | note
monitor | watch, keep an eye on | hours |
play | put on, stream | time |
fetch | download, retrieve | limit |
publish | post, release | title date |
submit | hand in, file | deadline | confirm
register | enroll, sign up | name email | confirm
rent | lease, hire | days |
test | try out, exercise | |
deploy | roll out, ship | |
copy | duplicate, clone | label |
adjust | tune, tweak | |
solve | crack, figure out | |
";

/// Key, kind, and the clauses of its own. Every key also has the clauses that name it, such as `with room 4821`.
const KEYS: &str = "
name person | for {} | under the name {}
client person | on behalf of {}
recipient person | to {} | addressed to {}
sender person | from {}
owner person | owned by {}
driver person | driven by {}
patient person | treating {}
doctor person | seen by {}
author person | written by {} | by {}
artist person | performed by {}
player person | featuring {}
teacher person | taught by {}
manager person | managed by {}
tenant person | rented by {}
reporter person | reported by {}
witness person | witnessed by {}
judge person | before judge {}
host person | hosted by {}
city city | in {} | in the city of {}
origin city | leaving {} | departing from {}
destination city | bound for {} | heading to {}
region city | across {}
street city | along {}
district city | around {}
title title | titled {} | called {}
label title | labeled {}
project title | under project {}
company title | at company {}
brand title | made by {}
team title | backing {}
venue title | held at {}
folder title | inside folder {}
topic topic | about {} | on the topic of {}
tag topic | tagged {}
keyword topic | mentioning {}
dish topic | served with {}
date date | on {} | dated {}
start_date date | starting {}
end_date date | ending {}
due_date date | due {}
deadline date | no later than {}
time time | at {} | at the hour {}
start_time time | beginning at {}
end_time time | until {}
guests count | for {} guests
seats count | with {} seats
quantity count | in a quantity of {}
limit count | limited to {} | up to {} results
days count | for {} days
hours count | for {} hours
minutes count | for {} minutes
months count | for {} months
pages count | of {} pages
copies count | in {} copies
floor count | on floor {}
points count | with {} points
level count | at level {}
age count | aged {}
speed big | at {} rpm
port big | through port {}
calories big | under {} calories
meters big | over {} meters
lines big | of {} lines
amount number | of {} dollars
price number | priced at {} dollars
budget number | within {} dollars
weight number | weighing {} kilos
distance number | within {} miles
temperature number | at {} degrees
size number | of size {}
percent number | at {} percent
width number | spanning {}
value number | valued at {}
code code | coded {}
reference code | under reference {}
ticket code | on ticket {}
policy code | under policy {}
case code | in case {}
serial code | bearing serial {}
plate code | bearing plate {}
invoice code | on invoice {}
host_code code | on host {}
device code | on device {}
route code | via {}
model code | of model {}
room digits | in room {}
pin digits | secured by pin {}
zip digits | near zip {}
account digits | from account {}
badge digits | carrying badge {}
extension digits | at extension {}
locker digits | in locker {}
gate digits | at gate {}
card digits | charged to card {}
phone digits | reachable at {}
passcode digits | behind passcode {}
member digits | as member {}
meter digits | read from meter {}
unit digits | in unit {}
channel digits | on channel {}
email email | by email at {} | through {}
breakfast flag
insurance flag
parking flag
alerts flag
receipt flag
subtitles flag
tracking flag
encryption flag
backup flag
lunch flag
warranty flag
wifi flag
photos flag
comments flag
history flag
cache flag
noise flag
replies flag
sound flag
warmup flag
rush flag
music flag
pets flag
fees flag
";

/// Keys with a closed set of values: those of training text, of the development set, of the exam.
const CHOICES: &str = "
class | in {} class | economy business standard comfort | coach premium | luxury saver
priority | at {} priority | low high normal urgent | minor major | critical trivial
color | colored {} | red blue green black | purple orange | silver yellow
format | in {} format | pdf csv html text | xml markdown | json excel
language | in language {} | french german italian polish | dutch korean | swedish turkish
status | marked {} | active pending done late | paused ready | frozen expired
mode | in {} mode | auto manual quiet fast | turbo gentle | hybrid silent
currency | in currency {} | dollar euro yen pound | krone rupee | peso franc
period | by the {} | day week month year | decade fortnight | quarter century
method | paid via {} | cash wire check voucher | crypto barter | credit coupon
audience | aimed at {} | adults children students seniors | parents nurses | tourists pilots
quality | in {} quality | draft fine good best | medium sharp | crisp rough
size_class | in a {} size | small big tiny huge | slim wide | compact giant
shape | in a {} shape | round square flat oval | curved hollow | pointed twisted
weekday | every {} | monday tuesday friday sunday | saturday holiday | thursday wednesday
season_pass | on a {} pass | spring summer single double | weekly winter | autumn lifetime
zone | in the {} zone | north south east west | inner central | outer coastal
layer | in the {} layer | public private shared local | remote guest | hidden global
";

/// The domains of the paper, in its order: verbs; nouns with their own keys; then plain, boolean, closed-set and
/// digit-string keys that any tool of the domain may have.
const DOMAINS: &str = "
finance | check pay transfer approve report compute list | loan(percent months) budgetplan(amount) dividend(company) mortgage(value months) portfolio(owner value) expense(invoice date) salary(name amount) | date company amount client invoice | receipt alerts fees | currency status | account card
healthcare | book cancel postpone find review renew update | appointment(doctor date) prescription(patient doctor) vaccine(patient age) checkup(patient time) diagnosis(doctor patient) therapy(patient hours) bloodtest(patient date) | doctor city date age policy | alerts insurance history | priority status | room phone
productivity | create delete update share list archive copy | memo(topic author) document(title pages) checklist(title owner) spreadsheet(title lines) whiteboard(title team) agenda(title date) draft(author topic) | title project owner tag due_date | comments backup replies | format priority | locker extension
retail_ecommerce | order cancel track review compare rate find | jacket(brand price) laptop(brand model) sofa(brand weight) lamp(brand size) backpack(brand price) watchband(brand width) blender(brand speed) | price brand model city date | warranty tracking rush | color size_class | member zip
scheduling | schedule cancel postpone list update create check | meeting(time host) interview(time name) workshop(teacher date) callback(name time) standup(team time) deadlineplan(project deadline) shift(name start_time) | date time minutes project host | alerts music lunch | weekday priority | room extension
database | create delete update copy restore list scan | table(label lines) index(label size) record(code owner) schema(label owner) snapshot(date host_code) trigger(label time) column(label width) | label size host_code limit date | backup encryption cache | layer format | passcode unit
cloud_infrastructure | deploy start stop monitor scan copy delete | container(host_code port) cluster(region host_code) bucket(label region) gateway(port host_code) function(label minutes) instance(host_code hours) loadbalancer(port region) | region host_code port label owner | backup encryption alerts | zone mode | pin passcode
system | start stop check update monitor restore test | service(port label) process(code owner) printer(device copies) disk(device size) daemon(label port) kernel(model host_code) driverpack(model device) | device port label hours time | cache alerts backup | mode status | pin badge
programming | test review deploy copy create publish archive | module(label author) parser(label lines) branch(label project) package(label code) script(author lines) commit(code author) plugin(label author) | author lines project label date | comments cache history | format | unit extension
geolocation | find track compare share check list monitor | landmark(city distance) address(street city) trail(region meters) harbor(city distance) summit(region meters) bridge(city street) coordinate(region code) | city distance region street | photos alerts history | zone status | zip pin
logistics | track schedule cancel assign send check report | parcel(weight destination) shipment(origin destination) truckload(driver weight) pallet(weight code) freight(origin weight) courier(driver route) crate(weight size) | origin destination weight driver route | tracking insurance rush | priority size_class | gate locker
communication | send share archive schedule translate block find | letter(sender recipient) voicemail(sender minutes) newsletter(author topic) telegram(sender topic) greeting(sender title) broadcast(topic time) reply(sender date) | sender topic date email time | sound replies history | format language | phone extension
iot | start stop adjust monitor test restore open | thermostat(temperature device) sensor(device temperature) doorbell(device label) sprinkler(device minutes) curtain(device percent) humidifier(device percent) camera(device label) | device label minutes time percent | sound alerts history | mode zone | pin passcode
cybersecurity | scan block monitor report test renew review | firewall(port host_code) malware(serial device) certificate(company end_date) intrusion(host_code date) token(code owner) vault(owner label) phishing(sender email) | host_code port device owner date | alerts encryption history | priority layer | badge passcode
insurance | renew cancel compare review submit approve update | claim(policy amount) coverage(policy value) damage(witness value) beneficiary(name policy) accident(witness date) rider(policy months) deductible(policy amount) | policy amount client date value | photos alerts receipt | status period | member account
legal | review submit archive approve reject find schedule | contract(client pages) lawsuit(judge case) testimony(witness case) patent(owner reference) appeal(judge case) license(company end_date) verdict(judge date) | case client judge date witness | comments history fees | status format | room phone
news | publish find share archive review list translate | headline(keyword topic) editorial(author topic) bulletin(region date) scoop(reporter topic) obituary(name date) cartoon(artist topic) | topic author date keyword region | photos comments alerts | language audience | channel zip
weather | check compare monitor report share find list | forecast(city days) rainfall(region date) snowfall(region meters) hurricane(region date) humidity(city percent) sunrise(city date) windchill(city temperature) | city date region hours temperature | alerts history photos | period zone | zip channel
sports | register cancel schedule report list track book | match(team venue) tournament(city date) marathon(city meters) workout(player minutes) league(team points) stadium(venue seats) sprint(player meters) | player team date city points | photos music warmup | season_pass audience | member locker
entertainment | play find rate review rent list book | movie(title minutes) concert(artist venue) playlist(title artist) musical(venue seats) comedy(artist time) festival(city days) exhibit(venue artist) | title artist venue time city | subtitles sound parking | quality audience | channel card
education | register create submit rate schedule find review | lecture(teacher topic) essay(author pages) quiz(topic points) seminar(teacher date) scholarship(name amount) textbook(author pages) tutorial(topic level) | teacher topic date level name | comments photos lunch | language audience | room badge
real_estate | rent find list compare schedule approve review | apartment(city price) cottage(region price) office(street floor) garage(street price) mansion(owner value) warehouse(city size) viewing(tenant date) | city price street floor tenant | parking pets photos | zone size_class | unit zip
food_ordering | order cancel rate find track schedule update | pizza(quantity dish) sushi(quantity price) burger(quantity dish) salad(dish calories) noodles(quantity dish) dessert(dish calories) banquet(guests venue) | quantity time price city name | receipt rush lunch | size_class method | phone room
translation | translate review submit archive rate compare send | subtitle(title minutes) manual(brand pages) poem(author lines) transcript(name minutes) slogan(brand topic) brochure(company pages) glossary(topic pages) | author pages topic deadline client | comments history rush | language quality | extension account
utilities | pay report start stop monitor renew compare | electricity(amount hours) waterline(street hours) gasline(street date) broadband(speed company) sewage(district date) heating(temperature hours) streetlight(street code) | street amount date months district | alerts receipt fees | period status | meter account
government | submit renew register pay schedule check approve | passport(name end_date) permit(name street) visa(name destination) census(district date) ballot(district name) taxform(name amount) pension(name amount) | name date city reference district | receipt photos fees | status class | badge phone
memory_management | archive delete restore update fetch copy list | reminder(title time) bookmark(title topic) preference(name label) recollection(topic date) notebook(title pages) keepsake(title owner) profile(name email) | topic title tag date owner | backup history encryption | layer priority | pin passcode
web_search | find fetch compare archive scan share list | article(author topic) website(company keyword) recipe(dish calories) wallpaper(keyword width) podcast(host topic) dataset(keyword size) forum(keyword topic) | keyword topic limit author date | cache photos replies | language quality | zip channel
social_media | publish share block delete schedule report monitor | hashtag(tag topic) story(title author) livestream(host time) poll(topic hours) influencer(name topic) selfie(name city) meme(author topic) | author topic time tag city | comments music photos | audience layer | member passcode
math | solve compute check compare copy review test | equation(value level) integral(value) matrix(size level) fraction(value size) polynomial(level value) theorem(author topic) logarithm(value size) | value size level points author | comments history cache | shape | unit extension
vehicle_control | start stop adjust open close check monitor | engine(speed plate) sunroof(percent plate) headlight(percent minutes) wiper(speed plate) trunk(plate owner) seatbelt(seats plate) tire(model percent) | plate driver speed minutes percent | sound alerts warmup | mode zone | pin locker
travel | book cancel find postpone compare rate track | flight(origin destination) hotel(city guests) train(origin destination) safari(city days) cruise(origin days) hostel(city guests) ferry(origin time) | city date guests name price | breakfast insurance wifi | class season_pass | room gate
";

/// The first `N` fields of a line, which bars part, blanks trimmed; a missing field is empty.
fn fields<const N: usize>(line: &'static str) -> [&'static str; N] {
    let mut parts = line.split('|').map(str::trim);
    std::array::from_fn(|_| parts.next().unwrap_or(""))
}

fn read_keys() -> Vec<Key> {
    let new = |name: &'static str, kind, clauses, choices| Key {
        name,
        kind,
        clauses,
        spoken: name.replace('_', " "),
        choices,
    };
    let plain = KEYS.trim().lines().map(|line| {
        let mut parts = line.split('|').map(str::trim);
        let head = parts.next().and_then(|head| head.split_once(' '));
        let (name, kind) = head.expect("the table gives a name and a kind on each line");
        new(name, Kind::parse(kind).expect("the table uses known kinds"), parts.collect(), Default::default())
    });
    let choices = CHOICES.trim().lines().map(|line| {
        let [name, clause, sets @ ..] = fields::<5>(line);
        new(name, Kind::Choice, vec![clause], sets.map(|set| set.split_whitespace().collect()))
    });
    plain.chain(choices).collect()
}

/// Reads the tables. They are constants that the tests of this module check, so a slip in them is a panic there.
fn read() -> Lexicon {
    let keys = read_keys();
    let key_by_name: HashMap<_, _> = keys.iter().enumerate().map(|(i, key)| (key.name, i)).collect();
    let ids =
        |names: &'static str| names.split_whitespace().map(|name| key_by_name[name]).collect::<Vec<_>>();
    let verbs: Vec<Verb> = VERBS
        .trim()
        .lines()
        .map(|line| {
            let [name, forms, keys, stray] = fields::<4>(line);
            let stray = match stray {
                "confirm" => Some(Stray::Confirm),
                "note" => Some(Stray::Note),
                _ => None,
            };
            let forms = std::iter::once(name).chain(forms.split(',').map(str::trim)).collect();
            Verb { name, forms, keys: ids(keys), stray }
        })
        .collect();
    let verb_by_name: HashMap<_, _> = verbs.iter().enumerate().map(|(i, verb)| (verb.name, i)).collect();
    let noun = |text: &'static str| {
        let (word, keys) = text.split_once('(').expect("the table gives each noun its keys");
        Noun { word: word.trim(), keys: ids(keys) }
    };
    let domains: Vec<Domain> = DOMAINS
        .trim()
        .lines()
        .map(|line| {
            let [name, verbs, nouns, plain, flags, choices, digits] = fields::<7>(line);
            Domain {
                name,
                verbs: verbs.split_whitespace().map(|verb| verb_by_name[verb]).collect(),
                nouns: nouns.split_terminator(')').map(noun).collect(),
                plain: ids(plain),
                flags: ids(flags),
                choices: ids(choices),
                digits: ids(digits),
            }
        })
        .collect();
    let mut families = Vec::new();
    let mut of_domain = Vec::new();
    for (domain, entry) in domains.iter().enumerate() {
        let start = families.len();
        for &verb in &entry.verbs {
            for (noun, Noun { word, .. }) in entry.nouns.iter().enumerate() {
                let name = format!("{}_{word}", verbs[verb].name);
                let split = Split::of(&name, FAMILY_PARTS);
                families.push(Family { domain, verb, noun, name, split });
            }
        }
        of_domain.push(start..families.len());
    }
    Lexicon { verbs, keys, domains, families, of_domain, verb_by_name }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[track_caller]
    fn check_unique<'a>(what: &str, words: impl Iterator<Item = &'a str>) {
        let mut seen = HashSet::new();
        for word in words {
            assert!(seen.insert(word), "{what} `{word}` occurs twice");
        }
    }

    #[test]
    fn the_tables_have_the_shape_that_the_text_needs() {
        let lex = lexicon();
        assert_eq!(lex.domains.len(), 32);
        for d in &lex.domains {
            assert!((5..=8).contains(&d.verbs.len()), "{} has {} verbs", d.name, d.verbs.len());
            assert!((6..=10).contains(&d.nouns.len()), "{} has {} nouns", d.name, d.nouns.len());
            assert!(d.plain.len() >= 4 && d.flags.len() >= 2 && d.digits.len() >= 2 && !d.choices.is_empty());
            for (keys, kinds) in
                [(&d.flags, Kind::Flag), (&d.choices, Kind::Choice), (&d.digits, Kind::Digits)]
            {
                assert!(keys.iter().all(|&k| lex.keys[k].kind == kinds), "{}: a key of another kind", d.name);
            }
            let plain = d.plain.iter().chain(d.nouns.iter().flat_map(|n| &n.keys));
            for &k in plain.chain(d.verbs.iter().flat_map(|&v| &lex.verbs[v].keys)) {
                let kind = lex.keys[k].kind;
                assert!(!matches!(kind, Kind::Flag | Kind::Choice | Kind::Digits), "`{}`", lex.keys[k].name);
            }
        }
        for verb in &lex.verbs {
            assert!(verb.forms.len() >= 3 && verb.forms.iter().all(|form| !form.is_empty()), "{}", verb.name);
        }
        for key in lex.keys.iter().filter(|key| key.kind == Kind::Choice) {
            assert!(key.choices.iter().all(|set| set.len() >= 2), "{} lacks values", key.name);
        }
    }

    /// A word with two meanings would make a second tool serve as well as the right one.
    #[test]
    fn every_word_has_one_meaning() {
        let lex = lexicon();
        check_unique("form", lex.verbs.iter().flat_map(|v| v.forms.iter().copied()));
        check_unique("family", lex.families.iter().map(|f| f.name.as_str()));
        let nouns = lex.domains.iter().flat_map(|d| d.nouns.iter().map(|n| n.word));
        check_unique("noun or key", nouns.chain(lex.keys.iter().map(|k| k.name)));
        let choices = lex.keys.iter().flat_map(|k| k.choices.iter().flatten().copied());
        let choices: HashSet<_> = choices.collect();
        for key in lex.keys.iter().filter(|k| k.kind == Kind::Choice) {
            let all: Vec<_> = key.choices.iter().flatten().collect();
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "{} repeats a value", key.name);
        }
        assert!(choices.iter().all(|c| lex.keys.iter().all(|k| k.name != *c)));
        for key in lex.keys.iter().filter(|k| k.kind != Kind::Flag) {
            assert!(key.clauses.iter().all(|c| c.matches("{}").count() == 1), "{}", key.name);
        }
        check_unique("clause", lex.keys.iter().flat_map(|k| k.clauses.iter().copied()));
    }

    /// What is held out is the pair: both of its words are trained on elsewhere.
    #[test]
    fn held_out_families_are_made_of_known_words() {
        let lex = lexicon();
        let known = |f: &&Family| f.split == Split::Train;
        for (v, verb) in lex.verbs.iter().enumerate() {
            let n = lex.families.iter().filter(known).filter(|f| f.verb == v).count();
            assert!(n >= 3, "{} occurs in {n} trained families", verb.name);
        }
        for (d, range) in lex.of_domain.iter().enumerate() {
            for n in 0..lex.domains[d].nouns.len() {
                let seen = lex.families[range.clone()].iter().filter(known).filter(|f| f.noun == n).count();
                assert!(seen >= 3, "{} occurs in {seen} trained families", lex.domains[d].nouns[n].word);
            }
            for split in [Split::Dev, Split::Exam] {
                let held = lex.families[range.clone()].iter().filter(|f| f.split == split).count();
                assert!(held >= 1, "{} has no family for {split:?}", lex.domains[d].name);
            }
        }
    }

    /// Otherwise a search of the training text for an exam tool's name would find it inside another.
    #[test]
    fn no_tool_name_is_part_of_another() {
        let names: Vec<_> = lexicon().families.iter().map(|f| f.name.as_str()).collect();
        for a in &names {
            for b in &names {
                assert!(a == b || !b.contains(a), "`{a}` is part of `{b}`");
            }
        }
    }
}
