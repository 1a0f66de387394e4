//! What a pool is told from outside, mangled: nothing panics, hangs or repeats a password.
//!
//! Each target goes through its files in `tests/corpus`, where an input that once was answered
//! wrongly stays, and then through a thousand variations of them. For longer, with other variations
//! each time: `POOL_FUZZ_SECONDS=600 cargo test --release -p pool-chaos --test inputs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use connection_factory::FactoryConfig;
use fastrand::Rng;
use pool_core::DynamicPoolConfig;
use pool_mongo::MongoConfig;
use pool_postgres::PostgresConfig;

/// A password in the corpus. It is in no answer as long as it stands where a password stands, and
/// nowhere else: what has become the name of a key is named.
const CANARY: &str = "c4n4ry-p4ssw0rd";

/// Where a password stands, in each of the formats.
const ITS_PLACES: &[&str] = &[
    "\"url\":\"postgres://app:c4n4ry-p4ssw0rd@",
    "\"uri\":\"mongodb://app:c4n4ry-p4ssw0rd@",
    "url = \"postgres://app:c4n4ry-p4ssw0rd@",
    "uri = \"mongodb://app:c4n4ry-p4ssw0rd@",
    " url: postgres://app:c4n4ry-p4ssw0rd@",
    " uri: \"mongodb://app:c4n4ry-p4ssw0rd@",
];

/// More than any of these has to think.
const AT_ONCE: Duration = Duration::from_secs(5);

/// An answer is as long as the input allows: it names what is wrong, perhaps several times.
const ANSWER_FOR_EACH_BYTE: usize = 200;

/// What is put in at random: what the formats have a meaning for.
const PIECES: &[&str] = &[
    "",
    "\0",
    "\u{feff}",
    "é",
    "%",
    "%00",
    "%zz",
    "://",
    "@",
    ":",
    "/",
    "?",
    "&",
    "=",
    "[",
    "]",
    "{",
    "}",
    "\"",
    ",",
    "\n",
    "  ",
    "- ",
    "&a ",
    "*a",
    "0",
    "-1",
    "1e999",
    "4294967296",
    "18446744073709551616",
    "null",
    "true",
    "nan",
    "mongodb+srv://",
    "postgres://",
    "127.0.0.1",
];

struct Fuzz {
    folder: PathBuf,
    rounds: u32,
    until: Option<Instant>,
    rng: Rng,
}

impl Fuzz {
    fn new(target: &str) -> Self {
        let seconds = std::env::var("POOL_FUZZ_SECONDS").ok();
        let seconds: Option<u64> = seconds.map(|text| text.parse().expect("a number of seconds"));
        Self {
            folder: Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/corpus")
                .join(target),
            rounds: 1_000,
            until: seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            rng: match seconds {
                Some(_) => Rng::new(),
                None => Rng::with_seed(7),
            },
        }
    }

    /// Gives each input to `answer`, which says in words what it made of it.
    fn run(mut self, answer: impl Fn(&str) -> String) {
        let mut corpus = Vec::new();
        for entry in std::fs::read_dir(&self.folder).expect("the target has a corpus") {
            let file = entry.expect("a file").path();
            corpus.push(std::fs::read_to_string(&file).expect("a text"));
        }
        assert!(!corpus.is_empty());
        // The same on every machine, whatever order its folders have.
        corpus.sort();
        for input in &corpus {
            check(input, &answer);
        }
        let mut round = 0;
        while match self.until {
            Some(end) => Instant::now() < end,
            None => round < self.rounds,
        } {
            let input = self.mangled(&corpus);
            check(&input, &answer);
            round += 1;
        }
    }

    /// One of the corpus after a few cuts, insertions, repetitions and swaps.
    fn mangled(&mut self, corpus: &[String]) -> String {
        let rng = &mut self.rng;
        let mut text: Vec<char> = corpus[rng.usize(..corpus.len())].chars().collect();
        for _ in 0..=rng.usize(..6) {
            let at = rng.usize(..=text.len());
            let to = rng.usize(at..=text.len().min(at + 12));
            match rng.u8(..6) {
                0 => drop(text.drain(at..to)),
                1 => {
                    let piece = PIECES[rng.usize(..PIECES.len())];
                    drop(text.splice(at..at, piece.chars()));
                }
                2 => {
                    let piece = PIECES[rng.usize(..PIECES.len())];
                    drop(text.splice(at..to, piece.chars()));
                }
                3 => {
                    let times = rng.usize(..40);
                    let part: Vec<_> = text[at..to].repeat(times);
                    drop(text.splice(at..at, part));
                }
                4 => text.insert(at, rng.char(..)),
                _ => {
                    let other: Vec<char> = corpus[rng.usize(..corpus.len())].chars().collect();
                    let from = rng.usize(..=other.len());
                    text.truncate(at);
                    text.extend(&other[from..]);
                }
            }
        }
        text.into_iter().collect()
    }
}

