//! Each block of code in a page is compiled, run or read by something, or says why it is not.

use std::path::{Component, Path, PathBuf};

use crate::tidy::{File, Problem};

/// What is in a fence, and where it begins.
struct Block<'p> {
    line: usize,
    language: &'p str,
    /// What stands behind the language.
    rest: &'p str,
    text: String,
}

/// Checks the blocks and the commands of one page, given all sources and what knows a command line.
pub(crate) fn check(
    page: &File,
    sources: &[File],
    command: &dyn Fn(&str) -> Result<(), String>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut tell = |line: usize, rule: String| {
        problems.push(Problem::new(&page.path, line, rule));
    };
    for block in blocks(&page.text) {
        match block.language {
            "text" if block.rest.is_empty() => {
                tell(
                    block.line,
                    "a block that nobody runs says why: ```text as printed by …".into(),
                );
            }
            "text" => {}
            "sh" | "console" => {
                for (at, line) in block.text.lines().enumerate() {
                    if let Err(rule) = shell(line, block.language, command) {
                        tell(block.line + 1 + at, rule);
                    }
                }
            }
            "rust" | "toml" | "yaml" | "json" | "sql" => {
                let skipped = block.rest.split(',').any(|one| one.trim() == "ignore");
                if skipped || !is_tried(page, block.language, sources) {
                    let language = block.language;
                    tell(
                        block.line,
                        format!(
                            "nothing tries this {language}: no source includes the page for it"
                        ),
                    );
                }
            }
            other => tell(
                block.line,
                format!(
                    "a block in `{other}`: one of rust, toml, yaml, json, sql, sh, console, text"
                ),
            ),
        }
    }
    for (line, text) in spans(&page.text) {
        let whole = !text.contains(['<', '…', '|', '[']);
        if let Some(arguments) = text.strip_prefix("cargo xtask ").filter(|_| whole)
            && let Err(said) = command(arguments)
        {
            tell(
                line,
                format!("there is no `cargo xtask {arguments}`: {said}"),
            );
        }
    }
    problems
}

/// A line of a shell: empty, a comment, or a command that is known.
fn shell(
    line: &str,
    language: &str,
    command: &dyn Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let line = match (language, line.strip_prefix("$ ")) {
        (_, Some(command)) => command,
        ("sh", None) => line,
        _ => return Err("what is printed stands in a `text` block, with what prints it".into()),
    };
    let line = line.split(" #").next().unwrap_or(line).trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    // Variables that stand before the command.
    let is_variable = |word: &&str| {
        word.split_once('=')
            .is_some_and(|(name, _)| !name.contains('-'))
    };
    let words = line.split_whitespace().skip_while(is_variable);
    let words: Vec<_> = words.collect();
    match words.split_first() {
        Some((&"cargo", [])) | None => Ok(()),
        Some((&"cargo", arguments)) => command(&match arguments {
            ["xtask", rest @ ..] => rest.join(" "),
            other => format!("cargo {}", other.join(" ")),
        }),
        Some((other, _)) => Err(format!(
            "nobody tries `{other}`: a `text` block, with a reason"
        )),
    }
}

