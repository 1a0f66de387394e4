//! Inputs from a corpus, mangled, and what is asked of every answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use fastrand::Rng;

/// A password in the corpus. It is in no answer as long as it stands where a password stands, and
/// nowhere else: what has become the name of a key is named.
pub(crate) const CANARY: &str = "c4n4ry-p4ssw0rd";

/// Where a password stands, in each of the formats.
const ITS_PLACES: &[&str] = &[
    "\"url\":\"postgres://app:c4n4ry-p4ssw0rd@",
    "\"uri\":\"mongodb://app:c4n4ry-p4ssw0rd@",
    "url = \"postgres://app:c4n4ry-p4ssw0rd@",
    "uri = \"mongodb://app:c4n4ry-p4ssw0rd@",
    " url: postgres://app:c4n4ry-p4ssw0rd@",
    " uri: \"mongodb://app:c4n4ry-p4ssw0rd@",
    "authorization: Bearer c4n4ry-p4ssw0rd",
];

/// More than any of these has to think.
const AT_ONCE: Duration = Duration::from_secs(5);

/// After which an answer will never come: the process ends then, with the input's text.
const NEVER: Duration = Duration::from_secs(60);

/// Stands in an input for a byte that is in no text: a private character, so that inputs are text.
const NO_TEXT: char = '\u{f8ff}';

/// An answer is as long as the input allows: it names what is wrong, perhaps several times.
const ANSWER_FOR_EACH_BYTE: usize = 200;

/// What is put in at random: what the formats have a meaning for.
const PIECES: &[&str] = &[
    "",
    "\0",
    "\u{f8ff}",
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

pub(crate) struct Fuzz {
    folder: PathBuf,
    rounds: u32,
    until: Option<Instant>,
    rng: Rng,
    /// How long an answer to nothing may be.
    least: usize,
}

impl Fuzz {
    pub(crate) fn new(target: &str) -> Self {
        let seconds = std::env::var("POOL_FUZZ_SECONDS").ok();
        let seconds: Option<u64> = seconds.map(|text| text.parse().expect("a number of seconds"));
        Self {
            folder: Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/corpus")
                .join(target),
            rounds: 1_000,
            least: 4_096,
            until: seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds)),
            rng: match seconds {
                Some(_) => Rng::new(),
                None => Rng::with_seed(7),
            },
        }
    }

    /// For what has long answers to short questions.
    pub(crate) const fn with_answers_of(mut self, least: usize) -> Self {
        self.least = least;
        self
    }

    /// Gives each input to `answer`, which says in words what it made of it.
    pub(crate) fn run(mut self, answer: impl Fn(&str) -> String) {
        let mut corpus = Vec::new();
        for entry in std::fs::read_dir(&self.folder).expect("the target has a corpus") {
            let file = entry.expect("a file").path();
            corpus.push(std::fs::read_to_string(&file).expect("a text"));
        }
        assert!(!corpus.is_empty());
        let watch = watchdog();
        let answer = |input: &str| {
            let _ = watch.send(Some(input.to_owned()));
            let text = answer(input);
            let _ = watch.send(None);
            text
        };
        // The same on every machine, whatever order its folders have.
        corpus.sort();
        for input in &corpus {
            check(input, self.least, answer);
        }
        let mut round = 0;
        while match self.until {
            Some(end) => Instant::now() < end,
            None => round < self.rounds,
        } {
            let input = self.mangled(&corpus);
            check(&input, self.least, answer);
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

/// An input as it is sent or stored.
pub(crate) fn bytes(input: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(input.len());
    for (number, part) in input.split(NO_TEXT).enumerate() {
        if number > 0 {
            bytes.push(0xff);
        }
        bytes.extend(part.as_bytes());
    }
    bytes
}

/// Is told each input, and `None` once it is answered; ends the process for one that never is.
fn watchdog() -> Sender<Option<String>> {
    let (sender, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut asked = None;
        loop {
            match told.recv_timeout(NEVER) {
                Ok(input) => asked = input,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(input) = &asked {
                        eprintln!("no answer within {NEVER:?} to {input:?}");
                        std::process::abort();
                    }
                }
            }
        }
    });
    sender
}

fn check(input: &str, least: usize, answer: impl Fn(&str) -> String) {
    let began = Instant::now();
    let answered = catch_unwind(AssertUnwindSafe(|| answer(input)));
    let answer = answered.unwrap_or_else(|_| panic!("it panicked at {input:?}"));
    let took = began.elapsed();
    assert!(took < AT_ONCE, "{took:?} for {input:?}");
    let most = least + input.len() * ANSWER_FOR_EACH_BYTE;
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

/// Whether the canary stands only where a password stands: as the input is, which is how formats
/// with lines read it, and without tabs and ends of lines, which parsers of URLs pass over.
fn is_in_its_place(input: &str) -> bool {
    let on_one_line = input.replace(['\t', '\n', '\r'], "");
    stands_for_a_password(input) && stands_for_a_password(&on_one_line)
}

fn stands_for_a_password(input: &str) -> bool {
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
    // Of a variable, its value is what follows the first of its equals signs.
    let is_a_variable = |line: &&str| {
        let Some((name, value)) = line.split_once('=') else {
            return false;
        };
        let (url, uri) = (name.ends_with("__URL"), name.ends_with("__URI"));
        (url && value.starts_with("postgres://app:c4n4ry-p4ssw0rd@"))
            || (uri && value.starts_with("mongodb://app:c4n4ry-p4ssw0rd@"))
    };
    let variables = input.lines().filter(is_a_variable).count();
    input.matches(CANARY).count() == in_place + variables + usize::from(is_a_url)
}

pub(crate) fn list<T: std::fmt::Display + std::fmt::Debug>(problems: &[T]) -> String {
    let texts = problems
        .iter()
        .map(|problem| format!("{problem} {problem:?}"));
    texts.collect::<Vec<_>>().join("\n")
}
