//! The rules of Rust files.

use crate::tidy::lexer::code_lines;
use crate::tidy::{File, Problem};

/// A file holds one concept; one that is longer holds two.
const LONGEST: usize = 600;

/// What a `static` may not hold: one service could not have two of it, nor a test its own.
const NOT_GLOBAL: &[&str] = &["Pool", "Client", "Container", "Config"];

/// What stands for work that is not done.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "#[ignore"];

pub(crate) fn check(file: &File) -> Vec<Problem> {
    let code = code_lines(&file.text);
    let mut problems = Vec::new();
    for (at, line) in code.iter().enumerate() {
        for token in UNFINISHED.iter().filter(|token| contains(line, token)) {
            let rule = format!("nothing is left for later: no {token}");
            problems.push(Problem::new(&file.path, at + 1, rule));
        }
        if file.path.starts_with("crates/")
            && let Some(held) = static_holds(&code[at..])
        {
            let rule =
                format!("no static holds a pool, a client, a container or configuration ({held})");
            problems.push(Problem::new(&file.path, at + 1, rule));
        }
    }
    if is_library(&file.path) {
        problems.extend(without_cancel_safety(file, &code));
    }
    let lines = file.text.lines().count();
    if lines > LONGEST && is_source(&file.path) {
        let rule = format!("a source file has at most {LONGEST} lines, and this one has {lines}");
        problems.push(Problem::new(&file.path, lines, rule));
    }
    problems
}

/// Whether a file belongs to a crate that others build on. What only runs scenarios is none.
fn is_library(path: &str) -> bool {
    path.starts_with("crates/") && is_source(path) && !path.starts_with("crates/pool-chaos/")
}

/// The public async functions that do not say what a caller loses who drops them.
fn without_cancel_safety(file: &File, code: &[String]) -> Vec<Problem> {
    let text: Vec<&str> = file.text.lines().map(str::trim_start).collect();
    let is_prelude = |line: &&&str| line.starts_with("///") || line.starts_with("#[");
    let mut problems = Vec::new();
    for (at, line) in code.iter().enumerate() {
        if !line.trim_start().starts_with("pub async fn ") {
            continue;
        }
        let mut prelude = text[..at].iter().rev().take_while(is_prelude);
        if !prelude.any(|line| line.contains("# Cancel safety")) {
            let rule = "a public async fn has a section `# Cancel safety`";
            problems.push(Problem::new(&file.path, at + 1, rule));
        }
    }
    problems
}

fn is_source(path: &str) -> bool {
    let mut parts = path.split('/');
    match parts.next() {
        Some("crates") => parts.nth(1) == Some("src"),
        Some("xtask") => parts.next() == Some("src"),
        _ => false,
    }
}

/// Whether `token` occurs as a word of its own.
fn contains(line: &str, token: &str) -> bool {
    line.match_indices(token).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// What the `static` item that begins on the first of `lines` holds, if it may not.
fn static_holds(lines: &[String]) -> Option<String> {
    let line = lines.first()?;
    let (start, _) = line.match_indices("static ").find(|(at, _)| {
        // `&'static str` is a lifetime.
        let before = line[..*at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '\'')
    })?;
    let rest = std::iter::once(&line[start..]).chain(lines[1..].iter().map(String::as_str));
    // What the type leaves open, as in `LazyLock<_>`, the value says.
    let item = item(rest);
    let words = item.split(|c: char| !c.is_alphanumeric() && c != '_');
    let held = words
        .skip(2)
        .find(|word| NOT_GLOBAL.iter().any(|part| word.contains(part)));
    held.map(str::to_owned)
}

/// The item that `lines` begin with, up to its own `;` or the end of what it stands in.
fn item<'l>(lines: impl Iterator<Item = &'l str>) -> String {
    let mut item = String::new();
    let mut depth = 0_i32;
    for line in lines {
        for letter in line.chars() {
            match letter {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
            if depth < 0 || (depth == 0 && letter == ';') {
                return item;
            }
            item.push(letter);
        }
        item.push(' ');
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_in(path: &str, text: &str, expected: &[(usize, &str)]) {
        let found = check(&File {
            path: path.to_owned(),
            text: text.to_owned(),
        });
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (problem, (line, part)) in found.iter().zip(expected) {
            assert_eq!(problem.line, *line);
            assert!(problem.rule.contains(part), "{}", problem.rule);
        }
    }

    #[test]
    fn a_global_pool_is_a_problem_however_it_is_wrapped() {
        let path = "crates/x/src/lib.rs";
        check_in(
            path,
            "static P: OnceLock<PgPool> = OnceLock::new();",
            &[(1, "PgPool")],
        );
        check_in(
            path,
            "a\npub(crate) static P: Mutex<\n  Option<Client>,\n> = x;",
            &[(2, "Client")],
        );
        check_in(
            path,
            "thread_local! { static C: ServiceContainer = new(); }",
            &[(1, "Container")],
        );
        check_in(
            path,
            "static P: LazyLock<_> = LazyLock::new(|| {\n    let url = [u8; 2];\n    Pool::new(url)\n});",
            &[(1, "Pool")],
        );
        check_in(
            path,
            "static A: X = f(); fn g() -> Pool { Pool::new() }",
            &[],
        );
        check_in(path, "{ static A: X = f([1; 2]) }\nstruct Pool;", &[]);
        check_in(path, "static NEXT: AtomicU64 = AtomicU64::new(0);", &[]);
        check_in(path, "fn f(name: &'static str, pool: &Pool) {}", &[]);
        check_in(path, "// static P: Pool\nlet s = \"static P: Pool\";", &[]);
        check_in("examples/x/src/main.rs", "static P: Pool = x;", &[]);
    }

    #[test]
    fn work_left_for_later_is_a_problem() {
        let path = "tests/postgres/main.rs";
        check_in(path, "fn f() {\n    todo!()\n}", &[(2, "todo!")]);
        check_in(
            path,
            "#[ignore = \"slow\"]\nfn f() { std::unimplemented!() }",
            &[(1, "ignore"), (2, "unimpl")],
        );
        check_in(
            path,
            "// todo!()\nlet not_todo = \"todo!()\"; my_todo!();",
            &[],
        );
    }

    #[test]
    fn a_public_async_fn_without_a_word_on_cancelling_is_a_problem() {
        let path = "crates/x/src/lib.rs";
        let silent = "/// Waits.\n#[must_use]\npub async fn f() {}";
        let told =
            "/// Waits.\n///\n/// # Cancel safety\n///\n/// Safe.\n#[inline]\npub async fn f() {}";
        check_in(path, silent, &[(3, "Cancel safety")]);
        check_in(path, told, &[]);
        check_in(path, &format!("{told}\n{silent}"), &[(10, "Cancel safety")]);
        check_in(path, "pub(crate) async fn f() {}\nasync fn g() {}", &[]);
        check_in("crates/x/tests/a.rs", silent, &[]);
        check_in("crates/pool-chaos/src/a.rs", silent, &[]);
    }

    #[test]
    fn a_long_source_file_is_a_problem_and_a_long_test_is_not() {
        let long = "//\n".repeat(LONGEST + 1);
        check_in("crates/x/src/a/b.rs", &long, &[(601, "at most 600 lines")]);
        check_in("xtask/src/a.rs", &long, &[(601, "at most 600 lines")]);
        check_in("crates/x/tests/a.rs", &long, &[]);
        check_in("crates/x/src/a.rs", &"//\n".repeat(LONGEST), &[]);
    }
}