/// Whether a source includes the page, as documentation of Rust or to read blocks of that language.
fn is_tried(page: &File, language: &str, sources: &[File]) -> bool {
    const INCLUDE: &str = "include_str!(\"";
    sources.iter().any(|source| {
        let folder = Path::new(&source.path)
            .parent()
            .unwrap_or_else(|| Path::new(""));
        let reads = source.text.contains(&format!("\"```{language}"));
        source.text.lines().any(|line| {
            let Some((before, after)) = line.split_once(INCLUDE) else {
                return false;
            };
            let path = after.split('"').next().unwrap_or_default();
            let documents = language == "rust" && before.trim_start().starts_with("#[doc");
            (documents || reads) && plain(&folder.join(path)) == Path::new(&page.path)
        })
    })
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (at, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let info = info.trim();
                let end = info.find([',', ' ']).unwrap_or(info.len());
                open = Some(Block {
                    line: at + 1,
                    language: &info[..end],
                    rest: info[end..].trim_start_matches([',', ' ']),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Code in the running text, in one line each, with the number of the line in which it begins.
fn spans(page: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut inside = false;
    let mut prose = String::new();
    for line in page.lines() {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        // As many lines as there are, so that they can be counted.
        if !inside && !fence {
            prose.push_str(line);
        }
        prose.push('\n');
    }
    // A paragraph that forgets to close one does not turn those after it inside out.
    let mut line = 1;
    for paragraph in prose.split("\n\n") {
        let mut at = line;
        for (number, part) in paragraph.split('`').enumerate() {
            if number % 2 == 1 {
                let words: Vec<_> = part.split_whitespace().collect();
                spans.push((at, words.join(" ")));
            }
            at += part.matches('\n').count();
        }
        line += paragraph.matches('\n').count() + 2;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCES: [(&str, &str); 3] = [
        (
            "tests/src/lib.rs",
            "#[doc = include_str!(\"../../docs/shown.md\")]\n",
        ),
        (
            "tests/service/read.rs",
            "let page = include_str!(\"../../docs/shown.md\");\npage.split(\"```toml\\n\")",
        ),
        (
            "tests/service/other.rs",
            "let page = include_str!(\"../../docs/other.md\");",
        ),
    ];

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[track_caller]
    fn check_page(path: &str, text: &str, expected: &[(usize, &str)]) {
        let known = |line: &str| match line {
            "demo" | "cargo test -p x" => Ok(()),
            _ => Err("no such command".to_owned()),
        };
        let sources = SOURCES.map(|(path, text)| file(path, text));
        let found = check(&file(path, text), &sources, &known);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (problem, (line, part)) in found.iter().zip(expected) {
            assert_eq!(problem.line, *line, "{problem}");
            assert!(problem.rule.contains(part), "{problem}");
        }
    }

    #[test]
    fn code_is_tried_by_a_source_that_includes_the_page() {
        for (path, block, expected) in [
            ("docs/shown.md", "```rust,no_run\nx\n```", None),
            ("docs/shown.md", "```toml\nx\n```", None),
            (
                "docs/shown.md",
                "```yaml\nx\n```",
                Some("nothing tries this yaml"),
            ),
            (
                "docs/shown.md",
                "```rust,ignore\nx\n```",
                Some("nothing tries this rust"),
            ),
            (
                "docs/other.md",
                "```rust\nx\n```",
                Some("nothing tries this rust"),
            ),
            ("docs/shown.md", "```\nx\n```", Some("a block in ``")),
            ("docs/shown.md", "```text\nx\n```", Some("says why")),
            ("docs/shown.md", "```text as printed\nx\n```", None),
        ] {
            let expected: Vec<_> = expected.iter().map(|part| (2, *part)).collect();
            check_page(path, &format!("a\n{block}\n"), &expected);
        }
    }

    #[test]
    fn a_command_is_one_that_there_is() {
        check_page(
            "docs/a.md",
            "```sh\n# first\ncargo xtask demo # shows\n```\n",
            &[],
        );
        check_page("docs/a.md", "```console\n$ A=1 cargo test -p x\n```\n", &[]);
        check_page(
            "docs/a.md",
            "```sh\n\ncargo xtask demmo\n```\n",
            &[(3, "no such")],
        );
        check_page(
            "docs/a.md",
            "```console\n$ cargo xtask demo\nok\n```\n",
            &[(3, "printed")],
        );
        check_page(
            "docs/a.md",
            "```sh\nrm x\n```\n",
            &[(2, "nobody tries `rm`")],
        );
        let spans = "See `cargo xtask\ndemo`, `cargo xtask <one>`.\n\nNot\n`cargo xtask demmo`.\n";
        check_page(
            "docs/a.md",
            spans,
            &[(5, "there is no `cargo xtask demmo`")],
        );
    }
}