fn check(input: &str, answer: impl Fn(&str) -> String) {
    let began = Instant::now();
    let answered = catch_unwind(AssertUnwindSafe(|| answer(input)));
    let answer = answered.unwrap_or_else(|_| panic!("it panicked at {input:?}"));
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{took:?} for {input:?}");
    let most = 4_096 + input.len() * ANSWER_FOR_EACH_BYTE;
    assert!(
        answer.len() <= most,
        "{} bytes said of {input:?}",
        answer.len()
    );
    if is_in_its_place(input) {
        assert!(
            !answer.contains(CANARY),
            "of {input:?} it was said: {answer}"
        );
    }
}

fn is_in_its_place(input: &str) -> bool {
    let in_place: usize = ITS_PLACES
        .iter()
        .map(|place| input.matches(place).count())
        .sum();
    let schemes = [
        "postgres://",
        "postgresql://",
        "mongodb://",
        "mongodb+srv://",
    ];
    let is_a_url = schemes
        .iter()
        .any(|scheme| input.starts_with(&format!("{scheme}app:{CANARY}@")));
    input.matches(CANARY).count() == in_place + usize::from(is_a_url)
}

fn list<T: std::fmt::Display + std::fmt::Debug>(problems: &[T]) -> String {
    let texts = problems
        .iter()
        .map(|problem| format!("{problem} {problem:?}"));
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn postgres_urls() {
    Fuzz::new("postgres-url").run(|input| {
        let config = PostgresConfig::new(input);
        let built = config.builder().map(drop);
        let built = built.map_err(|error| format!("{error} {error:?}")).err();
        format!(
            "{} {config:?} {:?} {}",
            list(&config.problems()),
            config.server(),
            built.unwrap_or_default()
        )
    });
}

#[test]
fn mongodb_uris() {
    Fuzz::new("mongodb-uri").run(|input| {
        let config = MongoConfig::new(input);
        let (problems, servers) = (list(&config.problems()), config.servers());
        format!("{problems} {config:?} {servers:?}")
    });
}

#[test]
fn dynamic_pool_configurations() {
    Fuzz::new("dynamic-json").run(|input| {
        match serde_json::from_str::<DynamicPoolConfig>(input) {
            Ok(config) => {
                // What is read and written again is the same. Numbers that no configuration has may
                // be rounded: JSON's reader is exact to the last place only for shorter ones.
                if let Err(error) = config.validate() {
                    return format!("{error} {error:?}");
                }
                let text = serde_json::to_string(&config).expect("numbers and a switch");
                let again: DynamicPoolConfig = serde_json::from_str(&text).expect("its own text");
                assert_eq!(again, config);
                text
            }
            Err(error) => error.to_string(),
        }
    });
}

#[test]
fn pool_configurations() {
    Fuzz::new("pool-json").run(|input| {
        let mongo = match serde_json::from_str::<MongoConfig>(input) {
            Ok(config) => format!("{config:?} {}", list(&config.problems())),
            Err(error) => error.to_string(),
        };
        let postgres = match serde_json::from_str::<PostgresConfig>(input) {
            Ok(config) => format!("{config:?} {}", list(&config.problems())),
            Err(error) => error.to_string(),
        };
        format!("{mongo}\n{postgres}")
    });
}

/// A configuration of several services, in the format of a file with that ending.
fn factory(target: &str, ending: &str) {
    let file = std::env::temp_dir().join(format!("inputs-{}.{ending}", std::process::id()));
    Fuzz::new(target).run(|input| {
        std::fs::write(&file, input).expect("the temporary folder can be written to");
        match FactoryConfig::sources().file(&file).load() {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        }
    });
    let _ = std::fs::remove_file(&file);
}

#[test]
fn factory_configurations_in_toml() {
    factory("factory-toml", "toml");
}

#[test]
fn factory_configurations_in_yaml() {
    factory("factory-yaml", "yaml");
}

#[test]
fn factory_configurations_in_json() {
    factory("factory-json", "json");
}
