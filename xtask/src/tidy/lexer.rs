//! Just enough of Rust's grammar to know code from comments and strings.

/// The code of each line, with comments and the insides of strings and characters left blank.
pub(crate) fn code_lines(source: &str) -> Vec<String> {
    let text: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < text.len() {
        let end = end_of_prose(&text, at);
        match end {
            None => {
                out.push(text[at]);
                at += 1;
            }
            Some(end) => {
                let end = end.min(text.len());
                out.extend(
                    text[at..end]
                        .iter()
                        .map(|c| if *c == '\n' { '\n' } else { ' ' }),
                );
                at = end;
            }
        }
    }
    out.lines().map(str::to_owned).collect()
}

/// Where the comment, string or character that begins at `at` ends; none if none begins there.
fn end_of_prose(text: &[char], at: usize) -> Option<usize> {
    let next = |offset: usize| text.get(at + offset).copied();
    match (text[at], next(1)) {
        ('/', Some('/')) => Some(find(text, at, |rest| rest.starts_with(&['\n']))),
        ('/', Some('*')) => Some(end_of_block(text, at)),
        ('"', _) => Some(end_of_string(text, at + 1)),
        ('r' | 'b' | 'c', _)
            if !at
                .checked_sub(1)
                .is_some_and(|before| is_word(text[before])) =>
        {
            end_of_raw(text, at)
        }
        // A lifetime has no closing quote two characters on; an escape always is a character.
        ('\'', Some('\\')) => Some(find(text, at + 3, |rest| rest.starts_with(&['\''])) + 1),
        ('\'', Some(_)) if next(2) == Some('\'') => Some(at + 3),
        _ => None,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn find(text: &[char], from: usize, found: impl Fn(&[char]) -> bool) -> usize {
    (from..text.len())
        .find(|at| found(&text[*at..]))
        .unwrap_or(text.len())
}

fn end_of_block(text: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (0_usize, at);
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) if depth == 1 => return at + 2,
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn end_of_string(text: &[char], mut at: usize) -> usize {
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// `r"…"`, `r#"…"#`, `br"…"`, `b"…"`, `c"…"`; an ordinary word that begins so is no string.
fn end_of_raw(text: &[char], at: usize) -> Option<usize> {
    let mut open = at;
    while matches!(text.get(open), Some('b' | 'c')) && open < at + 1 {
        open += 1;
    }
    let raw = text.get(open) == Some(&'r');
    open += usize::from(raw);
    let hashes = text[open..].iter().take_while(|c| **c == '#').count();
    if text.get(open + hashes) != Some(&'"') || (hashes > 0 && !raw) {
        return None;
    }
    if !raw {
        return Some(end_of_string(text, open + 1));
    }
    let close: Vec<char> = std::iter::once('"')
        .chain(std::iter::repeat_n('#', hashes))
        .collect();
    Some(find(text, open + hashes + 1, |rest| rest.starts_with(&close)) + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &[&str]) {
        let lines: Vec<String> = code_lines(source)
            .iter()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn comments_are_blank() {
        check("a // todo!()\nb", &["a", "b"]);
        check("a /* x /* y */ z\n */ b", &["a", "b"]);
        check("/// docs \"\nb", &["", "b"]);
    }

    #[test]
    fn strings_are_blank() {
        check("f(\"a \\\" // b\", c)", &["f(,c)"]);
        check("f(r#\"a \" // b\"#, c)", &["f(,c)"]);
        check("f(b\"x\", br\"y\", c\"z\", r\"w\")", &["f(,,,)"]);
        check("for bar in br { r }", &["forbarinbr{r}"]);
    }

    #[test]
    fn characters_are_blank_and_lifetimes_are_not() {
        check("f('\"', '\\'', '\\u{7f}', b'x')", &["f(,,,b)"]);
        check(
            "fn f<'a>(x: &'a str, y: &'static str)",
            &["fnf<'a>(x:&'astr,y:&'staticstr)"],
        );
    }
}
